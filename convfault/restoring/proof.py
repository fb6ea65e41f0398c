"""A ``Proof``: a repaired file opened afresh by its own runtime and compared with the source on all of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convfault.comparing.compare import Severity, severity
from convfault.comparison import AGREE
from convfault.measurement import Measurement, measure_pair
from convfault.model import Model
from convfault.preparation import inspected
from convfault.preprocessing import Preprocessing
from convfault.repairing.order import LABELS
from convfault.request import Context, Request
from convfault.trace import StoredTrace

HELD_OUT = 5
"""Every so many-th picture is held out of the search, where there are at least twice as many."""


def held_out(count: int) -> frozenset[int]:
    """The rows of the data that no search looks at."""
    return frozenset(range(HELD_OUT - 1, count, HELD_OUT)) if count >= 2 * HELD_OUT else frozenset()


@dataclass(frozen=True)
class Proof:
    """What the written ``model`` answers. ``worse``: how many pictures it answers worse than the target did before."""

    model: Model
    found: Measurement
    worse: int = 0

    def reached(self, goal: str) -> bool:
        """Whether the answers agree, or, when only labels are asked for, no label differs."""
        comparison = self.found.comparison
        if comparison.verdict == AGREE:
            return True
        return goal == LABELS and comparison.top1_disagreement == 0

    def flipped(self) -> tuple[int, ...]:
        """The rows whose label differs."""
        return tuple(int(row) for row in np.flatnonzero(pictures(self.found).flipped))

    def held_out(self, goal: str) -> dict[str, Any] | None:
        """The figures of the pictures that no search has seen, None where none was held out."""
        rows = sorted(held_out(self.found.comparison.images))
        if not rows or not self.found.traces:
            return None
        found, labels = pictures(self.found), self.found.comparison.top1_disagreement is not None
        flips, error = float(found.flipped[rows].mean()), float(np.max(found.error[rows]))
        sound = not found.unmatched[rows].any() and bool((found.excess[rows] <= 1).all())
        return {
            "images": len(rows),
            "top1_disagreement": flips if labels else None,
            "max_abs_error": error if np.isfinite(error) else None,
            "reached": sound or (goal == LABELS and flips == 0),
        }


FEW = 32
"""Pictures whose answers show what numbers they are."""


def pictures(found: Measurement) -> Severity:
    """How badly each picture is off."""
    tolerances = [output.tolerance for output in found.comparison.outputs][: len(found.traces[0].outputs)]
    return severity(found.traces[0], found.traces[1], tolerances)


def prove(
    model: Model, before: Measurement, request: Request, context: Context, corrected: Mapping[str, Any] | None = None
) -> Proof:
    """Run a written model in the target's stead; ``corrected`` is the preprocessing that goes with it, if changed.

    Raises ``ConvfaultError`` when its own runtime cannot open or run it.
    """
    target = before.pair.target
    assert target is not None
    fed = target.preprocessing if corrected is None else Preprocessing.from_record(corrected)
    assert fed is not None
    model = replace(model, trusted=target.trusted, metadata=target.metadata)
    model = inspected(model, request.target_runtime, context).with_preprocessing(fed)
    pair = replace(before.pair, target=model, conversion=None, failure="")
    found = measure_pair(pair, request, context)
    return Proof(model, found, _worse(before, found))


def _worse(before: Measurement, after: Measurement) -> int:
    """How many pictures deviate by more than they did and the tolerance, or have a wrong label that they had not.

    Where the target answers in half precision it can be off by a step of that, more or less.
    """
    if not before.traces or not after.traces:
        return 0
    one, other = pictures(before), pictures(after)
    limit = after.comparison.outputs[0].tolerance.value + _half_step(after.traces[1])
    with np.errstate(invalid="ignore"):
        further = other.error > one.error + limit
    broken = other.unmatched & ~one.unmatched
    return int(((other.excess > 1) & further | other.flipped & ~one.flipped & (other.excess > 1) | broken).sum())


def _half_step(trace: StoredTrace) -> float:
    """The distance of neighbouring answers where they are in half precision, as the first pictures show; else 0."""
    values = np.asarray(trace.read(trace.outputs[0], 0, FEW), np.float32)
    finite = values[np.isfinite(values) & (values != 0)]
    if not finite.size or not np.array_equal(finite.astype(np.float16).astype(np.float32), finite):
        return 0.0
    return float(np.spacing(np.float16(np.abs(finite).max())))
