"""Writes of a block, ``x[:, 1:3] = y``, as what lies before the block, the block, and what lies behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Array, Layer
from convfault.relax.rules.shape import in_place

Span = tuple[int, int]


def scatter_to_concat(draft: Draft, layer: Layer) -> Layer | str | None:
    """A scattering to known places that make a block, in their order, joins the block and what is round it."""
    values, indices, updates = (draft.layers[name] for name in layer.inputs)
    if indices.kind != "constant" or not (layer["reduction"] == "update" or _adds_to_zeros(layer, values)):
        return None
    if not indices.shape:
        return None
    places = indices.parameters["values"].values.astype(np.int64)
    if layer.kind == "scatter_nd":
        spans = _block(places, values.shape)
    else:
        spans = _slab(places, int(layer["axis"]), values.shape) if places.shape == updates.shape else None
    if spans is None:
        return None
    shape = _shape(spans)
    part = updates if updates.shape == shape else draft.add("reshape", (updates.id,), shape, dtype=layer.dtype)
    joins = [axis for axis, span in enumerate(spans) if span != (0, values.shape[axis])]
    for axis in reversed(joins[1:]):  # the inner ones within the block of all axes before
        inner = [*spans[:axis], *((0, side) for side in values.shape[axis:])]
        pieces = _pieces(draft, values, inner, axis, spans[axis], part)
        part = draft.add("concat", pieces, _shape(inner), {"axis": axis}, dtype=layer.dtype)
    if not joins:
        return part.id
    pieces = _pieces(draft, values, [(0, side) for side in values.shape], joins[0], spans[joins[0]], part)
    native = in_place(layer)
    return replace(layer, kind="concat", inputs=pieces, hyperparameters={"axis": joins[0]}, native=native)


def _adds_to_zeros(layer: Layer, values: Layer) -> bool:
    """As TensorFlow makes a tensor of what is scattered; a block has every place once."""
    zeros = values.kind == "constant" and not values.parameters["values"].values.any()
    return zeros and bool(layer["reduction"] == "add")


def _block(indices: Array, shape: Sequence[int]) -> list[Span] | None:
    """First and last place, exclusive, along every axis that the indices (..., axes) go through in their order."""
    if indices.shape[-1] > len(shape) or not indices.size:
        return None
    rows = indices.reshape(-1, indices.shape[-1])
    rows = np.where(rows < 0, rows + np.asarray(shape[: rows.shape[1]]), rows)
    starts, ends = rows.min(axis=0), rows.max(axis=0) + 1
    sides = ends - starts
    if int(np.prod(sides)) != len(rows):
        return None
    expected = np.indices(sides).reshape(len(sides), -1).T + starts
    if not np.array_equal(expected, rows):
        return None
    spans = [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    return [*spans, *((0, side) for side in shape[len(spans) :])]


def _slab(indices: Array, axis: int, shape: Sequence[int]) -> list[Span] | None:
    """The same of indices along one axis, for every element: those of the other axes are their own."""
    if not indices.size:
        return None
    along = np.moveaxis(np.where(indices < 0, indices + shape[axis], indices), axis, -1)
    start, count = int(along.flat[0]), along.shape[-1]
    if not np.array_equal(along, np.broadcast_to(np.arange(start, start + count), along.shape)):
        return None
    spans = [(0, side) for side in indices.shape]
    spans[axis] = (start, start + count)
    return spans


def _shape(spans: Sequence[Span]) -> tuple[int, ...]:
    return tuple(end - start for start, end in spans)


def _pieces(draft: Draft, values: Layer, spans: Sequence[Span], axis: int, taken: Span, part: Layer) -> tuple[str, ...]:
    """Of a block of the values what lies before ``taken`` along an axis, the part for it, and what lies behind."""

    def piece(span: Span) -> list[str]:
        cut = [*spans[:axis], span, *spans[axis + 1 :]]
        if not _shape(cut)[axis]:
            return []
        begin, end = zip(*cut, strict=True)
        settings = {"begin": begin, "end": end, "strides": (1,) * len(cut)}
        return [draft.add("slice", (values.id,), _shape(cut), settings, dtype=values.dtype).id]

    (start, end), (first, last) = spans[axis], taken
    return (*piece((start, first)), part.id, *piece((last, end)))


RULES = (Rule("scatter_to_concat", frozenset({"scatter_nd", "scatter_elements"}), scatter_to_concat),)
