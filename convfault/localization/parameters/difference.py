"""A ``Difference``: one parameter of a layer on both sides, in the target's order, and how far rounding can part them.

How far float32 can go without a fault
    An effective weight is ``kernel * gamma / sqrt(variance + epsilon)``: an addition, a square root, a division and
    two products, and at most four products more where a scale stands before the layer and another behind it. Each
    rounds by at most u = 2**-24 of its result (Higham, Accuracy and Stability of Numerical Algorithms, section 2.2),
    some reciprocal square roots by twice that: ``ROUNDINGS`` in all for both sides together. A bias is besides a sum:
    it cancels (``beta - mean * scale``), so that its error goes by the largest value of the layer, and where a shift
    before the layer was folded in it adds up one product for each weight of a filter, whose errors grow as the square
    root of their count (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from convfault.localization.parameters.grain import FEW, FLOAT16, Grain, grain_of
from convfault.relax.graph import Array

UNIT = 2.0**-24
ROUNDINGS = 20
SAMPLE = 1024


@dataclass(frozen=True, eq=False)
class Difference:
    """A parameter as the source has it (``expected``) and as the target has it (``actual``), float32, filters last.

    ``bound`` (C) is how far rounding alone can part the values of a channel. ``native`` are the target's tensors.
    """

    name: str
    expected: Array
    actual: Array
    bound: Array
    native: tuple[str, ...] = ()
    encoding: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def error(self) -> Array:
        """Absolute difference, infinite where only one side is a finite number."""
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(self.actual - self.expected)
        same = (self.actual == self.expected) | (np.isnan(self.actual) & np.isnan(self.expected))
        return np.where(same, 0, np.where(np.isnan(error), np.inf, error))

    @cached_property
    def changed(self) -> Array:
        """Where the values differ by more than rounding."""
        return self.error > self.bound

    @cached_property
    def channels(self) -> Array:
        """The channels that differ, ascending."""
        return np.flatnonzero(self.changed.reshape(-1, self.changed.shape[-1]).any(axis=0))

    @property
    def count(self) -> int:
        """How many channels there are."""
        return int(self.expected.shape[-1])

    @cached_property
    def grain(self) -> Grain | None:
        """How coarsely the target's values are stored, None where as finely as the source's."""
        found = grain_of(self.actual, self.expected)
        stored = self.encoding.get("dtype") == FLOAT16.kind  # too few values show no grain
        return FLOAT16 if found is None and stored and self.actual.size < FEW else found

    @cached_property
    def slack(self) -> Array:
        """How far each of the target's values may be off by rounding, its coarse storage included."""
        allowed = np.broadcast_to(self.bound, self.actual.shape)
        return allowed if self.grain is None else allowed + self.grain.slack(self.actual)

    def near(self, candidate: Array) -> bool:
        """Whether the target's values are these, up to rounding and coarse storage. A sample is looked at first."""
        if candidate.shape != self.actual.shape:
            return False
        step = max(candidate.size // SAMPLE, 1)
        places: tuple[Any, ...] = (np.arange(0, candidate.size, step),)
        for chosen in (places, (slice(None),)):
            values = candidate.reshape(-1)[chosen]
            with np.errstate(invalid="ignore", over="ignore"):
                error = np.abs(values - self.actual.reshape(-1)[chosen])
                allowed = self.slack.reshape(-1)[chosen] + ROUNDINGS * UNIT * np.abs(values)
            if not np.all(error <= allowed):
                return False
        return True

    def only(self, channels: Array) -> Difference:
        """The difference of some channels."""
        pick, encoding = (..., channels), self.encoding
        if np.size(encoding.get("steps", 0)) > 1:
            encoding = {**encoding, "steps": encoding["steps"][pick]}
        sides = self.expected[pick], self.actual[pick]
        return Difference(self.name, *sides, self.bound[channels], self.native, encoding)

    @cached_property
    def ratios(self) -> Array:
        """By channel, the factor that brings the source's values nearest to the target's; 1 where all are zero."""
        axes = tuple(range(self.expected.ndim - 1))
        expected = np.asarray(self.expected, np.float64)
        power = (expected * expected).sum(axis=axes)
        product = (expected * self.actual).sum(axis=axes)
        return np.where(power > 0, product / np.where(power > 0, power, 1), 1.0)

    @cached_property
    def relative_error(self) -> float:
        """Size of the difference relative to the source's values; infinite where the target has no finite values."""
        size = float(np.linalg.norm(self.expected.astype(np.float64)))
        error = float(np.linalg.norm(self.error.astype(np.float64)))
        return error / size if size else (0.0 if error == 0 else float("inf"))


def rounding_bound(name: str, expected: Array, weights: Array | None = None) -> Array:
    """How far float32 alone can part the values of each channel, (C), filters last; ``weights`` are the layer's."""
    size = np.nan_to_num(np.abs(expected), posinf=0.0)
    if name in {"bias", "shift"}:  # a sum that may cancel: its error goes by the layer's largest
        terms = 0 if weights is None else weights.size // max(weights.shape[-1], 1)
        steps = ROUNDINGS + float(np.sqrt(terms))
        return np.full(expected.shape[-1:], steps * UNIT * float(size.max(initial=0.0)), np.float64)
    largest = size.reshape(-1, size.shape[-1]).max(axis=0, initial=0.0) if size.ndim else size
    return np.asarray(ROUNDINGS * UNIT * largest, np.float64)
