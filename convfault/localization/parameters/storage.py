"""Recognizes outputs that the target stores as integers: rounded, cut off by too narrow a range, or too coarse.

Quantizers choose the scale of an activation from the values that they saw in calibration. What lies beyond the range
is cut off; a range that is far too wide leaves few integers for the values that occur. Half precision needs no scale,
and what is too large for it becomes infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from convfault.localization.activations import arranged
from convfault.localization.case import Case
from convfault.localization.parameters.causes import CAUSES
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit, KeepFloat, SetHyperparameters, Together
from convfault.relax.graph import Array, Layer
from convfault.relax.imported import Encoding
from convfault.relax.rounding import HALF, limits, measured, span, step

MOVES = frozenset({"reshape", "transpose", "max_pool", "slice", "pad", "concat", "tile", "broadcast"})
"""Kinds whose output holds values of their inputs alone: in the same integers, nothing is rounded again."""

BEYOND = 4
"""Steps by which values must lie beyond the range to be called cut off: calibration saw other pictures."""

UNUSED = 8.0
"""The range is too wide when it is so many times what the values span."""


@dataclass(frozen=True)
class _Stored:
    """Layers that hold the same integers, and the values that the source has there."""

    layers: tuple[Layer, ...]
    encoding: Encoding
    expected: Array


def stored(case: Case) -> Iterator[Suspect]:
    """The outputs that the target rounds and the source does not, in the target's order."""
    for layers in _alike(case):
        first = layers[0]
        source = case.alignment.to_source.get(first.id)
        encoding = first.rounding
        if encoding is None or first.id not in case.target.values:
            continue
        if source is not None and case.source.graph[source.source].rounding is not None:
            continue
        expected = case.target.values[first.id]
        if source is not None and source.source in case.source.values:
            wanted = arranged(case.source.values[source.source], source.order)
            expected = wanted if wanted.shape == expected.shape else expected
        yield _suspect(case, _Stored(layers, encoding, expected), None if source is None else source.source)


def unrounded(case: Case) -> Iterator[Suspect]:
    """The outputs that the source rounds and the target does not: a converter that made the model float again."""
    for match in case.alignment.matches:
        before, after = case.source.graph[match.source].rounding, case.target.graph[match.target].rounding
        if before is None or after is not None:
            continue
        yield Suspect(
            kind="parameters",
            cause="rounding_missing",
            explanation=f"The outputs are in float, and the source rounds them to {before.dtype}.",
            suggestion=CAUSES["rounding_missing"].repair,
            source=match.source,
            target=match.target,
            attribute="output",
            expected=_stored_as(before),
            actual="in float",
            evidence={"group": "rounding_missing", "no_edit": "a value in float is not rounded again"},
            confidence=match.confidence,
        )


def _alike(case: Case) -> Iterator[tuple[Layer, ...]]:
    """Layers that hold the same values in the same integers, those first that compute them."""
    graph = case.target.graph
    joined = DisjointSet(layer.id for layer in graph if layer.rounding is not None)
    for layer in graph:
        for name in layer.inputs if layer.kind in MOVES else ():
            before, here = graph[name].rounding, layer.rounding
            if before is not None and here is not None and _steps(before) == _steps(here):
                joined.merge(name, layer.id)
    groups = [sorted(found, key=graph.position) for found in joined.subsets()]
    for found in sorted(groups, key=lambda names: graph.position(names[0])):
        yield tuple(graph[name] for name in found)


def _steps(encoding: Encoding) -> tuple[object, ...]:
    return encoding.dtype, encoding.scales, encoding.zero_points


def _stored_as(encoding: Encoding) -> str:
    if encoding.at_run_time:
        return f"in {encoding.dtype}, in steps that are found for each picture"
    if encoding.dtype == HALF:
        return f"in {encoding.dtype}"
    low, high = span(encoding)
    return f"{low:.4g} to {high:.4g}, in steps of {max(encoding.scales):.4g}"


def _suspect(case: Case, found: _Stored, source: str | None) -> Suspect:
    first, finite = found.layers[0], found.expected[np.isfinite(found.expected)]
    encoding = measured(finite, found.encoding) if found.encoding.at_run_time else found.encoding
    low, high = span(encoding)
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (low, high)
    coarse = step(encoding, finite)
    outside = float(np.mean((finite < low - coarse / 2) | (finite > high + coarse / 2))) if finite.size else 0.0
    evidence = {
        "rounded_to": encoding.dtype,
        "scale": coarse,
        "range": [low, high],
        "source_range": [least, most],
        "clipped_share": outside,
    }
    cause, phrase = _told(found.encoding, encoding, (least, most), outside)
    if cause.endswith("_rounding"):
        evidence["group"] = f"{encoding.dtype}_outputs"
    return Suspect(
        kind="parameters",
        cause=cause,
        explanation=f"The {'pictures' if first.kind == 'input' else 'outputs'} {phrase}.",
        suggestion=CAUSES[cause if cause in CAUSES else "int8_rounding"].repair,
        source=source,
        target=first.id,
        attribute="output",
        expected=f"{least:.4g} to {most:.4g}, in float",
        actual=_stored_as(found.encoding),
        evidence=evidence,
        edit=_kept(case, found, source),
    )


def _told(given: Encoding, encoding: Encoding, values: tuple[float, float], outside: float) -> tuple[str, str]:
    """The cause, and what completes "The outputs"; ``encoding`` has the steps that were found at run time."""
    title, (low, high), (least, most) = encoding.dtype, span(encoding), values
    if title == HALF:
        if outside:
            return "activation_overflow", f"reach {max(-least, most):.4g}, too large for {title}: they become infinite"
        return f"{title}_rounding", f"are rounded to {title}"
    coarse, (lowest, highest) = max(encoding.scales), limits(encoding)
    if max(low - least, most - high) > BEYOND * coarse:
        phrase = f"are cut off at {low:.4g} and {high:.4g}, where the range of their {title} numbers ends"
        reach = f": the source's reach from {least:.4g} to {most:.4g}, and {outside:.2%} of them lie beyond"
        return "activation_clipped", phrase + reach
    if UNUSED * (max(most, 0.0) - min(least, 0.0)) < high - low:
        used, count = (most - least) / coarse, highest - lowest + 1
        return (
            "activation_scale",
            f"use about {used:.0f} of the {count} numbers of {title}: a step of {coarse:.4g} is coarse",
        )
    chosen = "are found anew for each picture" if given.at_run_time else "were chosen from a measured range"
    return f"{title}_rounding", f"are rounded to {title}, in steps that {chosen}"


def _kept(case: Case, found: _Stored, source: str | None) -> Edit:
    """In float; an activation that the range of the integers stood for gets the source's bounds."""
    first, edit = found.layers[0], KeepFloat(tuple(layer.id for layer in found.layers))
    before = None if source is None else case.source.graph[source]
    if before is None or before.kind != "clip" or first.kind != "clip":
        return edit
    bounds = {name: before[name] for name in ("minimum", "maximum") if before[name] != first[name]}
    return Together((edit, SetHyperparameters(first.id, bounds))) if bounds else edit
