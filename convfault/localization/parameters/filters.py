"""The weights of a layer for channels that stand in another order, before it or behind it."""

from __future__ import annotations

import numpy as np

from convfault.relax.graph import Array, Layer

Order = tuple[int, ...]


def reordered(layer: Layer, values: Array, inputs: Order | None, order: Order | None) -> Array:
    """The weights of a linear layer (rows before columns, filters last; of a transposed convolution the channels last)
    for ``inputs``, the order of the channels that it reads, and with its own filters in ``order``; None: as they are.

    Weights that no such order fits are returned as they are.
    """
    if layer.kind == "transposed_convolution":
        return _turned(values, inputs, order) if layer["groups"] == 1 else values
    if layer.kind == "convolution" and layer["groups"] > 1:
        return _grouped(values, inputs, order, layer["groups"])
    return _turned(values, order, inputs)


def _turned(values: Array, last: Order | None, other: Order | None) -> Array:
    """With the last axis and the one before it in other orders; rows of a flattened picture go by their channel."""
    if last is not None and len(last) == values.shape[-1]:
        values = values[..., list(last)]
    if other is None:
        return values
    rows = values.shape[-2]
    if rows % len(other):
        return values
    blocks = np.arange(rows).reshape(-1, len(other))[:, list(other)]
    return np.take(values, blocks.reshape(-1), axis=-2)


def _grouped(values: Array, inputs: Order | None, order: Order | None, groups: int) -> Array:
    """Weights (H, W, C / groups, filters): an input channel's place is counted within the group of its filter."""
    depth, filters = values.shape[2], values.shape[3]
    outputs = np.arange(filters) if order is None else np.asarray(order)
    channels = np.arange(depth * groups) if inputs is None else np.asarray(inputs)
    group = np.arange(filters) // (filters // groups)
    slots = channels[group[None] * depth + np.arange(depth)[:, None]]
    places = slots - (outputs // (filters // groups))[None] * depth
    if places.min() < 0 or places.max() >= depth:
        return values
    return values[:, :, places, outputs[None]]
