"""Layers that pick, sort, sum up or turn round values, in numpy: what few networks have, but in their midst."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from convfault.relax.graph import Array, Layer


def _adaptive_average_pool(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Parts that need not be equal: number i of n goes from floor(i * size / n) to ceil((i + 1) * size / n)."""
    found = inputs[0]
    for axis, count in zip((1, 2), layer["size"], strict=True):
        size = found.shape[axis]
        spans = [(place * size // count, -(-(place + 1) * size // count)) for place in range(count)]
        parts = [found.take(range(*span), axis=axis).mean(axis=axis, keepdims=True) for span in spans]
        found = np.concatenate(parts, axis=axis)
    return np.asarray(found, inputs[0].dtype)


def _topk(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The largest (or smallest) values along an axis, the first of equal ones first; output 1: their places."""
    axis = int(layer["axis"])
    keys = -inputs[0] if layer["largest"] else inputs[0]
    places = np.argsort(keys, axis=axis, kind="stable").take(range(layer.shape[axis]), axis=axis)
    if layer["output"] == 1:
        return places.astype(layer.dtype)
    return np.take_along_axis(inputs[0], places, axis)


def _order(layer: Layer, inputs: Sequence[Array]) -> Array:
    axis = int(layer["axis"])
    keys = -inputs[0] if layer["descending"] else inputs[0]
    return np.asarray(np.argsort(keys, axis=axis, kind="stable"))


def _sort(layer: Layer, inputs: Sequence[Array]) -> Array:
    return np.take_along_axis(inputs[0], _order(layer, inputs), int(layer["axis"]))


def _cumulative_sum(layer: Layer, inputs: Sequence[Array]) -> Array:
    axis = layer["axis"]
    values, place = (inputs[0].reshape(-1), 0) if axis is None else (inputs[0], int(axis))
    values = np.flip(values, place) if layer["reverse"] else values
    found = np.cumsum(values, axis=place, dtype=layer.dtype)
    found = found - values if layer["exclusive"] else found
    return np.asarray(np.flip(found, place) if layer["reverse"] else found, layer.dtype)


def _gather_nd(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The slices that the last axis of the second input gives the first indices of."""
    if int(layer.hyperparameters.get("batch_dims", 0)):
        raise ValueError("a gathering in each picture by itself")
    return np.asarray(inputs[0][tuple(np.moveaxis(inputs[1].astype(np.int64), -1, 0))])


def _gather_elements(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Along an axis the element at the place that the second input has there."""
    return np.take_along_axis(inputs[0], inputs[1].astype(np.int64), int(layer["axis"]))


COMBINED = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
"""What a scattering does with the value that stands where it writes; ``update`` puts its own there."""


def _written(layer: Layer, values: Array, places: tuple[Array, ...], updates: Array) -> Array:
    """The values with the updates at the places, each an index or slice of an axis."""
    if values.shape != layer.shape:
        raise ValueError("a scattering into several pictures at once")
    found, reduction = values.copy(), layer["reduction"]
    if reduction == "update":
        found[places] = updates
    else:
        COMBINED[reduction].at(found, places, updates)
    return found


def _scatter_nd(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Writes slices where the last axis of the second input gives the first indices of them."""
    values, indices, updates = inputs
    return _written(layer, values, tuple(np.moveaxis(indices.astype(np.int64), -1, 0)), updates)


def _scatter_elements(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Writes each element at its own place but along an axis, where the second input tells it."""
    values, indices, updates = inputs
    places: list[Array] = list(np.indices(indices.shape))
    places[int(layer["axis"])] = indices.astype(np.int64)
    return _written(layer, values, tuple(places), updates[tuple(slice(side) for side in indices.shape)])


def _local_response(layer: Layer, inputs: Sequence[Array]) -> Array:
    """x / (bias + alpha * mean of x² over ``size`` neighbours along an axis, none counted beyond the edge) ** beta."""
    values, axis, size = inputs[0], layer["axis"], layer["size"]
    widths = [layer["padding"] if place == axis else (0, 0) for place in range(values.ndim)]
    squares = np.pad(values * values, widths)
    total = sum(squares.take(range(start, start + values.shape[axis]), axis=axis) for start in range(size))
    scale = np.float32(layer["bias"]) + np.float32(layer["alpha"] / size) * total
    return np.asarray(values / scale ** np.float32(layer["beta"]), values.dtype)


INDEX_OPERATIONS: dict[str, Callable[[Layer, Sequence[Array]], Array]] = {
    "adaptive_average_pool": _adaptive_average_pool,
    "argsort": lambda layer, inputs: _order(layer, inputs).astype(layer.dtype),
    "cumsum": _cumulative_sum,
    "gather_elements": _gather_elements,
    "gather_nd": _gather_nd,
    "local_response": _local_response,
    "scatter_elements": _scatter_elements,
    "scatter_nd": _scatter_nd,
    "sort": _sort,
    "topk": _topk,
}
