"""Canonical layers with a window as ATen operators: convolutions, pools, padding, resizing; pictures channels first.

torch pads a window by the same width before and behind. What the layer wants besides is a padding operator of its own,
or, of an average, a constant with one factor for each pixel of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.evaluate_window import counted, window_of
from convfault.relax.graph import Array, Layer
from convfault.relax.kernels import divisor
from convfault.relax.resize import resize as resized
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.torch.document import TorchDocument

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
Shapes = Sequence[tuple[int, ...]]
Emitter = Callable[[TorchDocument, Layer, Sequence[Value], Shapes], Value]
Pairs = tuple[tuple[int, int], tuple[int, int]]


def first(document: TorchDocument, value: Value, shape: tuple[int, ...]) -> str:
    """A picture with its channels first."""
    native = document.shape(value.tensor)
    if value.permutation == TO_LAST and native is not None and native[1:] == (shape[3], *shape[1:3]):
        return value.tensor
    return document.transpose(document.as_layer(value, shape), TO_FIRST)


def native_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A canonical picture's shape with its channels first."""
    return tuple(shape[axis] for axis in TO_FIRST)


def picture(document: TorchDocument, layer: Layer, kind: str, inputs: list[str], settings: dict[str, Any]) -> Value:
    return Value(document.make(kind, inputs, native_shape(layer.shape), settings), TO_LAST)


def kernel(document: TorchDocument, layer: Layer) -> list[str]:
    """New constants with the weights and the bias of a convolution."""
    weights = layer.parameters["weights"].values.astype(np.float32)
    turned = np.ascontiguousarray(weights.transpose(3, 2, 0, 1))
    shift = np.ascontiguousarray(layer.parameters["bias"].values, np.float32)
    return [
        document.add_constant(f"{layer.id}_weights", turned),
        document.add_constant(f"{layer.id}_bias", shift),
    ]


def even_padding(layer: Layer, size: tuple[int, ...]) -> list[int] | None:
    """The one width for both sides that gives the same windows as the layer's own pairs; None where there is none."""
    window, found = window_of(layer), []
    for axis, (before, behind) in enumerate(layer["padding"]):
        reach = (window.size[axis] - 1) * window.dilation[axis] + 1
        room = size[axis] + before - reach
        alike = (room + before) // window.strides[axis] == (room + behind) // window.strides[axis]
        if before < 0 or not (before == behind or alike):
            return None
        if layer.kind != "convolution" and 2 * before > window.size[axis]:
            return None
        found.append(int(before))
    return found


def padded(document: TorchDocument, source: str, padding: Pairs, value: float) -> str:
    """A picture, channels first, with edges of ``value``."""
    (top, bottom), (left, right) = padding
    shape = document.shape(source) or (0, 0, 0, 0)
    wider = (*shape[:2], shape[2] + top + bottom, shape[3] + left + right)
    return document.make(
        "constant_pad_nd.default", [source], wider, {"pad": [left, right, top, bottom], "value": value}
    )


def steps(layer: Layer) -> dict[str, Any]:
    return {"stride": [int(step) for step in layer["strides"]], "dilation": [int(step) for step in layer["dilation"]]}


