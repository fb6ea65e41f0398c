"""Changes in the nodes that a TensorFlow graph has: constants, windows, and other settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.kinds import BINARY, POINTWISE
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.flattening import (
    as_flattened_before,
    flattened_rows,
    in_canonical_rows,
    in_native_rows,
)
from convfault.repairing.writers.site_of import Linear, puts_for
from convfault.repairing.writers.tensorflow import nodes
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tensorflow.window import (
    LOWEST,
    is_depthwise,
    padded,
    plain_average,
    widths,
    window_settings,
)

CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
WINDOWS = {"convolution": CONVOLUTIONS, "max_pool": frozenset({"MaxPool"}), "average_pool": frozenset({"AvgPool"})}
CHANGEABLE = frozenset({"strides", "padding", "dilation", "size", "count_padding"})
PADS = frozenset({"Pad", "PadV2"})
FREE = POINTWISE | BINARY | {"concat", "softmax", "log_softmax", "mean", "sum", "max", "min"}
"""Kinds whose operators take any shape: where nothing else of a layer changes, they stay as they are."""

MATRICES = {
    "MatMul": ("transpose_a", "transpose_b"),
    "BatchMatMul": ("adj_x", "adj_y"),
    "BatchMatMulV2": ("adj_x", "adj_y"),
    "BatchMatMulV3": ("adj_x", "adj_y"),
}
"""Products, and which attributes say that a side is transposed."""


def patch(document: TensorFlowDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """See ``Document.patch``."""
    if before.parameters.keys() != after.parameters.keys():
        return False
    if any(before.parameters[n].values.shape != after.parameters[n].values.shape for n in before.parameters):
        return False
    names = {*before.hyperparameters, *after.hyperparameters}
    changed = {name for name in names if before.hyperparameters.get(name) != after.hyperparameters.get(name)}
    if before.kind in FREE and not changed and not before.parameters:
        return len(before.shape) == len(after.shape) and bool(document.of(before))
    setting = SETTINGS.get((before.kind, ", ".join(changed)))
    if setting is not None:
        return setting(document, before, after)
    windowed = before.kind in WINDOWS
    if not changed <= (CHANGEABLE if windowed else set()) or not (windowed or before.kind in {"dense", "affine"}):
        return False
    return _patch_values(document, graph, after_graph, before, after)


def _patch_values(document: TensorFlowDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """Change constants, and the window where it moves, or do nothing at all."""
    reordered = as_flattened_before(graph, after_graph, before, after)
    if reordered is None:
        return False
    puts = puts_for(document, lambda each: linear(graph, before, each), before, reordered)
    if puts is None or not _patch_window(document, graph, after_graph, before, after):
        return False
    document.put_all(puts)
    return True


# constants


def linear(graph: Graph, layer: Layer, node: Node) -> Linear | None:
    """The node as a place of weights, None if it is no such."""
    shape = layer.parameters["weights"].values.shape
    if node.type in CONVOLUTIONS | {"Conv2DBackpropInput"}:
        return Linear(
            node,
            2 if node.type == "Conv2DBackpropInput" else 0,
            1,
            None,
            lambda values: values.reshape(shape),
            lambda values: values,
        )
    if node.type not in MATRICES or nodes.attribute(node.native, MATRICES[node.type][0]):
        return None
    turned = bool(nodes.attribute(node.native, MATRICES[node.type][1]))
    rows, matrix = flattened_rows(graph, layer), shape[-2:]

    def canonical(values: Array) -> Array:
        straight = values.reshape(values.shape[-2:])
        straight = straight.T if turned else straight
        return in_canonical_rows(straight, rows).reshape(shape)

    def native(values: Array) -> Array:
        straight = in_native_rows(values.reshape(matrix), rows)
        return straight.T if turned else straight

    return Linear(node, 0, 1, None, canonical, native)


# windows


def _patch_window(document: TensorFlowDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    if before.kind not in WINDOWS:
        return True
    shape = after_graph[after.inputs[0]].shape
    alike = before.hyperparameters == after.hyperparameters and before.shape == after.shape
    if alike and shape == graph[before.inputs[0]].shape:
        return True
    own = document.of(before)
    found = [node for node in own if node.type in WINDOWS[before.kind]]
    if len(found) != 1 or any(node.type in {"SpaceToBatchND", "Reshape", "Transpose"} for node in own):
        return False
    if not _expressible(found[0], after, shape):
        return False
    _set_window(document, found[0], own, after, shape)
    return True


def _expressible(node: Node, after: Layer, shape: tuple[int, ...]) -> bool:
    """Whether the node itself can have the window, padding left aside."""
    if str(nodes.attribute(node.native, "data_format")) not in {"NHWC", "None"}:
        return False
    if any(width < 0 for pair in after["padding"] for width in pair):
        return False
    if node.type == "DepthwiseConv2dNative":
        return is_depthwise(after, shape[3])
    if after.kind != "convolution" and tuple(after.hyperparameters.get("dilation", (1, 1))) != (1, 1):
        return False
    return after.kind != "average_pool" or plain_average(after, (shape[1], shape[2])) is not None


def _set_window(
    document: TensorFlowDocument, node: Node, own: list[Node], after: Layer, shape: tuple[int, ...]
) -> None:
    source, pads = node.inputs[0], []
    while (producer := document.producer(source)) is not None and producer in own and producer.type in PADS:
        source = producer.inputs[0]
        pads.append(producer)
    fill = LOWEST if after.kind == "max_pool" else 0.0
    tensor, padding = _fed(document, after, source, pads, shape, fill)
    if node.inputs[0] != tensor:
        document.connect(node, 0, tensor)
    for name, value in window_settings(after, padding).items():
        _set(document, node, name, list(value) if isinstance(value, tuple) else value)
    if nodes.attribute(node.native, "explicit_paddings"):
        _set(document, node, "explicit_paddings", [])


def _fed(
    document: TensorFlowDocument, after: Layer, source: str, pads: list[Node], shape: tuple[int, ...], fill: float
) -> tuple[str, str]:
    """What the window reads, and SAME or VALID: a padding of its own gets other widths, or goes, or is made."""
    before = len(document.nodes)
    tensor, padding = padded(document, after, source, shape, fill)
    alone = len(pads) == 1 and len(document.readers(pads[0].outputs[0])) == 1
    if tensor != source and alone and pads[0].type == document.nodes[before].type:
        del document.nodes[before:]
        document.put(pads[0], 1, np.asarray(widths(after), np.int32))
        return pads[0].outputs[0], "VALID"
    return tensor, padding


def _set(document: TensorFlowDocument, node: Node, name: str, value: Any) -> None:
    """Set an attribute of a node, in a copy of what the file has, and note it."""
    was = nodes.attribute(node.native, name)
    if was == value or (isinstance(value, float) and np.float32(was) == np.float32(value)):
        return
    document.note(node.name, name, was, value)
    document.own(node)
    nodes.set_attribute(node.native, name, value)


# other settings


def _attribute(kind: str, name: str, hyperparameter: str) -> Callable[[TensorFlowDocument, Layer, Layer], bool]:
    def change(document: TensorFlowDocument, before: Layer, after: Layer) -> bool:
        found = [node for node in document.of(before) if node.type == kind]
        if len(found) != 1:
            return False
        _set(document, found[0], name, float(after[hyperparameter]))
        return True

    return change


def _pad_value(document: TensorFlowDocument, before: Layer, after: Layer) -> bool:
    found = [node for node in document.of(before) if node.type == "PadV2"]
    if len(document.of(before)) != 1 or not found:
        return False
    document.put(found[0], 2, np.asarray(after["value"], np.float32))
    return True


SETTINGS: dict[tuple[str, str], Callable[[TensorFlowDocument, Layer, Layer], bool]] = {
    ("leaky_relu", "slope"): _attribute("LeakyRelu", "alpha", "slope"),
    ("pad", "value"): _pad_value,
}
"""Kind and the only hyperparameter that changes → how its node's setting is changed; False where it cannot be."""
