"""Canonical layers as TFLite operators: one small function a kind. Inputs are tensors of exactly the layers' values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.borders import borders
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.resizing import flags, picks
from convfault.repairing.writers.shares import plain_pool
from convfault.repairing.writers.tflite.document import TFLiteDocument
from convfault.repairing.writers.tflite.window import SAME, VALID, padded, pool_padding

Shapes = Sequence[tuple[int, ...]]
Emitter = Callable[[TFLiteDocument, Layer, Sequence[str], Shapes], str]


def emit(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """New operators for a layer; the name of the tensor that holds its output. Raises ``Refusal``."""
    if layer.kind not in EMITTERS:
        raise Refusal(f"TFLite has no operator for a layer of kind {layer.kind} that convfault can write")
    return EMITTERS[layer.kind](document, layer, inputs, shapes)


def _plain(kind: str) -> Emitter:
    return lambda document, layer, inputs, shapes: document.make(kind, inputs, layer.shape, dtype=_dtype(layer))


def _dtype(layer: Layer) -> str:
    return layer.dtype.upper()


def clip_kind(layer: Layer) -> str | None:
    """The activation that clips at a layer's bounds, None if there is none."""
    known = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (-np.inf, np.inf): ""}
    return known.get((float(layer["minimum"]), float(layer["maximum"])))


