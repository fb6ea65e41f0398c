"""Changes in the operators that a TFLite file has: constants, windows, and the activation inside an operator."""

from __future__ import annotations

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.site_of import Linear, puts_for
from convfault.repairing.writers.tflite.document import TFLiteDocument, fused
from convfault.repairing.writers.tflite.emit import clip_kind
from convfault.repairing.writers.tflite.tables import FUSED
from convfault.repairing.writers.tflite.window import SAME, VALID, padded, pool_padding

LINEAR = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Operators with weights at input 1, and where their bias is."""
DATA = {"TRANSPOSE_CONV": 2}
WINDOWS = {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
STEPS = {"strides": ("strideH", "strideW"), "dilation": ("dilationHFactor", "dilationWFactor")}
SIDES = ("filterHeight", "filterWidth")


def patch(document: TFLiteDocument, graph_before: Graph, graph: Graph, before: Layer, after: Layer) -> bool:
    """See ``Document.patch``."""
    if not _float(document, before):
        return False
    if before.kind == "clip":
        return _patch_clip(document, before, after)
    if not _only_window_differs(before, after):
        return False
    puts = puts_for(document, lambda node: linear(document, before, node), before, after)
    if puts is None or not _patch_window(document, graph, before, after, graph_before[before.inputs[0]].shape):
        return False
    for put in puts:
        document.put(put.node, put.slot, put.values)
    return True


def _float(document: TFLiteDocument, layer: Layer) -> bool:
    """Whether the layer's operators compute in floating point."""
    computed = [name for node in document.of(layer) for name in node.outputs if node.type != "DEQUANTIZE"]
    return all(document.file.type(name) == "FLOAT32" for name in computed)


WEIGHTED = frozenset({"dense", "affine", "transposed_convolution"})
"""Kinds of which only the constants can be changed."""


def _only_window_differs(before: Layer, after: Layer) -> bool:
    names = {*before.hyperparameters, *after.hyperparameters}
    changed = {name for name in names if before.hyperparameters.get(name) != after.hyperparameters.get(name)}
    allowed = {"strides", "padding", "dilation", "size", "count_padding"}
    windowed = before.kind in {"convolution", "max_pool", "average_pool"}
    if before.parameters.keys() != after.parameters.keys():
        return False
    if any(before.parameters[n].values.shape != after.parameters[n].values.shape for n in before.parameters):
        return False
    return changed <= (allowed if windowed else set()) and (windowed or before.kind in WEIGHTED)


# activations


def _patch_clip(document: TFLiteDocument, before: Layer, after: Layer) -> bool:
    kind = clip_kind(after)
    node = next((node for node in document.of(before) if fused(node)), None)
    if node is None or kind is None or len(document.of(before)) != 1:
        return False
    old = next(name for name, number in FUSED.items() if number == fused(node))
    document.note(node.name, "fused activation", old, kind)
    node.native.builtinOptions.fusedActivationFunction = FUSED[kind]
    document.file.restructured = True
    return True


# constants


def linear(document: TFLiteDocument, layer: Layer, node: Node) -> Linear | None:
    """The operator as a place of weights, None if it is no such."""
    if node.type not in LINEAR:
        return None
    native, shape = document.shape(node.inputs[1]) or (), layer.parameters["weights"].values.shape
    return Linear(
        node,
        DATA.get(node.type, 0),
        1,
        LINEAR[node.type],
        lambda values: _canonical(node, values).reshape(shape),
        lambda values: _native(node, values, native),
    )


def _canonical(node: Node, native: Array) -> Array:
    """Native weights with their axes in the canonical order."""
    order = {"CONV_2D": (1, 2, 3, 0), "TRANSPOSE_CONV": (1, 2, 0, 3), "FULLY_CONNECTED": (1, 0)}.get(node.type)
    return native if order is None else native.transpose(order)


def _native(node: Node, values: Array, shape: tuple[int, ...]) -> Array:
    """Canonical weights, unfolded, as the native operator has them."""
    if node.type == "DEPTHWISE_CONV_2D":
        return values.reshape(shape)
    if node.type == "FULLY_CONNECTED":
        return values.reshape(shape[::-1]).T
    if node.type == "TRANSPOSE_CONV":
        return values.reshape(shape[1], shape[2], shape[0], shape[3]).transpose(2, 0, 1, 3)
    return values.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)


# windows


def _patch_window(
    document: TFLiteDocument, graph: Graph, before: Layer, after: Layer, size_before: tuple[int, ...]
) -> bool:
    if before.kind in WEIGHTED:
        return True
    size = graph[after.inputs[0]].shape
    if before.hyperparameters == after.hyperparameters and before.shape == after.shape and size == size_before:
        return True
    node = next((node for node in document.of(before) if node.type in WINDOWS), None)
    if node is None or document.of(before)[-1].type == "RESHAPE":
        return False
    _set_window(document, size, node, before, after)
    return True


def _set_window(document: TFLiteDocument, shape: tuple[int, ...], node: Node, before: Layer, after: Layer) -> None:
    options, source = node.native.builtinOptions, node.inputs[0]
    producer = document.producer(source)
    while producer is not None and producer in document.of(before) and producer.type in {"PAD", "PADV2"}:
        source = producer.inputs[0]
        producer = document.producer(source)
    found, padding = (
        padded(document, after, source, shape, 0.0)
        if before.kind == "convolution"
        else pool_padding(document, after, source, shape)
    )
    if found != source:
        document.parts.setdefault(after.id, []).append(document.nodes[-1])
    if found != node.inputs[0]:
        document.connect(node, 0, found)
    if options.padding != padding:
        document.note(
            node.name, "padding", *({SAME: "SAME", VALID: "VALID"}[each] for each in (options.padding, padding))
        )
    options.padding = padding
    fields = {name: pair for name, pair in STEPS.items() if hasattr(options, pair[0])}
    fields |= {"size": SIDES} if hasattr(options, SIDES[0]) else {}
    for name, pair in fields.items():
        old = tuple(int(getattr(options, each)) for each in pair)
        new = tuple(int(side) for side in after[name])
        if old != new:
            document.note(node.name, name, old, new)
        for each, value in zip(pair, new, strict=True):
            setattr(options, each, value)
    document.file.restructured = True
