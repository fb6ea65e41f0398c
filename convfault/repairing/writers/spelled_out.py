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


def _swish(parts: _Parts, source: str, shape: Shape) -> None:
    parts.add("multiply", (source, parts.add("sigmoid", (source,), shape)), shape)


def _hard_swish(parts: _Parts, source: str, shape: Shape) -> None:
    opened = parts.add("clip", (parts.scaled(source, shape, 1 / 6, 0.5),), shape, minimum=0.0, maximum=1.0)
    parts.add("multiply", (source, opened), shape)


def _square(parts: _Parts, source: str, shape: Shape) -> None:
    parts.add("multiply", (source, source), shape)


SPELLINGS: dict[str, Callable[[_Parts, str, Shape], None]] = {
    "hard_swish": _hard_swish,
    "normalize": _normalize,
    "resize": _resize,
    "square": _square,
    "swish": _swish,
    "variance": _variance,
}
