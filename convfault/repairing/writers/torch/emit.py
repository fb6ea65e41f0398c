"""Canonical layers as ATen operators: one small function a kind.

Pictures are computed channels first: a value that is held so already is taken as it is, and the result is held so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.torch.document import TorchDocument
from convfault.repairing.writers.torch.emit_shape import (
    broadcast,
    cast,
    concat,
    cut,
    exact,
    reshape,
    take,
    tile,
    transpose,
)
from convfault.repairing.writers.torch.emit_window import (
    Emitter,
    Shapes,
    average_pool,
    convolution,
    first,
    max_pool,
    native_shape,
    pad,
    resize,
    transposed_convolution,
)

LIMIT = 20.0
"""Above it, softplus of a float32 is the number itself."""


def emit(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    """New operators for a layer, and what holds its output. Raises ``Refusal``."""
    if layer.kind not in EMITTERS:
        raise Refusal(f"torch has no operator for a layer of kind {layer.kind} that convfault can write")
    return EMITTERS[layer.kind](document, layer, values, shapes)


def _unary(kind: str, settings: Callable[[Layer], dict[str, Any]] = lambda layer: {}) -> Emitter:
    """An elementwise function of one layer, computed in whatever form its input is held."""

    def convert(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        native = document.shape(values[0].tensor) or layer.shape
        return Value(document.make(kind, [values[0].tensor], native, settings(layer)), values[0].permutation)

    return convert


def _clip(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    source, low, high = values[0], float(layer["minimum"]), float(layer["maximum"])
    native = document.shape(source.tensor) or layer.shape
    if (low, high) == (0, np.inf):
        return Value(document.make("relu.default", [source.tensor], native), source.permutation)
    bounds = {"min": low, "max": high}
    finite = {name: value for name, value in bounds.items() if np.isfinite(value)} or bounds
    return Value(document.make("clamp.default", [source.tensor], native, finite), source.permutation)


def _binary(kind: str, **settings: str) -> Emitter:
    def convert(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        forms = {value.permutation for value in values}
        natives = [document.shape(value.tensor) for value in values]
        alike = len(forms) == 1 and None not in natives and len({shape[1:] for shape in natives if shape}) == 1
        if alike and all(shape == layer.shape for shape in shapes):
            tensors = [value.tensor for value in values]
            return Value(document.make(kind, tensors, natives[0] or (), settings), values[0].permutation)
        tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(document.make(kind, tensors, layer.shape, settings))

    return convert


def _affine(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
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
        constant = document.add_constant(f"{layer.id}_scale", scale.reshape(side))
        found = document.make("mul.Tensor", [found, constant], native or ())
    if np.any(shift) or found == value.tensor:
        constant = document.add_constant(f"{layer.id}_shift", shift.reshape(side))
        found = document.make("add.Tensor", [found, constant], native or ())
    return Value(found, value.permutation)


def _dense(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    weights = layer.parameters["weights"].values.astype(np.float32)
    matrix = document.add_constant(f"{layer.id}_weights", np.ascontiguousarray(weights.T))
    shift = np.ascontiguousarray(layer.parameters["bias"].values, np.float32)
    inputs = [tensors[0], matrix, document.add_constant(f"{layer.id}_bias", shift)]
    return document.make("linear.default", inputs, layer.shape)


def _reduction(kind: str, **settings: Any) -> Emitter:
    def convert(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        value, order, keep = values[0], values[0].permutation, bool(layer["keepdims"])
        native = document.shape(value.tensor)
        straight = order is not None and keep and native is not None and len(native) == len(shapes[0])
        if order is None or not straight or native is None:
            value, native, order = Value(document.as_layer(value, shapes[0])), shapes[0], None
        axes = sorted(order[axis] if order is not None else int(axis) for axis in layer["axes"])
        shape = tuple(1 if axis in axes else side for axis, side in enumerate(native)) if keep else layer.shape
        rest = settings | {"keepdim": keep}
        if kind != "prod.dim_int":
            return Value(document.make(kind, [value.tensor], shape, rest | {"dim": axes}), order)
        found = value.tensor
        for axis in reversed(axes):  # torch multiplies along one axis at a time
            found = document.make(kind, [found], shape, rest | {"dim": axis})
        return Value(found, order)

    return convert


def _along(kind: str) -> Emitter:
    """A function along one axis, in whatever form its input is held as long as that has the layer's axes."""

    def convert(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        value, axis = values[0], int(layer["axis"]) % len(layer.shape)
        native = document.shape(value.tensor)
        if value.permutation is not None and native is not None and len(native) == len(layer.shape):
            settings = {"dim": value.permutation[axis]}
            return Value(document.make(kind, [value.tensor], native, settings), value.permutation)
        tensor = document.as_layer(value, shapes[0])
        return Value(document.make(kind, [tensor], layer.shape, {"dim": axis}))

    return convert


def _index_of(kind: str) -> Emitter:
    def make(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
        axis = None if layer["axis"] is None else int(layer["axis"])
        return document.make(kind, tensors, layer.shape, {"dim": axis, "keepdim": bool(layer["keepdims"])})

    return exact(make)


def _cumulative_sum(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    """torch's own runs forwards and counts each place itself."""
    (tensor,), axis, shape = tensors, int(layer["axis"]), layer.shape
    turned = document.make("flip.default", [tensor], shape, {"dims": [axis]}) if layer["reverse"] else tensor
    total = document.make("cumsum.default", [turned], shape, {"dim": axis})
    total = document.make("sub.Tensor", [total, turned], shape) if layer["exclusive"] else total
    return document.make("flip.default", [total], shape, {"dims": [axis]}) if layer["reverse"] else total


def _prelu(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    """torch's slopes are those of axis 1."""
    slopes = layer.parameters["slopes"].values.astype(np.float32).reshape(-1)
    constant = document.add_constant(f"{layer.id}_slopes", slopes)
    if len(layer.shape) == 4:
        source = first(document, values[0], shapes[0])
        return Value(document.make("prelu.default", [source, constant], native_shape(layer.shape)), (0, 2, 3, 1))
    if len(layer.shape) != 2 and slopes.size != 1:
        raise Refusal("torch has a slope for each channel of pictures and of rows only")
    source = document.as_layer(values[0], shapes[0])
    return Value(document.make("prelu.default", [source, constant], layer.shape))


def _normalize(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    epsilon, groups = float(layer["epsilon"]), int(layer.hyperparameters.get("groups", 1))
    if groups > 1:
        source, grouped = first(document, values[0], shapes[0]), {"num_groups": groups, "eps": epsilon}
        return Value(document.make("group_norm.default", [source], native_shape(layer.shape), grouped), (0, 2, 3, 1))
    tensor, axes = document.as_layer(values[0], shapes[0]), sorted(int(axis) for axis in layer["axes"])
    small = tuple(1 if axis in axes else side for axis, side in enumerate(layer.shape))
    settings: dict[str, Any] = {"dim": axes, "keepdim": True}
    mean = document.make("mean.dim", [tensor], small, settings)
    spread = document.make("var.correction", [tensor], small, settings | {"correction": 0})
    shift = document.add_constant(f"{layer.id}_epsilon", np.asarray(epsilon, np.float32))
    root = document.make("rsqrt.default", [document.make("add.Tensor", [spread, shift], small)], small)
    centred = document.make("sub.Tensor", [tensor, mean], layer.shape)
    return Value(document.make("mul.Tensor", [centred, root], layer.shape))


def _softplus(layer: Layer) -> dict[str, Any]:
    return {"beta": float(layer["beta"]), "threshold": min(float(layer["threshold"]), LIMIT)}


UNARY = {
    "abs": "abs", "ceil": "ceil", "cos": "cos", "erf": "erf", "exp": "exp", "floor": "floor", "gelu": "gelu",
    "hard_swish": "hardswish", "log": "log", "logical_not": "logical_not", "negative": "neg", "round": "round",
    "rsqrt": "rsqrt", "selu": "selu", "sigmoid": "sigmoid", "sign": "sign", "sin": "sin", "sqrt": "sqrt",
    "square": "square", "swish": "silu", "tanh": "tanh",
}  # fmt: skip
BINARY = {
    "add": "add.Tensor", "divide": "div.Tensor", "equal": "eq.Tensor", "greater": "gt.Tensor",
    "greater_equal": "ge.Tensor", "less": "lt.Tensor", "less_equal": "le.Tensor", "logical_and": "logical_and.default",
    "logical_or": "logical_or.default", "maximum": "maximum.default", "minimum": "minimum.default",
    "multiply": "mul.Tensor", "not_equal": "ne.Tensor", "power": "pow.Tensor_Tensor", "subtract": "sub.Tensor",
    "where": "where.self",
}  # fmt: skip
REDUCTIONS = {
    "mean": "mean.dim", "sum": "sum.dim_IntList", "max": "amax.default", "min": "amin.default", "prod": "prod.dim_int",
}  # fmt: skip
EMITTERS: dict[str, Emitter] = {
    **{name: _unary(f"{kind}.default") for name, kind in UNARY.items()},
    **{name: _binary(kind) for name, kind in BINARY.items()},
    **{name: _reduction(kind) for name, kind in REDUCTIONS.items()},
    "affine": _affine,
    "argmax": _index_of("argmax.default"),
    "argmin": _index_of("argmin.default"),
    "average_pool": average_pool,
    "broadcast": exact(broadcast),
    "cast": exact(cast),
    "clip": _clip,
    "concat": concat,
    "convolution": convolution,
    "cumsum": exact(_cumulative_sum),
    "dense": exact(_dense),
    "elu": _unary("elu.default", lambda layer: {"alpha": float(layer["alpha"])}),
    "floor_divide": _binary("div.Tensor_mode", rounding_mode="floor"),
    "gelu_tanh": _unary("gelu.default", lambda layer: {"approximate": "tanh"}),
    "leaky_relu": _unary("leaky_relu.default", lambda layer: {"negative_slope": float(layer["slope"])}),
    "log_softmax": _along("log_softmax.int"),
    "matmul": exact(lambda document, layer, tensors: document.make("matmul.default", tensors, layer.shape)),
    "max_pool": max_pool,
    "normalize": _normalize,
    "pad": pad,
    "prelu": _prelu,
    "reshape": exact(reshape),
    "resize": resize,
    "slice": exact(cut),
    "softmax": _along("softmax.int"),
    "softplus": _unary("softplus.default", _softplus),
    "take": exact(take),
    "tile": exact(tile),
    "transpose": exact(transpose),
    "transposed_convolution": transposed_convolution,
    "variance": _reduction("var.correction", correction=0),
}
