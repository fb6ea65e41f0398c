"""Canonical layers as ONNX operators: one small function a kind.

Pictures are computed channels first: a value that is held so already is taken as it is, and the result is held so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.onnx.emit_window import (
    Emitter,
    Shapes,
    bias,
    convolution,
    pad,
    pool,
    resize,
    transposed_convolution,
)


def emit(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    """New operators for a layer, and what holds its output. Raises ``Refusal``."""
    if layer.kind not in EMITTERS:
        raise Refusal(f"ONNX has no operator for a layer of kind {layer.kind} that convfault can write")
    return EMITTERS[layer.kind](document, layer, values, shapes)


def _exact(make: Callable[[OnnxDocument, Layer, list[str]], str]) -> Emitter:
    """For operators that compute on the layers' values exactly as they are."""

    def convert(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(make(document, layer, tensors))

    return convert


def _unary(kind: str, *names: str, opset: int = 1, **renamed: str) -> Emitter:
    """An elementwise function of one layer, computed in whatever form its input is held."""

    def convert(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        document.needs(opset, kind)
        settings = {new: float(layer[old]) for new, old in renamed.items()} | {n: float(layer[n]) for n in names}
        native = document.shape(values[0].tensor) or layer.shape
        return Value(document.make(kind, [values[0].tensor], native, settings), values[0].permutation)

    return convert


def _softplus(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    if float(layer["beta"]) != 1 or layer["threshold"] != np.inf:
        raise Refusal(f"ONNX' Softplus has beta 1 and no threshold, not {layer['beta']} and {layer['threshold']}")
    return _unary("Softplus")(document, layer, values, shapes)


def _clip(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    source, low, high = values[0], float(layer["minimum"]), float(layer["maximum"])
    native = document.shape(source.tensor) or layer.shape
    if (low, high) == (0, np.inf):
        return Value(document.make("Relu", [source.tensor], native), source.permutation)
    bounds = {"min": low, "max": high}
    if document.opset < 11:
        finite = {name: value for name, value in bounds.items() if np.isfinite(value)}
        return Value(document.make("Clip", [source.tensor], native, finite), source.permutation)
    inputs = [
        document.add_constant(name, np.asarray(value, np.float32)) if np.isfinite(value) else ""
        for name, value in bounds.items()
    ]
    while inputs and not inputs[-1]:
        inputs.pop()
    return Value(document.make("Clip", [source.tensor, *inputs], native), source.permutation)


def _binary(kind: str, opset: int = 1) -> Emitter:
    def convert(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        document.needs(opset, kind)
        forms = {value.permutation for value in values}
        natives = [document.shape(value.tensor) for value in values]
        alike = len(forms) == 1 and None not in natives and len({shape[1:] for shape in natives if shape}) == 1
        if alike and all(shape == layer.shape for shape in shapes):
            tensors = [value.tensor for value in values]
            return Value(document.make(kind, tensors, natives[0] or (), {}), values[0].permutation)
        tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(document.make(kind, tensors, layer.shape))

    return convert


def _affine(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    scale, shift = (layer.parameters[name].values.astype(np.float32) for name in ("scale", "shift"))
    value, order = values[0], values[0].permutation
    native = document.shape(value.tensor)
    side = [scale.size]
    if order is not None and native is not None and len(native) == len(layer.shape):
        side = [scale.size if axis == order[-1] else 1 for axis in range(len(order))]
    elif order is not None or native is None or native[-1:] != layer.shape[-1:]:
        value = Value(document.as_layer(value, shapes[0]))
        native = layer.shape
    found = value.tensor
    if np.any(scale != 1):
        found = document.make("Mul", [found, document.add_constant("scale", scale.reshape(side))], native or ())
    if np.any(shift) or found == value.tensor:
        found = document.make("Add", [found, document.add_constant("shift", shift.reshape(side))], native or ())
    return Value(found, value.permutation)


def _dense(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    weights = layer.parameters["weights"].values.astype(np.float32)
    kernel = document.add_constant(f"{layer.id}/weights", np.ascontiguousarray(weights))
    shift = document.add_constant(f"{layer.id}/bias", bias(layer))
    if len(layer.shape) == 2:
        document.needs(7, "Gemm")
        return document.make("Gemm", [tensors[0], kernel, shift], layer.shape)
    product = document.make("MatMul", [tensors[0], kernel], layer.shape)
    return document.make("Add", [product, shift], layer.shape)


def _reduction(kind: str) -> Emitter:
    def convert(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        value, order, keep = values[0], values[0].permutation, bool(layer["keepdims"])
        native = document.shape(value.tensor)
        straight = order is not None and keep and native is not None and len(native) == len(shapes[0])
        if order is None or not straight or native is None:
            value, native, order = Value(document.as_layer(value, shapes[0])), shapes[0], None
        axes = sorted(order[axis] if order is not None else int(axis) for axis in layer["axes"])
        inputs, settings = document.axes_of(kind, axes)
        shape = tuple(1 if axis in axes else side for axis, side in enumerate(native)) if keep else layer.shape
        settings["keepdims"] = int(keep)
        return Value(document.make(kind, [value.tensor, *inputs], shape, settings), order)

    return convert


def _index_of(kind: str) -> Emitter:
    def make(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
        if layer["axis"] is None:
            raise Refusal(f"{kind} of ONNX takes one axis")
        return document.make(
            kind, tensors, layer.shape, {"axis": int(layer["axis"]), "keepdims": int(layer["keepdims"])}
        )

    return _exact(make)


def _cumulative_sum(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    if document.opset < 11:
        raise Refusal("ONNX has a cumulative sum from opset 11 on")
    axis = document.add_constant("axis", np.asarray(layer["axis"], np.int64))
    settings = {name: int(layer[name]) for name in ("exclusive", "reverse")}
    return document.make("CumSum", [*tensors, axis], layer.shape, settings)


def _softmax(kind: str) -> Emitter:
    def make(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
        axis, rank = int(layer["axis"]), len(layer.shape)
        if document.opset >= 13 or axis == rank - 1:
            return document.make(kind, tensors, layer.shape, {"axis": axis})
        order = (*(each for each in range(rank) if each != axis), axis)  # before 13 all axes behind are one
        turned = document.transpose(tensors[0], order)
        found = document.make(kind, [turned], tuple(layer.shape[each] for each in order), {"axis": rank - 1})
        return document.transpose(found, tuple(order.index(each) for each in range(rank)))

    return _exact(make)


def _concat(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    orders, axis = {value.permutation for value in values}, int(layer["axis"])
    order = next(iter(orders))
    ranks = {len(document.shape(value.tensor) or ()) for value in values}
    if len(orders) == 1 and order is not None and ranks == {len(layer.shape)}:
        native = tuple(layer.shape[order.index(each)] for each in range(len(order)))
        made = document.make("Concat", [value.tensor for value in values], native, {"axis": order[axis]})
        return Value(made, order)
    tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
    return Value(document.make("Concat", tensors, layer.shape, {"axis": axis}))


def _slice(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    document.needs(10, "Slice")
    rank, shape = len(layer.shape), document.shape(tensors[0])
    axes = [axis for axis in range(rank) if _cuts(layer, axis, shape)]
    columns = (
        [layer["begin"][a] for a in axes],
        [_end(layer, a) for a in axes],
        axes,
        [layer["strides"][a] for a in axes],
    )
    names = ("begin", "end", "axes", "steps")
    parts = [
        document.add_constant(name, np.asarray(column, np.int64)) for name, column in zip(names, columns, strict=True)
    ]
    return document.make("Slice", [tensors[0], *parts], layer.shape)


def _cuts(layer: Layer, axis: int, shape: tuple[int, ...] | None) -> bool:
    whole = layer["begin"][axis] == 0 and layer["strides"][axis] == 1
    return not whole or (axis > 0 and (shape is None or layer["end"][axis] != shape[axis]))


def _end(layer: Layer, axis: int) -> int:
    """The end of a backward cut that reaches the first element lies beyond every size."""
    return -(2**31) if layer["strides"][axis] < 0 > layer["end"][axis] else int(layer["end"][axis])


def _prelu(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    slopes = layer.parameters["slopes"].values.astype(np.float32)
    return document.make("PRelu", [tensors[0], document.add_constant("slopes", slopes)], layer.shape)


def _gelu(approximate: str) -> Emitter:
    def make(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
        document.needs(20, "Gelu")
        return document.make("Gelu", tensors, layer.shape, {"approximate": approximate})

    return _exact(make)


def _swish(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    native = document.shape(values[0].tensor) or layer.shape
    gate = document.make("Sigmoid", [values[0].tensor], native)
    return Value(document.make("Mul", [values[0].tensor, gate], native), values[0].permutation)


def _with_constant(kind: str, name: str, dtype: Any, key: Callable[[Layer], Any]) -> Emitter:
    def make(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
        return document.make(
            kind, [tensors[0], document.add_constant(name, np.asarray(key(layer), dtype))], layer.shape
        )

    return _exact(make)


def _cast(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(layer["to"]))
    return document.make("Cast", tensors, layer.shape, {"to": int(kind)})


def _rsqrt(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    return document.make("Reciprocal", [document.make("Sqrt", tensors, layer.shape)], layer.shape)


def _square(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    return document.make("Mul", [tensors[0], tensors[0]], layer.shape)


def _take(document: OnnxDocument, layer: Layer, tensors: list[str]) -> str:
    return document.make("Gather", tensors, layer.shape, {"axis": int(layer["axis"] or 0)})


UNARY = {
    "abs": "Abs", "ceil": "Ceil", "cos": "Cos", "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log",
    "logical_not": "Not", "negative": "Neg", "round": "Round", "selu": "Selu", "sigmoid": "Sigmoid", "sign": "Sign",
    "sin": "Sin", "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip
BINARY = {
    "add": "Add", "divide": "Div", "equal": "Equal", "greater": "Greater", "less": "Less", "logical_and": "And",
    "logical_or": "Or", "maximum": "Max", "minimum": "Min", "multiply": "Mul", "power": "Pow", "subtract": "Sub",
    "where": "Where",
}  # fmt: skip
REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}
EMITTERS: dict[str, Emitter] = {
    **{name: _unary(kind) for name, kind in UNARY.items()},
    **{name: _binary(kind) for name, kind in BINARY.items()},
    **{name: _reduction(kind) for name, kind in REDUCTIONS.items()},
    "affine": _affine,
    "argmax": _index_of("ArgMax"),
    "argmin": _index_of("ArgMin"),
    "average_pool": pool("AveragePool"),
    "broadcast": _with_constant("Expand", "shape", np.int64, lambda layer: (1, *layer.shape[1:])),
    "cast": _exact(_cast),
    "clip": _clip,
    "concat": _concat,
    "convolution": convolution,
    "dense": _exact(_dense),
    "elu": _unary("Elu", "alpha"),
    "gelu": _gelu("none"),
    "gelu_tanh": _gelu("tanh"),
    "greater_equal": _binary("GreaterOrEqual", opset=12),
    "hard_swish": _unary("HardSwish", opset=14),
    "leaky_relu": _unary("LeakyRelu", alpha="slope"),
    "less_equal": _binary("LessOrEqual", opset=12),
    "cumsum": _exact(_cumulative_sum),
    "log_softmax": _softmax("LogSoftmax"),
    "matmul": _exact(lambda document, layer, tensors: document.make("MatMul", tensors, layer.shape)),
    "max_pool": pool("MaxPool"),
    "pad": pad,
    "prelu": _exact(_prelu),
    "reshape": _exact(lambda document, layer, tensors: document.reshape(tensors[0], layer.shape)),
    "resize": resize,
    "rsqrt": _exact(_rsqrt),
    "slice": _exact(_slice),
    "softmax": _softmax("Softmax"),
    "softplus": _softplus,
    "square": _exact(_square),
    "swish": _swish,
    "take": _exact(
        lambda document, layer, tensors: document.make(
            "Gather", tensors, layer.shape, {"axis": int(layer["axis"] or 0)}
        )
    ),
    "tile": _with_constant("Tile", "repeats", np.int64, lambda layer: layer["repeats"]),
    "transpose": _exact(lambda document, layer, tensors: document.transpose(tensors[0], tuple(layer["order"]))),
    "transposed_convolution": transposed_convolution,
}
