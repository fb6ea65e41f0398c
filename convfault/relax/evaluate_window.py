"""Convolutions, poolings, products and resizing of canonical layers, by ``kernels``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.relax.kernels import Window, kernels, padded
from convfault.relax.kernels import divisor as divisor_of
from convfault.relax.resize import resize


def window_of(layer: Layer) -> Window:
    """The window of a convolution or pooling layer."""
    size = layer.parameters["weights"].values.shape[:2] if "weights" in layer.parameters else layer["size"]
    return Window(tuple(size), layer["strides"], layer["padding"], layer.hyperparameters.get("dilation", (1, 1)))


def _with_bias(layer: Layer, values: Array) -> Array:
    """The bias on ``values``, which a kernel has just made and nobody else reads: half the time of a new array."""
    bias = layer.parameters.get("bias")
    if bias is None:
        return values
    if not values.flags.writeable or np.result_type(values, bias.values) != values.dtype:
        return np.asarray(values + bias.values)
    values += bias.values
    return values


def _convolution(layer: Layer, inputs: Sequence[Array]) -> Array:
    weights = inputs[1] if len(inputs) > 1 else layer.parameters["weights"].values
    window = Window(weights.shape[:2], layer["strides"], layer["padding"], layer["dilation"])
    return _with_bias(layer, kernels().convolution(inputs[0], weights, window, layer["groups"]))


def _transposed_convolution(layer: Layer, inputs: Sequence[Array]) -> Array:
    """As a convolution over the picture spread out by its strides, with the kernel turned by half a circle."""
    picture = inputs[0]
    weights = inputs[1] if len(inputs) > 1 else layer.parameters["weights"].values
    (down, right), dilation, groups = layer["strides"], layer["dilation"], layer["groups"]
    count, height, width, depth = picture.shape
    spread = np.zeros((count, (height - 1) * down + 1, (width - 1) * right + 1, depth), picture.dtype)
    spread[:, ::down, ::right] = picture
    reach = [(side - 1) * step for side, step in zip(weights.shape[:2], dilation, strict=True)]
    edges = [(reach[axis] - cut[0], reach[axis] - cut[1]) for axis, cut in enumerate(layer["padding"])]
    border = ((max(edges[0][0], 0), max(edges[0][1], 0)), (max(edges[1][0], 0), max(edges[1][1], 0)))
    spread = padded(spread, border)
    spread = spread[:, _cut(edges[0]), _cut(edges[1])]
    turned = weights[::-1, ::-1].reshape(*weights.shape[:3], groups, depth // groups)
    turned = turned.transpose(0, 1, 4, 3, 2).reshape(*weights.shape[:2], depth // groups, -1)
    window = Window(weights.shape[:2], (1, 1), ((0, 0), (0, 0)), dilation)
    return _with_bias(layer, kernels().convolution(spread, np.ascontiguousarray(turned), window, groups))


def _cut(edge: tuple[int, int]) -> slice:
    return slice(max(-edge[0], 0), min(edge[1], 0) or None)


def _dense(layer: Layer, inputs: Sequence[Array]) -> Array:
    return _with_bias(layer, kernels().product(inputs[0], layer.parameters["weights"].values))


def _average_pool(layer: Layer, inputs: Sequence[Array]) -> Array:
    """With a divisor of its own, the sum of each window over that; ``uncounted`` padding is left out of the count."""
    window, divisor = window_of(layer), layer.hyperparameters.get("divisor")
    uncounted = layer.hyperparameters.get("uncounted")
    if divisor is None and uncounted is not None:
        found = kernels().average_pool(inputs[0], window, True)
        counts = counted(inputs[0].shape[1:3], window, uncounted)
        return np.asarray(found * (np.float32(window.size[0] * window.size[1]) / counts), found.dtype)
    if divisor is None:
        return kernels().average_pool(inputs[0], window, layer["count_padding"])
    share = window.size[0] * window.size[1] / divisor
    return np.asarray(kernels().average_pool(inputs[0], window, True) * np.float32(share))


def counted(size: tuple[int, ...], window: Window, uncounted: tuple[tuple[int, int], ...]) -> Array:
    """How many values each window of an average counts, of the picture and of the padding that is not ``uncounted``."""
    pairs = zip(size, window.padding, uncounted, strict=True)
    sides = [side + sum(padding) - sum(beyond) for side, padding, beyond in pairs]
    border = (uncounted[0], uncounted[1])
    return divisor_of((sides[0], sides[1]), replace(window, padding=border), False)


WINDOW_OPERATIONS: dict[str, Callable[[Layer, Sequence[Array]], Array]] = {
    "average_pool": _average_pool,
    "convolution": _convolution,
    "dense": _dense,
    "matmul": lambda layer, inputs: kernels().product(inputs[0], inputs[1]),
    "max_pool": lambda layer, inputs: kernels().max_pool(inputs[0], window_of(layer)),
    "resize": lambda layer, inputs: resize(inputs[0], layer.hyperparameters),
    "transposed_convolution": _transposed_convolution,
}
