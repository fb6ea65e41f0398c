"""Layers as several plainer ones, for formats that have no operator which computes them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Layer, Parameter
from convfault.relax.resize import matrices

Shape = tuple[int, ...]


class _Parts:
    """Layers in a row; each is called after the one that they stand for."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.made = layer, list[Layer]()

    def add(self, kind: str, inputs: tuple[str, ...], shape: Shape, **hyperparameters: Any) -> str:
        name = f"{self.layer.id}/{kind}_{len(self.made)}"
        self.made.append(Layer(name, kind, inputs, shape, self.layer.dtype, hyperparameters))
        return name

    def scaled(self, source: str, shape: Shape, scale: float, shift: float) -> str:
        name = f"{self.layer.id}/affine_{len(self.made)}"
        parts = {
            key: Parameter(np.full(shape[-1], value, np.float32)) for key, value in (("scale", scale), ("shift", shift))
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
    """In one group and without dilation: what is left out of the kernel are zeros in it."""
    layer = parts.layer
    weights, groups = layer.parameters["weights"].values, int(layer["groups"])
    (height, width, filters, depth), (down, right) = weights.shape, layer["dilation"]
    sides = ((height - 1) * down + 1, (width - 1) * right + 1)
    spread = np.zeros((*sides, filters * groups, depth), np.float32)
    for group in range(groups):
        outputs = slice(group * filters, (group + 1) * filters)
        inputs = slice(group * depth // groups, (group + 1) * depth // groups)
        spread[::down, ::right, outputs, inputs] = weights[..., inputs]
    plain = {**layer.hyperparameters, "groups": 1, "dilation": (1, 1)}
    name = f"{layer.id}/{layer.kind}_{len(parts.made)}"
    values = {**layer.parameters, "weights": Parameter(spread)}
    parts.made.append(Layer(name, layer.kind, (source,), layer.shape, layer.dtype, plain, values))


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


def _square(parts: _Parts, source: str, shape: Shape) -> None:
    parts.add("multiply", (source, source), shape)


SPELLINGS: dict[str, Callable[[_Parts, str, Shape], None]] = {
    "hard_swish": _hard_swish,
    "max_pool": _max_pool,
    "normalize": _normalize,
    "resize": _resize,
    "square": _square,
    "swish": _swish,
    "transposed_convolution": _transposed_convolution,
    "variance": _variance,
}