def _clip(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    kind = clip_kind(layer)
    if kind:
        return document.make(kind, inputs, layer.shape)
    found = inputs[0]
    for name, bound in (("MAXIMUM", layer["minimum"]), ("MINIMUM", layer["maximum"])):
        if np.isfinite(bound):
            found = document.make(
                name, [found, document.add_constant("bound", np.asarray(bound, np.float32))], layer.shape
            )
    return found


def _leaky_relu(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("LEAKY_RELU", inputs, layer.shape, {"alpha": float(layer["slope"])})


def _prelu(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    slopes = layer.parameters["slopes"].values.astype(np.float32)
    slopes = slopes.reshape((1,) * (len(layer.shape) - 1 - slopes.ndim) + slopes.shape[-len(layer.shape) + 1 :])
    return document.make("PRELU", [inputs[0], document.add_constant("slopes", slopes)], layer.shape)


def _elu(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    if float(layer["alpha"]) != 1:
        raise Refusal(f"TFLite's ELU has alpha 1, not {layer['alpha']}")
    return document.make("ELU", inputs, layer.shape)


def _swish(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    gate = document.make("LOGISTIC", inputs, layer.shape)
    return document.make("MUL", [inputs[0], gate], layer.shape)


def _gelu(approximate: bool) -> Emitter:
    return lambda document, layer, inputs, shapes: document.make(
        "GELU", inputs, layer.shape, {"approximate": approximate}
    )


def _affine(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    scale, shift = (layer.parameters[name].values.astype(np.float32) for name in ("scale", "shift"))
    found = inputs[0]
    if np.any(scale != 1):
        found = document.make("MUL", [found, document.add_constant("scale", scale)], layer.shape)
    if np.any(shift) or found == inputs[0]:
        found = document.make("ADD", [found, document.add_constant("shift", shift)], layer.shape)
    return found


def _convolution(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    weights = layer.parameters["weights"].values.astype(np.float32)
    source, padding = padded(document, layer, inputs[0], shapes[0], 0.0)
    depthwise = weights.shape[2] == 1 and layer["groups"] == shapes[0][3] and layer["groups"] > 1
    options = {
        "padding": padding,
        "strideH": int(layer["strides"][0]),
        "strideW": int(layer["strides"][1]),
        "dilationHFactor": int(layer["dilation"][0]),
        "dilationWFactor": int(layer["dilation"][1]),
    }
    if depthwise:
        native = weights.reshape(1, *weights.shape[:2], -1)
        options["depthMultiplier"] = weights.shape[3] // int(layer["groups"])
    else:
        native = weights.transpose(3, 0, 1, 2)
    kernel = document.add_weights(f"{layer.id}/weights", native)
    bias = document.add_constant(f"{layer.id}/bias", _bias(layer))
    return document.make("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [source, kernel, bias], layer.shape, options)


def _bias(layer: Layer) -> Array:
    return np.ascontiguousarray(layer.parameters["bias"].values, np.float32)


def _transposed_convolution(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    """By TFLite's own paddings where one is meant, else whole, and then cut or padded at the edges."""
    if tuple(layer["dilation"]) != (1, 1) or layer["groups"] != 1:
        raise Refusal("a transposed convolution is written to TFLite without dilation and groups only")
    native = layer.parameters["weights"].values.transpose(2, 0, 1, 3).astype(np.float32)
    steps, sides = [int(step) for step in layer["strides"]], shapes[0][1:3]
    over = [int(size) - step for size, step in zip(native.shape[1:3], steps, strict=True)]
    same = all(
        tuple(pair) == (more // 2, more - more // 2) and more >= 0
        for pair, more in zip(layer["padding"], over, strict=True)
    )
    grown = [side * step + (0 if same else max(more, 0)) for side, step, more in zip(sides, steps, over, strict=True)]
    whole = (layer.shape[0], grown[0], grown[1], layer.shape[3])
    kernel = document.add_weights(f"{layer.id}/weights", native)
    shape = document.add_constant("shape", np.asarray(whole, np.int32))
    bias = document.add_constant(f"{layer.id}/bias", _bias(layer))
    options = {"padding": SAME if same else VALID, "strideH": steps[0], "strideW": steps[1]}
    found = document.make("TRANSPOSE_CONV", [inputs[0], kernel, inputs[0], bias], whole, options)
    document.nodes[-1].inputs = [shape, kernel, inputs[0], bias]
    return found if same else _trimmed(document, layer, found, whole)


def _trimmed(document: TFLiteDocument, layer: Layer, found: str, whole: tuple[int, ...]) -> str:
    """Cut to the layer's size: ``padding`` is what the result of a transposed convolution loses at its edges."""
    begins = [0, *(int(pair[0]) for pair in layer["padding"]), 0]
    if whole == layer.shape:
        return found
    if min(begins) < 0 or any(a + b > c for a, b, c in zip(begins, layer.shape, whole, strict=True)):
        raise Refusal("a transposed convolution with more than its windows reach is not written to TFLite")
    sizes = [-1, *(int(side) for side in layer.shape[1:])]
    begin, size = (document.add_constant(n, np.asarray(v, np.int32)) for n, v in (("begin", begins), ("size", sizes)))
    return document.make("SLICE", [found, begin, size], layer.shape)


def _dense(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    native = np.ascontiguousarray(layer.parameters["weights"].values.T, np.float32)
    kernel = document.add_weights(f"{layer.id}/weights", native)
    bias = document.add_constant(f"{layer.id}/bias", _bias(layer))
    options = {"keepNumDims": len(layer.shape) > 2}
    return document.make("FULLY_CONNECTED", [inputs[0], kernel, bias], layer.shape, options)


def _pool(kind: str) -> Emitter:
    def make(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        plain, share = plain_pool(layer, shapes[0][1:3])
        source, padding = pool_padding(document, plain, inputs[0], shapes[0])
        options = {
            "padding": padding,
            "strideH": int(layer["strides"][0]),
            "strideW": int(layer["strides"][1]),
            "filterHeight": int(layer["size"][0]),
            "filterWidth": int(layer["size"][1]),
        }
        found = document.make(kind, [source], layer.shape, options)
        if share is None:
            return found
        return document.make("MUL", [found, document.add_constant("share", share)], layer.shape)

    return make


def _reduction(kind: str) -> Emitter:
    def make(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        axes = document.add_constant("axes", np.asarray(layer["axes"], np.int32))
        return document.make(
            kind, [inputs[0], axes], layer.shape, {"keepDims": bool(layer["keepdims"])}, dtype=_dtype(layer)
        )

    return make


def _index_of(kind: str) -> Emitter:
    def make(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        if layer["keepdims"] or layer["axis"] is None:
            raise Refusal(f"TFLite's {kind} drops one axis")
        axis = document.add_constant("axis", np.asarray(layer["axis"], np.int32))
        number = {"int32": 2, "int64": 4}[layer.dtype]
        return document.make(kind, [inputs[0], axis], layer.shape, {"outputType": number}, dtype=_dtype(layer))

    return make


def _cumulative_sum(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    axis = document.add_constant("axis", np.asarray(layer["axis"], np.int32))
    options = {name: bool(layer[name]) for name in ("exclusive", "reverse")}
    return document.make("CUMSUM", [inputs[0], axis], layer.shape, options, dtype=_dtype(layer))


def _softmax(kind: str) -> Emitter:
    def make(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
        rank, axis = len(layer.shape), int(layer["axis"])
        options = {"beta": 1.0} if kind == "SOFTMAX" else {}
        if axis == rank - 1:
            return document.make(kind, inputs, layer.shape, options)
        order = (*(each for each in range(rank) if each != axis), axis)
        turned = document.transpose(inputs[0], order)
        found = document.make(kind, [turned], tuple(layer.shape[each] for each in order), options)
        return document.transpose(found, tuple(order.index(each) for each in range(rank)))

    return make


def _reshape(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.reshape(inputs[0], layer.shape)


def _transpose(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.transpose(inputs[0], tuple(layer["order"]))


def _concat(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("CONCATENATION", inputs, layer.shape, {"axis": int(layer["axis"])}, dtype=_dtype(layer))


def _slice(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    parts = [document.add_constant(name, np.asarray(layer[name], np.int32)) for name in ("begin", "end", "strides")]
    whole_batch = int(layer["begin"][0] == 0 and layer["strides"][0] == 1)
    open_ends = sum(1 << axis for axis, step in enumerate(layer["strides"]) if step < 0 > layer["end"][axis])
    options = {"beginMask": whole_batch, "endMask": whole_batch | open_ends}
    return document.make("STRIDED_SLICE", [inputs[0], *parts], layer.shape, options, dtype=_dtype(layer))


def _pad(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    mirrors, found = {"reflect": 0, "symmetric": 1}, inputs[0]
    if layer["mode"] not in {"constant", *mirrors}:
        for axis, places, shape in borders(layer, shapes[0]):
            chosen = document.add_constant("places", places.astype(np.int32))
            found = document.make("GATHER", [found, chosen], shape, {"axis": axis}, dtype=_dtype(layer))
        return found
    widths = document.add_constant("padding", np.asarray(layer["padding"], np.int32))
    if layer["mode"] in mirrors:
        return document.make("MIRROR_PAD", [found, widths], layer.shape, {"mode": mirrors[layer["mode"]]})
    value = document.add_constant("value", np.asarray(layer["value"], np.float32))
    return document.make("PADV2", [inputs[0], widths, value], layer.shape)


def _resize(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    kinds = {"linear": "RESIZE_BILINEAR", "nearest_neighbor": "RESIZE_NEAREST_NEIGHBOR"}
    if layer["method"] not in kinds or layer.hyperparameters.get("antialias"):
        raise Refusal(f"TFLite has no operator that resizes by {layer['method']}")
    found = flags(layer, shapes[0][1:3])
    if found is None:
        return _gathered(document, layer, inputs[0], shapes[0])
    size = document.add_constant("size", np.asarray(layer["size"], np.int32))
    options = {"alignCorners": found[0], "halfPixelCenters": found[1]}
    return document.make(kinds[layer["method"]], [inputs[0], size], layer.shape, options)


def _gathered(document: TFLiteDocument, layer: Layer, picture: str, shape: tuple[int, ...]) -> str:
    """Rows, then columns, picked one by one."""
    for axis, places in enumerate(picks(layer, shape[1:3]), 1):
        shape = (*shape[:axis], len(places), *shape[axis + 1 :])
        picture = document.make("GATHER", [picture, document.add_constant("places", places)], shape, {"axis": axis})
    return picture


def _take(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("GATHER", inputs, layer.shape, {"axis": int(layer["axis"] or 0)}, dtype=_dtype(layer))


def _tile(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    repeats = document.add_constant("repeats", np.asarray(layer["repeats"], np.int32))
    return document.make("TILE", [inputs[0], repeats], layer.shape, dtype=_dtype(layer))


def _broadcast(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    sides = document.add_constant("shape", np.asarray(layer.shape, np.int32))
    return document.make("BROADCAST_TO", [inputs[0], sides], layer.shape, dtype=_dtype(layer))


def _cast(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("CAST", inputs, layer.shape, dtype=str(layer["to"]).upper())


def _matmul(document: TFLiteDocument, layer: Layer, inputs: Sequence[str], shapes: Shapes) -> str:
    return document.make("BATCH_MATMUL", inputs, layer.shape)


PLAIN = {
    "abs": "ABS", "add": "ADD", "ceil": "CEIL", "cos": "COS", "divide": "DIV", "equal": "EQUAL", "exp": "EXP",
    "floor": "FLOOR", "floor_divide": "FLOOR_DIV", "greater": "GREATER", "greater_equal": "GREATER_EQUAL",
    "hard_swish": "HARD_SWISH", "less": "LESS", "less_equal": "LESS_EQUAL", "log": "LOG", "logical_and": "LOGICAL_AND",
    "logical_not": "LOGICAL_NOT", "logical_or": "LOGICAL_OR", "maximum": "MAXIMUM", "minimum": "MINIMUM",
    "multiply": "MUL", "negative": "NEG", "not_equal": "NOT_EQUAL", "power": "POW", "round": "ROUND", "rsqrt": "RSQRT",
    "sigmoid": "LOGISTIC", "sign": "SIGN", "sin": "SIN", "sqrt": "SQRT", "square": "SQUARE", "subtract": "SUB",
    "tanh": "TANH", "where": "SELECT_V2",
}  # fmt: skip
REDUCTIONS = {"mean": "MEAN", "sum": "SUM", "max": "REDUCE_MAX", "min": "REDUCE_MIN", "prod": "REDUCE_PROD"}
EMITTERS: dict[str, Emitter] = {
    **{name: _plain(kind) for name, kind in PLAIN.items()},
    **{name: _reduction(kind) for name, kind in REDUCTIONS.items()},
    "affine": _affine,
    "argmax": _index_of("ARG_MAX"),
    "argmin": _index_of("ARG_MIN"),
    "average_pool": _pool("AVERAGE_POOL_2D"),
    "broadcast": _broadcast,
    "cast": _cast,
    "clip": _clip,
    "concat": _concat,
    "cumsum": _cumulative_sum,
    "convolution": _convolution,
    "dense": _dense,
    "elu": _elu,
    "gelu": _gelu(False),
    "gelu_tanh": _gelu(True),
    "leaky_relu": _leaky_relu,
    "log_softmax": _softmax("LOG_SOFTMAX"),
    "matmul": _matmul,
    "max_pool": _pool("MAX_POOL_2D"),
    "pad": _pad,
    "prelu": _prelu,
    "reshape": _reshape,
    "resize": _resize,
    "slice": _slice,
    "softmax": _softmax("SOFTMAX"),
    "swish": _swish,
    "take": _take,
    "tile": _tile,
    "transpose": _transpose,
    "transposed_convolution": _transposed_convolution,
}
