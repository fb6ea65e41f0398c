"""Sends the heavy Relax operators to ``kernels``, each as a call of one packed function with its attributes as text."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np

from convfault.relax.kernels import Window, kernels

PACKED = "convfault.kernel"
ALIGNMENT = 64
"""In bytes: TVM takes over memory that begins at a multiple of this, other memory must be copied."""
LAYOUT_ORDER = {"NHWC": None, "NCHW": (0, 2, 3, 1)}
KERNEL_ORDER = {"HWIO": None, "OIHW": (2, 3, 1, 0)}


def legalization() -> dict[str, Callable[[Any, Any], Any]]:
    """For ``LegalizeOps``: operator → function (builder, call) giving the call of the packed function.

    An operator in a layout that is not known here keeps TVM's own schedule.
    """
    register()
    return {
        "relax.nn.conv2d": _call("convolution", _convolution),
        "relax.nn.max_pool2d": _call("max_pool", _pool),
        "relax.nn.avg_pool2d": _call("average_pool", _pool),
        "relax.matmul": _call("product", _product),
    }


def _call(kind: str, describe: Callable[[Any], Mapping[str, Any] | None]) -> Callable[[Any, Any], Any]:
    def legalize(builder: Any, call: Any) -> Any:
        from tvm import relax
        from tvm.ir import StringImm

        described = describe(call)
        if described is None or str(call.ty.dtype) != "float32":
            return builder.normalize(tvm_legalization(call.op.name)(builder, call))
        text = StringImm(json.dumps({"kind": kind, **described}))
        return relax.op.call_pure_packed(PACKED, text, *call.args, ty_args=call.ty)

    return legalize


def tvm_legalization(name: str) -> Any:
    """TVM's own legalization of an operator."""
    import tvm

    return tvm.ir.Op.get(name).get_attr("FLegalize")


def _window(attributes: Any, size: tuple[int, int]) -> dict[str, Any]:
    top, left, bottom, right = (int(width) for width in attributes.padding)
    return {
        "size": size,
        "strides": [int(step) for step in attributes.strides],
        "padding": [[top, bottom], [left, right]],
        "dilation": [int(step) for step in attributes.dilation],
    }


def _convolution(call: Any) -> dict[str, Any] | None:
    attributes = call.attrs
    data, kernel = attributes.data_layout, attributes.kernel_layout
    shape = [int(side) for side in call.args[1].ty.shape]
    if data not in LAYOUT_ORDER or kernel not in {*KERNEL_ORDER, "HWOI"} or attributes.out_layout != data:
        return None
    size = (shape[kernel.index("H")], shape[kernel.index("W")])
    groups = int(attributes.groups)
    return {"window": _window(attributes, size), "layout": data, "kernel": kernel, "groups": groups}


def _pool(call: Any) -> dict[str, Any] | None:
    attributes = call.attrs
    if attributes.layout not in LAYOUT_ORDER or attributes.ceil_mode:
        return None
    size = tuple(int(side) for side in attributes.pool_size)
    window = _window(attributes, (size[0], size[1]))
    return {"window": window, "layout": attributes.layout, "count_padding": bool(attributes.count_include_pad)}


def _product(call: Any) -> dict[str, Any]:
    return {}


@cache
def register() -> None:
    """Make the packed function known to TVM; once in a process."""
    import tvm

    tvm.register_global_func(PACKED, _run, override=True)
    # TVM hands out arrays that must not be written to; torch would warn of each
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    if "window" in found:
        window = found["window"]
        top, side = (tuple(pair) for pair in window["padding"])
        size, strides, dilation = (tuple(window[name]) for name in ("size", "strides", "dilation"))
        found["window"] = Window(size, strides, (top, side), dilation)
    return found


def _run(text: Any, *tensors: Any) -> Any:
    import tvm

    found = _parsed(str(text))
    arrays = [np.from_dlpack(tensor) for tensor in tensors]
    values = RUN[found["kind"]](found, *arrays)
    values = np.ascontiguousarray(values)
    aligned = values.ctypes.data % ALIGNMENT == 0
    return tvm.runtime.from_dlpack(values) if aligned else tvm.runtime.tensor(values)


def _in_layout(values: Any, order: tuple[int, ...] | None) -> Any:
    return values if order is None else values.transpose(order)


def _run_convolution(found: Mapping[str, Any], picture: Any, weights: Any) -> Any:
    order = LAYOUT_ORDER[found["layout"]]
    if found["kernel"] == "HWOI":  # a depthwise kernel: (H, W, C, M) is (H, W, 1, C * M)
        weights = weights.reshape(*weights.shape[:2], 1, -1)
    else:
        weights = _in_layout(weights, KERNEL_ORDER[found["kernel"]])
    result = kernels().convolution(_in_layout(picture, order), weights, found["window"], found["groups"])
    return result if order is None else result.transpose(0, 3, 1, 2)


def _run_pool(found: Mapping[str, Any], picture: Any) -> Any:
    order = LAYOUT_ORDER[found["layout"]]
    value = _in_layout(picture, order)
    if found["kind"] == "max_pool":
        result = kernels().max_pool(value, found["window"])
    else:
        result = kernels().average_pool(value, found["window"], found["count_padding"])
    return result if order is None else result.transpose(0, 3, 1, 2)


def _run_product(found: Mapping[str, Any], left: Any, right: Any) -> Any:
    return kernels().product(left, right)


RUN: dict[str, Callable[..., Any]] = {
    "convolution": _run_convolution,
    "max_pool": _run_pool,
    "average_pool": _run_pool,
    "product": _run_product,
}
