"""Normalizations in one form, whatever arithmetic a framework spells them with.

Batch normalization written as arithmetic with constants becomes ``batch_norm`` again, so that its epsilon and its
statistics are known; normalization by the picture's own mean and variance becomes ``normalize``.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer, Parameter
from convfault.relax.rules.affine import is_scalar
from convfault.relax.rules.rearrange import Factors, Move, moves_before, put_moves

TO_LAST, TO_FIRST, PICTURE = (0, 2, 3, 1), (0, 3, 1, 2), 4
TRANSPARENT = frozenset({"reshape", "cast", "broadcast"})


def _constant(draft: Draft, name: str, depth: int) -> Layer | None:
    """The constant behind reshapes and casts, if it has one value for each of ``depth`` channels."""
    layer = draft.layers[name]
    while layer.kind in TRANSPARENT:
        layer = draft.input_of(layer)
    right = layer.kind == "constant" and layer.parameters["values"].values.size in {1, depth}
    return layer if right else None


def _factors(draft: Draft, name: str) -> tuple[tuple[str, str], ...]:
    """Both readings of a product; none for another layer."""
    layer = draft.layers[name]
    if layer.kind != "multiply":
        return ()
    first, second = layer.inputs
    return (first, second), (second, first)


def _variance(draft: Draft, name: str, depth: int) -> tuple[Layer, float] | None:
    """Variance and epsilon of rsqrt(variance + epsilon)."""
    layer = draft.layers[name]
    while layer.kind in TRANSPARENT:
        layer = draft.input_of(layer)
    total = draft.input_of(layer) if layer.kind == "rsqrt" else None
    if total is None or total.kind != "add":
        return None
    for first, second in (total.inputs, total.inputs[::-1]):
        variance, epsilon = _constant(draft, first, depth), _constant(draft, second, 1)
        if variance is not None and epsilon is not None and variance.parameters["values"].values.size == depth:
            return variance, float(epsilon.parameters["values"].values.reshape(-1)[0])
    return None


def _scale(draft: Draft, name: str, depth: int) -> tuple[Layer, float, Layer | None] | None:
    """Variance, epsilon and gamma of rsqrt(variance + epsilon) * gamma."""
    if (found := _variance(draft, name, depth)) is not None:
        return (*found, None)
    layer = draft.layers[name]
    while layer.kind in TRANSPARENT:
        layer = draft.input_of(layer)
    for first, second in _factors(draft, layer.id):
        found, gamma = _variance(draft, first, depth), _constant(draft, second, depth)
        if found is not None and gamma is not None:
            return (*found, gamma)
    return None


def _shift(draft: Draft, name: str, scale: str, depth: int) -> tuple[Layer, Layer | None] | None:
    """Mean and beta of beta - mean * scale."""
    layer = draft.layers[name]
    while layer.kind in TRANSPARENT:
        layer = draft.input_of(layer)
    beta, product = None, layer.id
    if layer.kind == "subtract":
        beta, product = _constant(draft, layer.inputs[0], depth), layer.inputs[1]
        if beta is None:
            return None
    for first, second in _factors(draft, product):
        if second != scale:
            continue
        minus = draft.layers[first]
        if layer.kind != "subtract":
            minus = draft.input_of(minus) if minus.kind == "negative" else minus
            if minus.id == first:
                continue
        mean = _constant(draft, minus.id, depth)
        if mean is not None:
            return mean, beta
    return None


def sum_to_batch_norm(draft: Draft, layer: Layer) -> Layer | None:
    """x * s + (beta - mean * s) with s = gamma * rsqrt(variance + epsilon), along the last axis."""
    depth = layer.shape[-1] if layer.shape else 0
    for first, second in (layer.inputs, layer.inputs[::-1]):
        for value, scale in _factors(draft, first):
            if draft.layers[value].shape != layer.shape:
                continue
            parts, rest = _scale(draft, scale, depth), _shift(draft, second, scale, depth)
            if parts is None or rest is None:
                continue
            variance, epsilon, gamma = parts
            mean, beta = rest
            names = [
                _flat(draft, given, default, depth)
                for given, default in ((gamma, 1.0), (beta, 0.0), (mean, 0.0), (variance, 1.0))
            ]
            product = draft.layers[first]
            native = layer.native.after(product.native)
            return Layer(
                layer.id, "batch_norm", (value, *names), layer.shape, layer.dtype, {"epsilon": epsilon}, native=native
            )
    return None


def _flat(draft: Draft, layer: Layer | None, default: float, depth: int) -> str:
    """The id of a constant of shape (C)."""
    if layer is not None and layer.shape == (depth,):
        return layer.id
    given = Parameter(np.full(depth, default, np.float32)) if layer is None else layer.parameters["values"]
    values = np.broadcast_to(given.values.reshape(-1), (depth,))
    return draft.add("constant", (), (depth,), parameters={"values": given.with_values(values)}).id


def _own_mean(draft: Draft, name: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the axes when the layer is a mean of x that keeps them."""
    layer = draft.layers[name]
    return (layer.inputs[0], layer["axes"]) if layer.kind == "mean" and layer["keepdims"] else None


