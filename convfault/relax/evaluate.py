"""Runs a ``Graph`` in numpy, its heavy layers by ``kernels``: whole, or from some layers on after an edit.

This is the quick referee: no compilation, any batch size, every layer's value at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convfault.errors import ShapeError, UsageError
from convfault.relax.evaluate_index import INDEX_OPERATIONS
from convfault.relax.evaluate_window import WINDOW_OPERATIONS
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rounding import as_read, rounded

Operation = Callable[[Layer, Sequence[Array]], Array]
GIVEN = frozenset({"input", "opaque"})
"""Kinds whose values cannot be computed here; that of an opaque layer is kept though what it reads has changed."""


def run(graph: Graph, inputs: Mapping[str, Array], keep: Sequence[str] = ()) -> dict[str, Array]:
    """Run a graph: input layer id → array, batch first, in the graph's own layout.

    Returns the values of the output layers and of those in ``keep``, by layer id.
    """
    return resume(graph, dict(inputs), set(graph.inputs), keep)


def run_native(graph: Graph, inputs: Mapping[str, Array], keep: Sequence[str] = ()) -> dict[str, Array]:
    """The same from native input names and the native layout."""
    values = {}
    for layer_id in graph.inputs:
        layer = graph[layer_id]
        values[layer_id] = layer.view(np.asarray(inputs[str(layer.native.tensor)]))
    return run(graph, values, keep)


def resume(graph: Graph, values: Mapping[str, Array], changed: set[str], keep: Sequence[str] = ()) -> dict[str, Array]:
    """Compute again only what depends on the ``changed`` layers, taking the rest from ``values`` (layer id → value).

    ``values`` need only hold what the changed part reads; what is missing is computed from what is there. Values
    are dropped as soon as nobody needs them.
    Returns the values of the output layers and of those in ``keep``, by layer id.
    """
    affected = graph.descendants(changed)
    wanted = {*graph.outputs, *keep}
    last = _last_readers(graph, affected)
    current = {name: value for name, value in values.items() if name not in affected or graph[name].kind in GIVEN}
    for layer in graph:
        if layer.id in affected and layer.kind not in GIVEN and (layer.id in wanted or last.get(layer.id)):
            current[layer.id] = evaluate(layer, [_read(graph, current, item) for item in layer.inputs])
            for item in {*layer.inputs}:
                if item not in wanted and last.get(item) == layer.id and item in affected:
                    del current[item]
    return {name: _value(graph, current, name) for name in (*graph.outputs, *keep)}


def _last_readers(graph: Graph, affected: set[str]) -> dict[str, str]:
    return {source: layer.id for layer in graph if layer.id in affected for source in layer.inputs}


def _read(graph: Graph, current: dict[str, Array], name: str) -> Array:
    return as_read(graph[name], _value(graph, current, name))


def _value(graph: Graph, current: dict[str, Array], name: str) -> Array:
    """A value that is at hand, or follows from constants and values at hand."""
    if name not in current:
        layer = graph[name]
        if layer.kind in GIVEN:
            raise UsageError(
                f"the value of {layer.kind} layer {name} ('{layer.native.tensor}') is needed and was not given"
            )
        current[name] = evaluate(layer, [_read(graph, current, item) for item in layer.inputs])
    return current[name]


def evaluate(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The output of one layer, as it is stored; raises ``UsageError`` for a kind that cannot be run here."""
    operation = OPERATIONS.get(layer.kind)
    if operation is None:
        raise UsageError(f"a layer of kind {layer.kind} cannot be evaluated: give its value")
    try:
        with np.errstate(all="ignore"):
            found = operation(layer, inputs)
            return found if layer.rounding is None else rounded(found, layer.rounding)
    except (ValueError, IndexError, RuntimeError) as error:  # numpy's and torch's refusals
        shapes = ", ".join(str(value.shape) for value in inputs)
        raise ShapeError(f"layer {layer.id} ({layer.kind}) cannot take {shapes}: {error}") from error


def _constant(layer: Layer, inputs: Sequence[Array]) -> Array:
    return layer.parameters["values"].values


def _affine(layer: Layer, inputs: Sequence[Array]) -> Array:
    return np.asarray(inputs[0] * layer.parameters["scale"].values + layer.parameters["shift"].values)


def _batch_norm(layer: Layer, inputs: Sequence[Array]) -> Array:
    gamma, beta, mean, variance = inputs[1:]
    scale = gamma / np.sqrt(variance + layer["epsilon"])
    return np.asarray(inputs[0] * scale + (beta - mean * scale))


