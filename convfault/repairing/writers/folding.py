"""Which native constants to change so that a folded layer gets other effective parameters.

A canonical layer's weights and bias are ``weights * before * scale`` and ``(bias + weights · shift before) * scale +
shift`` over the constants of several operators. Nothing is taken on trust: the constants as they are must give the
layer's present parameters, and the changed ones the wanted parameters, each within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.document import Node

ROUNDING = 2e-5
"""Relative to the largest value: how far folding in float32 and float64 may differ."""
SAME = 2e-7
"""The same for numbers that are to change: nearer to each other nothing is gained by writing them."""


@dataclass(frozen=True)
class Put:
    """Numbers for input ``slot`` of an operator, in the shape that it wants."""

    node: Node
    slot: int
    values: Array


@dataclass(frozen=True)
class Step:
    """One operator ``x * scale + shift`` by channel, (C) each, float64.

    ``put_scale`` and ``put_shift`` say what to write for a step changed in that respect; None where it has no such
    constant. ``mean``: of a normalization, whose shift moves with its scale.
    """

    scale: Array
    shift: Array
    put_scale: Callable[[Step], list[Put]] | None = None
    put_shift: Callable[[Step], list[Put]] | None = None
    mean: Array | None = None

    def with_scale(self, scale: Array) -> Step:
        moved = self.shift if self.mean is None else self.shift + self.mean * (self.scale - scale)
        return replace(self, scale=scale, shift=moved)


@dataclass(frozen=True)
class Site:
    """The constants of a layer. ``weights`` are canonical but unfolded, None for a layer of scale and shift alone.

    ``put_weights`` and ``put_bias`` say what to write for other ones, given as canonical and unfolded arrays;
    ``put_bias`` is None where the operator has no place for a bias.
    """

    weights: Array | None
    bias: Array
    before: Sequence[Step] = field(default=())
    behind: Sequence[Step] = field(default=())
    put_weights: Callable[[Array], list[Put]] | None = None
    put_bias: Callable[[Array], list[Put]] | None = None


def solve(site: Site, layer: Layer, wanted: Mapping[str, Array]) -> list[Put] | None:
    """What to write so that the layer's parameters become the ``wanted`` ones; None where that cannot be.

    ``layer`` is the one before, whose parameters the site's constants must give.
    """
    names = ("weights", "bias") if site.weights is not None else ("scale", "shift")
    goal = [np.asarray(wanted[name], np.float64) for name in names]
    with np.errstate(all="ignore"):
        present = effective(site, layer)
        if not all(close(a, layer.parameters[name].values) for a, name in zip(present, names, strict=True)):
            return None
        for attempt in (_keep_scales, _rescale):
            found = attempt(site, layer, goal)
            if found is not None:
                changed, puts = found
                completed = _shift(changed, layer, goal[1])
                if completed is not None:
                    return [*puts, *completed]
    return None


def effective(site: Site, layer: Layer) -> tuple[Array, Array]:
    """The effective weights and bias (or scale and shift) of a site."""
    bias, weights = site.bias, site.weights
    if weights is None:
        weights = np.ones_like(bias)
    else:
        scale, shift = _composed(site.before, _depth(layer, weights))
        bias = bias + (weights * by_input(layer, shift)).sum(axis=_summed(layer, weights))
        weights = weights * by_input(layer, scale)
    scale, shift = _composed(site.behind, len(bias))
    factor = scale if site.weights is None else by_filter(layer, scale)
    return weights * factor, bias * scale + shift


def _composed(steps: Sequence[Step], count: int) -> tuple[Array, Array]:
    scale, shift = np.ones(count), np.zeros(count)
    for step in steps:
        scale, shift = scale * step.scale, shift * step.scale + step.shift
    return scale, shift


def _keep_scales(site: Site, layer: Layer, goal: list[Array]) -> tuple[Site, list[Put]] | None:
    """Other weights between the scales as they are, or no change at all where only the bias differs."""
    if _stays(layer, site.weights is None, goal) or close(effective(site, layer)[0], goal[0], SAME):
        return site, []
    if site.weights is None or site.put_weights is None or (found := _rescale(site, layer, goal)) is not None:
        return None if site.weights is None or site.put_weights is None else found
    before = by_input(layer, _composed(site.before, _depth(layer, site.weights))[0])
    behind = by_filter(layer, _composed(site.behind, len(site.bias))[0])
    weights = np.asarray((goal[0] / (before * behind)).astype(np.float32), np.float64)
    changed = replace(site, weights=weights)
    if not np.isfinite(weights).all() or not close(effective(changed, layer)[0], goal[0]):
        return None
    return changed, site.put_weights(weights)


def _rescale(site: Site, layer: Layer, goal: list[Array]) -> tuple[Site, list[Put]] | None:
    """One scale behind the weights changed, where that explains the whole difference."""
    for position, step in enumerate(site.behind):
        put = step.put_scale
        if put is None:
            continue
        neutral = [*site.behind[:position], replace(step, scale=np.ones_like(step.scale)), *site.behind[position + 1 :]]
        unscaled = effective(replace(site, behind=neutral), layer)[0]
        scale = _ratio(layer, unscaled, goal[0], site.weights is None)
        if scale is None:
            continue
        scale = np.asarray(scale.astype(np.float32), np.float64)
        new = step.with_scale(scale)
        changed = replace(site, behind=[*site.behind[:position], new, *site.behind[position + 1 :]])
        if close(effective(changed, layer)[0], goal[0]):
            return changed, put(new)
    return None


def _ratio(layer: Layer, values: Array, goal: Array, plain: bool) -> Array | None:
    """The factor of each filter that makes ``values`` the goal, by least squares."""
    if plain:
        return np.where(values == 0, 1.0, goal / np.where(values == 0, 1.0, values))
    if layer.kind == "transposed_convolution":
        return None
    flat, wanted = values.reshape(-1, values.shape[-1]), goal.reshape(-1, goal.shape[-1])
    below = (flat * flat).sum(axis=0)
    found = (flat * wanted).sum(axis=0) / np.where(below == 0, 1, below)
    return np.where(below == 0, 1.0, found) if np.isfinite(found).all() else None


def _shift(site: Site, layer: Layer, goal: Array) -> list[Put] | None:
    """The change of one shift that makes the bias the goal; nothing where it is."""
    present = effective(site, layer)[1]
    stays = np.array_equal(goal, layer.parameters["bias" if site.weights is not None else "shift"].values)
    if close(present, goal, ROUNDING if stays else SAME):
        return []
    difference = goal - present
    for position in range(len(site.behind) - 1, -1, -1):
        step = site.behind[position]
        after = _composed(site.behind[position + 1 :], len(goal))[0]
        if step.put_shift is not None and np.all(after != 0):
            shift = np.asarray((step.shift + difference / after).astype(np.float32), np.float64)
            new = replace(step, shift=shift)
            behind = [*site.behind[:position], new, *site.behind[position + 1 :]]
            if close(effective(replace(site, behind=behind), layer)[1], goal):
                return step.put_shift(new)
    scale = _composed(site.behind, len(goal))[0]
    if site.put_bias is None or np.any(scale == 0):
        return None
    bias = np.asarray((site.bias + difference / scale).astype(np.float32), np.float64)
    return site.put_bias(bias) if close(effective(replace(site, bias=bias), layer)[1], goal) else None


def _stays(layer: Layer, plain: bool, goal: list[Array]) -> bool:
    """Whether the weights are to be as they are: what folding rounds in them is left alone."""
    return np.array_equal(goal[0], layer.parameters["scale" if plain else "weights"].values)


def close(found: Array, wanted: Array, rounding: float = ROUNDING) -> bool:
    """Equal within rounding."""
    if found.shape != np.shape(wanted):
        return False
    size = max(float(np.abs(wanted).max(initial=0.0)), float(np.abs(found).max(initial=0.0)), 1e-30)
    return bool(np.all(np.abs(found - wanted) <= rounding * size))


def _depth(layer: Layer, weights: Array) -> int:
    """Number of input channels."""
    if layer.kind == "dense":
        return int(weights.shape[0])
    if layer.kind == "transposed_convolution":
        return int(weights.shape[3])
    return int(weights.shape[-2]) * int(layer["groups"])  # (H, W, C / groups, filters), or a product's (C, filters)


def _summed(layer: Layer, weights: Array) -> tuple[int, ...]:
    """The axes over which a shift before the layer adds up to a bias."""
    return (0, 1, 3) if layer.kind == "transposed_convolution" else tuple(range(weights.ndim - 1))


def by_input(layer: Layer, values: Array) -> Array:
    """One value an input channel, shaped to multiply the weights."""
    if layer.kind == "dense":
        return values[:, None]
    if layer.kind == "transposed_convolution":
        return values
    filters = int(layer.shape[-1])
    per_group = values.reshape(int(layer["groups"]), -1).T  # (C / groups, groups)
    return np.repeat(per_group, filters // int(layer["groups"]), axis=1)


def by_filter(layer: Layer, values: Array) -> Array:
    """One value a filter, shaped to multiply the weights."""
    if layer.kind != "transposed_convolution":
        return values
    groups, weights = int(layer["groups"]), layer.parameters["weights"].values
    per_group = values.reshape(groups, weights.shape[2]).T
    return np.repeat(per_group, weights.shape[3] // groups, axis=1)[None, None]