def _centred(draft: Draft, name: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the axes when the layer is x - mean(x)."""
    layer = draft.layers[name]
    found = _own_mean(draft, layer.inputs[1]) if layer.kind == "subtract" else None
    return found if found is not None and found[0] == layer.inputs[0] else None


def own_variance(draft: Draft, name: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the axes when the layer is the variance of x."""
    layer = draft.layers[name]
    if layer.kind == "variance":
        return (layer.inputs[0], layer["axes"]) if layer["keepdims"] else None
    if layer.kind == "subtract":  # mean(x²) - mean(x)²
        square = draft.layers[layer.inputs[1]]
        mean = _own_mean(draft, square.inputs[0]) if square.kind == "square" else None
        return mean if mean is not None and _mean_of_square(draft, layer.inputs[0]) == mean else None
    averaged = _mean_of_square(draft, name)
    found = None if averaged is None else _centred(draft, averaged[0])
    return found if averaged is not None and found is not None and found[1] == averaged[1] else None


def _mean_of_square(draft: Draft, name: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the axes when the layer is a mean of x² that keeps them."""
    averaged = _own_mean(draft, name)
    square = None if averaged is None else draft.layers[averaged[0]]
    if averaged is None or square is None or square.kind != "square":
        return None
    return square.inputs[0], averaged[1]


def _own_deviation(draft: Draft, name: str) -> tuple[str, tuple[int, ...], float] | None:
    """x, the axes and epsilon when the layer is rsqrt(variance(x) + epsilon)."""
    layer = draft.layers[name]
    total = draft.input_of(layer) if layer.kind == "rsqrt" else None
    if total is None or total.kind != "affine" or not is_scalar(total):
        return None
    found = own_variance(draft, total.inputs[0])
    scale, epsilon = (float(total.parameters[part].values.flat[0]) for part in ("scale", "shift"))
    return (*found, epsilon) if found is not None and scale == 1 else None


def product_to_normalize(draft: Draft, layer: Layer) -> Layer | None:
    """(x - mean(x)) * rsqrt(variance(x) + epsilon)."""
    for first, second in (layer.inputs, layer.inputs[::-1]):
        centred, deviation = _centred(draft, first), _own_deviation(draft, second)
        if centred is not None and deviation is not None and deviation[:2] == centred:
            values = {"axes": deviation[1], "epsilon": deviation[2]}
            return replace(layer, kind="normalize", inputs=(deviation[0],), hyperparameters=values)
    return None


def sum_to_normalize(draft: Draft, layer: Layer) -> Layer | None:
    """x * s + (beta - mean(x) * s) with s = gamma * rsqrt(variance(x) + epsilon): scaled and shifted behind."""
    depth = layer.shape[-1] if layer.shape else 0
    for first, second in (layer.inputs, layer.inputs[::-1]):
        for value, scale in _factors(draft, first):
            deviation, gamma = _scaled_deviation(draft, scale, depth)
            if deviation is None or deviation[0] != value:
                continue
            beta = _less_scaled_mean(draft, second, scale, deviation[:2])
            if beta is None or gamma is None:
                continue
            values = {"axes": deviation[1], "epsilon": deviation[2]}
            whole = draft.add("normalize", (value,), layer.shape, values)
            parameters = {"scale": _row(gamma, depth), "shift": _row(beta, depth)}
            return replace(layer, kind="affine", inputs=(whole.id,), hyperparameters={}, parameters=parameters)
    return None


Deviation = tuple[str, tuple[int, ...], float]


def _scaled_deviation(draft: Draft, name: str, depth: int) -> tuple[Deviation | None, Parameter | None]:
    """x, the axes and epsilon, and gamma, when the layer is gamma * rsqrt(variance(x) + epsilon)."""
    plain = Parameter(np.ones(depth, np.float32))
    layer = draft.layers[name]
    if layer.kind == "affine":
        shifted = np.any(layer.parameters["shift"].values)
        return (None, None) if shifted else (_own_deviation(draft, layer.inputs[0]), layer.parameters["scale"])
    for first, second in _factors(draft, name):
        gamma, found = _constant(draft, second, depth), _own_deviation(draft, first)
        if gamma is not None and found is not None and gamma.shape[-1:] == (depth,):
            return found, gamma.parameters["values"].with_values(gamma.parameters["values"].values.reshape(-1))
    return _own_deviation(draft, name), plain


def _less_scaled_mean(draft: Draft, name: str, scale: str, of: tuple[str, tuple[int, ...]]) -> Parameter | None:
    """beta when the layer is beta - mean * scale, whichever of the three has the sign."""
    rest, sign = draft.layers[name], 1.0
    if rest.kind != "affine" or len(set(rest.parameters["scale"].values.tolist())) != 1:
        return None
    sign *= float(rest.parameters["scale"].values[0])
    for factor, by in _factors(draft, rest.inputs[0]):
        mean, turn = draft.layers[factor], 1.0
        if mean.kind == "affine" and is_scalar(mean) and not np.any(mean.parameters["shift"].values):
            turn, mean = float(mean.parameters["scale"].values[0]), draft.input_of(mean)
        if by == scale and sign * turn == -1 and _own_mean(draft, mean.id) == of:
            return rest.parameters["shift"]
    return None


def _row(parameter: Parameter, depth: int) -> Parameter:
    return parameter.with_values(np.broadcast_to(parameter.values, (depth,)))


def rearranged_to_groups(draft: Draft, layer: Layer) -> Layer | None:
    """A picture that is cut up so that each group of its channels lies along axes of its own, and normalized there."""
    chain = moves_before(draft, layer)
    if "groups" in layer.hyperparameters or all(move.kind == "transpose" for move in chain):
        return None
    source, moves = draft.input_of(chain[0]), [Move.of(move) for move in chain]
    groups = _groups_of(source.shape, moves, layer["axes"]) if len(source.shape) == PICTURE else None
    if groups is None:
        return None
    channels, count = groups
    native, picture = replace(layer.native, tensor=None, permutation=None), source
    if channels == 1:
        values = {"order": TO_LAST}
        picture = draft.add("transpose", (source.id,), [source.shape[axis] for axis in TO_LAST], values)
        moves.insert(0, Move("transpose", source.shape, TO_FIRST))
    values = _grouped(count, picture.shape[-1], layer["epsilon"])
    found = draft.add("normalize", (picture.id,), picture.shape, values, native=native)
    return put_moves(draft, found.id, moves, replace(layer, native=layer.native.shown))


def _groups_of(shape: tuple[int, ...], moves: list[Move], axes: tuple[int, ...]) -> tuple[int, int] | None:
    """The axis of the channels and the number of their groups, when each group is normalized on its own."""
    factors = Factors.moved(shape, moves)
    if factors is None or (0 in axes and shape[0] != 1):
        return None
    apart = {number for axis, parts in enumerate(factors.axes) if axis not in axes for number in parts}
    for axis, parts in enumerate(factors.of_source()):
        outer = [number for number in parts if number in apart]
        if outer and set(outer) == apart:
            fits = axis in {1, PICTURE - 1} and parts[: len(outer)] == outer
            return (axis, prod(factors.sizes[number] for number in outer)) if fits else None
    return None if apart else (PICTURE - 1, 1)


def _grouped(groups: int, depth: int, epsilon: float) -> dict[str, Any]:
    """Hyperparameters over a picture (N, H, W, C): one group is everything, as many as channels are each its own."""
    if groups in {1, depth}:
        return {"axes": (1, 2, 3) if groups == 1 else (1, 2), "epsilon": epsilon}
    return {"axes": (1, 2, 3), "epsilon": epsilon, "groups": groups}


RECOGNIZE = (Rule("sum_to_batch_norm", frozenset({"add"}), sum_to_batch_norm),)
"""Must be tried before constants are computed ahead."""

RULES = (
    Rule("product_to_normalize", frozenset({"multiply"}), product_to_normalize),
    Rule("sum_to_normalize", frozenset({"add"}), sum_to_normalize),
    Rule("rearranged_to_groups", frozenset({"normalize"}), rearranged_to_groups),
)
