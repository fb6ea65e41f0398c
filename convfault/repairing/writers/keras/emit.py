"""Canonical layers as layers of Keras, operations of Keras 3 and functions of TensorFlow: one small function a kind.

Each takes the tensors of a little network and calls layers on them; ``graft`` takes over what was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.keras.document import KerasDocument
from convfault.repairing.writers.keras.emit_window import (
    Emitter,
    Shapes,
    bias,
    convolution,
    pad,
    pool,
    resize,
    transposed_convolution,
)
from convfault.repairing.writers.keras.graft import with_weights


def emit(document: KerasDocument, layer: Layer, tensors: list[str], shapes: Shapes) -> str:
    """New calls for a layer, and the tensor that holds its output. Raises ``Refusal``."""
    if layer.kind not in EMITTERS:
        raise Refusal(f"Keras has no layer for a layer of kind {layer.kind} that convfault can write")
    return document.graft(EMITTERS[layer.kind](document, layer, shapes), tensors)


def operation(document: KerasDocument, name: str, old: str | None = None) -> Callable[..., Any]:
    """A function of ``keras.ops``, in a file of Keras 2 that of TensorFlow (``old``: its name there)."""
    if not document.file.old:
        found = getattr(document.file.library.ops, name, None)
        if found is None:
            raise Refusal(f"this Keras has no operation {name}")
        return found  # type: ignore[no-any-return]
    import tensorflow as tf

    place: Any = tf
    for part in (old or name).split("."):
        place = getattr(place, part)
    return place  # type: ignore[no-any-return]


def transposed(document: KerasDocument, order: Sequence[int]) -> Callable[..., Any]:
    """A transposition; a layer of its own where the batch stays first."""
    if order[0] == 0:
        return document.file.library.layers.Permute(tuple(int(axis) for axis in order[1:]))  # type: ignore[no-any-return]
    turn = operation(document, "transpose")
    return lambda tensor: turn(tensor, [int(axis) for axis in order])


def _activation(name: str) -> Emitter:
    def make(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
        if not hasattr(document.file.library.activations, name):
            raise Refusal(f"this Keras has no activation {name}")
        return document.file.library.layers.Activation(name)  # type: ignore[no-any-return]

    return make


def _function(name: str, old: str | None = None) -> Emitter:
    """An elementwise function of one layer or of several."""

    def make(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
        call = operation(document, name, old)
        return lambda *tensors: call(*tensors)

    return make


def _merge(layer_name: str, name: str, old: str | None = None) -> Emitter:
    """A layer that merges two of one shape, otherwise the function."""

    def make(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
        merge, call = getattr(document.file.library.layers, layer_name)(), operation(document, name, old)
        alike = len({tuple(shape) for shape in shapes}) == 1

        def apply(first: Any, second: Any) -> Any:
            plain = isinstance(first, np.ndarray) or isinstance(second, np.ndarray)
            return merge([first, second]) if alike and not plain else call(first, second)

        return apply

    return make


def _clip(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    low, high = float(layer["minimum"]), float(layer["maximum"])
    layers = document.file.library.layers
    name = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6"}.get((low, high), "")
    if hasattr(document.file.library.activations, name):
        return layers.Activation(name)  # type: ignore[no-any-return]
    if low == 0:
        return layers.ReLU(None if high == np.inf else high)  # type: ignore[no-any-return]
    if np.isfinite(low) and np.isfinite(high):
        clip = operation(document, "clip", "clip_by_value")
        return lambda tensor: clip(tensor, low, high)
    larger, smaller = operation(document, "maximum"), operation(document, "minimum")
    return lambda tensor: larger(tensor, low) if high == np.inf else smaller(tensor, high)


def _leaky_relu(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    name = "alpha" if document.file.old else "negative_slope"
    return document.file.library.layers.LeakyReLU(**{name: float(layer["slope"])})  # type: ignore[no-any-return]


def _prelu(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    rank, slopes = len(layer.shape), layer.parameters["slopes"].values.astype(np.float32)
    made = document.file.library.layers.PReLU(shared_axes=list(range(1, rank - 1)) or None)
    full = np.broadcast_to(slopes.reshape(-1), layer.shape[-1:]).reshape(*[1] * (rank - 2), -1)
    return with_weights(made, [full])


def _hard_swish(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    for name in ("hard_silu", "hard_swish"):
        if hasattr(document.file.library.activations, name):
            return document.file.library.layers.Activation(name)  # type: ignore[no-any-return]
    relu = document.file.library.layers.ReLU(6.0)
    return lambda tensor: tensor * relu(tensor + 3.0) * (1 / 6)


def _affine(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    scale, shift = (layer.parameters[name].values.astype(np.float32).tolist() for name in ("scale", "shift"))
    return document.file.library.layers.Rescaling(scale, shift)  # type: ignore[no-any-return]


def _dense(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    weights = layer.parameters["weights"].values.astype(np.float32)
    return with_weights(document.file.library.layers.Dense(weights.shape[-1]), [weights, bias(layer)])


def _normalize(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    if layer.hyperparameters.get("groups") is not None:
        raise Refusal("a normalization by groups of channels is not written to Keras")
    axes = [int(axis) for axis in layer["axes"]]
    return document.file.library.layers.LayerNormalization(  # type: ignore[no-any-return]
        axis=axes, epsilon=float(layer["epsilon"]), center=False, scale=False
    )


def _reduction(name: str, old: str, pooling: str | None = None) -> Emitter:
    def make(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
        axes, keep = [int(axis) for axis in layer["axes"]], bool(layer["keepdims"])
        if pooling is not None and axes == [1, 2] and len(shapes[0]) == 4:
            made = getattr(document.file.library.layers, pooling)
            return made(data_format="channels_last", keepdims=keep)  # type: ignore[no-any-return]
        call = operation(document, name, old)
        return lambda tensor: call(tensor, axis=axes, keepdims=keep)

    return make


def _softmax(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    return document.file.library.layers.Softmax(axis=int(layer["axis"]))  # type: ignore[no-any-return]


def _log_softmax(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    call = operation(document, "log_softmax", "nn.log_softmax")
    return lambda tensor: call(tensor, axis=int(layer["axis"]))


def _cumulative_sum(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    """Keras' own runs forwards and counts each place itself."""
    axis = int(layer["axis"])
    total, flip = operation(document, "cumsum"), operation(document, "flip", "reverse")

    def apply(tensor: Any) -> Any:
        tensor = flip(tensor, axis=[axis]) if layer["reverse"] else tensor
        found = total(tensor, axis=axis)
        found = found - tensor if layer["exclusive"] else found
        return flip(found, axis=[axis]) if layer["reverse"] else found

    return apply


