"""Recognizes batch normalization that was folded wrongly, from the scale that each channel ended up with.

Folding multiplies the weights of channel c by ``gamma / sqrt(variance + epsilon)``. Another epsilon changes it by
``sqrt((variance + e1) / (variance + e2))``: all channels to the same side, those of small variance most. Where the
statistics are known (the operator exists in one of the two models) every hypothesis is tried exactly; where both
models have folded them away, only its pattern tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.localization.parameters.grain import FLOAT16
from convfault.relax.graph import Array, Layer

FIELDS = ("gamma", "beta", "mean", "variance")
CHANNELS = 6
"""Of fewer channels, all being off to the same side is chance: 2**-5 at six."""
USUAL = 0.5
"""Epsilon seldom changes a typical channel by more than this; a variance or gamma left out does."""


@dataclass(frozen=True, eq=False)
class Normalization:
    """What a batch normalization has, each (C) float64, in the target's order of channels."""

    epsilon: float
    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    @classmethod
    def of(cls, layer: Layer, order: tuple[int, ...] | None = None) -> Normalization | None:
        """That of a layer, where the operator exists natively and is as wide as the layer's output."""
        found = layer.details.get("batch_norm")
        if not isinstance(found, Mapping):
            return None
        channels = layer.shape[-1]
        parts = {name: _array(found[name]) for name in FIELDS}
        if any(part.size not in {1, channels} for part in parts.values()):
            return None
        whole = {name: np.broadcast_to(part.reshape(-1), (channels,)) for name, part in parts.items()}
        if order is not None and len(order) == channels:
            whole = {name: part[list(order)] for name, part in whole.items()}
        return cls(float(found["epsilon"]), **whole)

    def with_changes(self, **changes: Any) -> Normalization:
        return Normalization(**{**{"epsilon": self.epsilon, **self.parts}, **changes})

    @property
    def parts(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def scale(self) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.gamma / np.sqrt(self.variance + self.epsilon))

    @property
    def shift(self) -> Array:
        return np.asarray(self.beta - self.mean * self.scale)


def _array(value: Any) -> Array:
    return np.asarray(getattr(value, "values", value), np.float64)


@dataclass(frozen=True, eq=False)
class Folding:
    """The weights (or scale) and the bias (or shift) of one layer on both sides, and what is known of their origin.

    ``bias`` is the whole parameter, differing or not; ``weights`` None: they don't differ. ``likely``: one of the
    models has a batch normalization there; ``native``: the target has.
    """

    weights: Difference | None
    bias: Difference | None
    source: Normalization | None
    target: Normalization | None
    likely: bool
    native: bool

    @property
    def ratios(self) -> Array | None:
        """By how much each channel's scale is off; None where the weights are not the source's scaled by channel."""
        if self.weights is None:
            return None
        values = self.weights
        ratios = values.ratios
        return ratios if values.near(values.expected * ratios.astype(np.float32)) else None


def misfolded(folding: Folding) -> Finding | None:
    """What is wrong with the batch normalization of a layer."""
    if folding.source is not None and folding.target is not None:
        return _between(folding, folding.source, folding.target)
    if folding.source is not None:
        return _from_known(folding, folding.source)
    if folding.target is not None:
        return _from_target(folding, folding.target)
    return _by_pattern(folding) if folding.likely else None


def _between(folding: Folding, source: Normalization, target: Normalization) -> Finding | None:
    """Both sides are known: which field differs."""
    names = [name for name in FIELDS if not _alike(source.parts[name], target.parts[name])]
    if not np.isclose(source.epsilon, target.epsilon, rtol=1e-5, atol=0):
        names.insert(0, "epsilon")
    if not names or not _explains(folding, source, target):
        return None
    if names == ["epsilon"]:
        return _epsilon(source.epsilon, target.epsilon, folding, 1.0)
    if all(name != "epsilon" and _is_halved(source.parts[name], target.parts[name]) for name in names):
        title = FLOAT16.title
        phrase = f"are rounded to {title}, in the file or on the way there"
        return Finding(f"{title}_rounding", phrase, {"rounded_to": title, "fields": names}, 1.0, f"{title}_rounding")
    swapped = next((text for text, other in _misread(source) if _same(other, target)), None)
    if swapped is not None:
        return Finding("batch_norm_swapped", f"are normalized with {swapped}", {"fields": names})
    evidence = {"fields": {name: _field(source, target, name) for name in names}}
    statistics = {"mean", "variance"} & set(names)
    cause = "batch_norm_statistics" if statistics else "batch_norm_weights"
    return Finding(cause, f"are normalized with another {' and '.join(names)}", evidence)


