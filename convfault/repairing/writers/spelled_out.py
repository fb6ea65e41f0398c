"""Layers as several plainer ones, for formats that have no operator which computes them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Layer, Parameter
from convfault.relax.resize import matrices
from convfault.repairing.writers.change import Refusal

Shape = tuple[int, ...]

UNSEEN = 16.0
"""From here on a softplus is nearer to its input than float32 can tell."""


class _Parts:
    """Layers in a row; each is called after the one that they stand for."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.made = layer, list[Layer]()

    def add(self, kind: str, inputs: tuple[str, ...], shape: Shape, **hyperparameters: Any) -> str:
        name = f"{self.layer.id}/{kind}_{len(self.made)}"
        self.made.append(Layer(name, kind, inputs, shape, self.layer.dtype, hyperparameters))
        return name

    def scaled(self, source: str, shape: Shape, scale: float, shift: float | Array) -> str:
        name = f"{self.layer.id}/affine_{len(self.made)}"
        parts = {
            key: Parameter(np.full(shape[-1:], value, np.float32))
            for key, value in (("scale", scale), ("shift", shift))
        }
        self.made.append(Layer(name, "affine", (source,), shape, self.layer.dtype, {}, parts))
        return name

    def dense(self, source: str, shape: Shape, weights: Array) -> str:
        """The last axis times a matrix, (in, out)."""
        name = f"{self.layer.id}/dense_{len(self.made)}"
        shift = np.zeros(weights.shape[1], np.float32)
        parts = {"weights": Parameter(np.ascontiguousarray(weights, np.float32)), "bias": Parameter(shift)}
        self.made.append(Layer(name, "dense", (source,), shape, self.layer.dtype, {}, parts))
        return name


def spelled_out(layer: Layer, shape: Shape) -> tuple[Layer, ...]:
    """Layers that together compute what ``layer`` does of an input of this shape, in order; none for other kinds.

    They read each other and the layer's inputs by id; the last one has the layer's value.
    """
    spell = SPELLINGS.get(layer.kind)
    if spell is None:
        return ()
    parts = _Parts(layer)
    spell(parts, layer.inputs[0], shape)
    return tuple(parts.made)


