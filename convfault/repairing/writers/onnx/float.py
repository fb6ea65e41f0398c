"""Lets an ONNX file keep a value in float32 that it stored as integers.

An operator on integers that makes or reads the value becomes the float one, between DequantizeLinear and
QuantizeLinear; what then only rounds the value goes. Weights stay as they are stored, behind a DequantizeLinear, so
that the file hardly grows. Where the range of the integers stood for a Relu, there is a Relu.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convfault.relax.graph import Layer
from convfault.relax.onnx_forms import (
    DEQUANTIZE,
    PASSING,
    QUANTIZE,
    ROUNDS,
    Form,
    axis_of,
    float_settings,
    form_of,
    given,
)
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node, unused
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.onnx.values import attributes, copied, set_attributes


def keep_float(document: OnnxDocument, tensor: str) -> None:
    """See ``Document.keep_float``."""
    cut = _cut_off(document)
    found = _integers(document, tensor)
    if not found:
        raise Refusal(f"'{tensor}' is not stored as integers")
    for integer in found:
        _check(document, integer)
        for node in (document.producer(integer), *document.readers(integer)):
            if node is not None:
                spread(document, node)
    document.note(tensor, "stored as", "integers", "float32")
    _drop_rounding(document, found, tensor, tensor in cut)
    document.sort()


def _cut_off(document: OnnxDocument) -> frozenset[str]:
    """The values whose range of integers stands for a Relu, as the importer sees it."""
    from convfault.relax.onnx_dequantize import dequantize
    from convfault.relax.onnx_scene import OPERATOR

    if document.cut_off is None:
        proto = copied(document.proto)
        dequantize(proto)
        document.cut_off = frozenset(
            node.output[0]
            for node in proto.graph.node
            if node.op_type == "Relu" and any(item.key == OPERATOR for item in node.metadata_props)
        )
    return document.cut_off


# what is stored as integers


def _integers(document: OnnxDocument, tensor: str) -> list[str]:
    """The integer tensors that hold a value, which goes by the name that the importer gives it."""
    producer = document.producer(tensor)
    if producer is None:  # a graph input
        return [node.outputs[0] for node in document.readers(tensor) if node.type in ROUNDS]
    integer = producer.inputs[0] if producer.type == DEQUANTIZE else tensor
    maker = document.producer(integer)
    if maker is None or stored_steps(document, integer) is None:
        return []
    if maker.type not in ROUNDS:
        return [integer]
    twins = [node for node in document.readers(maker.inputs[0]) if node.type == maker.type]
    return [node.outputs[0] for node in twins if _same_steps(document, node, maker)]


def _same_steps(document: OnnxDocument, node: Node, other: Node) -> bool:
    """Whether two operators round in the same way: some tools make a pair for each reader."""
    pairs = zip(node.inputs[1:], other.inputs[1:], strict=False)
    return len(node.inputs) == len(other.inputs) and all(_equal(document, *pair) for pair in pairs)


def _equal(document: OnnxDocument, name: str, other: str) -> bool:
    if name == other:
        return True
    values, others = document.constant(name), document.constant(other)
    return values is not None and others is not None and np.array_equal(values, others)


def stored_steps(document: OnnxDocument, integer: str) -> list[str] | None:
    """The names of the scale and the zero point of an integer tensor; None for one without."""
    producer = document.producer(integer)
    if producer is None:
        return None
    if producer.type in ROUNDS:
        return producer.inputs[1:] if producer.type == QUANTIZE else producer.outputs[1:]
    form = _form(producer)
    if form is not None and form.result is not None:
        return [name for name in (given(producer.inputs, slot) for slot in form.result) if name]
    return stored_steps(document, producer.inputs[0]) if producer.type in PASSING else None


def _form(node: Node) -> Form | None:
    return form_of(node.type, node.inputs, attributes(node))


def _check(document: OnnxDocument, integer: str) -> None:
    """Refuse what has no float form, before anything is changed."""
    if integer in document.outputs or integer in document.pinned:
        raise Refusal(f"'{integer}' is what the model answers, in integers")
    for node in (document.producer(integer), *document.readers(integer)):
        if node is not None and node.type not in {*ROUNDS, DEQUANTIZE, *PASSING} and _form(node) is None:
            raise Refusal(f"'{integer}' is made or read by {node.type} '{node.name}', which has no float form")


# operators on integers


def spread(document: OnnxDocument, node: Node) -> None:
    """Let an operator on integers compute in float, between DequantizeLinear and QuantizeLinear."""
    form = _form(node)
    if form is not None:
        _spread_form(document, node, form)
    elif node.type in PASSING and (steps := stored_steps(document, node.inputs[0])) is not None:
        _spread_passing(document, node, steps)


def spread_products(document: OnnxDocument, layer: Layer) -> None:
    """The same for those of a layer's operators that have weights: in integers, they cannot have others."""
    for node in document.of(layer):
        form = _form(node)
        if form is not None and form.kind in {"Conv", "Gemm", "MatMul"}:
            spread(document, node)


