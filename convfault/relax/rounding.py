"""Values that a file stores as integers with a scale, or in half precision: what is left of them in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.imported import Encoding

HALF = "float16"
STORED = frozenset({"int4", "uint4", "int8", "uint8", "int16", "uint16", HALF})
"""Types of activations that are rounded; wider ones keep what float32 has."""

LARGEST_HALF = float(np.finfo(np.float16).max)

BITS = {"int2": (-2, 1), "int4": (-8, 7), "uint4": (0, 15)}


def as_stored(graph: Graph) -> Graph:
    """With ``Layer.rounding`` at every layer whose native tensor holds integers or half precision."""
    found = {
        name: encoding
        for name, encoding in graph.encodings.items()
        if not encoding.constant and encoding.dtype in STORED
    }
    if not found:
        return graph
    return replace(graph, layers=tuple(_with(layer, found.get(str(layer.native.tensor))) for layer in graph))


def _with(layer: Layer, encoding: Encoding | None) -> Layer:
    computed = layer.kind not in {"constant", "opaque"} and layer.dtype.startswith("float")
    return replace(layer, rounding=encoding) if encoding is not None and computed else layer


def as_read(layer: Layer, values: Array) -> Array:
    """What a layer's readers get: of a picture, which is given and not computed, what its rounding leaves."""
    return rounded(values, layer.rounding) if layer.kind == "input" and layer.rounding is not None else values


def limits(encoding: Encoding) -> tuple[int, int]:
    """The smallest and the largest integer."""
    if encoding.dtype in BITS:
        return BITS[encoding.dtype]
    found = np.iinfo(encoding.dtype)
    return int(found.min), int(found.max)


def unpacked(stored: Array, bits: int) -> Array:
    """The integers, none below zero, that bytes hold on the last axis, several each: the first in the lowest bits."""
    parts = [stored >> place & (1 << bits) - 1 for place in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*stored.shape[:-1], -1)


def span(encoding: Encoding) -> tuple[float, float]:
    """The smallest and the largest real number that it can hold, of all channels."""
    if encoding.dtype == HALF:
        return -LARGEST_HALF, LARGEST_HALF
    scales, zeros = (np.asarray(part, np.float64) for part in (encoding.scales, encoding.zero_points))
    low, high = limits(encoding)
    return float(((low - zeros) * scales).min()), float(((high - zeros) * scales).max())


def rounded(values: Array, encoding: Encoding) -> Array:
    """``scale * (clip(round(value / scale) + zero point) - zero point)``, or what half precision keeps; float32.

    What is too large for half precision is infinite.
    """
    if encoding.dtype == HALF:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if encoding.at_run_time:
        return np.stack([rounded(each, measured(each, encoding)) for each in values])
    parts = (np.asarray(part, np.float32) for part in (encoding.scales, encoding.zero_points))
    scales, zeros = (spread(part, values.shape, encoding.axis, encoding.blocks) for part in parts)
    low, high = limits(encoding)
    stored = np.rint(values / scales)
    np.clip(stored, low - zeros, high - zeros, out=stored)
    stored *= scales
    return stored.astype(np.float32, copy=False)


def step(encoding: Encoding, values: Array) -> float:
    """The largest of its steps, for ``values`` where they are found at run time or grow with the values."""
    if encoding.dtype == HALF:
        largest = min(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)), LARGEST_HALF)
        return float(np.spacing(np.float16(largest))) if largest < LARGEST_HALF else 32.0
    return max((measured(values, encoding) if encoding.at_run_time else encoding).scales)


def measured(values: Array, encoding: Encoding) -> Encoding:
    """The steps that are found at run time: from the least value to the largest, zero among them (ONNX's
    DynamicQuantizeLinear)."""
    lowest, highest = limits(encoding)
    least, most = min(float(values.min(initial=0.0)), 0.0), max(float(values.max(initial=0.0)), 0.0)
    scale = np.float32((most - least) / (highest - lowest)) or np.float32(1.0)
    zero = int(np.clip(np.rint(lowest - least / scale), lowest, highest))
    return replace(encoding, scales=(float(scale),), zero_points=(zero,))


def spread(numbers: Array, shape: Sequence[int], axis: int, blocks: Sequence[int] = ()) -> Array:
    """Numbers of an encoding so that they broadcast with values of ``shape``: one for all of them, one for each place
    along the axis, or one for each block, the last of which need not be full.

    Raises ``ValueError`` where there are not as many as the shape has places or blocks.
    """
    if numbers.size == 1:
        return numbers.reshape(())
    if not blocks:
        return numbers.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])
    wide = numbers.reshape([-(-side // length) for side, length in zip(shape, blocks, strict=True)])
    for place, (side, length) in enumerate(zip(shape, blocks, strict=True)):
        if length > 1:
            wide = np.take(wide, np.arange(side) // length, place)
    return wide
