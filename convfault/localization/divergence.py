"""Where along the network the two models drift apart, and which layer makes the error instead of passing it on.

Every aligned pair of layers is compared in the runtimes' own values (*error*), and once more alone: the target's layer
gets what the source's layer reads (*local*). A large error behind a small local one came from further up. Each layer is
looked at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from convfault.errors import ShapeError, UnknownNameError, UsageError
from convfault.localization.activations import (
    MARGIN,
    ROUNDING,
    Activations,
    arranged,
    computed,
    largest_difference,
    relative_error,
    rounding,
    size,
    watched,
)
from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.graph.causes import named
from convfault.localization.kernels import KERNEL_PICTURES, like
from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Array, Layer

LOCAL_PICTURES = 3
"""Pictures for the local errors: the worst two and one that agrees, if there are as many."""

CAP = 1e-3
"""No noise is larger: beyond it the source's import is wrong, which must not hide the target's errors."""

SHAPE, NONFINITE = "shape", "nonfinite"


@dataclass(frozen=True)
class Step:
    """One aligned pair of layers. Errors are the largest difference relative to the source's largest value.

    ``error`` and ``cosine`` (the least of the pictures) compare the runtimes' own values, None where either runtime
    does not show the layer; ``differing`` and ``agreeing`` are the error on the pictures whose answers differ and on
    the others. ``local`` is the error of the target's layer, together with those that only the target has before it, on
    the source's values of what it reads, None where it cannot be computed.
    ``noise`` and ``local_noise`` are what rounding may cause. ``growth`` is the error relative to the largest among
    those that the layer reads. ``problem``: ``shape`` or ``nonfinite`` where the values cannot be compared at all.
    """

    position: int
    source: str
    target: str
    source_name: str
    target_name: str
    kind: str
    error: float | None = None
    cosine: float | None = None
    differing: float | None = None
    agreeing: float | None = None
    local: float | None = None
    noise: float = 0.0
    local_noise: float = 0.0
    growth: float | None = None
    problem: str | None = None

    @property
    def divergent(self) -> bool:
        """Whether the runtimes' values differ by more than rounding."""
        return self.error is not None and self.error > self.noise

    @property
    def erring(self) -> bool:
        """Whether the layer itself computes something else."""
        return self.local is not None and self.local > self.local_noise

    def to_record(self) -> dict[str, Any]:
        """JSON form: names and figures; an infinite error is None, and ``problem`` tells why."""
        record = {**asdict(self), "divergent": self.divergent, "erring": self.erring}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }


def divergence(case: Case) -> tuple[Step, ...]:
    """The steps of all matches, in the source's order."""
    return tuple(Walk(case).steps())


def first_divergent(steps: Sequence[Step], noise: float | None = None) -> Step | None:
    """The first layer whose values differ by more than ``noise`` (None: each one's own), None if there is none."""
    return next((s for s in steps if s.error is not None and s.error > (s.noise if noise is None else noise)), None)