def _concat(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    made = document.file.library.layers.Concatenate(axis=int(layer["axis"]))
    return lambda *tensors: made(list(tensors))


def _reshape(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    if len(layer.shape) == 2 and len(shapes[0]) > 1:
        return document.file.library.layers.Flatten(data_format="channels_last")  # type: ignore[no-any-return]
    if layer.shape[:1] == shapes[0][:1]:
        return document.file.library.layers.Reshape(layer.shape[1:])  # type: ignore[no-any-return]
    if document.batch != 1 or shapes[0][:1] != (1,):
        raise Refusal("a layer of Keras leaves the batch as it is")
    return document.file.library.layers.Reshape(layer.shape)  # type: ignore[no-any-return]


def _slice(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    """Cuts forwards; an axis that runs backwards is turned round before."""
    spans, turned = [slice(None)], []
    if layer["begin"][0] != 0 or layer["strides"][0] != 1:
        raise Refusal("a layer of Keras leaves the batch as it is")
    for axis in range(1, len(layer.shape)):
        begin, step, side = int(layer["begin"][axis]), int(layer["strides"][axis]), shapes[0][axis]
        if step < 0:
            turned.append(axis)
            begin, step = side - 1 - begin, -step
        spans.append(slice(begin, begin + (layer.shape[axis] - 1) * step + 1, step))
    whole = all(each == slice(0, side, 1) for each, side in zip(spans[1:], shapes[0][1:], strict=True))
    flip = operation(document, "flip", "reverse") if turned else None

    def apply(tensor: Any) -> Any:
        tensor = flip(tensor, axis=turned) if flip is not None else tensor
        return tensor if whole and turned else tensor[tuple(spans)]

    return apply


def _transpose(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    return transposed(document, layer["order"])


def _gelu_tanh(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    call = operation(document, "gelu", "nn.gelu")
    return lambda tensor: call(tensor, approximate=True)


def _softplus(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    if float(layer["beta"]) != 1 or layer["threshold"] != np.inf:
        raise Refusal(f"Keras' softplus has beta 1 and no threshold, not {layer['beta']} and {layer['threshold']}")
    return document.file.library.layers.Activation("softplus")  # type: ignore[no-any-return]


def _elu(document: KerasDocument, layer: Layer, shapes: Shapes) -> Callable[..., Any]:
    return document.file.library.layers.ELU(float(layer["alpha"]))  # type: ignore[no-any-return]


ACTIVATIONS = {"gelu": "gelu", "selu": "selu", "sigmoid": "sigmoid", "swish": "swish", "tanh": "tanh"}
FUNCTIONS = {
    "abs": "abs", "ceil": "math.ceil", "cos": "cos", "erf": "math.erf", "exp": "exp", "floor": "floor",
    "log": "math.log", "logical_not": "logical_not", "negative": "negative", "round": "round",
    "rsqrt": "math.rsqrt", "sign": "sign", "sin": "sin", "sqrt": "sqrt", "square": "square", "divide": "divide",
    "equal": "equal", "floor_divide": "floordiv", "greater": "greater", "greater_equal": "greater_equal",
    "less": "less", "less_equal": "less_equal", "logical_and": "logical_and", "logical_or": "logical_or",
    "not_equal": "not_equal", "power": "pow", "where": "where", "matmul": "matmul",
}  # fmt: skip
"""Kind, which is also the operation of Keras 3 → the function of TensorFlow."""
MERGES = {
    "add": ("Add", "add", "math.add"), "subtract": ("Subtract", "subtract", "math.subtract"),
    "multiply": ("Multiply", "multiply", "math.multiply"), "maximum": ("Maximum", "maximum", "maximum"),
    "minimum": ("Minimum", "minimum", "minimum"),
}  # fmt: skip
REDUCTIONS = {
    "mean": ("mean", "reduce_mean", "GlobalAveragePooling2D"), "max": ("max", "reduce_max", "GlobalMaxPooling2D"),
    "sum": ("sum", "reduce_sum", None), "min": ("min", "reduce_min", None), "prod": ("prod", "reduce_prod", None),
}  # fmt: skip
EMITTERS: dict[str, Emitter] = {
    **{kind: _activation(name) for kind, name in ACTIVATIONS.items()},
    **{kind: _function(kind, old) for kind, old in FUNCTIONS.items()},
    **{kind: _merge(*names) for kind, names in MERGES.items()},
    **{kind: _reduction(*names) for kind, names in REDUCTIONS.items()},
    "affine": _affine,
    "average_pool": pool("AveragePooling2D"),
    "clip": _clip,
    "concat": _concat,
    "convolution": convolution,
    "cumsum": _cumulative_sum,
    "dense": _dense,
    "elu": _elu,
    "gelu_tanh": _gelu_tanh,
    "hard_swish": _hard_swish,
    "leaky_relu": _leaky_relu,
    "log_softmax": _log_softmax,
    "max_pool": pool("MaxPooling2D"),
    "normalize": _normalize,
    "pad": pad,
    "prelu": _prelu,
    "reshape": _reshape,
    "resize": resize,
    "slice": _slice,
    "softmax": _softmax,
    "softplus": _softplus,
    "transpose": _transpose,
    "transposed_convolution": transposed_convolution,
}
