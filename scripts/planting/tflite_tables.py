"""What TFLite calls the things that the catalogue speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
    "ADD": "add",
    "SUB": "sub",
    "MUL": "mul",
    "MAXIMUM": "max",
    "CONCATENATION": "concat",
    "MAX_POOL_2D": "max_pool",
    "AVERAGE_POOL_2D": "average_pool",
    "MEAN": "mean",
    "RELU": "relu",
    "RELU6": "relu6",
    "LEAKY_RELU": "leaky",
    "LOGISTIC": "sigmoid",
    "TANH": "tanh",
    "SOFTMAX": "softmax",
    "RESHAPE": "reshape",
    "TRANSPOSE": "transpose",
    "PAD": "pad",
    "PADV2": "pad",
    "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
}
CODES = {kind: code for code, kind in reversed(KINDS.items())} | {"scale": "MUL", "shift": "ADD", "reverse": "GATHER"}

OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "SOFTMAX": "SoftmaxOptions",
    "TRANSPOSE": "TransposeOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "GATHER": "GatherOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
}

PARAMETERS = {
    "CONV_2D": (("kernel", "OHWI"), ("bias", "O")),
    "DEPTHWISE_CONV_2D": (("kernel", "MHWO"), ("bias", "O")),
    "FULLY_CONNECTED": (("kernel", "OI"), ("bias", "O")),
}

FUSED = {1: "relu", 3: "relu6"}

FIELDS = {("CONCATENATION", "axis"): "axis", ("LEAKY_RELU", "slope"): "alpha"}
"""Settings kept in an operator's options."""

CONSTANTS = {("MEAN", "axes"): 1, ("PADV2", "value"): 2}
"""Settings kept in a constant input."""

RESIZES = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}


def resize_setting(options: Any, code: str, name: str) -> str | None:
    """``coordinates`` or ``method`` of a resize."""
    if name == "method":
        return next(method for method, each in RESIZES.items() if each == code)
    if name == "coordinates":
        return "align_corners" if options.alignCorners else "half_pixel" if options.halfPixelCenters else "asymmetric"
    return None


def recipe(
    kind: str, shape: tuple[int, ...], settings: dict[str, Any]
) -> tuple[str, list[np.ndarray], tuple[int, ...]]:
    """Code, constant inputs and output shape of a new operator that reads a tensor of this shape."""
    code = CODES[kind]
    if kind == "transpose":
        order = settings["permutation"]
        return code, [np.asarray(order, np.int32)], tuple(shape[axis] for axis in order)
    if kind == "pad":
        (top, bottom), (left, right) = settings["pads"]
        grown = (shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3])
        pads = np.asarray([(0, 0), (top, bottom), (left, right), (0, 0)], np.int32)
        return "PADV2", [pads, np.asarray(settings.get("value", 0.0), np.float32)], grown
    if kind in ("scale", "shift"):
        return code, [np.asarray(settings["values"], np.float32)], shape
    if kind == "reverse":
        return code, [np.arange(shape[-1], dtype=np.int32)[::-1].copy()], shape
    return code, [], shape


def recipe_options(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Options of a new operator that differ from the schema's own."""
    options: dict[str, dict[str, Any]] = {"softmax": {"beta": 1.0}, "reverse": {"axis": -1}}
    return options.get(kind, {})