def erring(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The layers that make an error of their own, the largest first."""
    return tuple(sorted((step for step in steps if step.erring), key=lambda step: -(step.local or 0.0)))


class Walk:
    """One pass over the matches of a case."""

    def __init__(self, case: Case) -> None:
        self.case, self.source, self.target = case, case.source.graph, case.target.graph
        self.alignment = case.alignment
        self.values = Activations(case.source)
        self.seen = watched(case.source), watched(case.target)
        self.rows = differing_pictures(case)
        self.errors: dict[str, float] = {}
        self.noise = MARGIN * ROUNDING

    def steps(self) -> Iterator[Step]:
        matches = sorted(self.alignment.matches, key=lambda match: self.source.position(match.source))
        for position, match in enumerate(matches):
            yield self._step(position, match)

    def _step(self, position: int, match: Match) -> Step:
        layer, other = self.source[match.source], self.target[match.target]
        expected, actual = (seen(name) for seen, name in zip(self.seen, (match.source, match.target), strict=True))
        self._hear(match.source, expected)
        figures = _compared(expected, actual, match, self.rows)
        local, local_noise = self._local(match)
        error = figures.get("error")
        growth = self._growth(layer, error)
        if error is not None:
            self.errors[layer.id] = error
        problem = figures.pop("problem", None)
        if local == np.inf and problem is None:
            problem = SHAPE
        return Step(
            position,
            layer.id,
            other.id,
            named(layer),
            named(other),
            layer.kind,
            local=local,
            noise=min(self.noise, CAP),
            local_noise=local_noise,
            growth=growth,
            problem=problem,
            **figures,
        )

    def _hear(self, source_id: str, native: Array | None) -> None:
        """Rounding adds up along the network as it does between the source's own runtime and our evaluation of it."""
        if native is None or self.source[source_id].kind in {"input", "opaque"}:
            return
        try:
            error = relative_error(self.values[source_id][:KERNEL_PICTURES], native[:KERNEL_PICTURES])
        except (UsageError, ShapeError, UnknownNameError):
            return
        if math.isfinite(error):
            self.noise = max(self.noise, MARGIN * error)

    def _growth(self, layer: Layer, error: float | None) -> float | None:
        before = [self.errors[name] for name in layer.inputs if name in self.errors]
        largest = max(before, default=0.0)
        if error is None or not 0 < largest < np.inf or not math.isfinite(error):
            return None
        return error / largest

    def _local(self, match: Match) -> tuple[float | None, float]:
        """Error of the target's layer on the source's inputs, and what rounding may make of it."""
        layer = self.target[match.target]
        if layer.kind in {"input", "opaque"} or self.source[match.source].kind == "opaque":
            return None, 0.0
        rows = sorted({*range(min(LOCAL_PICTURES - 1, len(self.rows))), len(self.rows) - 1})
        try:
            inputs = [_rows(value, rows, len(self.rows)) for value in self._inputs(match)]
            expected = _rows(arranged(self.values[match.source], match.order), rows, len(self.rows))
        except (UsageError, ShapeError, UnknownNameError, IndexError):
            return None, 0.0
        try:
            actual = evaluate(layer, inputs)
        except (UsageError, ShapeError, UnknownNameError, ValueError, IndexError):
            return np.inf, 0.0
        noise = rounding(layer, inputs, expected) / max(size(expected), float(np.finfo(np.float32).tiny))
        return relative_error(expected, like(actual, expected)), noise

    def _inputs(self, match: Match) -> Iterator[Array]:
        """What the target's layer reads, through layers that only the target has, from the source's values.

        What cannot be known so is taken to be what the source's layer reads at the same place.
        """
        names = self.source[match.source].inputs
        for index, name in enumerate(self.target[match.target].inputs):
            try:
                yield computed(self.target, [name], self._fed)[name]
            except (UsageError, ShapeError, UnknownNameError):
                yield self.values[names[index]]

    def _fed(self, target_id: str) -> Array | None:
        """The source's value as that of the target's matched layer."""
        match = self.alignment.to_source.get(target_id)
        return None if match is None else arranged(self.values[match.source], match.order)


def differing_pictures(case: Case) -> tuple[bool, ...]:
    """For each picture whether the first outputs are further apart than the case's tolerance."""
    expected, actual = case.source.outputs[0], case.target.outputs[0]
    if expected.shape != actual.shape:
        return (True,) * len(case.pictures)
    return tuple(largest_difference(a, b) > case.tolerance for a, b in zip(expected, actual, strict=True))


def _compared(expected: Array | None, actual: Array | None, match: Match, rows: Sequence[bool]) -> dict[str, Any]:
    """The figures of a step that come from the runtimes' values."""
    if expected is None or actual is None:
        return {}
    expected, actual = arranged(expected, match.order), like(actual, expected)
    if expected.shape != actual.shape:
        return {"error": np.inf, "problem": SHAPE}
    largest = max(size(expected), float(np.finfo(np.float32).tiny))
    errors = [largest_difference(a, b) / largest for a, b in zip(expected, actual, strict=True)]
    figures: dict[str, Any] = {
        "error": max(errors, default=0.0),
        "differing": max((error for error, row in zip(errors, rows, strict=False) if row), default=None),
        "agreeing": max((error for error, row in zip(errors, rows, strict=False) if not row), default=None),
    }
    if figures["error"] == np.inf:
        return {**figures, "problem": NONFINITE}
    return {**figures, "cosine": min((_cosine(a, b) for a, b in zip(expected, actual, strict=True)), default=None)}


def _cosine(expected: Array, actual: Array) -> float:
    a, b = (np.asarray(value, np.float32).reshape(-1) for value in (expected, actual))
    product, lengths = float(a @ b), (float(a @ a), float(b @ b))
    if not all(map(math.isfinite, (product, *lengths))):  # values that are not finite count as zeros
        c, d = (np.where(np.isfinite(value), value, 0).astype(np.float64) for value in (a, b))
        product, lengths = float(c @ d), (float(c @ c), float(d @ d))
    if 0 in lengths:
        return float(lengths == (0, 0))
    return min(product / math.sqrt(lengths[0]) / math.sqrt(lengths[1]), 1.0)


def _rows(value: Array, rows: list[int], count: int) -> Array:
    """Some pictures of a value; a constant has none."""
    return value[rows] if value.ndim and len(value) == count else value
