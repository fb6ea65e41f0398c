"""Relax operators with a window along a sequence → those of pictures of height one, in NHWC and HWIO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convfault.relax.extract import Extraction, attributes, shape_of
from convfault.relax.extract_window import TO_FIRST, TO_LAST
from convfault.relax.graph import Native

KERNEL_ORDER = {"WIO": (0, 1, 2), "OIW": (2, 1, 0), "IOW": (2, 1, 0)}
"""To (W, in, filters); of a transposed convolution to (W, filters, in)."""


def _lying(at: Extraction, expression: Any, layout: str) -> str:
    """The id of a sequence as a picture of one row, its channels last."""
    name = at.id(expression)
    layer = at.draft.layers[name]
    count, *rest = layer.shape
    shape = (count, 1, *rest) if layout == "NWC" else (count, rest[0], 1, rest[1])
    picture = at.draft.add("reshape", (name,), shape, native=Native(layer.native.tensor), dtype=layer.dtype).id
    return picture if layout == "NWC" else at.transposed(picture, TO_LAST)


def _emit(at: Extraction, call: Any, kind: str, inputs: list[str], values: dict[str, Any], layout: str) -> str:
    """Add a layer for a call, and what brings the row back into a sequence."""
    shape, dtype, last = shape_of(call), str(call.ty.dtype), layout == "NWC"
    count, one, other = shape
    width, depth = (one, other) if last else (other, one)
    native = Native(at.native.tensor if last else None, None, at.native.operators)
    row = at.draft.add(kind, inputs, (count, 1, width, depth), values, native=native, dtype=dtype).id
    turned = row if last else at.transposed(row, TO_FIRST)
    return at.draft.add("reshape", (turned,), shape, native=Native(at.native.tensor), dtype=dtype).id


def _pairs(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    left, right = (int(width) for width in padding)
    return (0, 0), (left, right)


def _weights(at: Extraction, expression: Any, layout: str) -> str:
    turned = at.transposed(at.id(expression), KERNEL_ORDER[layout])
    return at.draft.add("reshape", (turned,), (1, *at.draft.layers[turned].shape)).id


def _convolution(at: Extraction, call: Any) -> str:
    found = attributes(call)
    values = {
        "strides": (1, *found["strides"]),
        "padding": _pairs(found["padding"]),
        "dilation": (1, *found["dilation"]),
        "groups": int(found["groups"]),
    }
    inputs = [_lying(at, call.args[0], found["data_layout"]), _weights(at, call.args[1], found["kernel_layout"])]
    return _emit(at, call, "convolution", inputs, values, found["data_layout"])


def _transposed_convolution(at: Extraction, call: Any) -> str:
    """Output padding is less cut off at the right."""
    found = attributes(call)
    (_, (left, right)), (extra,) = _pairs(found["padding"]), found["output_padding"]
    values = {
        "strides": (1, *found["strides"]),
        "padding": ((0, 0), (left, right - int(extra))),
        "dilation": (1, *found["dilation"]),
        "groups": int(found["groups"]),
    }
    inputs = [_lying(at, call.args[0], found["data_layout"]), _weights(at, call.args[1], found["kernel_layout"])]
    return _emit(at, call, "transposed_convolution", inputs, values, found["data_layout"])


def _pool(kind: str) -> Callable[[Extraction, Any], str]:
    def convert(at: Extraction, call: Any) -> str:
        found = attributes(call)
        values: dict[str, Any] = {
            "size": (1, *found["pool_size"]),
            "strides": (1, *found["strides"]),
            "padding": _pairs(found["padding"]),
            "dilation": (1, *found["dilation"]),
        }
        if kind == "average_pool":
            values["count_padding"] = bool(found["count_include_pad"])
        return _emit(at, call, kind, [_lying(at, call.args[0], found["layout"])], values, found["layout"])

    return convert


def _adaptive_pool(at: Extraction, call: Any) -> str:
    layout = attributes(call)["layout"]
    along = layout.index("W")
    result = shape_of(call)[along]
    if result == 1:
        return at.emit(call, "mean", [at.id(call.args[0])], {"axes": (along,), "keepdims": True}).id
    source = _lying(at, call.args[0], layout)
    width = at.draft.layers[source].shape[2]
    if width % result:
        return _emit(at, call, "adaptive_average_pool", [source], {"size": (1, result)}, layout)
    size = (1, width // result)
    values = {"size": size, "strides": size, "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": False}
    return _emit(at, call, "average_pool", [source], values, layout)


OPERATORS: dict[str, Callable[[Extraction, Any], Any]] = {
    "relax.nn.adaptive_avg_pool1d": _adaptive_pool,
    "relax.nn.avg_pool1d": _pool("average_pool"),
    "relax.nn.conv1d": _convolution,
    "relax.nn.conv1d_transpose": _transposed_convolution,
    "relax.nn.max_pool1d": _pool("max_pool"),
}