def convolution(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    source, padding = first(document, values[0], shapes[0]), even_padding(layer, shapes[0][1:3])
    if padding is None:
        source, padding = padded(document, source, layer["padding"], 0.0), [0, 0]
    settings = steps(layer) | {"padding": padding, "groups": int(layer["groups"])}
    return picture(document, layer, "conv2d.default", [source, *kernel(document, layer)], settings)


def transposed_convolution(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    """What is cut off less at the bottom and the right is torch's output padding; what is cut off more is sliced."""
    pairs = layer["padding"]
    if min(before for before, _ in pairs) < 0:
        raise Refusal("torch cannot add to the top or the left of a transposed convolution")
    extra = [max(before - behind, 0) for before, behind in pairs]
    limits = [max(both) for both in zip(layer["strides"], layer["dilation"], strict=True)]
    if any(more >= limit for more, limit in zip(extra, limits, strict=True)):
        raise Refusal("torch adds less than a stride to the bottom and the right of a transposed convolution")
    settings = steps(layer) | {"padding": [before for before, _ in pairs], "output_padding": extra}
    inputs = [first(document, values[0], shapes[0]), *kernel(document, layer)]
    cuts = [max(behind - before, 0) for before, behind in pairs]
    whole = (layer.shape[0], layer.shape[3], layer.shape[1] + cuts[0], layer.shape[2] + cuts[1])
    made = document.make("conv_transpose2d.input", inputs, whole, settings | {"groups": int(layer["groups"])})
    if any(cuts):
        made = padded(document, made, ((0, -cuts[0]), (0, -cuts[1])), 0.0)
    return Value(made, TO_LAST)


def max_pool(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    source, padding = first(document, values[0], shapes[0]), even_padding(layer, shapes[0][1:3])
    if padding is None:
        source, padding = padded(document, source, layer["padding"], -np.inf), [0, 0]
    settings = steps(layer) | {"kernel_size": [int(side) for side in layer["size"]], "padding": padding}
    return picture(document, layer, "max_pool2d.default", [source], settings)


def average_settings(layer: Layer, size: tuple[int, ...]) -> dict[str, Any] | None:
    """All arguments of torch's average pool that make it the layer's; None where it needs more than arguments."""
    if tuple(layer["dilation"]) != (1, 1):
        raise Refusal("torch has no dilated average pool")
    own, padding = layer.hyperparameters.get("divisor"), even_padding(layer, size)
    if padding is None or layer.hyperparameters.get("uncounted") is not None:
        return None
    return {
        "kernel_size": [int(side) for side in layer["size"]],
        "stride": [int(step) for step in layer["strides"]],
        "padding": padding,
        "ceil_mode": False,
        "count_include_pad": bool(layer["count_padding"]),
        "divisor_override": None if own is None else int(own),
    }


def average_pool(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    source, size = first(document, values[0], shapes[0]), shapes[0][1:3]
    settings = average_settings(layer, size)
    if settings is not None:
        return picture(document, layer, "avg_pool2d.default", [source], settings)
    uncounted, own = layer.hyperparameters.get("uncounted"), layer.hyperparameters.get("divisor")
    if own is not None:
        counts: Array = np.full((1, 1, 1, 1), own, np.float32)
    elif uncounted is not None:
        counts = counted(size, window_of(layer), uncounted)
    else:
        counts = divisor((size[0], size[1]), window_of(layer), bool(layer["count_padding"]))
    sums = padded(document, source, layer["padding"], 0.0)
    settings = {
        key: [int(side) for side in layer[name]] for key, name in (("kernel_size", "size"), ("stride", "strides"))
    }
    added = document.make("avg_pool2d.default", [sums], native_shape(layer.shape), settings | {"divisor_override": 1})
    share = np.asarray(1 / counts, np.float32).transpose(0, 3, 1, 2)
    return picture(document, layer, "mul.Tensor", [added, document.add_constant(f"{layer.id}_shares", share)], {})


def pad(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    value, order = values[0], values[0].permutation
    if order is None or len(document.shape(value.tensor) or ()) != len(order):
        value, order = Value(document.as_layer(value, shapes[0])), tuple(range(len(layer.shape)))
    pairs = [layer["padding"][order.index(axis)] for axis in range(len(order))]
    native = tuple(layer.shape[order.index(axis)] for axis in range(len(order)))
    if layer["mode"] == "constant":
        widths = [int(width) for pair in reversed(pairs) for width in pair]
        settings = {"pad": widths, "value": float(layer["value"])}
        return Value(document.make("constant_pad_nd.default", [value.tensor], native, settings), value.permutation)
    if len(pairs) != 4 or any(map(any, pairs[:2])):
        source = first(document, values[0], shapes[0])
        if len(pairs) != 4 or any(layer["padding"][0]) or any(layer["padding"][3]):
            raise Refusal(f"torch pads by {layer['mode']} at the edges of pictures only")
        value, pairs, native = (
            Value(source, TO_LAST),
            [*[(0, 0)] * 2, *layer["padding"][1:3]],
            native_shape(layer.shape),
        )
    settings = {"pad": [int(width) for pair in reversed(pairs[2:]) for width in pair], "mode": layer["mode"]}
    return Value(document.make("pad.default", [value.tensor], native, settings), value.permutation)


def resize(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    """torch's own operator where it has one for these coordinates, else products with the weights of the pixels."""
    source = first(document, values[0], shapes[0])
    found = upsampling(layer, shapes[0][1:3])
    if found is not None:
        return picture(document, layer, found[0], [source], found[1])
    shape, height = document.shape(source) or native_shape(shapes[0]), int(layer["size"][0])
    rows, columns = (_pixels(layer, axis, shapes[0][axis + 1]) for axis in range(2))
    down = document.add_constant(f"{layer.id}_rows", rows)
    across = document.add_constant(f"{layer.id}_columns", np.ascontiguousarray(columns.T))
    tall = document.make("matmul.default", [down, source], (*shape[:2], height, shape[3]))
    return picture(document, layer, "matmul.default", [tall, across], {})


def upsampling(layer: Layer, size: tuple[int, ...]) -> tuple[str, dict[str, Any]] | None:
    """Operator and settings with which torch resizes as the layer does."""
    scales, smooth = layer.hyperparameters.get("scales") or (), bool(layer.hyperparameters.get("antialias"))
    if scales and (None in scales or [int(a * b) for a, b in zip(size, scales, strict=True)] != [*layer["size"]]):
        return None
    end = None if scales else [int(side) for side in layer["size"]]
    settings = {"output_size": end, "scale_factors": [float(scale) for scale in scales] or None}
    method, coordinates, rounding = layer["method"], layer["coordinates"], str(layer["rounding"] or "floor")
    if method == "nearest_neighbor":
        exact = (coordinates, rounding) in {("tf_half_pixel_for_nn", "floor"), ("half_pixel", "round_prefer_ceil")}
        name = "_upsample_nearest_exact2d" if exact else "upsample_nearest2d"
        known = exact or (coordinates, rounding) == ("asymmetric", "floor")
        return (f"{name}.vec", settings) if known else None
    name = {"linear": "upsample_bilinear2d", "cubic": "upsample_bicubic2d"}[method]
    alpha = -0.5 if smooth else -0.75
    if layer.hyperparameters.get("exclude_outside", smooth) != smooth:
        return None
    if coordinates not in {"half_pixel", "align_corners"} or (method == "cubic" and layer["cubic_alpha"] != alpha):
        return None
    name = f"_{name}_aa" if smooth else name
    return f"{name}.vec", settings | {"align_corners": coordinates == "align_corners"}


def _pixels(layer: Layer, axis: int, side: int) -> Array:
    """(result, source): how much of each pixel of the source, along one axis, is in each of the result."""
    scales = layer.hyperparameters.get("scales") or (None, None)
    one = {"size": (int(layer["size"][axis]), 1), "scales": (scales[axis], None)}
    unit = np.eye(side, dtype=np.float32).reshape(1, side, 1, side)
    return np.asarray(resized(unit, {**layer.hyperparameters, **one})[0, :, 0, :], np.float32)
