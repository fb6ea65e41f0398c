"""Changes in the nodes that an ONNX model has: constants, and the attributes of windows."""

from __future__ import annotations

from typing import Any

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.flattening import (
    as_flattened_before,
    flattened_rows,
    in_canonical_rows,
    in_native_rows,
)
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.onnx.emit_window import pool_settings, window_settings
from convfault.repairing.writers.onnx.float import spread_products
from convfault.repairing.writers.onnx.half import widen_for
from convfault.repairing.writers.onnx.values import attributes, set_attributes
from convfault.repairing.writers.site_of import Linear, channels_first, puts_for

WINDOWS = {"convolution": {"Conv", "FusedConv"}, "max_pool": {"MaxPool"}, "average_pool": {"AveragePool"}}
NORMALIZATIONS = frozenset({"InstanceNormalization", "LayerNormalization", "GroupNormalization"})
CHANGEABLE = {"strides", "padding", "dilation", "size", "count_padding"}
SEQUENCE = 3
"""Rank of what a window along a sequence reads."""
DEFAULTS: dict[str, Any] = {
    "strides": [1, 1],
    "dilations": [1, 1],
    "pads": [0, 0, 0, 0],
    "count_include_pad": 0,
    "ceil_mode": 0,
    "auto_pad": b"NOTSET",
}


def patch(document: OnnxDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """See ``Document.patch``."""
    if before.parameters.keys() != after.parameters.keys():
        return False
    if any(before.parameters[n].values.shape != after.parameters[n].values.shape for n in before.parameters):
        return False
    if before.kind == "normalize":
        return _set_epsilon(document, before, after)
    names = {*before.hyperparameters, *after.hyperparameters}
    changed = {name for name in names if before.hyperparameters.get(name) != after.hyperparameters.get(name)}
    windowed = before.kind in WINDOWS
    if not changed <= (CHANGEABLE if windowed else set()) or not (windowed or before.kind in {"dense", "affine"}):
        return False
    node = next((node for node in document.of(before) if node.type in WINDOWS.get(before.kind, set())), None)
    moved = bool(changed) or before.shape != after.shape
    if moved and windowed and node is None:
        return False
    reordered = as_flattened_before(graph, after_graph, before, after)
    if reordered is None:
        return False
    spread_products(document, before)
    if document.half:
        widen_for(document, graph, before)
    puts = puts_for(document, lambda each: linear(document, graph, before, each), before, reordered)
    if puts is None:
        return False
    if moved and node is not None:
        _set_window(document, node, before, after)
    for put in puts:
        document.put(put.node, put.slot, put.values)
    return True


def _set_epsilon(document: OnnxDocument, before: Layer, after: Layer) -> bool:
    """Another epsilon in an operator that normalizes as a whole."""
    epsilon = {"epsilon": after["epsilon"]}
    node = next((node for node in document.of(before) if node.type in NORMALIZATIONS), None)
    if node is None or {**before.hyperparameters, **epsilon} != dict(after.hyperparameters):
        return False
    document.note(node.name, "epsilon", before["epsilon"], after["epsilon"])
    set_attributes(node, {"epsilon": float(after["epsilon"])})
    return True


def linear(document: OnnxDocument, graph: Graph, layer: Layer, node: Node) -> Linear | None:
    """The node as a place of weights, None if it is no such."""
    shape = layer.parameters["weights"].values.shape
    if node.type in {"Conv", "ConvTranspose", "FusedConv"}:
        stored = document.constant(node.inputs[1])
        return None if stored is None else channels_first(node, stored.shape, shape)
    if node.type not in {"Gemm", "FusedGemm", "MatMul"}:
        return None
    turned = bool(attributes(node).get("transB", 0))
    rows, matrix = flattened_rows(graph, layer), shape[-2:]
    return Linear(
        node,
        0,
        1,
        None if node.type == "MatMul" else 2,
        lambda values: in_canonical_rows(values.T if turned else values, rows).reshape(shape),
        lambda values: _oriented(in_native_rows(values.reshape(matrix), rows), turned),
    )


def _oriented(values: Array, turned: bool) -> Array:
    return values.T if turned else values


def _set_window(document: OnnxDocument, node: Node, before: Layer, after: Layer) -> None:
    producer = document.producer(node.inputs[0])
    while producer is not None and producer in document.of(before) and producer.type == "Pad":
        document.connect(node, 0, producer.inputs[0])
        producer = document.producer(node.inputs[0])
    wanted = window_settings(after) if after.kind == "convolution" else pool_settings(document, after)
    if len(document.shape(node.inputs[0]) or ()) == SEQUENCE:
        wanted = {name: _along(value) for name, value in wanted.items()}
    wanted |= {"auto_pad": None, "ceil_mode": None, "output_shape": None}
    old = attributes(node)
    for name, value in wanted.items():
        was = old.get(name, DEFAULTS.get(name))
        now = DEFAULTS.get(name) if value is None else value
        if (
            isinstance(was, list) and isinstance(now, list) and len(was) > len(now)
        ):  # what a sequence's window leaves out
            was = _along(was)
        if was != now:
            document.note(node.name, name, was.decode() if isinstance(was, bytes) else was, now)
            set_attributes(node, {name: value})


def _along(value: Any) -> Any:
    """What a window of a picture of one row says of the row: the second of every two numbers."""
    return list(value[1::2]) if isinstance(value, list) else value
