"""Where in a parameter the values differ, and by how much, in a few hundred numbers that a report can draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from convfault.localization.case import Case
from convfault.localization.counterparts import counterparts
from convfault.localization.parameters.difference import Difference
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Array

ROWS, COLUMNS, BINS = 16, 24, 25
"""At most so many fields of the heat map, and bars of the histogram."""


def picture(case: Case, suspect: Suspect) -> dict[str, Any] | None:
    """The picture of the first parameter that a suspect is about; None where there is nothing to compare.

    ``heat`` holds the largest absolute error of each field: columns are runs of the last axis (filters), rows runs of
    all other axes together; None marks a field with errors that are not finite. ``counts`` are the values whose
    actual - expected lies in each of equal bins from ``edges[0]`` to ``edges[1]``.
    """
    match = case.alignment.to_target.get(suspect.source or "")
    if suspect.kind != "parameters" or match is None or match.target != suspect.target:
        return None
    pair = counterparts(case, match)
    if pair is None or not pair.differing:
        return None
    named = (suspect.attribute or "").split(", ")
    name = next((name for name in named if name in pair.differing), next(iter(pair.differing)))
    return {"parameter": name, **drawn(pair.differing[name])}


def drawn(difference: Difference) -> dict[str, Any]:
    """The figures of a difference."""
    heat = pooled(difference.error.reshape(-1, difference.count if difference.error.ndim else 1))
    apart = (difference.actual.astype(np.float64) - difference.expected.astype(np.float64)).reshape(-1)
    apart = apart[np.isfinite(apart)]
    reach = float(np.abs(apart).max(initial=0.0))
    counts = np.histogram(apart, bins=BINS, range=(-reach, reach))[0] if reach else np.zeros(0, np.int64)
    return {
        "shape": list(difference.expected.shape),
        "heat": [[_short(value) for value in row] for row in heat],
        "edges": [-reach, reach],
        "counts": counts.tolist(),
    }


def pooled(errors: Array) -> Array:
    """The largest value of each field of a matrix (rows, columns) that is divided as evenly as can be."""
    rows, columns = (min(limit, side) for limit, side in zip((ROWS, COLUMNS), errors.shape, strict=True))
    for axis, parts in enumerate((rows, columns)):
        starts = np.arange(parts) * errors.shape[axis] // parts
        errors = np.maximum.reduceat(errors, starts, axis=axis)
    return errors


def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
