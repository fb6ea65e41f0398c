"""Attributes, shapes and constants of an ONNX model as plain values; writing one with its weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault import cache
from convfault.relax.graph import Array
from convfault.repairing.writers.document import Node

LARGE = 4096
"""Elements: larger constants are left out where only shapes matter."""


def attributes(node: Node) -> dict[str, Any]:
    """The attributes of a node as plain values."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.native.attribute}


def set_attributes(node: Node, values: dict[str, Any]) -> None:
    """Set attributes of a node; None takes one out."""
    from onnx import helper

    for name, value in values.items():
        for item in [item for item in node.native.attribute if item.name == name]:
            node.native.attribute.remove(item)
        if value is not None:
            node.native.attribute.append(helper.make_attribute(name, value))


def copied(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made


def captured(native: Any) -> set[str]:
    """Names that the graphs inside a node read."""
    found: set[str] = set()
    for item in native.attribute:
        for graph in (item.g, *item.graphs):
            for node in graph.node:
                found |= {*node.input} | captured(node)
            found |= {value.name for value in graph.output}
    return found


def cast(node: Node, values: Array | None) -> Array | None:
    """What a Cast makes of floating-point numbers; None of others."""
    from onnx import helper

    if values is None or values.dtype.kind != "f":
        return None
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(attributes(node)["to"]))
    return values.astype(kind) if kind.kind == "f" else None


def dequantized(node: Node, parts: Sequence[Array | None]) -> Array:
    stored, scale, *zero = (np.asarray(part) for part in parts)
    axis = int(attributes(node).get("axis", 1))
    side = [1] * stored.ndim
    if scale.size > 1:
        side[axis] = -1
    shift = zero[0].astype(np.float32).reshape(side if zero[0].size > 1 else [1] * stored.ndim) if zero else 0
    return np.asarray((stored.astype(np.float32) - shift) * scale.reshape(side), np.float32)


def shapes(proto: Any) -> dict[str, tuple[int, ...]]:
    """Name → static shape for one picture, as far as ONNX can infer it."""
    import onnx

    from convfault.relax.import_onnx import fix_shapes
    from convfault.relax.onnx_fused import write_out

    light = onnx.ModelProto()
    light.opset_import.extend(proto.opset_import)
    light.ir_version = proto.ir_version
    light.functions.extend(proto.functions)
    light.graph.name = "shapes"
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    for value in proto.graph.output:
        light.graph.output.append(onnx.helper.make_value_info(value.name, onnx.TypeProto()))
    fix_shapes(light.graph, 1)
    listed = {value.name for value in light.graph.input}
    for tensor in proto.graph.initializer:
        if int(np.prod(tensor.dims)) <= LARGE:
            light.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(info)
    write_out(light)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        sides = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in sides):
            found[value.name] = tuple(int(side.dim_value) for side in sides)
    return found


def save_beside(proto: Any, path: Path) -> None:
    """Write a model and the file of its weights: both aside first, the model renamed into place last."""
    import tempfile

    import onnx

    with cache.storage_errors(path.parent), tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        aside = Path(folder) / path.name
        onnx.save(proto, aside)
        data = Path(folder) / f"{path.name}.data"
        if data.exists():
            data.replace(path.parent / data.name)
        aside.replace(path)
