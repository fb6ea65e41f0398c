"""An ONNX file's protobuf: whether it is safe and complete, and copies of it that are changed in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from convfault.frameworks.base import Perturbation

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc")
"""Domains whose operators onnxruntime brings along."""

SHAPING = ("Resize", "Upsample", "Pow", "Pad", "Range", "OneHot", "NonMaxSuppression", "Bernoulli", "ConstantOfShape")
"""Operators whose floating-point constants are no weights: changing one can change a shape or make a NaN."""


def check_external_data(proto: Any, path: Path) -> None:
    """Raise ``InputError`` unless every external tensor is a file in the model's folder that is long enough."""
    folder = path.parent.resolve()
    for tensor in _tensors(proto.graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        place = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not place.is_relative_to(folder):
            raise InputError(
                f"{path} keeps the tensor '{tensor.name}' in '{location}', outside of its own folder, which is not read"
            )
        if not place.is_file():
            raise InputError(f"{path} keeps the tensor '{tensor.name}' in '{location}', which is not in {folder}")
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        if place.stat().st_size < end:
            raise FormatError(f"{place} is truncated: the tensor '{tensor.name}' ends at byte {end}")


def check_operators(proto: Any, path: Path) -> None:
    """Raise ``FormatError`` for an operator from a library that is not onnxruntime's."""
    own = {(function.domain, function.name) for function in proto.functions}
    graphs = [proto.graph.node, *(function.node for function in proto.functions)]
    for node in (node for nodes in graphs for node in _nodes(nodes)):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise FormatError(
                f"{path} needs the operator {node.op_type} of '{node.domain}', which onnxruntime does not have: "
                "export it with standard operators only"
            )


def observable(proto: Any) -> Any:
    """A copy of the model whose outputs are all of its values that are computed from the inputs, and its own."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    known = {value.name for value in copy.graph.output}
    constants = {tensor.name for tensor in copy.graph.initializer}
    reached = {value.name for value in copy.graph.input} - constants
    for node in copy.graph.node:
        if reached.isdisjoint(_read(node)):
            continue
        reached.update(node.output)
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name and name not in known)
    return copy


def perturbed(proto: Any, folder: Path, perturbation: Perturbation) -> dict[str, npt.NDArray[np.generic]]:
    """Perturb the weights of ``proto`` in place; give those that are kept outside of it by name, perturbed too."""
    from onnx import numpy_helper

    nodes = list(_nodes(proto.graph.node))
    kept = {name for node in nodes if node.op_type in SHAPING for name in node.input[1:]}
    scales = {name for node in nodes if "Linear" in node.op_type for name in node.input}
    outside = {}
    for index, tensor in enumerate(proto.graph.initializer):
        values = numpy_helper.to_array(tensor, str(folder))
        # Single numbers are bounds, exponents and factors of sizes, unless they are what integers are scaled by.
        if tensor.name in kept or (values.size == 1 and tensor.name not in scales):
            continue
        changed = perturbation.apply(values, index)
        if changed is values:
            continue
        if tensor.data_location == tensor.EXTERNAL:
            outside[tensor.name] = changed
        else:
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    for index, node in enumerate(proto.graph.node):
        if node.op_type == "Constant" and not kept.intersection(node.output):
            _perturb_constant(node, perturbation, 1_000_003 + index)
    return outside


def _perturb_constant(node: Any, perturbation: Perturbation, index: int) -> None:
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_location != attribute.t.EXTERNAL:
            values = numpy_helper.to_array(attribute.t)
            changed = perturbation.apply(values, index) if values.size > 1 else values
            if changed is not values:
                attribute.t.CopyFrom(numpy_helper.from_array(changed, attribute.t.name))


def _nodes(nodes: Any) -> Iterator[Any]:
    """Nodes and those of the graphs inside of them (the branches of If, the body of Loop)."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _read(node: Any) -> set[str]:
    """Names that a node reads, also inside of its graphs."""
    return {name for inner in _nodes([node]) for name in inner.input}


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph holds: initializers and attributes, also inside of inner graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
