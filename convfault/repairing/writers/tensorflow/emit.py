"""Canonical layers as TensorFlow operators: one small function a kind. Inputs are exactly the layers' values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.borders import borders
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tensorflow.window import WINDOW_EMITTERS, Emitter, Shapes, added, bias


def emit(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """New operators for a layer; the name of the tensor that holds its output. Raises ``Refusal``."""
    if layer.kind not in EMITTERS:
        raise Refusal(f"TensorFlow has no operator for a layer of kind {layer.kind} that convfault can write")
    return EMITTERS[layer.kind](document, layer, inputs, shapes)


def _plain(kind: str) -> Emitter:
    return lambda document, layer, inputs, shapes: document.make(kind, inputs, layer.shape)


def _number(document: TensorFlowDocument, name: str, value: Any) -> str:
    return document.add_constant(name, np.asarray(value, np.float32))


def _chain(*steps: tuple[str, float | None]) -> Emitter:
    """Operators one after the other, each on what the one before answered and a number."""

    def make(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        found = inputs[0]
        for kind, value in steps:
            extra = [] if value is None else [_number(document, "number", value)]
            found = document.make(kind, [found, *extra], layer.shape)
        return found

    return make


def _gated(gate: Emitter) -> Emitter:
    """A layer times what ``gate`` makes of it."""

    def make(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        return document.make("Mul", [inputs[0], gate(document, layer, inputs, shapes)], layer.shape)

    return make


def _gelu_gate(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """(1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2."""
    square = document.make("Square", inputs, layer.shape)
    cubed = document.make("Mul", [square, inputs[0]], layer.shape)
    small = document.make("Mul", [cubed, _number(document, "number", 0.044715)], layer.shape)
    total = document.make("AddV2", [inputs[0], small], layer.shape)
    rest = _chain(("Mul", float(np.sqrt(2 / np.pi))), ("Tanh", None), ("AddV2", 1.0), ("Mul", 0.5))
    return rest(document, layer, [total], shapes)


def _clip(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    low, high = float(layer["minimum"]), float(layer["maximum"])
    kind = {(0.0, np.inf): "Relu", (0.0, 6.0): "Relu6"}.get((low, high))
    if kind is not None:
        return document.make(kind, inputs, layer.shape)
    bounds = (("Maximum", low), ("Minimum", high))
    return _chain(*(step for step in bounds if np.isfinite(step[1])))(document, layer, inputs, shapes)


def _leaky_relu(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("LeakyRelu", inputs, layer.shape, {"alpha": float(layer["slope"])})


def _prelu(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    slopes = document.add_constant("slopes", layer.parameters["slopes"].values.astype(np.float32))
    below = document.make("Minimum", [inputs[0], _number(document, "zero", 0)], layer.shape)
    above = document.make("Relu", inputs, layer.shape)
    return document.make("AddV2", [above, document.make("Mul", [below, slopes], layer.shape)], layer.shape)


def _elu(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    if float(layer["alpha"]) != 1:
        raise Refusal(f"TensorFlow's Elu has alpha 1, not {layer['alpha']}")
    return document.make("Elu", inputs, layer.shape)


def _softplus(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    if float(layer.hyperparameters.get("beta", 1)) != 1:
        raise Refusal(f"TensorFlow's Softplus has beta 1, not {layer['beta']}")
    return document.make("Softplus", inputs, layer.shape)


def _affine(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    scale, shift = (layer.parameters[name].values.astype(np.float32) for name in ("scale", "shift"))
    found = inputs[0]
    if np.any(scale != 1):
        found = document.make("Mul", [found, document.add_constant("scale", scale)], layer.shape)
    if np.any(shift) or found == inputs[0]:
        found = document.make("AddV2", [found, document.add_constant("shift", shift)], layer.shape)
    return found


def _dense(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    weights = np.ascontiguousarray(layer.parameters["weights"].values, np.float32)
    kernel = document.add_constant(f"{layer.id}/weights", weights)
    shift = document.add_constant(f"{layer.id}/bias", bias(layer))
    if len(layer.shape) == 2:
        product = document.make("MatMul", [inputs[0], kernel], layer.shape)
        return document.make("BiasAdd", [product, shift], layer.shape)
    product = document.make("BatchMatMulV2", [inputs[0], kernel], layer.shape)
    return document.make("AddV2", [product, shift], layer.shape)


def _reduction(kind: str) -> Emitter:
    def make(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        axes = document.add_constant("axes", np.asarray(layer["axes"], np.int32))
        return document.make(kind, [inputs[0], axes], layer.shape, {"keep_dims": bool(layer["keepdims"])})

    return make


def _index_of(kind: str) -> Emitter:
    def make(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        import tensorflow as tf

        if layer["axis"] is None:
            raise Refusal(f"TensorFlow's {kind} takes one axis")
        axis = document.add_constant("axis", np.asarray(layer["axis"], np.int32))
        dropped = tuple(side for place, side in enumerate(shapes[0]) if place != layer["axis"])
        number = int(tf.as_dtype(layer.dtype).as_datatype_enum)
        found = document.make(kind, [inputs[0], axis], dropped, {"output_type": number})
        return document.reshape(found, layer.shape) if layer["keepdims"] else found

    return make


def _cumulative_sum(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    axis = document.add_constant("axis", np.asarray(layer["axis"], np.int32))
    settings = {name: bool(layer[name]) for name in ("exclusive", "reverse")}
    return document.make("Cumsum", [inputs[0], axis], layer.shape, settings)


def _softmax(kind: str) -> Emitter:
    def make(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        rank, axis = len(layer.shape), int(layer["axis"])
        if axis == rank - 1:
            return document.make(kind, inputs, layer.shape)
        order = (*(each for each in range(rank) if each != axis), axis)
        turned = document.transpose(inputs[0], order)
        found = document.make(kind, [turned], tuple(layer.shape[each] for each in order))
        return document.transpose(found, tuple(order.index(each) for each in range(rank)))

    return make


def _concat(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    axis = document.add_constant("axis", np.asarray(layer["axis"], np.int32))
    return document.make("ConcatV2", [*inputs, axis], layer.shape)


def _slice(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    parts = [document.add_constant(name, np.asarray(layer[name], np.int32)) for name in ("begin", "end", "strides")]
    whole_batch = int(layer["begin"][0] == 0 and layer["strides"][0] == 1)
    open_ends = sum(1 << axis for axis, step in enumerate(layer["strides"]) if step < 0 > layer["end"][axis])
    masks = {"begin_mask": whole_batch, "end_mask": whole_batch | open_ends}
    return document.make("StridedSlice", [inputs[0], *parts], layer.shape, masks)


def _pad(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    pairs = tuple((int(before), int(after)) for before, after in layer["padding"])
    if layer["mode"] in {"reflect", "symmetric"}:
        amounts = document.add_constant("paddings", np.asarray(pairs, np.int32))
        return document.make("MirrorPad", [inputs[0], amounts], layer.shape, {"mode": layer["mode"].upper()})
    found = inputs[0]
    if layer["mode"] != "constant":
        for axis, places, shape in borders(layer, shapes[0]):
            chosen = document.add_constant("places", places.astype(np.int32))
            along = document.add_constant("axis", np.asarray(axis, np.int32))
            found = document.make("GatherV2", [found, chosen, along], shape)
        return found
    found = added(document, inputs[0], shapes[0], pairs, float(layer["value"]))
    return document.make("Identity", [found], layer.shape) if found == inputs[0] else found


def _cast(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    import tensorflow as tf

    return document.make("Cast", inputs, layer.shape, {"DstT": int(tf.as_dtype(str(layer["to"])).as_datatype_enum)})


def _take(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    axis = document.add_constant("axis", np.asarray(layer["axis"] or 0, np.int32))
    return document.make("GatherV2", [*inputs, axis], layer.shape)


def _tile(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    repeats = document.add_constant("repeats", np.asarray(layer["repeats"], np.int32))
    return document.make("Tile", [inputs[0], repeats], layer.shape)


def _broadcast(document: TensorFlowDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """By adding nothing: the batch stays open."""
    if layer.dtype != "float32":
        raise Refusal(f"values of type {layer.dtype} are not spread")
    nothing = document.add_constant("nothing", np.zeros((1, *layer.shape[1:]), np.float32))
    return document.make("AddV2", [inputs[0], nothing], layer.shape)


def _make(kind: Callable[[TensorFlowDocument, Layer, str], str]) -> Emitter:
    return lambda document, layer, inputs, shapes: kind(document, layer, inputs[0])


PLAIN = {
    "abs": "Abs", "add": "AddV2", "ceil": "Ceil", "cos": "Cos", "divide": "RealDiv", "equal": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "floor_divide": "FloorDiv", "greater": "Greater", "greater_equal": "GreaterEqual",
    "less": "Less", "less_equal": "LessEqual", "log": "Log", "logical_and": "LogicalAnd", "logical_not": "LogicalNot",
    "logical_or": "LogicalOr", "matmul": "BatchMatMulV2", "maximum": "Maximum", "minimum": "Minimum",
    "multiply": "Mul", "negative": "Neg", "not_equal": "NotEqual", "power": "Pow", "round": "Round", "rsqrt": "Rsqrt",
    "selu": "Selu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "square": "Square",
    "subtract": "Sub", "tanh": "Tanh", "where": "SelectV2",
}  # fmt: skip
REDUCTIONS = {"mean": "Mean", "sum": "Sum", "max": "Max", "min": "Min", "prod": "Prod"}
EMITTERS: dict[str, Emitter] = {
    **{name: _plain(kind) for name, kind in PLAIN.items()},
    **{name: _reduction(kind) for name, kind in REDUCTIONS.items()},
    **WINDOW_EMITTERS,
    "affine": _affine,
    "argmax": _index_of("ArgMax"),
    "argmin": _index_of("ArgMin"),
    "broadcast": _broadcast,
    "cast": _cast,
    "clip": _clip,
    "concat": _concat,
    "cumsum": _cumulative_sum,
    "dense": _dense,
    "elu": _elu,
    "gelu": _gated(_chain(("Mul", float(np.sqrt(0.5))), ("Erf", None), ("AddV2", 1.0), ("Mul", 0.5))),
    "gelu_tanh": _gated(_gelu_gate),
    "hard_swish": _gated(_chain(("AddV2", 3.0), ("Relu6", None), ("Mul", 1 / 6))),
    "leaky_relu": _leaky_relu,
    "log_softmax": _softmax("LogSoftmax"),
    "pad": _pad,
    "prelu": _prelu,
    "reshape": _make(lambda document, layer, tensor: document.reshape(tensor, layer.shape)),
    "slice": _slice,
    "softmax": _softmax("Softmax"),
    "softplus": _softplus,
    "swish": _gated(_chain(("Sigmoid", None))),
    "take": _take,
    "tile": _tile,
    "transpose": _make(lambda document, layer, tensor: document.transpose(tensor, tuple(layer["order"]))),
}