def _spread_form(document: OnnxDocument, node: Node, form: Form) -> None:
    settings = attributes(node)
    kept, axes = float_settings(form.kind, settings, document.opset)
    read = [
        _real(document, node.inputs[tensor], [given(node.inputs, slot) for slot in slots], (form, place, settings))
        for place, (tensor, *slots) in enumerate(form.tensors)
    ]
    if form.bias is not None and given(node.inputs, form.bias):
        read.append(_real_bias(document, node, form, float(settings.get("alpha", 1.0))))
    if axes:
        read.append(document.add_constant(f"{node.name}/axes", np.asarray(axes, np.int64)))
    added = given(node.inputs, form.added) if form.added is not None else ""
    steps = [given(node.inputs, slot) for slot in form.result] if form.result is not None else []
    document.note(node.name, "operator", node.type, form.kind)
    set_attributes(node, {name: kept.get(name) for name in {*settings, *kept} if settings.get(name) != kept.get(name)})
    node.type = node.native.op_type = form.kind
    node.native.ClearField("domain")
    node.inputs = read
    document.structural = True
    if steps:
        _round(document, node, 0, steps)
    elif added:
        output = node.outputs[0]
        node.outputs = [fresh(document, f"{output}/product", output)]
        make(document, "Add", [node.outputs[0], added], output)


def _spread_passing(document: OnnxDocument, node: Node, steps: Sequence[str]) -> None:
    if node.type == "Pad":
        padding = given(node.inputs, 2)
        if not padding:
            zero = document.constant(steps[1]) if len(steps) > 1 and steps[1] else None
            kind = np.uint8 if zero is None else zero.dtype
            padding = document.add_constant(f"{node.name}/padding", np.zeros((), kind))
        node.inputs = [*node.inputs[:2], *[""] * (2 - len(node.inputs)), padding, *node.inputs[3:]]
        node.inputs[2] = dequantized(document, padding, steps)
    node.inputs[0] = dequantized(document, node.inputs[0], steps)
    document.structural = True
    for slot, name in enumerate(node.outputs):
        if name:
            _round(document, node, slot, steps)


def _round(document: OnnxDocument, node: Node, slot: int, steps: Sequence[str]) -> None:
    """Let an operator that is float now make the integers that it made before."""
    integer = node.outputs[slot]
    node.outputs[slot] = fresh(document, f"{integer}/float", integer)
    make(document, QUANTIZE, [node.outputs[slot], *(name for name in steps if name)], integer)


def _real(
    document: OnnxDocument, integer: str, steps: Sequence[str], place: tuple[Form, int, dict[str, object]]
) -> str:
    """What an operator reads, in float."""
    if document.producer(integer) is not None:
        return dequantized(document, integer, steps)
    scale, stored = document.constant(steps[0]), document.constant(integer)
    if scale is None or stored is None:
        return dequantized(document, integer, steps)
    form, number, settings = place
    axis = axis_of(form.kind, number, settings, stored.ndim) if scale.size > 1 else None
    return dequantized(document, integer, steps, axis)