def _normalize(layer: Layer, inputs: Sequence[Array]) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over some axes, or over the channels of each group and all pixels."""
    values, axes = inputs[0], layer["axes"]
    groups = layer.hyperparameters.get("groups")
    if groups is not None:
        values = values.reshape(*values.shape[:-1], groups, -1)
        axes = (*range(1, values.ndim - 2), values.ndim - 1)
    centred = values - values.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(layer["epsilon"]))).reshape(inputs[0].shape)


def _clip(layer: Layer, inputs: Sequence[Array]) -> Array:
    low, high = inputs[0].dtype.type(layer["minimum"]), inputs[0].dtype.type(layer["maximum"])
    return np.asarray(np.clip(inputs[0], low, high))


def _leaky_relu(layer: Layer, inputs: Sequence[Array]) -> Array:
    return np.where(inputs[0] > 0, inputs[0], inputs[0] * np.float32(layer["slope"]))


def _prelu(layer: Layer, inputs: Sequence[Array]) -> Array:
    return np.where(inputs[0] > 0, inputs[0], inputs[0] * layer.parameters["slopes"].values)


def _elu(layer: Layer, inputs: Sequence[Array]) -> Array:
    below = np.float32(layer["alpha"]) * np.expm1(np.minimum(inputs[0], 0))
    return np.where(inputs[0] > 0, inputs[0], below)


def _softplus(layer: Layer, inputs: Sequence[Array]) -> Array:
    scaled = inputs[0] * np.float32(layer["beta"])
    soft = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / np.float32(layer["beta"])
    return np.where(scaled > layer["threshold"], inputs[0], soft)


def _erf(values: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(values), dtype=values.dtype)


def _sigmoid(values: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(values))


def _gelu_tanh(values: Array) -> Array:
    inner = np.float32(np.sqrt(2 / np.pi)) * (values + np.float32(0.044715) * values**3)
    return np.asarray(values * np.float32(0.5) * (1 + np.tanh(inner)))


def _selu(values: Array) -> Array:
    alpha, scale = np.float32(1.6732632423543772), np.float32(1.0507009873554805)
    return scale * np.where(values > 0, values, alpha * np.expm1(np.minimum(values, 0)))


def _softmax(layer: Layer, inputs: Sequence[Array]) -> Array:
    powers = np.exp(inputs[0] - inputs[0].max(axis=layer["axis"], keepdims=True))
    return np.asarray(powers / powers.sum(axis=layer["axis"], keepdims=True))


def _log_softmax(layer: Layer, inputs: Sequence[Array]) -> Array:
    shifted = inputs[0] - inputs[0].max(axis=layer["axis"], keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=layer["axis"], keepdims=True)))


def _slice(layer: Layer, inputs: Sequence[Array]) -> Array:
    spans = zip(layer["begin"], layer["end"], layer["strides"], strict=True)
    whole = [slice(None) if axis == 0 and span[0] == 0 else _span(*span) for axis, span in enumerate(spans)]
    return inputs[0][tuple(whole)]


def cut(layer: Layer, values: Array) -> Array:
    """What a slice takes of a constant, whose first axis is no batch."""
    return values[tuple(map(_span, layer["begin"], layer["end"], layer["strides"]))]


def _span(begin: int, end: int, step: int) -> slice:
    """Backwards, an end of -1 is before the first."""
    return slice(begin, None if step < 0 and end < 0 else end, step)


def _pad(layer: Layer, inputs: Sequence[Array]) -> Array:
    if layer["mode"] == "constant":
        return np.pad(inputs[0], layer["padding"], constant_values=layer["value"])
    mode: Any = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}[layer["mode"]]
    return np.asarray(np.pad(inputs[0], layer["padding"], mode=mode))


def _broadcast(layer: Layer, inputs: Sequence[Array]) -> Array:
    given = inputs[0].shape
    whole = len(given) < len(layer.shape) or given[0] == 1
    shape = layer.shape if whole else (given[0], *layer.shape[1:])
    return np.broadcast_to(inputs[0], shape)


def _concat(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Along an axis; a constant is joined to every picture."""
    count = max(len(values) for values in inputs) if layer["axis"] else 0
    same = [np.broadcast_to(v, (count, *v.shape[1:])) if count and len(v) == 1 else v for v in inputs]
    return np.concatenate(same, axis=layer["axis"])


