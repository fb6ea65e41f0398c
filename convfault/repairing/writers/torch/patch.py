"""Changes in the calls that a program has: constants, windows, and other arguments."""

from __future__ import annotations

from collections.abc import Mapping
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
from convfault.repairing.writers.site_of import Linear, channels_first, puts_for
from convfault.repairing.writers.torch.call import operator
from convfault.repairing.writers.torch.document import TorchDocument
from convfault.repairing.writers.torch.emit_window import average_settings, even_padding, padded, steps

CONVOLUTIONS = frozenset({"conv2d.default", "conv2d.padding", "convolution.default"})
TRANSPOSED = frozenset({"conv_transpose2d.input"})
ALONG_SEQUENCES = frozenset({"conv1d.default", "conv1d.padding", "conv_transpose1d.default"})
SEQUENCE = 3
"""Rank of what a window along a sequence reads."""
WINDOWS = {
    "convolution": CONVOLUTIONS,
    "max_pool": frozenset({"max_pool2d.default", "max_pool2d_with_indices.default"}),
    "average_pool": frozenset({"avg_pool2d.default"}),
}
CHANGEABLE = frozenset({"strides", "padding", "dilation", "size", "count_padding", "divisor"})
PADS = frozenset({"pad.default", "constant_pad_nd.default"})
FREE = POINTWISE | BINARY | {"concat", "softmax", "log_softmax", "mean", "sum", "max", "min"}
"""Kinds whose operators take any shape: where nothing else of a layer changes, they stay as they are."""

ARGUMENTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "clip": {
        "clamp.default": {"minimum": "min", "maximum": "max"},
        "hardtanh.default": {"minimum": "min_val", "maximum": "max_val"},
        "hardtanh_.default": {"minimum": "min_val", "maximum": "max_val"},
    },
    "elu": {"elu.default": {"alpha": "alpha"}},
    "leaky_relu": {name: {"slope": "negative_slope"} for name in ("leaky_relu.default", "leaky_relu_.default")},
    "pad": {name: {"value": "value"} for name in PADS},
    "concat": {"cat.default": {"axis": "dim"}},
    "softmax": {"softmax.int": {"axis": "dim"}, "_softmax.default": {"axis": "dim"}},
    "log_softmax": {"log_softmax.int": {"axis": "dim"}, "_log_softmax.default": {"axis": "dim"}},
    "mean": {"mean.dim": {"axes": "dim"}},
    "sum": {"sum.dim_IntList": {"axes": "dim"}},
    "max": {"amax.default": {"axes": "dim"}},
    "min": {"amin.default": {"axes": "dim"}},
}
"""Kind → operator → hyperparameter → argument."""


