"""Explicit paddings in TFLite, whose windows know only SAME and VALID: what else is padded by an operator before."""

from __future__ import annotations

import numpy as np

from convfault.relax.evaluate_window import window_of
from convfault.relax.extract_window import effective_padding
from convfault.relax.graph import Layer
from convfault.relax.kernels import Window
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.tflite.document import TFLiteDocument

SAME, VALID = 0, 1
Pads = tuple[tuple[int, int], tuple[int, int]]
NO_PADS: Pads = ((0, 0), (0, 0))


def native_padding(layer: Layer, size: tuple[int, int]) -> int | None:
    """SAME or VALID where that pads a picture of ``size`` as the layer does, None where neither does."""
    window, result = window_of(layer), (layer.shape[1], layer.shape[2])
    wanted = _pairs(layer)
    same = tuple(-(-side // step) for side, step in zip(size, window.strides, strict=True))
    if same == result and effective_padding(size, result, _same(window, size)) == wanted:
        return VALID if wanted == NO_PADS and _valid(window, size) == result else SAME
    return VALID if wanted == NO_PADS and _valid(window, size) == result else None


def _pairs(layer: Layer) -> Pads:
    top, side = (tuple(int(width) for width in pair) for pair in layer["padding"])
    return (top[0], top[1]), (side[0], side[1])


def _reach(window: Window) -> tuple[int, ...]:
    return tuple((size - 1) * step + 1 for size, step in zip(window.size, window.dilation, strict=True))


def _valid(window: Window, size: tuple[int, int]) -> tuple[int, ...]:
    return tuple((n - r) // s + 1 for n, r, s in zip(size, _reach(window), window.strides, strict=True))


def _same(window: Window, size: tuple[int, int]) -> Window:
    pairs = []
    for side, reach, step in zip(size, _reach(window), window.strides, strict=True):
        total = max((-(-side // step) - 1) * step + reach - side, 0)
        pairs.append((total // 2, total - total // 2))
    return Window(window.size, window.strides, (pairs[0], pairs[1]), window.dilation)


def padded(
    document: TFLiteDocument, layer: Layer, tensor: str, shape: tuple[int, ...], value: float
) -> tuple[str, int]:
    """The tensor for a window to read, and SAME or VALID: padded with ``value`` by an operator where it must be."""
    padding = native_padding(layer, (shape[1], shape[2]))
    if padding is not None:
        return tensor, padding
    pairs = _pairs(layer)
    if any(width < 0 for pair in pairs for width in pair):
        raise Refusal(f"TFLite cannot pad by less than nothing: {pairs}")
    if pairs == NO_PADS:
        return tensor, VALID
    grown = (shape[0], shape[1] + sum(pairs[0]), shape[2] + sum(pairs[1]), shape[3])
    widths = document.add_constant("padding", np.asarray([(0, 0), *pairs, (0, 0)], np.int32))
    if value == 0:
        return document.make("PAD", [tensor, widths], grown), VALID
    fill = document.add_constant("value", np.asarray(value, np.float32))
    return document.make("PADV2", [tensor, widths, fill], grown), VALID


def pool_padding(document: TFLiteDocument, layer: Layer, tensor: str, shape: tuple[int, ...]) -> tuple[str, int]:
    """The same for a pool: what is padded counts in an average only where the layer says so."""
    if tuple(layer.hyperparameters.get("dilation", (1, 1))) != (1, 1):
        raise Refusal("TFLite's pools have no dilation")
    size = (shape[1], shape[2])
    if layer.kind == "max_pool":
        return padded(document, layer, tensor, shape, float(np.finfo(np.float32).min))
    padding = native_padding(layer, size)
    if padding == VALID or (padding is not None and not layer["count_padding"]):
        return tensor, padding
    if not layer["count_padding"]:
        raise Refusal(f"TFLite's average pool leaves out of the average only what SAME pads, not {layer['padding']}")
    return _counted(document, layer, tensor, shape), VALID


def _counted(document: TFLiteDocument, layer: Layer, tensor: str, shape: tuple[int, ...]) -> str:
    pairs = _pairs(layer)
    grown = (shape[0], shape[1] + sum(pairs[0]), shape[2] + sum(pairs[1]), shape[3])
    widths = document.add_constant("padding", np.asarray([(0, 0), *pairs, (0, 0)], np.int32))
    return document.make("PAD", [tensor, widths], grown)
