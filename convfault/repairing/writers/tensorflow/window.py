"""Canonical layers with a window as TensorFlow operators: convolutions, pools and resizing.

TensorFlow's windows pad as SAME or VALID; what pads otherwise gets an operator of its own before the window, which
every version of TensorFlow and every converter knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convfault.relax.evaluate_window import WINDOW_OPERATIONS
from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.resizing import flags, picks
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tflite.window import SAME, VALID, native_padding

Shapes = Sequence[tuple[int, ...]]
Emitter = Callable[[TensorFlowDocument, Layer, Sequence[str], Shapes], str]
NAMES = {SAME: "SAME", VALID: "VALID"}
LOWEST = float(np.finfo(np.float32).min)


def padded(
    document: TensorFlowDocument, layer: Layer, tensor: str, shape: tuple[int, ...], value: float
) -> tuple[str, str]:
    """The tensor for a window to read, and SAME or VALID: padded with ``value`` by an operator where it must be."""
    padding = native_padding(layer, (shape[1], shape[2]))
    if padding is not None:
        return tensor, NAMES[padding]
    return added(document, tensor, shape, widths(layer), value), "VALID"


def widths(layer: Layer) -> tuple[tuple[int, int], ...]:
    """What a window pads, of all four axes; raises ``Refusal`` where that is less than nothing."""
    pairs = [(int(before), int(after)) for before, after in layer["padding"]]
    if any(width < 0 for pair in pairs for width in pair):
        raise Refusal(f"TensorFlow cannot pad by less than nothing: {tuple(pairs)}")
    return ((0, 0), *pairs, (0, 0))


def added(
    document: TensorFlowDocument, tensor: str, shape: tuple[int, ...], pairs: tuple[tuple[int, int], ...], value: float
) -> str:
    """A tensor with constants round it."""
    if not any(width for pair in pairs for width in pair):
        return tensor
    grown = tuple(side + sum(pair) for side, pair in zip(shape, pairs, strict=True))
    amounts = document.add_constant("paddings", np.asarray(pairs, np.int32))
    if value == 0:
        return document.make("Pad", [tensor, amounts], grown)
    return document.make(
        "PadV2", [tensor, amounts, document.add_constant("value", np.asarray(value, np.float32))], grown
    )


def is_depthwise(layer: Layer, channels: int) -> bool:
    """Whether a convolution is what TensorFlow's depthwise one can compute."""
    alike = layer["strides"][0] == layer["strides"][1] and tuple(layer["dilation"]) == (1, 1)
    return bool(alike and layer["groups"] == channels and channels > 1)


def window_settings(layer: Layer, padding: str) -> dict[str, Any]:
    """Strides and padding, and the size of a pool or the dilation of a convolution."""
    found: dict[str, Any] = {"strides": (1, *layer["strides"], 1), "padding": padding}
    if layer.kind == "convolution":
        found["dilations"] = (1, *layer["dilation"], 1)
    else:
        found["ksize"] = (1, *layer["size"], 1)
    return found


def bias(layer: Layer) -> Array:
    return np.ascontiguousarray(layer.parameters["bias"].values, np.float32)


