"""Says the same in plainer ONNX, for converters that know only a part of the language. Runs in a process of its own.

Each spelling keeps what the model answers: constants are folded, paddings written in numbers, older forms of operators
used. Converters fail on the words more often than on what is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.errors import UsageError
from convfault.relax.onnx_windows import pad_all_axes, pad_explicitly
from convfault.repairing.onnx_draft import LOWEST
from convfault.repairing.onnx_values import attributes_of, constants_of, shapes_of
from convfault.repairing.simpler_onnx import RARE, USUAL, spellings

STANDARD = frozenset({"", "ai.onnx"})
LARGEST = 2**31 - 2**20
"""Bytes of a protobuf message: larger models have their weights beside them, which these rewritings do not move."""


def run(path: str, out: str, words: list[str]) -> list[str]:
    """Job: write the model at ``path`` to ``out`` after the ``SPELLINGS`` of these words; those that did something.

    Raises ``UsageError`` for a model above 2 GiB, and what the rewritings raise.
    """
    return said(path, out, {word: SPELLINGS[word] for word in words})


def said(path: str, out: str, spellings: Mapping[str, Callable[[Any], Any]]) -> list[str]:
    """Write the model at ``path`` to ``out`` after each of the spellings; the names of those that did something."""
    import onnx

    if Path(path).stat().st_size > LARGEST:
        raise UsageError("a model above 2 GiB is not rewritten")
    model = onnx.load(path)
    done = []
    for word, spell in spellings.items():
        plain = spell(model)
        if plain is not model and plain.SerializeToString() != model.SerializeToString():
            done.append(word)
        model = plain
    onnx.checker.check_model(model)
    onnx.save(model, out)
    return done


def folded(model: Any) -> Any:
    """Without nodes that only hand on or compute constants, as onnxruntime's basic optimizations leave it."""
    import tempfile

    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = onnx.load(options.optimized_model_filepath)
    if any(node.domain not in STANDARD for node in found.graph.node):
        return model
    opsets = [opset for opset in found.opset_import if opset.domain in STANDARD]
    del found.opset_import[:]
    found.opset_import.extend(opsets)
    return found


def explicit_paddings(model: Any) -> Any:
    """With ``pads`` instead of ``auto_pad``, ``output_shape`` and chosen axes, where the sizes are known."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    shapes = shapes_of(model)
    pad_explicitly(found.graph, {name: sides for name, sides in shapes.items() if all(sides[2:])})
    pad_all_axes(found.graph, {name: len(sides) for name, sides in shapes.items()}, constants_of(model))
    return found


def even_pools(model: Any) -> Any:
    """With an operator of its own for what an average pool pads on one edge more than on the other."""
    return _with_even(model, frozenset({"AveragePool"}))


def even_windows(model: Any) -> Any:
    """The same for convolutions and largest values, and for what a transposed convolution leaves out."""
    return _with_even(model, frozenset({"Conv", "ConvTranspose", "MaxPool"}))


def _with_even(model: Any, padded: frozenset[str]) -> Any:
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    shapes = shapes_of(model)
    parts = [_even(node, shapes, found.graph) if node.op_type in padded else [node] for node in model.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(part for nodes in parts for part in nodes)
    return found


def of_opset(version: int) -> Callable[[Any], Any]:
    """In the words of an older version of ONNX; a model that is as old already stays as it is.

    Operators whose call is valid in that version, too, are taken over, and reductions get their axes as an attribute.
    onnx' own converter lacks adapters for most operators that merely gained types. Raises ``UsageError`` for others.
    """

    def rewrite(model: Any) -> Any:
        import onnx

        own = next(opset for opset in model.opset_import if opset.domain in STANDARD)
        if own.version <= version:
            return model
        found = onnx.ModelProto()
        found.CopyFrom(model)
        values = constants_of(model)
        for node in found.graph.node:
            if node.domain in STANDARD:
                _older(node, own.version, version, values)
        next(opset for opset in found.opset_import if opset.domain in STANDARD).version = version
        return found

    return rewrite


def trimmed(model: Any) -> Any:
    """With less padding instead of an output padding of transposed convolutions, where there is as much of it."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    for node in found.graph.node:
        attributes = attributes_of(node)
        more, pads = attributes.get("output_padding", ()), list(attributes.get("pads", ()))
        if node.op_type != "ConvTranspose" or not any(more) or len(pads) != 2 * len(more):
            continue
        ends = [end - extra for end, extra in zip(pads[len(more) :], more, strict=True)]
        if min(ends) >= 0 and "output_shape" not in attributes:
            kept = [item for item in node.attribute if item.name not in {"output_padding", "pads"}]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("pads", [*pads[: len(more)], *ends])])
    return found