def patch(document: TorchDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """See ``Document.patch``."""
    if before.parameters.keys() != after.parameters.keys():
        return False
    if any(before.parameters[n].values.shape != after.parameters[n].values.shape for n in before.parameters):
        return False
    names = {*before.hyperparameters, *after.hyperparameters}
    changed = {name for name in names if before.hyperparameters.get(name) != after.hyperparameters.get(name)}
    if before.kind in ARGUMENTS and changed:
        return _set_arguments(document, graph, before, after, changed)
    if before.kind in FREE and not changed and not before.parameters:
        return len(before.shape) == len(after.shape) and bool(document.of(before))
    windowed = before.kind in WINDOWS
    if not changed <= (CHANGEABLE if windowed else set()) or not (windowed or before.kind in {"dense", "affine"}):
        return False
    return _patch_values(document, graph, after_graph, before, after, windowed and bool(changed))


def _patch_values(
    document: TorchDocument, graph: Graph, after_graph: Graph, before: Layer, after: Layer, moved: bool
) -> bool:
    """Change constants, and the window where it is ``moved``, or do nothing at all."""
    node = next((node for node in document.of(before) if node.type in WINDOWS.get(before.kind, set())), None)
    reordered = as_flattened_before(graph, after_graph, before, after)
    if reordered is None or (moved and (node is None or len(document.shape(node.inputs[0]) or ()) == SEQUENCE)):
        return False
    puts = puts_for(document, lambda each: linear(document, graph, before, each), before, reordered)
    if puts is None:
        return False
    if moved and node is not None and not _set_window(document, node, before, after, after_graph):
        return False
    for put in puts:
        document.put(put.node, put.slot, put.values)
    return True


# constants


def linear(document: TorchDocument, graph: Graph, layer: Layer, node: Node) -> Linear | None:
    """The call as a place of weights, None if it is no such."""
    shape = layer.parameters["weights"].values.shape
    if node.type in CONVOLUTIONS | TRANSPOSED | ALONG_SEQUENCES:
        stored = document.constant(node.inputs[1])
        return None if stored is None else channels_first(node, stored.shape, shape)
    if node.type == "addmm.default" and node.native.argument("beta") == node.native.argument("alpha") == 1:
        return _matrix(graph, layer, node, (1, 2, 0), False)
    if node.type == "linear.default":
        return _matrix(graph, layer, node, (0, 1, 2), True)
    return _matrix(graph, layer, node, (0, 1, None), False) if node.type in {"mm.default", "matmul.default"} else None


def _matrix(graph: Graph, layer: Layer, node: Node, places: tuple[int, int, int | None], turned: bool) -> Linear:
    """A product; ``places`` are the slots of data, weights and bias, ``turned``: the matrix is (out, in)."""
    rows = flattened_rows(graph, layer)
    matrix = layer.parameters["weights"].values.shape[-2:]

    def canonical(values: Array) -> Array:
        return in_canonical_rows(values.T if turned else values, rows)

    def native(values: Array) -> Array:
        straight = in_native_rows(values.reshape(matrix), rows)
        return straight.T if turned else straight

    return Linear(node, *places, canonical, native)


# arguments


def _note_and_set(document: TorchDocument, node: Node, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        was = node.native.argument(name)
        if was != value and not (was in (None, [], ()) and value is None):
            document.note(node.name, name, was, value)
            node.native.set(name, value)


def _set_arguments(document: TorchDocument, graph: Graph, before: Layer, after: Layer, changed: set[str]) -> bool:
    table = ARGUMENTS[before.kind]
    own = [node for node in document.of(before) if node.type not in document.passive or node.type in table]
    if len(own) != 1 or not changed <= table.get(own[0].type, {}).keys():
        return False
    wanted = {}
    for name in changed:
        value = _native_value(document, graph, before, own[0], name, after[name])
        if value is None:
            return False
        wanted[table[own[0].type][name]] = value
    _note_and_set(document, own[0], wanted)
    return True


def _native_value(document: TorchDocument, graph: Graph, layer: Layer, node: Node, name: str, value: Any) -> Any:
    """A hyperparameter as the call has it: axes are those of the tensor that it reads; None where that cannot be."""
    if name not in {"axis", "axes"}:
        return float(value) if np.isfinite(value) else None
    order, rank = graph[layer.inputs[0]].native.permutation, len(graph[layer.inputs[0]].shape)
    read = document.shape(node.inputs[0])
    held = {graph[name].native.permutation for name in layer.inputs}
    if read is None or len(read) != rank or len(held) != 1:
        return None
    if name == "axis":
        return order[int(value) % rank] if order is not None else int(value) % rank
    if len(value) != len(layer["axes"]):
        return None
    return sorted(order[axis] if order is not None else int(axis) for axis in value)


# windows


def _set_window(document: TorchDocument, node: Node, before: Layer, after: Layer, graph: Graph) -> bool:
    """Set the arguments of a window; False, and nothing done, where arguments are not enough."""
    size, source = graph[after.inputs[0]].shape[1:3], node.inputs[0]
    padding = even_padding(after, size)
    if after.kind == "average_pool":
        found = average_settings(after, size)
        if found is None:
            return False
        wanted = found
    else:
        wanted = steps(after) | {"padding": padding if padding is not None else [0, 0]}
        if after.kind == "max_pool":
            wanted |= {"kernel_size": [int(side) for side in after["size"]], "ceil_mode": False}
    producer = document.producer(source)
    while producer is not None and producer in document.of(before) and producer.type in PADS:
        source = producer.inputs[0]
        producer = document.producer(source)
    if padding is None:
        source = padded(document, source, after["padding"], -np.inf if after.kind == "max_pool" else 0.0)
        document.parts.setdefault(after.id, []).append(document.nodes[-1])
    if source != node.inputs[0]:
        document.connect(node, 0, source)
    if node.type == "conv2d.padding":
        node.native.retarget(operator("conv2d.default"))
        node.type = node.native.kind
    _note_and_set(document, node, wanted)
    return True