def _convolution(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    weights = layer.parameters["weights"].values.astype(np.float32)
    source, padding = padded(document, layer, inputs[0], shapes[0], 0.0)
    settings, kind = window_settings(layer, padding), "Conv2D"
    if is_depthwise(layer, shapes[0][3]):
        kind = "DepthwiseConv2dNative"
        weights = weights.reshape(*weights.shape[:2], shapes[0][3], -1)
    elif layer["groups"] != 1:
        weights = _spread(weights, int(layer["groups"]))
    kernel = document.add_constant(f"{layer.id}/weights", np.ascontiguousarray(weights))
    found = document.make(kind, [source, kernel], layer.shape, settings)
    return _biased(document, layer, found)


def _biased(document: TensorFlowDocument, layer: Layer, tensor: str) -> str:
    shift = bias(layer)
    if not shift.any():
        return tensor
    return document.make("BiasAdd", [tensor, document.add_constant(f"{layer.id}/bias", shift)], layer.shape)


def _spread(weights: Array, groups: int) -> Array:
    """A kernel of groups (H, W, C / groups, F) as one of all channels (H, W, C, F), zero between the groups: not
    every kernel of TensorFlow on a CPU knows groups."""
    height, width, depth, filters = weights.shape
    found = np.zeros((height, width, depth * groups, filters), weights.dtype)
    count = filters // groups
    for group in range(groups):
        own = slice(group * count, (group + 1) * count)
        found[:, :, group * depth : (group + 1) * depth, own] = weights[:, :, :, own]
    return found


def _transposed(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """Without padding, and then cut at its edges, or padded where the padding is less than nothing."""
    if layer["groups"] != 1 or tuple(layer["dilation"]) != (1, 1):
        raise Refusal("a transposed convolution is written to TensorFlow without dilation and groups only")
    weights = layer.parameters["weights"].values.astype(np.float32)
    steps = zip(shapes[0][1:3], layer["strides"], weights.shape[:2], strict=True)
    whole = (shapes[0][0], *((side - 1) * step + size for side, step, size in steps), int(weights.shape[2]))
    kernel = document.add_constant(f"{layer.id}/weights", np.ascontiguousarray(weights))
    sizes = _sizes(document, inputs[0], whole)
    settings = {"strides": (1, *layer["strides"], 1), "padding": "VALID"}
    found = document.make("Conv2DBackpropInput", [sizes, kernel, inputs[0]], whole, settings)
    cut = ((0, 0), *((max(int(a), 0), max(int(b), 0)) for a, b in layer["padding"]), (0, 0))
    extra = ((0, 0), *((max(-int(a), 0), max(-int(b), 0)) for a, b in layer["padding"]), (0, 0))
    if any(width for pair in cut for width in pair):
        begin = document.add_constant("begin", np.asarray([pair[0] for pair in cut], np.int32))
        kept = [side - sum(pair) for side, pair in zip(whole, cut, strict=True)]
        size = document.add_constant("size", np.asarray([-1, *kept[1:]], np.int32))
        found = document.make("Slice", [found, begin, size], (whole[0], *kept[1:]))
    found = added(document, found, document.shape(found) or whole, extra, 0.0)
    return _biased(document, layer, found)


def _sizes(document: TensorFlowDocument, tensor: str, shape: tuple[int, ...]) -> str:
    """A shape whose batch is that of another tensor."""
    found = document.make("Shape", [tensor], (len(shape),))
    edges = [document.add_constant(name, np.asarray([k], np.int32)) for name, k in (("begin", 0), ("end", 1))]
    step = document.add_constant("strides", np.asarray([1], np.int32))
    batch = document.make("StridedSlice", [found, *edges, step], (1,))
    rest = document.add_constant("sides", np.asarray(shape[1:], np.int32))
    axis = document.add_constant("axis", np.asarray(0, np.int32))
    return document.make("ConcatV2", [batch, rest, axis], (len(shape),))


def _max_pool(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    check_pool(layer)
    source, padding = padded(document, layer, inputs[0], shapes[0], LOWEST)
    return document.make("MaxPool", [source], layer.shape, window_settings(layer, padding))


def check_pool(layer: Layer) -> None:
    if tuple(layer.hyperparameters.get("dilation", (1, 1))) != (1, 1):
        raise Refusal("TensorFlow's pools have no dilation")


def plain_average(layer: Layer, size: tuple[int, int]) -> str | None:
    """SAME or VALID where TensorFlow's average pool divides as the layer does, else None."""
    own = any(layer.hyperparameters.get(name) is not None for name in ("divisor", "uncounted"))
    padding = None if own else native_padding(layer, size)
    plain = padding == VALID or (padding is not None and not layer["count_padding"])
    return NAMES[padding] if plain and padding is not None else None


def _average_pool(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """Where TensorFlow counts other pixels: the average over zeros round the picture, times what sets it right."""
    check_pool(layer)
    padding = plain_average(layer, (shapes[0][1], shapes[0][2]))
    if padding is not None:
        return document.make("AvgPool", [inputs[0]], layer.shape, window_settings(layer, padding))
    source = added(document, inputs[0], shapes[0], widths(layer), 0.0)
    found = document.make("AvgPool", [source], layer.shape, window_settings(layer, "VALID"))
    factor = _correction(layer, shapes[0])
    if np.allclose(factor, 1, rtol=0, atol=1e-7):
        return found
    return document.make("Mul", [found, document.add_constant("counted", factor)], layer.shape)


def _correction(layer: Layer, shape: tuple[int, ...]) -> Array:
    """By what an average that counts all padding is multiplied to be the layer's, (1, H, W, 1)."""
    average, ones = WINDOW_OPERATIONS["average_pool"], np.ones((1, *shape[1:3], 1), np.float32)
    kept = {n: v for n, v in layer.hyperparameters.items() if n not in {"divisor", "uncounted"}}
    counting = average(replace(layer, hyperparameters={**kept, "count_padding": True}), [ones])
    with np.errstate(all="ignore"):
        return np.asarray(np.where(counting > 0, average(layer, [ones]) / counting, 1), np.float32)


RESIZES = {"linear": "ResizeBilinear", "nearest_neighbor": "ResizeNearestNeighbor", "cubic": "ResizeBicubic"}


def _resize(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    method = layer["method"]
    if method not in RESIZES or layer.hyperparameters.get("antialias"):
        raise Refusal(f"TensorFlow has no operator that resizes by {method}")
    if method == "cubic" and (layer["coordinates"] != "half_pixel" or layer["cubic_alpha"] != -0.5):
        raise Refusal("TensorFlow resizes by cubes at half pixels with a coefficient of -0.5 only")
    found = flags(layer, shapes[0][1:3])
    if found is None:
        return _gathered(document, layer, inputs[0], shapes[0])
    size = document.add_constant("size", np.asarray(layer["size"], np.int32))
    settings = {"align_corners": found[0], "half_pixel_centers": found[1]}
    return document.make(RESIZES[method], [inputs[0], size], layer.shape, settings)


def _gathered(document: TensorFlowDocument, layer: Layer, picture: str, shape: tuple[int, ...]) -> str:
    """Rows, then columns, picked one by one."""
    for axis, places in enumerate(picks(layer, shape[1:3]), 1):
        shape = (*shape[:axis], len(places), *shape[axis + 1 :])
        chosen = document.add_constant("places", places)
        along = document.add_constant("axis", np.asarray(axis, np.int32))
        picture = document.make("GatherV2", [picture, chosen, along], shape)
    return picture


WINDOW_EMITTERS: dict[str, Emitter] = {
    "average_pool": _average_pool,
    "convolution": _convolution,
    "max_pool": _max_pool,
    "resize": _resize,
    "transposed_convolution": _transposed,
}