def _along(layer: Layer, values: Array, shape: tuple[int, ...]) -> Array:
    """A scale or zero point, one for all or one each along the layer's axis, as it broadcasts against ``shape``."""
    if values.size == 1:
        return values.reshape(())
    side = [1] * len(shape)
    side[layer["axis"]] = -1
    return values.reshape(side)


def _quantize(layer: Layer, inputs: Sequence[Array]) -> Array:
    scale, zero = (_along(layer, value, inputs[0].shape) for value in inputs[1:3])
    limits = np.iinfo(layer["out_dtype"])
    return np.asarray(np.clip(np.rint(inputs[0] / scale) + zero, limits.min, limits.max), layer["out_dtype"])


def _dequantize(layer: Layer, inputs: Sequence[Array]) -> Array:
    scale, zero = (_along(layer, value, inputs[0].shape) for value in inputs[1:3])
    return np.asarray((inputs[0].astype(np.float32) - zero.astype(np.float32)) * scale, layer["out_dtype"])


def _reduction(name: str) -> Operation:
    function = getattr(np, name)

    def reduce(layer: Layer, inputs: Sequence[Array]) -> Array:
        return np.asarray(function(inputs[0], axis=layer["axes"], keepdims=layer["keepdims"]), dtype=inputs[0].dtype)

    return reduce


def _index_of(function: Callable[..., Any]) -> Operation:
    def find(layer: Layer, inputs: Sequence[Array]) -> Array:
        found = function(inputs[0], axis=layer["axis"], keepdims=layer["keepdims"])
        return np.asarray(found, dtype=layer.dtype)

    return find


def _unary(function: Callable[[Array], Any]) -> Operation:
    return lambda layer, inputs: np.asarray(function(inputs[0]), dtype=inputs[0].dtype)


def _plain(function: Callable[..., Any]) -> Operation:
    return lambda layer, inputs: np.asarray(function(*inputs))


FUNCTIONS: dict[str, Callable[[Array], Any]] = {
    **{name: getattr(np, name) for name in ("abs", "ceil", "cos", "exp", "floor", "log", "negative", "sign", "sin")},
    **{name: getattr(np, name) for name in ("sqrt", "square", "tanh", "trunc")},
    "erf": _erf,
    "gelu": lambda x: x * np.float32(0.5) * (1 + _erf(x / np.float32(np.sqrt(2)))),
    "gelu_tanh": _gelu_tanh,
    "hard_swish": lambda x: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1),
    "round": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "selu": _selu,
    "sigmoid": _sigmoid,
    "swish": lambda x: x * _sigmoid(x),
}

PLAIN: dict[str, Callable[..., Any]] = {
    **{n: getattr(np, n) for n in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "where")},
    **{n: getattr(np, n) for n in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")},
    **{n: getattr(np, n) for n in ("logical_and", "logical_or", "logical_not", "floor_divide")},
    "floor_mod": np.mod,
    "mod": np.fmod,
}

OPERATIONS: dict[str, Operation] = {
    **{name: _unary(function) for name, function in FUNCTIONS.items()},
    **{name: _plain(function) for name, function in PLAIN.items()},
    **{name: _reduction(name) for name in ("mean", "sum", "max", "min", "prod")},
    "variance": _reduction("var"),
    **INDEX_OPERATIONS,
    **WINDOW_OPERATIONS,
    "affine": _affine,
    "argmax": _index_of(np.argmax),
    "argmin": _index_of(np.argmin),
    "batch_norm": _batch_norm,
    "broadcast": _broadcast,
    "cast": lambda layer, inputs: inputs[0].astype(layer["to"]),
    "clip": _clip,
    "concat": _concat,
    "constant": _constant,
    "dequantize": _dequantize,
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "log_softmax": _log_softmax,
    "normalize": _normalize,
    "pad": _pad,
    "prelu": _prelu,
    "quantize": _quantize,
    "reshape": lambda layer, inputs: inputs[0].reshape(-1, *layer.shape[1:]) if layer.shape else inputs[0].reshape(()),
    "slice": _slice,
    "softmax": _softmax,
    "softplus": _softplus,
    "take": lambda layer, inputs: np.take(inputs[0], inputs[1], axis=layer["axis"]),
    "tile": lambda layer, inputs: np.tile(inputs[0], layer["repeats"]),
    "transpose": lambda layer, inputs: inputs[0].transpose(layer["order"]),
}
