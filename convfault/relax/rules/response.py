"""Statistics of neighbourhoods in one form: variance, and local response normalization over neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convfault.relax import evaluate
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Array, Layer
from convfault.relax.rules.normalization import own_variance
from convfault.relax.rules.smooth import close, number, scaled

MOVES = frozenset({"reshape", "transpose"})
ROOTS = {"sqrt": 0.5, "rsqrt": -0.5}
POOLS = frozenset({"average_pool", "nn.avg_pool3d"})


def to_variance(draft: Draft, layer: Layer) -> Layer | None:
    """The mean of (x - mean(x))², or the mean of x² less mean(x)²."""
    found = own_variance(draft, layer.id)
    if found is None:
        return None
    source, axes = found
    values = {"axes": axes, "keepdims": True}
    return replace(layer, kind="variance", inputs=(source,), hyperparameters=values)


def sum_to_mean(draft: Draft, layer: Layer) -> Layer | None:
    """A sum divided by the number of its values."""
    total = draft.input_of(layer)
    if total.kind != "sum" or not draft.single(total.id):
        return None
    shape = draft.input_of(total).shape
    _, scale, shift = scaled(draft, layer.id)
    count = float(np.prod([shape[axis] for axis in total["axes"]]))
    if scaled(draft, layer.id)[0] == layer.id or shift or not close(scale * count, 1.0):
        return None
    return replace(total, id=layer.id, kind="mean", native=layer.native.after(total.native))


@dataclass(frozen=True)
class _Averages:
    """A pooling by steps of one: of ``source``, moved by ``before`` (first to last), along ``axis``.

    It gives the mean times ``factor``.
    """

    source: str
    before: tuple[Layer, ...]
    axis: int
    size: int
    padding: tuple[int, int]
    factor: float


@dataclass(frozen=True)
class _Denominator:
    """(bias + alpha * pool) ** exponent, moved by ``moves`` behind the pooling."""

    pool: Layer
    moves: tuple[Layer, ...]
    alpha: float
    bias: float
    exponent: float


def to_local_response(draft: Draft, layer: Layer) -> Layer | None:
    """x / (bias + alpha * mean of x² over neighbouring channels) ** beta."""
    pairs = (layer.inputs,) if layer.kind == "divide" else (layer.inputs, layer.inputs[::-1])
    for value, other in pairs:
        below = _denominator(draft, other)
        beta = below.exponent if layer.kind == "divide" else -below.exponent
        averages = _averages(draft, below.pool) if beta > 0 else None
        axis = None if averages is None else _axis(draft, averages, below.moves, value)
        if averages is None or axis is None:
            continue
        values = {"axis": axis, "size": averages.size, "padding": averages.padding}
        values |= {"alpha": below.alpha * averages.factor, "beta": beta, "bias": below.bias}
        return replace(layer, kind="local_response", inputs=(value,), hyperparameters=values)
    return None


def _denominator(draft: Draft, name: str) -> _Denominator:
    moves, alpha, bias, exponent = list[Layer](), 1.0, 0.0, 1.0
    while True:
        layer = draft.layers[name]
        below = (alpha, bias) != (1.0, 0.0)
        power = None if below or exponent != 1 else _exponent(draft, layer)
        if layer.kind in MOVES:
            moves.insert(0, layer)
        elif power is not None:
            exponent = power
        elif layer.kind == "affine" and not below and scaled(draft, name)[0] != name:
            _, alpha, bias = scaled(draft, name)
        else:
            return _Denominator(layer, tuple(moves), alpha, bias, exponent)
        name = layer.inputs[0]


def _exponent(draft: Draft, layer: Layer) -> float | None:
    if layer.kind in ROOTS:
        return ROOTS[layer.kind]
    return number(draft, layer.inputs[1]) if layer.kind == "power" else None


def _averages(draft: Draft, pool: Layer) -> _Averages | None:
    values = pool.hyperparameters
    if pool.kind not in POOLS or not pool.inputs:
        return None
    size = tuple(values["size"] if "size" in values else values["pool_size"])
    long = [place for place, side in enumerate(size) if side != 1]
    counted = values.get("count_padding", values.get("count_include_pad"))
    if len(long) != 1 or any(step != 1 for step in values["strides"]) or any(s != 1 for s in values["dilation"]):
        return None
    inner, pads = draft.input_of(pool), _pads(values["padding"])
    first = 1 if pool.kind == "average_pool" else 2  # pictures have their channels last here, volumes first
    axis = long[0] + first
    padding = pads[long[0]]
    if any(any(pair) for place, pair in enumerate(pads) if place != long[0]) or (any(padding) and not counted):
        return None
    if inner.kind == "pad" and inner["mode"] == "constant" and inner["value"] == 0:
        if any(any(pair) for place, pair in enumerate(inner["padding"]) if place != axis):
            return None
        padding = (padding[0] + inner["padding"][axis][0], padding[1] + inner["padding"][axis][1])
        inner = draft.input_of(inner)
    before: list[Layer] = []
    while inner.kind in MOVES:
        before.insert(0, inner)
        inner = draft.input_of(inner)
    count = size[long[0]]
    if inner.kind != "square" or sum(padding) != count - 1:
        return None
    return _Averages(inner.inputs[0], tuple(before), axis, count, padding, count / values.get("divisor", count))


def _pads(given: Sequence[Any]) -> list[tuple[int, int]]:
    """Pairs for each axis, or all at the front before all at the back, as Relax has them."""
    if given and isinstance(given[0], (tuple, list)):
        return [(int(pair[0]), int(pair[1])) for pair in given]
    half = len(given) // 2
    return [(int(given[axis]), int(given[axis + half])) for axis in range(half)]


def _axis(draft: Draft, averages: _Averages, behind: Sequence[Layer], value: str) -> int | None:
    """The axis of ``value`` that is averaged along, if the moves before and behind undo each other.

    The moves may start and end with the value transposed: it is looked at behind its own moves, too.
    """
    shape, own = draft.layers[value].shape, list[Layer]()
    inner = draft.layers[value]
    while inner.id != averages.source and inner.kind in MOVES:
        own.insert(0, inner)
        inner = draft.input_of(inner)
    if inner.id != averages.source:
        return None
    places = np.arange(int(np.prod(inner.shape))).reshape(inner.shape)
    pooled = _moved(places, averages.before)
    if pooled.ndim <= averages.axis or not np.array_equal(_moved(pooled, behind), _moved(places, own)):
        return None
    plain = np.arange(int(np.prod(shape))).reshape(shape)
    ranks = np.empty(plain.size, int)
    ranks[_moved(places, own).reshape(-1)] = plain.reshape(-1)
    steps = np.diff(ranks[pooled], axis=averages.axis)
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    fitting = [
        axis
        for axis in range(1, len(shape))
        if shape[axis] == pooled.shape[averages.axis] > 1 and np.all(steps == strides[axis])
    ]
    return fitting[0] if fitting else None


def _moved(values: Array, moves: Sequence[Layer]) -> Array:
    for move in moves:
        values = values.reshape(move.shape) if move.kind == "reshape" else evaluate.evaluate(move, [values])
    return values


RULES = (
    Rule("to_variance", frozenset({"mean", "subtract"}), to_variance),
    Rule("to_local_response", frozenset({"divide", "multiply"}), to_local_response),
    Rule("sum_to_mean", frozenset({"affine"}), sum_to_mean),
)