def _real_bias(document: OnnxDocument, node: Node, form: Form, alpha: float) -> str:
    """The bias in steps of the product of the other inputs' steps."""
    assert form.bias is not None
    parts = [document.constant(given(node.inputs, slots[1])) for slots in form.tensors]
    if any(part is None for part in parts):
        raise Refusal(f"the scales of '{node.name}' are computed")
    first, second = (np.asarray(part, np.float32).reshape(-1) for part in parts)
    scale = np.asarray(first * second * np.float32(alpha), np.float32)
    bias = node.inputs[form.bias]
    name = document.add_constant(f"{bias}_scale", scale if scale.size > 1 else scale.reshape(()))
    return dequantized(document, bias, [name], 0 if scale.size > 1 else None)


def dequantized(document: OnnxDocument, integer: str, steps: Sequence[str], axis: int | None = None) -> str:
    """The integers' real numbers: behind the DequantizeLinear that is there, or a new one."""
    wanted = [integer, *(name for name in steps if name)]
    for node in document.readers(integer):
        same = len(node.inputs) == len(wanted) and node.type == DEQUANTIZE
        if same and axis is None and all(_equal(document, *pair) for pair in zip(node.inputs, wanted, strict=True)):
            return node.outputs[0]
    if axis is not None and document.opset < 13:
        raise Refusal(f"the model's opset is {document.opset}, which has no DequantizeLinear with scales by channel")
    output = fresh(document, f"{integer}/real", integer)
    make(document, DEQUANTIZE, wanted, output, {} if axis is None else {"axis": axis})
    return output


def fresh(document: OnnxDocument, name: str, like: str) -> str:
    """A new value's name, of the shape of another."""
    made = unused(name, document.taken)
    if like in document.shapes:
        document.shapes[made] = document.shapes[like]
    return made


def make(
    document: OnnxDocument, kind: str, inputs: Sequence[str], output: str, settings: dict[str, object] | None = None
) -> None:
    """A new operator that makes ``output``."""
    made = document.make(kind, inputs, (), settings)
    document.shapes.pop(made)
    document.nodes[-1].outputs = [output]


# QuantizeLinear and DequantizeLinear


def _drop_rounding(document: OnnxDocument, integers: Sequence[str], tensor: str, cut: bool) -> None:
    """Take out the operators that round a value; who reads it rounded reads it as it is, by the name ``tensor``."""
    makers = [node for node in (document.producer(integer) for integer in integers) if node is not None]
    source = makers[0].inputs[0]
    readers = [node for integer in integers for node in document.readers(integer)]
    gone = {id(node) for node in (*makers, *readers)}
    document.nodes = [node for node in document.nodes if id(node) not in gone]
    document.structural = True
    _forget_types(document, {tensor, source})
    aliases = {node.outputs[0] for node in readers} - {tensor}
    target = _provide(document, source, tensor, cut)
    for alias in aliases:
        if alias in document.outputs or alias in document.pinned:
            document.copy(target, alias)
    for node in document.nodes:
        node.inputs = [target if name in aliases | {tensor} else name for name in node.inputs]


def _provide(document: OnnxDocument, source: str, tensor: str, cut: bool) -> str:
    """Let ``tensor`` hold what ``source`` does, cut off at zero where it was; the name to read."""
    if tensor in document.inputs or tensor == source:
        return source
    if source in document.shapes:
        document.shapes[tensor] = document.shapes[source]
    if cut:
        make(document, "Relu", [source], tensor)
        return tensor
    producer = document.producer(source)
    free = source not in document.outputs and source not in document.pinned and not document.readers(source)
    if producer is not None and free:
        producer.outputs = [tensor if name == source else name for name in producer.outputs]
        return tensor
    if tensor in document.outputs or tensor in document.pinned:
        document.copy(source, tensor)
        return tensor
    return source


def _forget_types(document: OnnxDocument, names: set[str]) -> None:
    """Values that were integers are recorded as such."""
    graph = document.proto.graph
    for value in [value for value in graph.value_info if value.name in names]:
        graph.value_info.remove(value)
