"""How far a sound conversion may deviate, derived from the source itself: docs/tolerance.md explains and measures it.

The source is run again on a few pictures with every weight off by a few units of float32's roundoff. By backward error
analysis (Higham, Accuracy and Stability of Numerical Algorithms, chapter 3; Higham and Mary 2019, "A new approach to
probabilistic rounding error analysis") a sound implementation that sums in another order, or folds one layer into the
next, gives the exact answer of weights that are off by about so much. So its answers deviate about as much as those of
the perturbed source, whatever the model: no number has to be guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.comparing import metrics
from convfault.comparing.compare import paired_errors
from convfault.comparison import Tolerance
from convfault.errors import ConvfaultError
from convfault.trace import StoredTrace

RELATIVE = 2.0**-22
"""Standard deviation of the weights' relative change: four units of float32's roundoff."""

FACTOR = 4.0
"""How many times the noise a target may deviate; sound conversions deviate up to 0.7 times the noise."""

SEEDS = (0, 1)
PICTURES = 12

ULPS = 8.0
"""At least so many units in the last place of the largest output are forgiven: activations are approximated, too."""

SUSPECTS = 4
BEYOND_NOISE = 1000.0
"""No picture's noise is so many times the others': a target that deviates more need not be looked at again."""

LEVELS = 256
"""Values that an 8-bit quantized output can have."""


@dataclass(frozen=True)
class NoisePlan:
    """The runs of the source that its noise is measured by: ``rows`` of the data, one by one, once for each seed.

    ``relative`` is the perturbation's (see ``frameworks.base.Perturbation``).
    """

    rows: tuple[int, ...]
    seeds: tuple[int, ...] = SEEDS
    relative: float = RELATIVE


def plan(count: int) -> NoisePlan:
    """What to run for a data set of ``count`` pictures: a few, spread evenly, so that sorted classes are all met."""
    return NoisePlan(tuple(sorted({int(row) for row in np.linspace(0, count - 1, min(PICTURES, count))})))


def second_look(source: StoredTrace, target: StoredTrace, tolerances: Sequence[Tolerance]) -> NoisePlan | None:
    """What more to run before two models are said to differ: the pictures that deviate most, the worst of each output.

    Noise varies between pictures (that of softmax grows as confidence falls), and the few of ``plan`` may have little.
    If the conversion is sound, the pictures that deviate most are those with most noise, so measuring it there settles
    the matter; if it isn't, the noise there does not reach the deviation. None where nothing exceeds its tolerance, or
    does so beyond all noise.
    """
    rows: set[int] = set()
    for index, errors in enumerate(paired_errors(source, target)):
        if errors is None or index >= len(tolerances):
            continue
        limit = tolerances[index].value
        order = np.argsort(-np.nan_to_num(errors, nan=np.inf), kind="stable")[:SUSPECTS]
        if not errors[order[0]] <= max(limit, np.finfo(np.float64).tiny) * BEYOND_NOISE:
            return None
        rows.update(int(row) for row in order if errors[row] > limit)
    return NoisePlan(tuple(sorted(rows))) if rows else None


def derive(clean: StoredTrace, perturbed: Sequence[StoredTrace], rows: Sequence[int]) -> tuple[Tolerance, ...]:
    """One tolerance for each output of the source.

    ``clean`` is its run over all pictures, ``perturbed`` its runs over ``rows`` only, one for each seed. The tolerance
    is ``FACTOR`` times the largest deviation, at least ``ULPS`` units in the last place of the largest value, and at
    least one step of a quantized output (one rounding that goes the other way). An output of integers (labels,
    counts) has to be equal.
    """
    if any(len(run) != len(rows) for run in perturbed):
        raise ConvfaultError(f"the noise runs have {[len(run) for run in perturbed]} pictures instead of {len(rows)}")
    return tuple(_of_output(clean, perturbed, rows, name) for name in clean.outputs)


def widest(one: Sequence[Tolerance], other: Sequence[Tolerance]) -> tuple[Tolerance, ...]:
    """The larger tolerance of each output: of the first and the second look, over the pictures of both."""
    return tuple(
        replace(max(pair, key=lambda limit: limit.value), images=sum(limit.images for limit in pair))
        for pair in zip(one, other, strict=True)
    )


def _of_output(clean: StoredTrace, perturbed: Sequence[StoredTrace], rows: Sequence[int], name: str) -> Tolerance:
    noise = largest = 0.0
    levels = _Levels()
    dtype: np.dtype[Any] = np.dtype(np.float32)
    for place, row in enumerate(rows):
        values = clean.read(name, row, row + 1)
        dtype = values.dtype
        levels.add(values)
        largest = max(largest, float(metrics.errors(values, values).magnitude[0]))
        for run in perturbed:
            found = metrics.errors(values, run.read(name, place, place + 1)).largest[0]
            noise = max(noise, float(np.nan_to_num(found, nan=0.0)))
    if not np.issubdtype(dtype, np.floating):
        return Tolerance(0.0, noise=noise, images=len(rows))
    # Wider types are no better: their values may come from float32, and most targets have nothing wider
    spacing = float(max(np.finfo(dtype).eps, np.finfo(np.float32).eps))
    least = max(ULPS * spacing * largest, levels.step())
    if FACTOR * noise < least:
        return Tolerance(least, noise=noise, images=len(rows))
    return Tolerance(min(FACTOR * noise, sys.float_info.max), noise=noise, factor=FACTOR, images=len(rows))


class _Levels:
    """Finds the step of an output whose values all lie on the levels of an 8-bit quantization."""

    def __init__(self) -> None:
        self._values: npt.NDArray[Any] | None = np.zeros(0)
        self._count = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in the values of one picture; gives up once there are more levels than 8 bits have."""
        if self._values is None:
            return
        self._count += values.size
        found = np.unique(np.concatenate([self._values, np.unique(values.astype(np.float64))]))
        self._values = found if len(found) <= LEVELS and np.isfinite(found).all() else None

    def step(self) -> float:
        """The distance of the levels; 0 where the values are not clearly quantized.

        Clearly: eight levels or more, each met several times on average, all a whole number of steps apart. Whole
        numbers are labels or counts.
        """
        if self._values is None or not 8 <= len(self._values) <= self._count / 3:
            return 0.0
        gaps = np.diff(self._values)
        step = float(gaps.min())
        steps = gaps / step
        whole = bool((self._values == np.rint(self._values)).all())
        return 0.0 if whole or np.abs(steps - np.rint(steps)).max() > 0.01 else step