def _alike(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=2e-6, atol=2e-6 * float(np.abs(a).max(initial=0.0))))


def _is_halved(exact: Array, stored: Array) -> bool:
    """Whether these are the same numbers in half precision."""
    numbers = stored.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.array_equal(numbers.astype(np.float16).astype(np.float32), numbers)
        return held and bool(np.all(np.abs(stored - exact) <= 1.01 * FLOAT16.slack(stored)))


def _same(a: Normalization, b: Normalization) -> bool:
    return all(_alike(a.parts[name], b.parts[name]) for name in FIELDS)


def _field(source: Normalization, target: Normalization, name: str) -> dict[str, Any]:
    if name == "epsilon":
        return {"expected": source.epsilon, "actual": target.epsilon}
    a, b = source.parts[name], target.parts[name]
    return {"expected": _few(a), "actual": _few(b), "relative": float(np.linalg.norm(b - a) / (np.linalg.norm(a) or 1))}


def _few(values: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in values[:4]]


def _explains(folding: Folding, source: Normalization, other: Normalization) -> bool:
    """Whether folding ``other`` in instead of ``source`` gives the target's weights and bias."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = other.scale / np.where(source.scale == 0, 1, source.scale)
        weights = folding.weights
        if weights is None and not np.allclose(ratios, 1, rtol=2e-6):
            return False
        if weights is not None and not _near(weights, weights.expected * ratios.astype(np.float32)):
            return False
        if folding.bias is None:
            return True
        bias = (folding.bias.expected - source.shift) * ratios + other.shift
    size = np.abs(source.shift).max(initial=0.0) + np.abs(other.shift).max(initial=0.0)
    return _near(folding.bias, bias.astype(np.float32), 4e-6 * float(np.nan_to_num(size)))


def _near(difference: Difference, candidate: Array, extra: float = 0.0) -> bool:
    """Near, where values that are not finite on both sides count as equal."""
    finite = np.isfinite(candidate)
    if not np.array_equal(finite, np.isfinite(difference.actual)):
        return False
    error = np.abs(np.where(finite, candidate, 0) - np.where(finite, difference.actual, 0))
    relative = 4e-6 * np.abs(np.where(finite, candidate, 0))
    return bool(np.all(error <= difference.slack + relative + extra))


def _misread(source: Normalization) -> Iterator[tuple[str, Normalization]]:
    """The statistics put in each other's places."""
    for order in permutations(FIELDS):
        if order != FIELDS:
            moved = [f"{b} as {a}" for a, b in zip(FIELDS, order, strict=True) if a != b]
            changes = {a: source.parts[b] for a, b in zip(FIELDS, order, strict=True)}
            yield ", ".join(moved), source.with_changes(**changes)


def _dropped(source: Normalization) -> Iterator[tuple[str, Normalization]]:
    """Single parts left out, and the whole."""
    one, zero = np.ones_like(source.gamma), np.zeros_like(source.gamma)
    yield "gamma", source.with_changes(gamma=one)
    yield "beta", source.with_changes(beta=zero)
    yield "mean", source.with_changes(mean=zero)
    yield "variance", source.with_changes(variance=one - source.epsilon)
    yield "mean and variance", source.with_changes(mean=zero, variance=one - source.epsilon)


