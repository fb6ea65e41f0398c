"""Canonical layers with a window as layers of Keras: convolutions, pools, padding, resizing; channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.keras.document import KerasDocument
from convfault.repairing.writers.keras.graft import with_weights
from convfault.repairing.writers.keras.resize import resizing
from convfault.repairing.writers.keras.window import LOWEST, padded, padding_of
from convfault.repairing.writers.resizing import picks
from convfault.repairing.writers.shares import plain_pool
from convfault.repairing.writers.tflite.window import NO_PADS

Shapes = Sequence[tuple[int, ...]]
Emitter = Callable[[KerasDocument, Layer, Shapes], Callable[..., Any]]
LAST = "channels_last"


def bias(layer: Layer) -> Array:
    return np.ascontiguousarray(layer.parameters["bias"].values, np.float32)


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def convolution(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    weights, groups = layer.parameters["weights"].values.astype(np.float32), int(layer["groups"])
    layers, (_, height, width, depth) = document.file.library.layers, shapes[0]
    name, pairs = padding_of(layer, (height, width))
    options = {"padding": name, "strides": _pair(layer["strides"]), "dilation_rate": _pair(layer["dilation"])}
    options["data_format"] = LAST
    if weights.shape[2] == 1 and groups == depth and groups > 1:
        multiplier = weights.shape[3] // groups
        made = layers.DepthwiseConv2D(weights.shape[:2], depth_multiplier=multiplier, **options)
        weights = weights.reshape(*weights.shape[:2], depth, multiplier)
    else:
        made = layers.Conv2D(weights.shape[3], weights.shape[:2], groups=groups, **options)
    before, call = padded(document, pairs, 0.0), with_weights(made, [weights, bias(layer)])
    return lambda tensor: call(before(tensor))


def transposed_convolution(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    """Without padding, then cut and padded at the edges to what is wanted."""
    weights = layer.parameters["weights"].values.astype(np.float32)
    if int(layer["groups"]) != 1:
        raise Refusal("Keras has no transposed convolution in groups")
    strides, dilation = _pair(layer["strides"]), _pair(layer["dilation"])
    if max(strides) > 1 and max(dilation) > 1:
        raise Refusal("Keras has no transposed convolution with strides and dilation")
    layers, edges = document.file.library.layers, []
    for axis in (0, 1):
        reach = (weights.shape[axis] - 1) * dilation[axis] + 1
        full = shapes[0][axis + 1] * strides[axis] + max(reach - strides[axis], 0)
        first = int(layer["padding"][axis][0])
        edges.append((first, full - first - layer.shape[axis + 1]))
    made = layers.Conv2DTranspose(
        weights.shape[2], weights.shape[:2], strides=strides, dilation_rate=dilation, data_format=LAST
    )
    cut = [tuple(max(width, 0) for width in pair) for pair in edges]
    added = [tuple(max(-width, 0) for width in pair) for pair in edges]
    call = with_weights(made, [weights, np.zeros_like(bias(layer))])
    shift = layers.Rescaling(1.0, bias(layer).tolist()) if np.any(bias(layer)) else None

    def apply(tensor: Any) -> Any:
        found = layers.Cropping2D(tuple(cut), data_format=LAST)(call(tensor)) if np.any(cut) else call(tensor)
        found = layers.ZeroPadding2D(tuple(added), data_format=LAST)(found) if np.any(added) else found
        return found if shift is None else shift(found)

    return apply


def pool(name: str) -> Emitter:
    def make(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
        size = (shapes[0][1], shapes[0][2])
        layer, factor = plain_pool(layer, size)
        padding, pairs = padding_of(layer, size)
        options = {"pool_size": _pair(layer["size"]), "strides": _pair(layer["strides"]), "padding": padding}
        made = getattr(document.file.library.layers, name)(**options, data_format=LAST)
        before = padded(document, pairs, LOWEST if layer.kind == "max_pool" else 0.0)
        if layer.kind == "average_pool" and not layer["count_padding"] and pairs != NO_PADS:
            factor = _share(layer, size)
        if factor is None:
            return lambda tensor: made(before(tensor))
        share = np.broadcast_to(factor, (1, *layer.shape[1:3], 1)) if factor.ndim else factor
        library = document.file.library
        if document.file.old:
            import tensorflow as tf

            return lambda tensor: tf.math.multiply(made(before(tensor)), share)
        return lambda tensor: library.ops.multiply(made(before(tensor)), share)

    return make


def _share(layer: Layer, size: tuple[int, int]) -> Array:
    """(1, H, W, 1): by what an average over padding, too, is less than one over the picture alone."""
    counts = []
    for axis in (0, 1):
        first, width = int(layer["padding"][axis][0]), int(layer["size"][axis])
        starts = np.arange(layer.shape[axis + 1]) * int(layer["strides"][axis]) - first
        inside = np.minimum(starts + width, size[axis]) - np.maximum(starts, 0)
        counts.append(width / np.maximum(inside, 1))
    return np.asarray(counts[0][None, :, None, None] * counts[1][None, None, :, None], np.float32)


def pad(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    pairs = [[int(width) for width in pair] for pair in layer["padding"]]
    mode, value = str(layer["mode"]), float(layer["value"] or 0.0)
    if any(map(any, pairs[:1])) or min(map(min, pairs)) < 0:
        raise Refusal(f"Keras cannot pad by {pairs}")
    if len(pairs) == 4 and not any(pairs[3]) and mode == "constant" and value == 0:
        return document.file.library.layers.ZeroPadding2D(tuple(map(tuple, pairs[1:3])))  # type: ignore[no-any-return]
    if mode not in {"constant", "reflect", "symmetric"}:
        raise Refusal(f"Keras has no padding of mode {mode}")
    fill = {"constant_values": value} if mode == "constant" else {}
    if document.file.old:
        import tensorflow as tf

        return lambda tensor: tf.pad(tensor, pairs, mode=mode.upper(), **fill)
    library = document.file.library
    return lambda tensor: library.ops.pad(tensor, pairs, mode=mode, **fill)


def resize(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    sides = (shapes[0][1], shapes[0][2])
    method = None if layer.hyperparameters.get("antialias") else resizing(layer, sides)
    if method is None:
        return _gathered(document, picks(layer, sides))
    height, width = _pair(layer["size"])
    return document.file.library.layers.Resizing(height, width, interpolation=method)  # type: ignore[no-any-return]


def _gathered(document: KerasDocument, found: tuple[Array, Array]) -> Callable[..., Any]:
    """Rows, then columns, picked one by one."""
    rows, columns = ([int(place) for place in places] for places in found)
    if document.file.old:
        import tensorflow as tf

        return lambda tensor: tf.gather(tf.gather(tensor, rows, axis=1), columns, axis=2)
    take = document.file.library.ops.take
    return lambda tensor: take(take(tensor, rows, axis=1), columns, axis=2)
