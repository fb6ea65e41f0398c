"""Keeps pictures apart where a model moves their axis from the front or does away with it.

Everywhere else in convfault the first axis of a value that depends on the pictures counts them: layers are evaluated on
several at once. Attention as torch writes it has (places, pictures, channels) and, of all heads, (pictures * heads,
...). A graph of one picture tells both by a first axis that is not one. Such a stretch is computed with one more axis
in front: what a layer computes of one picture is computed of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from convfault.relax import kinds
from convfault.relax.draft import Draft
from convfault.relax.graph import Graph, Layer, Native

Shift = Callable[[Any], Any]
SHIFTS: Mapping[str, Shift] = {
    "axis": lambda axis: axis + 1 if axis is not None and axis >= 0 else axis,
    "axes": lambda axes: tuple(axis + 1 if axis >= 0 else axis for axis in axes),
    "order": lambda order: (0, *(axis + 1 for axis in order)),
    "begin": lambda begin: (0, *begin),
    "end": lambda end: (1, *end),
    "strides": lambda strides: (1, *strides),
    "padding": lambda padding: ((0, 0), *padding),
    "repeats": lambda repeats: (1, *repeats),
}
"""Hyperparameter → what it is behind one more axis."""

BROADCASTING = kinds.BINARY | {"where"}
FITTING = (
    kinds.POINTWISE
    | BROADCASTING
    | kinds.REDUCTIONS
    | {"softmax", "log_softmax", "concat", "take", "topk", "sort", "argsort", "argmax", "argmin", "gather_elements"}
    | {"normalize", "transpose", "slice", "pad", "tile", "reshape", "broadcast", "matmul", "affine", "dense"}
)
"""Kinds that compute of each picture what they computed of one, with their hyperparameters shifted."""


MATRIX = 2
"""Axes that a value must have to show whether one of them is that of the pictures."""

OF_ONE_RANK = frozenset({"concat", "gather_elements"})
"""Kinds whose inputs, constants too, must have as many axes as each other."""


def kept_apart(graph: Graph) -> Graph:
    """The graph of one picture with every stretch that has lost the axis of pictures behind an axis of its own.

    As it is where there is no such stretch; a stretch stays that has a layer that fixes the number of its axes, or
    reduces over the pictures.
    """
    if any(graph[name].shape[:1] != (1,) for name in graph.inputs):
        return graph
    fed = graph.descendants(set(graph.inputs))
    without = {layer.id for layer in graph if layer.id in fed and layer.shape[:1] != (1,)}
    stretches = [stretch for stretch in _stretches(graph, without) if _fits(stretch, without, fed)]
    if not stretches:
        return graph
    moved = {layer.id for stretch in stretches for layer in stretch}
    touched = [layer for layer in graph if layer.id in moved]
    without &= moved
    draft, apart = Draft.of(graph), dict[str, str]()
    for layer in touched:
        inputs = [_input(draft, layer, name, apart, fed) for name in layer.inputs]
        values = {
            name: SHIFTS[name](value) if name in SHIFTS else value for name, value in layer.hyperparameters.items()
        }
        shape, native = (1, *layer.shape), Native(operators=layer.native.operators)
        if layer.id in without:
            draft.put(replace(layer, inputs=tuple(inputs), shape=shape, hyperparameters=values, native=native))
            apart[layer.id] = layer.id
            continue
        each = draft.add(layer.kind, inputs, shape, values, layer.parameters, native, layer.dtype, layer.details)
        shown = layer.native.shown
        draft.put(Layer(layer.id, "reshape", (each.id,), layer.shape, layer.dtype, native=shown))
    return draft.graph(encodings=graph.encodings, unsupported=graph.unsupported)


def _stretches(graph: Graph, without: set[str]) -> list[list[Layer]]:
    """The layers without the axis that hang together, each group with those that read it."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    layers = [layer for layer in graph if layer.id in without or not without.isdisjoint(layer.inputs)]
    places = {layer.id: place for place, layer in enumerate(layers)}
    pairs = [(places[layer.id], places[name]) for layer in layers for name in layer.inputs if name in without]
    rows, columns = np.asarray(pairs, np.int64).reshape(-1, 2).T
    count = len(layers)
    near = coo_array((np.ones(len(pairs), np.int8), (rows, columns)), (count, count))
    labels = connected_components(near, directed=False)[1]
    return [[layers[place] for place in np.flatnonzero(labels == label)] for label in np.unique(labels)]


def _fits(stretch: list[Layer], without: set[str], fed: set[str]) -> bool:
    """Whether each layer of a stretch does the same behind one more axis."""
    if any(layer.kind not in FITTING for layer in stretch):
        return False
    if any(len(layer.shape) < MATRIX for layer in stretch):  # a single picture's row: the axis was merely left out
        return False
    if any(layer.kind == "take" and layer.inputs[1] in fed for layer in stretch):
        return False
    over = [layer for layer in stretch if layer.kind in kinds.REDUCTIONS and without.isdisjoint(layer.inputs)]
    return not over  # over the pictures themselves: a fault rather than another order


def _input(draft: Draft, layer: Layer, name: str, apart: dict[str, str], fed: set[str]) -> str:
    """What the layer reads, with the axis in front where it depends on the pictures, or must look as if it did."""
    if name not in fed and layer.kind not in OF_ONE_RANK:
        return name
    source = draft.layers[name]
    inner = source.shape[1:] if name in apart else source.shape
    rank = len(layer.shape) if layer.kind in BROADCASTING else len(inner)
    shape = (1, *(1,) * (rank - len(inner)), *inner)
    if name in apart and shape == source.shape:
        return name
    return draft.add("reshape", (name,), shape, dtype=source.dtype).id
