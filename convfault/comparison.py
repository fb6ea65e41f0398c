"""*That* two models differ: the figures of a comparison and the verdict that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from convfault.errors import UsageError

AGREE, DIFFER, CRASH = "agree", "differ", "crash"
CONVERT, LOAD, RUN = CRASH_STAGES = ("convert", "load", "run")
"""Where a crash can happen: in a converter; in the target's framework, reading what was written; or running it."""


@dataclass(frozen=True)
class Tolerance:
    """How far apart two outputs may be and still count as equal: absolute, in the unit of the output.

    ``origin``: ``derived`` (from the source under harmless perturbation) or ``given``. ``noise`` is the largest
    deviation that the perturbation caused, ``factor`` the margin on it (None where the value does not come from the
    noise but is the least that is forgiven anyway), ``images`` how many pictures measured it.
    Raises ``UsageError`` for a value that is negative or not finite.
    """

    value: float
    origin: str = "derived"
    noise: float | None = None
    factor: float | None = None
    images: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise UsageError(f"a tolerance of {self.value} judges nothing: give a number, zero or more")


@dataclass(frozen=True)
class OutputComparison:
    """One output on both sides. Errors are absolute, over all values that match (below).

    ``nonfinite_*`` count NaN and Inf values; ``unmatched`` counts the values that are not finite on one side and are
    not equal on the other; equal ones (NaN equals NaN) match with an error of zero. ``comparable`` is False when
    the shapes differ. ``cosine`` is the mean over the pictures, ``largest_value`` the source's largest magnitude.
    ``name``/``target_name`` are native names, empty where that side has no such output; shapes are without the batch.
    ``max_abs_error`` is None, which counts as infinite, where no value matches or the error is beyond any number.
    """

    name: str
    target_name: str
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    comparable: bool
    max_abs_error: float | None
    mean_abs_error: float | None
    cosine: float | None
    largest_value: float | None
    nonfinite_source: int
    nonfinite_target: int
    unmatched: int
    tolerance: Tolerance

    def reasons(self) -> tuple[str, ...]:
        """Why this output counts as different; empty when it agrees."""
        if not self.comparable:
            return (self._why_not_comparable(),)
        found = []
        if self.unmatched:
            found.append(f"{self.unmatched:,} values of output '{self.name}' are NaN or infinite on one side only")
        error = self.max_abs_error
        if error is None or not math.isfinite(error):  # a saved infinity comes back as None
            found.append(f"output '{self.name}' is off beyond any number")
        elif error > self.tolerance.value:
            limit = self.tolerance.value
            found.append(f"output '{self.name}' is off by up to {error:.3g}, more than the tolerance of {limit:.3g}")
        return tuple(found)

    def _why_not_comparable(self) -> str:
        if not self.target_name:
            return f"output '{self.name}' of the source has no counterpart in the target"
        if not self.name:
            return f"output '{self.target_name}' of the target has no counterpart in the source"
        return (
            f"output '{self.name}' of shape {self.shape} cannot be compared with "
            f"'{self.target_name}' of shape {self.target_shape} in the target"
        )


@dataclass(frozen=True)
class WorstPicture:
    """A picture on which the two sides differ most: its name and row, the top (class, score) pairs of both sides.

    A score is None where it is NaN or infinite, ``max_abs_error`` where no value matches. The pairs are empty for a
    model without classes.
    """

    image: str
    index: int
    max_abs_error: float | None
    source_top: tuple[tuple[int, float | None], ...]
    target_top: tuple[tuple[int, float | None], ...]
    label: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Source and target on the same ``images`` pictures. Rates are fractions 0..1; None where they do not apply.

    ``top1_disagreement``: share of the pictures whose top label differs; ``top5_disagreement``: whose set of five best
    labels differs (None up to five classes); ``kendall_tau``: mean rank correlation over the labels that are among the
    five best of either side. They are of the first output that holds scores.
    ``accuracy`` maps ``source`` and ``target`` to top-1 accuracy where labels are known. ``max_abs_error``,
    ``mean_abs_error`` and ``cosine`` are the worst over ``outputs``; ``nonfinite`` counts NaN and Inf on both sides.
    ``histogram`` counts the pictures by their largest error: ``counts`` between the log-spaced ``edges`` (smaller
    errors are in the first), ``zero`` without any error, ``unmatched`` with values that do not match.
    ``stage`` is the one of ``CRASH_STAGES`` that a crash happened in; empty for any other verdict.
    """

    verdict: str
    images: int = 0
    top1_disagreement: float | None = None
    top5_disagreement: float | None = None
    kendall_tau: float | None = None
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    cosine: float | None = None
    nonfinite: int = 0
    accuracy: Mapping[str, float | None] = field(default_factory=lambda: {"source": None, "target": None})
    worst: tuple[WorstPicture, ...] = ()
    outputs: tuple[OutputComparison, ...] = ()
    histogram: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    stage: str = ""

    def judged(self, tolerance: float | None = None) -> Comparison:
        """The same figures with the verdict that follows from them, under another tolerance if one is given.

        The models agree when every output has the same shape on both sides, deviates by at most its tolerance, and is
        NaN or infinite at the same places. A label that flips within the tolerance is a tie, not a fault. Raises
        ``UsageError`` for a tolerance that is negative or not finite.
        """
        given = None if tolerance is None else Tolerance(tolerance, "given")
        return self.under([given or output.tolerance for output in self.outputs])

    def under(self, tolerances: Sequence[Tolerance]) -> Comparison:
        """The same figures judged by ``tolerances``, one for each of ``outputs``."""
        if self.verdict == CRASH:
            return self
        outputs = tuple(replace(output, tolerance=t) for output, t in zip(self.outputs, tolerances, strict=True))
        reasons = tuple(reason for output in outputs for reason in output.reasons())
        if not outputs:
            reasons = ("there is no output to compare",)
        return replace(self, outputs=outputs, verdict=DIFFER if reasons else AGREE, reasons=reasons)

    @classmethod
    def crash(cls, reason: str, stage: str = CONVERT) -> Comparison:
        """There is no target to compare with, or it cannot be run."""
        return cls(verdict=CRASH, reasons=(reason,), stage=stage)

    def to_record(self) -> dict[str, Any]:
        """JSON form as the contract has it; not-a-number becomes null."""
        record = asdict(self)
        record["worst"] = [
            {**asdict(picture), **{side: [list(pair) for pair in getattr(picture, side)] for side in TOPS}}
            for picture in self.worst
        ]
        return dict(_finite(record))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Comparison:
        """Read back what ``to_record`` wrote."""
        return cls(
            **{
                **record,
                "accuracy": dict(record["accuracy"]),
                "worst": tuple(_worst_from(item) for item in record["worst"]),
                "outputs": tuple(_output_from(item) for item in record["outputs"]),
                "histogram": {name: tuple(values) for name, values in record["histogram"].items()},
                "reasons": tuple(record["reasons"]),
            }
        )


TOPS = ("source_top", "target_top")


def _worst_from(record: Mapping[str, Any]) -> WorstPicture:
    tops = {side: tuple((int(label), score) for label, score in record[side]) for side in TOPS}
    return WorstPicture(**{**record, **tops})


def _output_from(record: Mapping[str, Any]) -> OutputComparison:
    shapes = {name: tuple(record[name]) for name in ("shape", "target_shape")}
    return OutputComparison(**{**record, **shapes, "tolerance": Tolerance(**record["tolerance"])})


def _finite(value: Any) -> Any:
    """The value with NaN and Inf, which JSON lacks, as None; tuples as lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