def _from_known(folding: Folding, source: Normalization) -> Finding | None:
    """The source's statistics are known, the target's folded away: which wrong folding gives the target?"""
    ratios = folding.ratios
    if ratios is not None and np.all(ratios > 0):
        for found in _fitted_epsilons(source, ratios):
            if _explains(folding, source, source.with_changes(epsilon=found)):
                return _epsilon(source.epsilon, found, folding, 1.0)
    for text, other in _misread(source):
        if _explains(folding, source, other):
            return Finding("batch_norm_swapped", f"are normalized with {text}", {})
    one, zero = np.ones_like(source.gamma), np.zeros_like(source.gamma)
    identity = Normalization(0.0, one, zero, zero, one)
    if _explains(folding, source, identity):
        return Finding("batch_norm_missing", "lack the batch normalization", {})
    for text, other in _dropped(source):
        if _explains(folding, source, other):
            cause = "batch_norm_weights" if text in {"gamma", "beta"} else "batch_norm_statistics"
            return Finding(cause, f"are normalized without {text}", {"missing": text})
    return _by_pattern(folding)


def _fitted_epsilons(known: Normalization, ratios: Array) -> Iterator[float]:
    """Epsilons that may explain how the scales are off, by the channels where it matters most, the roundest first."""
    values = (known.variance + known.epsilon) / ratios**2 - known.variance
    sensitive = np.argsort(known.variance)[: max(len(values) // 4, 1)]
    found = float(np.median(values[sensitive]))
    if np.isfinite(found) and found > 0:
        yield from dict.fromkeys(float(f"{found:.{digits}g}") for digits in range(1, 8))


def _from_target(folding: Folding, target: Normalization) -> Finding | None:
    """Only the target's statistics are known: the source's epsilon is the one that explains the scales."""
    ratios = folding.ratios
    if ratios is None or np.any(ratios <= 0):
        return _by_pattern(folding)
    weights = folding.weights
    for found in _fitted_epsilons(target, 1 / ratios):
        fitted = np.sqrt((target.variance + found) / (target.variance + target.epsilon))
        if weights is not None and _near(weights, weights.expected * fitted.astype(np.float32)):
            return _epsilon(found, target.epsilon, folding, 0.95)
    return _by_pattern(folding)


def _epsilon(expected: float | None, actual: float | None, folding: Folding, confidence: float) -> Finding:
    evidence: dict[str, Any] = {"epsilon": {"expected": expected, "actual": actual}}
    if folding.ratios is not None:
        evidence["ratios"] = [float(f"{value:.7g}") for value in np.quantile(folding.ratios, (0, 0.5, 1))]
    phrase = "are normalized with another epsilon"
    if expected is not None and actual is not None:
        phrase = f"are normalized with epsilon {actual:g} instead of {expected:g}"
    return Finding("batch_norm_epsilon", phrase, evidence, confidence, "batch_norm_epsilon")


def _by_pattern(folding: Folding) -> Finding | None:
    """No statistics at hand: all scales off to one side mean epsilon, to both sides other statistics."""
    ratios = folding.ratios
    if ratios is None or folding.weights is None:
        return _moved(folding)
    changed = ratios[folding.weights.channels]
    if len(changed) < max(CHANNELS, len(ratios) / 2) or np.ptp(changed) < 1e-3 * np.abs(changed - 1).max():
        return None
    evidence = {"ratios": [float(f"{value:.7g}") for value in np.quantile(ratios, (0, 0.5, 1))]}
    one_sided = np.all(changed > 1) or np.all((changed < 1) & (changed > 0))
    if one_sided and abs(float(np.median(changed)) - 1) < USUAL:
        return _epsilon(None, None, folding, 0.7)
    if np.all(changed > 0):
        phrase = "are normalized with other statistics: every channel has another scale"
        return Finding("batch_norm_statistics", phrase, evidence, 0.7)
    return None


def _moved(folding: Folding) -> Finding | None:
    """The weights are right and the bias of most channels is not: where the target has a mean, it is another."""
    bias = folding.bias
    if folding.weights is not None or bias is None or not folding.native or not bias.actual.any():
        return None
    if len(bias.channels) < max(CHANNELS, bias.count / 2):
        return None
    return Finding("batch_norm_statistics", "are normalized with another mean", {}, 0.6)
