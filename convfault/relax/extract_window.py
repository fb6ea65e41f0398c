"""Relax operators with a window → layers in NHWC and HWIO; an operator in NCHW gets transposes around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convfault.relax.extract import Extraction, attributes, shape_of
from convfault.relax.graph import Layer
from convfault.relax.kernels import Window

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
KERNEL_ORDER = {"HWIO": (0, 1, 2, 3), "OIHW": (2, 3, 1, 0), "OHWI": (1, 2, 3, 0), "HWOI": (0, 1, 2, 3)}
TRANSPOSED_KERNEL_ORDER = {"IOHW": (2, 3, 1, 0), "HWOI": (0, 1, 2, 3)}


def _in_last(at: Extraction, expression: Any, layout: str) -> str:
    """The id of a picture with its channels last."""
    name = at.id(expression)
    return name if layout == "NHWC" else at.transposed(name, TO_LAST)


def _emit_last(at: Extraction, call: Any, kind: str, inputs: list[str], values: dict[str, Any], layout: str) -> str:
    """Add a layer in NHWC for a call in ``layout``."""
    shape = shape_of(call)
    if layout == "NHWC":
        return at.emit(call, kind, inputs, values).id
    last = [shape[axis] for axis in TO_LAST]
    layer: Layer = at.draft.add(
        kind, inputs, last, values, native=at.native.transposed(TO_LAST), dtype=str(call.ty.dtype)
    )
    return at.transposed(layer.id, TO_FIRST)


def _pairs(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, bottom, right = (int(width) for width in padding)
    return (top, bottom), (left, right)


def _convolution(at: Extraction, call: Any) -> str:
    found = attributes(call)
    layout, kernel = found["data_layout"], found["kernel_layout"]
    weights = at.transposed(at.id(call.args[1]), KERNEL_ORDER[kernel])
    groups = int(found["groups"])
    if kernel == "HWOI" or groups > 1:
        weights = _grouped(at, weights, groups, shape_of(call)[layout.index("C")])
    values = {
        "strides": tuple(found["strides"]),
        "padding": _pairs(found["padding"]),
        "dilation": tuple(found["dilation"]),
        "groups": groups,
    }
    source = _in_last(at, call.args[0], layout)
    return _emit_last(at, call, "convolution", [source, weights], values, layout)


def _grouped(at: Extraction, weights: str, groups: int, filters: int) -> str:
    """A depthwise kernel (H, W, C, M) as (H, W, 1, C * M); any other stays."""
    height, width, *rest = at.draft.layers[weights].shape
    if rest[1] == filters:
        return weights
    return at.draft.add("reshape", [weights], (height, width, rest[0] * rest[1] // filters, filters)).id


def _transposed_convolution(at: Extraction, call: Any) -> str:
    """The kernel as (H, W, filters / groups, C); output padding is less cut off at the bottom and the right."""
    found = attributes(call)
    (top, bottom), (left, right) = _pairs(found["padding"])
    down, across = (int(extra) for extra in found["output_padding"])
    weights = at.transposed(at.id(call.args[1]), TRANSPOSED_KERNEL_ORDER[found["kernel_layout"]])
    values = {
        "strides": tuple(found["strides"]),
        "padding": ((top, bottom - down), (left, right - across)),
        "dilation": tuple(found["dilation"]),
        "groups": int(found["groups"]),
    }
    source = _in_last(at, call.args[0], found["data_layout"])
    return _emit_last(at, call, "transposed_convolution", [source, weights], values, found["data_layout"])


def _pool(kind: str) -> Callable[[Extraction, Any], str]:
    def convert(at: Extraction, call: Any) -> str:
        found = attributes(call)
        layout = found["layout"]
        values: dict[str, Any] = {
            "size": tuple(found["pool_size"]),
            "strides": tuple(found["strides"]),
            "padding": _pairs(found["padding"]),
            "dilation": tuple(found["dilation"]),
        }
        if kind == "average_pool":
            values["count_padding"] = bool(found["count_include_pad"])
        source = _in_last(at, call.args[0], layout)
        if values.get("count_padding") and found["ceil_mode"]:
            size, shape = at.draft.layers[source].shape[1:3], shape_of(call)
            values |= _uncounted(size, (shape[1:3] if layout == "NHWC" else shape[2:4]), values)
        return _emit_last(at, call, kind, [source], values, layout)

    return convert


def _uncounted(size: tuple[int, ...], result: tuple[int, ...], values: dict[str, Any]) -> dict[str, Any]:
    """What ceiling mode reads beyond the counted padding at the bottom and the right counts nowhere."""
    if values["padding"] == ((0, 0), (0, 0)):
        return {"count_padding": False}
    window = Window(values["size"], values["strides"], values["padding"], values["dilation"])
    touched = effective_padding((size[0], size[1]), (result[0], result[1]), window)
    beyond = [max(reach[1] - given[1], 0) for reach, given in zip(touched, values["padding"], strict=True)]
    return {"uncounted": ((0, beyond[0]), (0, beyond[1]))} if any(beyond) else {}


def _adaptive_pool(at: Extraction, call: Any) -> str:
    """A mean over the whole picture, or an average pool where the picture is a multiple of the result."""
    found = attributes(call)
    layout = found["layout"]
    source = _in_last(at, call.args[0], layout)
    shape, (height, width) = at.draft.layers[source].shape, found["output_size"] or shape_of(call)[2:]
    if (height, width) == (1, 1):
        return _emit_last(at, call, "mean", [source], {"axes": (1, 2), "keepdims": True}, layout)
    if shape[1] % height or shape[2] % width:
        return _emit_last(at, call, "adaptive_average_pool", [source], {"size": (height, width)}, layout)
    size = (shape[1] // height, shape[2] // width)
    values = {"size": size, "strides": size, "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": False}
    return _emit_last(at, call, "average_pool", [source], values, layout)


def _resize(at: Extraction, call: Any) -> str:
    found = attributes(call)
    layout, shape = found["layout"], shape_of(call)
    values = {
        "size": shape[1:3] if layout == "NHWC" else shape[2:4],
        "method": found["method"],
        "coordinates": found["coordinate_transformation_mode"],
        "rounding": found["rounding_method"] if found["method"] == "nearest_neighbor" else "",
        "cubic_alpha": float(found["cubic_alpha"]) if found["method"] == "cubic" else 0.0,
    }
    source = _in_last(at, call.args[0], layout)
    return _emit_last(at, call, "resize", [source], values, layout)


def _matmul(at: Extraction, call: Any) -> str:
    return at.emit(call, "matmul", [at.id(argument) for argument in call.args[:2]]).id


def effective_padding(
    size: tuple[int, int], result: tuple[int, int], window: Window
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The padding that the windows really touch: what no window reaches at the bottom and the right is not there,
    and what ceiling mode reads beyond the edge is."""
    pairs = []
    for axis in range(2):
        reach = (window.size[axis] - 1) * window.dilation[axis] + 1
        before = window.padding[axis][0]
        touched = (result[axis] - 1) * window.strides[axis] + reach - before - size[axis]
        pairs.append((before, max(touched, 0)))
    return pairs[0], pairs[1]


OPERATORS: dict[str, Callable[[Extraction, Any], Any]] = {
    "relax.image.resize2d": _resize,
    "relax.matmul": _matmul,
    "relax.nn.adaptive_avg_pool2d": _adaptive_pool,
    "relax.nn.avg_pool2d": _pool("average_pool"),
    "relax.nn.conv2d": _convolution,
    "relax.nn.conv2d_transpose": _transposed_convolution,
    "relax.nn.max_pool2d": _pool("max_pool"),
}
