"""Weights that differ only because a scale beside them went into them: part of a fault of the graph, none of their own.

Where an activation is lost between a normalization and a convolution, the normalization folds into the convolution's
weights, which the source's do not show. The place is told by the graph analyzer, whose cure restores the weights, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.graph.pairing import Pairing
from convfault.localization.graph.regions import Region, regions
from convfault.localization.parameters.batch_norm import Normalization
from convfault.relax.fingerprint import distance
from convfault.relax.graph import Array, Layer, Parameter
from convfault.relax.kinds import LINEAR
from convfault.relax.rules.affine import folded

EXPLAINED = 1e-4
"""What is left of a difference, relative to the largest weight, when it was explained."""

FOLDING = frozenset({"convolution", "dense"})


@lru_cache(maxsize=1)
def absorbed(case: Case) -> frozenset[str]:
    """Ids of the target's layers beside a place where the graphs differ whose weights took a scale from there."""
    pairing = Pairing(case.source.graph, case.target.graph, case.alignment)
    return frozenset(match.target for region in regions(pairing) for match in absorbing(pairing, region))


def absorbing(pairing: Pairing, region: Region) -> Iterator[Match]:
    """The layers beside one region that took a scale from it."""
    seen = set()
    for match, behind in _beside(pairing, region):
        if match.target not in seen and _took_scale(pairing, match, behind):
            seen.add(match.target)
            yield match


def refolded(pairing: Pairing, region: Region) -> Match | None:
    """The layer before, where the region is only a scale and shift that the other side has folded into it.

    Something else reads that layer as well, an output say, which keeps the scale from being folded on this side.
    """
    sides = (pairing.source, region.missing), (pairing.target, region.extra)
    if len(region.missing) + len(region.extra) != 1:
        return None
    graph, (name,) = next(side for side in sides if side[1])
    affine = graph[name]
    matches = pairing.to_target if graph is pairing.source else pairing.to_source
    if affine.kind != "affine" or affine.inputs[0] not in matches:
        return None
    match = matches[affine.inputs[0]]
    apart = graph[affine.inputs[0]]
    other = pairing.target[match.target] if graph is pairing.source else pairing.source[match.source]
    if apart.kind not in LINEAR or other.kind != apart.kind or match.order is not None:
        return None
    if not all({"weights", "bias"} <= layer.parameters.keys() for layer in (apart, other)):
        return None
    parameters = {name: Parameter(values) for name, values in folded(apart, affine).items()}
    return match if distance(replace(apart, parameters=parameters), other) <= EXPLAINED else None


def is_left_normalization(missing: Layer, extra: Layer) -> bool:
    """Whether the extra scale and shift are the normalization that stands behind the missing layer in its model."""
    normalization = Normalization.of(missing)
    if normalization is None or missing.kind not in LINEAR or extra.kind != "affine":
        return False
    values = [(extra.parameters[name].values, getattr(normalization, name)) for name in ("scale", "shift")]
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in values)


def _beside(pairing: Pairing, region: Region) -> Iterator[tuple[Match, bool]]:
    """The matched layers next to a region, and whether each is behind it; only rearranging ones are looked through."""
    for match in region.readers:
        yield from ((found, True) for found in _through(pairing, match))
    inside = [name for item in region.extra for name in pairing.target[item].inputs]
    for name in [*inside, *(slot.actual for slot in region.slots)]:
        if name in pairing.to_source:
            yield pairing.to_source[str(name)], False


def _through(pairing: Pairing, match: Match) -> Iterator[Match]:
    yield match
    if pairing.target[match.target].kind in {"reshape", "transpose"}:
        for name in pairing.target.readers[match.target]:
            if name in pairing.to_source:
                yield pairing.to_source[name]


def _took_scale(pairing: Pairing, match: Match, behind: bool) -> bool:
    """Whether the weights are the source's times one number for each channel that comes in, or each that goes out."""
    layer, other = pairing.source[match.source], pairing.target[match.target]
    if layer.kind not in FOLDING or other.kind != layer.kind or match.order is not None:
        return False
    if "weights" not in layer.parameters or distance(layer, other) <= EXPLAINED:
        return False
    expected, actual = (item.parameters["weights"].values.astype(np.float64) for item in (layer, other))
    axis = _axis(layer, behind)
    if expected.shape != actual.shape or axis is None:
        return False
    left = actual - expected * _ratios(expected, actual, axis)
    return bool(np.abs(left).max() <= EXPLAINED * max(float(np.abs(actual).max()), 1e-30))


def _axis(layer: Layer, behind: bool) -> int | None:
    """The axis of the weights along which a scale from before, or from behind, goes in."""
    groups, shape = layer.hyperparameters.get("groups", 1), layer.parameters["weights"].values.shape
    if not behind or (groups == shape[-1] and shape[-2] == 1):
        return len(shape) - 1
    return len(shape) - 2 if groups == 1 else None


def _ratios(expected: Array, actual: Array, axis: int) -> Array:
    others = tuple(place for place in range(expected.ndim) if place != axis)
    power = (expected * expected).sum(axis=others, keepdims=True)
    return np.asarray((expected * actual).sum(axis=others, keepdims=True) / np.where(power == 0, 1, power))