def of_one_picture(model: Any) -> Any:
    """With a batch of one instead of an open one."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    constants = {item.name for item in found.graph.initializer}
    for value in found.graph.input:
        sides = value.type.tensor_type.shape.dim
        if value.name not in constants and sides and not sides[0].HasField("dim_value"):
            sides[0].dim_value = 1
    if found == model:
        return model
    del found.graph.value_info[:]
    for value in found.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(found, data_prop=True)


SPELLINGS: Mapping[str, Callable[[Any], Any]] = {
    "a batch of one": of_one_picture,
    "constants folded": folded,
    "paddings in numbers": explicit_paddings,
    "pools padded by an operator of their own": even_pools,
    "output paddings as less padding": trimmed,
    "opset 17": of_opset(17),
    "opset 13": of_opset(13),
    "windows padded by an operator of their own": even_windows,
    **spellings(RARE),
    **spellings(USUAL),
}
"""Words for what is done, and what does it: takes and gives a ``ModelProto``."""

_SINGLE, *_PLAIN, _NEWER, _OLDER, _EVEN = list(SPELLINGS)[:8]
_RARE, _USUAL = tuple(spellings(RARE)), tuple(spellings(USUAL))
TRIALS: tuple[tuple[str, ...], ...] = (
    (_PLAIN[0],),
    (*_PLAIN,),
    (*_PLAIN, _NEWER),
    (*_RARE, *_PLAIN),
    (*_RARE, *_PLAIN, _NEWER),
    (*_PLAIN, _NEWER, _OLDER),
    (*_PLAIN, _EVEN, _NEWER),
    (*_RARE, *_USUAL, *_PLAIN, _NEWER),
    (*_RARE, *_USUAL, *_PLAIN, _NEWER, _OLDER),
    (_SINGLE, *_PLAIN, _NEWER),
    (_SINGLE, *_RARE, *_USUAL, *_PLAIN, _NEWER),
)
"""What is tried, the mildest first; what changes how the model is called comes last.

Operators are said by simpler ones before constants are folded, which may write them out in its own way."""


def _older(node: Any, own: int, version: int, values: Mapping[str, Any]) -> None:
    """Turn a node into one of an older version, in place."""
    import onnx

    if onnx.defs.get_schema(node.op_type, own).since_version <= version:
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError as error:
        raise UsageError(f"there is no {node.op_type} in opset {version}") from error
    if "axes" in schema.attributes and len(node.input) > schema.max_input and node.input[1] in values:
        axes = [int(axis) for axis in values[node.input[1]].reshape(-1)]
        del node.input[1:]
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
    known = [item for item in node.attribute if item.name in schema.attributes]
    usual = {name: item.default_value for name, item in onnx.defs.get_schema(node.op_type, own).attributes.items()}
    others = [item for item in node.attribute if item.name not in schema.attributes]
    more = {item.name for item in others if item != usual.get(item.name) and _says_something(item)}
    if more or len(node.input) > schema.max_input:
        raise UsageError(f"{node.op_type} '{node.name}' says what opset {version} has no words for")
    del node.attribute[:]
    node.attribute.extend(known)


def _says_something(attribute: Any) -> bool:
    """Whether leaving it out changes what the node does; parts of equal size are what a split gives without it."""
    import onnx

    return attribute.name != "num_outputs" and bool(onnx.helper.get_attribute_value(attribute))


def _even(node: Any, shapes: Mapping[str, Any], graph: Any) -> Iterator[Any]:
    """The node itself, or padding, the window without any, and what makes up for the zeros in an average."""
    import onnx

    attributes = attributes_of(node)
    pads = list(attributes.get("pads", ()))
    half = len(pads) // 2
    sides = shapes.get(node.input[0], ())[2:] if node.input else ()
    known = not attributes.get("ceil_mode") and len(sides) == half and all(sides) and len(node.output) == 1
    if pads[:half] == pads[half:] or not known:
        yield node
        return
    name = node.name or node.output[0]
    kept = {key: value for key, value in attributes.items() if key not in {"pads", "auto_pad", "count_include_pad"}}

    def constant(part: str, values: Any) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), f"{node.output[0]}/{part}"))
        return f"{node.output[0]}/{part}"

    whole, result = f"{node.output[0]}/whole", node.output[0]
    if node.op_type == "ConvTranspose":
        yield onnx.helper.make_node("ConvTranspose", list(node.input), [whole], name, **kept)
        starts, ends = constant("starts", pads[:half]), constant("ends", [-end or 2**31 - 1 for end in pads[half:]])
        axes = constant("axes", list(range(2, half + 2)))
        yield onnx.helper.make_node("Slice", [whole, starts, ends, axes], [result], f"{name}/slice")
        return
    padded, amounts = f"{node.output[0]}/padded", constant("pads", [0, 0, *pads[:half], 0, 0, *pads[half:]])
    fill = [constant("value", np.float32(LOWEST))] if node.op_type == "MaxPool" else []
    yield onnx.helper.make_node("Pad", [node.input[0], amounts, *fill], [padded], f"{name}/pad", mode="constant")
    shared = node.op_type == "AveragePool" and not attributes.get("count_include_pad")
    output, inputs = whole if shared else result, [padded, *node.input[1:]]
    yield onnx.helper.make_node(node.op_type, inputs, [output], name, **kept)
    if shared:
        shares = constant("shares", _shares(sides, pads, kept))
        yield onnx.helper.make_node("Mul", [whole, shares], [result], f"{name}/shares")


def _shares(sides: Sequence[int], pads: Sequence[int], attributes: Mapping[str, Any]) -> Any:
    """By how much each average was too small, (1, 1, *output)."""
    kernel = attributes["kernel_shape"]
    ones = [1] * len(kernel)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    found = np.ones(())
    for axis, side in enumerate(sides):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        whole = side + pads[axis] + pads[axis + len(sides)]
        starts = np.arange(0, whole - reach + 1, strides[axis])[:, None] + np.arange(kernel[axis]) * dilations[axis]
        inside = (starts >= pads[axis]) & (starts < pads[axis] + side)
        found = np.multiply.outer(found, kernel[axis] / inside.sum(axis=1))
    return found[None, None].astype(np.float32)