def _normalize(parts: _Parts, source: str, shape: Shape) -> None:
    groups = parts.layer.hyperparameters.get("groups")
    axes, inner = tuple(int(axis) % len(shape) for axis in parts.layer["axes"]), shape
    if groups is not None:
        inner = (*shape[:-1], int(groups), shape[-1] // int(groups))
        axes = (*range(1, len(inner) - 2), len(inner) - 1)
        source = parts.add("reshape", (source,), inner)
    small = tuple(1 if axis in axes else side for axis, side in enumerate(inner))
    centred = parts.add("subtract", (source, _mean(parts, source, axes, small)), inner)
    variance = _mean(parts, parts.add("square", (centred,), inner), axes, small)
    root = parts.add("sqrt", (parts.scaled(variance, small, 1.0, float(parts.layer["epsilon"])),), small)
    result = parts.add("divide", (centred, root), inner)
    if groups is not None:
        parts.add("reshape", (result,), shape)


def _variance(parts: _Parts, source: str, shape: Shape) -> None:
    axes = tuple(int(axis) % len(shape) for axis in parts.layer["axes"])
    small = tuple(1 if axis in axes else side for axis, side in enumerate(shape))
    centred = parts.add("subtract", (source, _mean(parts, source, axes, small)), shape)
    squared = parts.add("square", (centred,), shape)
    parts.add("mean", (squared,), parts.layer.shape, axes=axes, keepdims=parts.layer["keepdims"])


def _mean(parts: _Parts, source: str, axes: tuple[int, ...], small: Shape) -> str:
    return parts.add("mean", (source,), small, axes=axes, keepdims=True)


def _resize(parts: _Parts, source: str, shape: Shape) -> None:
    """Whatever mixes pixels is a product with a matrix along each axis."""
    count, height, _, depth = shape
    rows, columns = matrices(shape[1:3], parts.layer.hyperparameters)
    tall, wide = len(rows), len(columns)
    turned = parts.add("transpose", (source,), (count, height, depth, shape[2]), order=(0, 1, 3, 2))
    widened = parts.dense(turned, (count, height, depth, wide), columns.T)
    turned = parts.add("transpose", (widened,), (count, wide, depth, height), order=(0, 3, 2, 1))
    resized = parts.dense(turned, (count, wide, depth, tall), rows.T)
    parts.add("transpose", (resized,), (count, tall, wide, depth), order=(0, 3, 1, 2))


def _transposed_convolution(parts: _Parts, source: str, shape: Shape) -> None:
    """In one group and without dilation, cut at its edges only.

    What is left out of the kernel are zeros in it, and what lies farther out than the windows reach is the bias alone.
    """
    layer = parts.layer
    padding = [(int(before), int(behind)) for before, behind in layer["padding"]]
    cut = tuple((max(before, 0), max(behind, 0)) for before, behind in padding)
    added = ((0, 0), *((max(-before, 0), max(-behind, 0)) for before, behind in padding), (0, 0))
    inner = tuple(side - sum(pair) for side, pair in zip(layer.shape, added, strict=True))
    weights, groups = layer.parameters["weights"].values, int(layer["groups"])
    (height, width, filters, depth), (down, right) = weights.shape, layer["dilation"]
    sides = ((height - 1) * down + 1, (width - 1) * right + 1)
    spread = np.zeros((*sides, filters * groups, depth), np.float32)
    for group in range(groups):
        outputs = slice(group * filters, (group + 1) * filters)
        inputs = slice(group * depth // groups, (group + 1) * depth // groups)
        spread[::down, ::right, outputs, inputs] = weights[..., inputs]
    plain = {**layer.hyperparameters, "groups": 1, "dilation": (1, 1), "padding": cut}
    name = f"{layer.id}/{layer.kind}_{len(parts.made)}"
    bias = layer.parameters["bias"].values
    values = {"weights": Parameter(spread), "bias": Parameter(bias if inner == layer.shape else np.zeros_like(bias))}
    parts.made.append(Layer(name, layer.kind, (source,), inner, layer.dtype, plain, values))
    if inner != layer.shape:
        wider = parts.add("pad", (name,), layer.shape, padding=added, mode="constant", value=0.0)
        parts.scaled(wider, layer.shape, 1.0, bias)


def _max_pool(parts: _Parts, source: str, shape: Shape) -> None:
    """The largest of the pictures that each place in the window sees: what a pool with dilation is."""
    layer = parts.layer
    padding = ((0, 0), *layer["padding"], (0, 0))
    if any(width for pair in padding for width in pair):
        shape = tuple(side + sum(pair) for side, pair in zip(shape, padding, strict=True))
        lowest = float(np.finfo(np.float32).min)
        source = parts.add("pad", (source,), shape, padding=padding, mode="constant", value=lowest)
    steps, found = (1, *layer["strides"], 1), ""
    for row in range(layer["size"][0]):
        for column in range(layer["size"][1]):
            begin = (0, row * layer["dilation"][0], column * layer["dilation"][1], 0)
            spans = zip(begin, layer.shape, steps, strict=True)
            end = (shape[0], *(start + (side - 1) * step + 1 for start, side, step in list(spans)[1:]))
            seen = parts.add("slice", (source,), layer.shape, begin=begin, end=end, strides=steps)
            found = parts.add("maximum", (found, seen), layer.shape) if found else seen


def _swish(parts: _Parts, source: str, shape: Shape) -> None:
    parts.add("multiply", (source, parts.add("sigmoid", (source,), shape)), shape)


def _hard_swish(parts: _Parts, source: str, shape: Shape) -> None:
    opened = parts.add("clip", (parts.scaled(source, shape, 1 / 6, 0.5),), shape, minimum=0.0, maximum=1.0)
    parts.add("multiply", (source, opened), shape)


def _elu(parts: _Parts, source: str, shape: Shape) -> None:
    """What is above zero, and below it another multiple of the function whose ``alpha`` is 1."""
    above = parts.add("clip", (source,), shape, minimum=0.0, maximum=np.inf)
    below = parts.add("clip", (source,), shape, minimum=-np.inf, maximum=0.0)
    below = parts.scaled(parts.add("elu", (below,), shape, alpha=1.0), shape, float(parts.layer["alpha"]), 0.0)
    parts.add("add", (above, below), shape)


def _softplus(parts: _Parts, source: str, shape: Shape) -> None:
    """max(x, 0) + log(1 + exp(-beta |x|)) / beta, which never overflows."""
    beta, threshold = float(parts.layer["beta"]), float(parts.layer["threshold"])
    if threshold < UNSEEN:
        raise Refusal(f"a softplus that is its input from {threshold} on is not written")
    above = parts.add("clip", (source,), shape, minimum=0.0, maximum=np.inf)
    power = parts.add("exp", (parts.scaled(parts.add("abs", (source,), shape), shape, -beta, 0.0),), shape)
    curve = parts.scaled(parts.add("log", (parts.scaled(power, shape, 1.0, 1.0),), shape), shape, 1 / beta, 0.0)
    parts.add("add", (above, curve), shape)


def _local_response(parts: _Parts, source: str, shape: Shape) -> None:
    """The sum over neighbouring channels is a product with a band of ones; the power goes by way of logarithms."""
    layer, depth = parts.layer, shape[-1]
    if layer["axis"] % len(shape) != len(shape) - 1 or layer["bias"] <= 0:
        raise Refusal("a local response normalization is written along channels only, and with a bias above zero")
    before, size = int(layer["padding"][0]), int(layer["size"])
    distance = np.arange(depth)[:, None] - np.arange(depth)[None, :]  # of the channel that is read from the one written
    band = ((distance >= -before) & (distance < size - before)) * np.float32(layer["alpha"] / size)
    squares = parts.add("multiply", (source, source), shape)
    scale = parts.scaled(parts.dense(squares, shape, band), shape, 1.0, float(layer["bias"]))
    power = parts.scaled(parts.add("log", (scale,), shape), shape, -float(layer["beta"]), 0.0)
    parts.add("multiply", (source, parts.add("exp", (power,), shape)), shape)


def _square(parts: _Parts, source: str, shape: Shape) -> None:
    parts.add("multiply", (source, source), shape)


SPELLINGS: dict[str, Callable[[_Parts, str, Shape], None]] = {
    "elu": _elu,
    "hard_swish": _hard_swish,
    "local_response": _local_response,
    "max_pool": _max_pool,
    "normalize": _normalize,
    "resize": _resize,
    "softplus": _softplus,
    "square": _square,
    "swish": _swish,
    "transposed_convolution": _transposed_convolution,
    "variance": _variance,
}
