"""Compare two saved runs over the same pictures, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.comparing import metrics
from convfault.comparing.pairing import Pair, is_scores, pair
from convfault.comparing.tally import ErrorTally, RankTally
from convfault.comparison import AGREE, Comparison, Tolerance, WorstPicture
from convfault.errors import ConvfaultError
from convfault.trace import StoredTrace

BLOCK_VALUES = 2**19
"""How many values of an output are compared at once: a few MB, which fit a processor's cache."""

BINS_PER_DECADE = 2
DECADES = 12
"""The histogram's span below its largest error; what is smaller counts in its first bin."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """What the pictures are called and, where known, what they show: ``labels`` are None or negative where not."""

    names: Sequence[str]
    labels: Sequence[int | None] | None = None

    def known_labels(self) -> npt.NDArray[np.int64]:
        """(pictures,), -1 where not known."""
        labels = [None] * len(self.names) if self.labels is None else self.labels
        return np.array([-1 if label is None else label for label in labels], np.int64)


def compare(
    source: StoredTrace, target: StoredTrace, pictures: Pictures, tolerances: Sequence[Tolerance], worst: int = 8
) -> Comparison:
    """The figures of two runs over the same pictures and the verdict that follows.

    ``tolerances`` are one for each output of the source; the ``worst`` pictures that differ most are listed.
    All outputs are compared, in the source's shape and layout; the target's are turned as needed. The figures on
    labels are of the first output that holds scores, be they logits or probabilities. Memory is a block of values
    and a few numbers a picture. Raises ``ConvfaultError`` when the runs are over different numbers of pictures.
    """
    _check(source, target, pictures, tolerances)
    pairs = pair(source, target)
    scores = _scores(source, pairs)
    errors, ranks = _tallied(source, target, pairs, tolerances)
    found = Severity.of(errors, ranks, len(source))
    outputs = tuple(tally.result(source, target) for tally in errors)
    figures = [output for output in outputs if output.comparable]
    return Comparison(
        verdict=AGREE,
        images=len(source),
        **ranks.figures(pictures.known_labels()),
        max_abs_error=_largest([output.max_abs_error for output in figures]),
        mean_abs_error=_largest([output.mean_abs_error for output in figures]),
        cosine=min((output.cosine for output in figures if output.cosine is not None), default=None),
        nonfinite=sum(output.nonfinite_source + output.nonfinite_target for output in figures),
        worst=tuple(_describe(row, found, pictures, source, target, scores) for row in found.worst(worst)),
        outputs=outputs,
        histogram=found.histogram(),
    ).judged()


def _check(source: StoredTrace, target: StoredTrace, pictures: Pictures, tolerances: Sequence[Tolerance]) -> None:
    if not len(source) == len(target) == len(pictures.names) > 0:
        raise ConvfaultError(
            f"a run of {len(source)} and one of {len(target)} pictures cannot be compared over "
            f"{len(pictures.names)}: run both on the same pictures"
        )
    if len(tolerances) != len(source.outputs):
        raise ConvfaultError(f"{len(tolerances)} tolerances for {len(source.outputs)} outputs: give one for each")


def _tallied(
    source: StoredTrace, target: StoredTrace, pairs: Sequence[Pair], tolerances: Sequence[Tolerance]
) -> tuple[list[ErrorTally], RankTally]:
    """All blocks of all outputs added up."""
    scores, ranks = _scores(source, pairs), RankTally()
    # An output that only the target has is never judged by a number
    limits = [*tolerances, *[Tolerance(0.0)] * (len(pairs) - len(tolerances))]
    errors = [ErrorTally(outputs, limit) for outputs, limit in zip(pairs, limits, strict=True)]
    for tally in errors:
        for one, other in _blocks(source, target, tally.pair):
            tally.add(one, other)
            if tally.pair is scores:
                ranks.add(one, other)
    return errors, ranks


def paired_errors(source: StoredTrace, target: StoredTrace) -> list[npt.NDArray[np.float64] | None]:
    """The largest error of each picture, (pictures,), for each output of the source; None where not comparable.

    NaN where none of a picture's values match.
    """
    found: list[npt.NDArray[np.float64] | None] = []
    for outputs in pair(source, target)[: len(source.outputs)]:
        blocks = [metrics.errors(one, other).largest for one, other in _blocks(source, target, outputs)]
        found.append(np.concatenate(blocks) if blocks else None)
    return found


def severity(source: StoredTrace, target: StoredTrace, tolerances: Sequence[Tolerance]) -> Severity:
    """How badly each picture is off; arguments as in ``compare``."""
    pairs = pair(source, target)
    errors, ranks = _tallied(source, target, pairs, tolerances)
    return Severity.of(errors, ranks, len(source))


def margins(source: StoredTrace) -> npt.NDArray[np.float64]:
    """(pictures,) how far the best score is above the second best; infinite for a model without scores."""
    output = next((name for name in source.outputs if is_scores(source.shape(name))), None)
    found = np.full(len(source), np.inf)
    if output is None:
        return found
    step = max(1, BLOCK_VALUES // math.prod(source.shape(output)))
    for start in range(0, len(source), step):
        values = source.read(output, start, start + step)
        best = np.partition(values.reshape(len(values), -1), -2, axis=1)[:, -2:].astype(np.float64)
        found[start : start + step] = best[:, 1] - best[:, 0]
    return found


def _scores(source: StoredTrace, pairs: Sequence[Pair]) -> Pair | None:
    """The first output of the source that holds scores, if it can be compared."""
    found = next((p for p in pairs if p.source is not None and is_scores(source.shape(p.source))), None)
    return found if found is not None and found.arranged is not None else None


def _blocks(source: StoredTrace, target: StoredTrace, outputs: Pair) -> Iterator[tuple[Array, Array]]:
    """Both sides' values, (pictures, ...), in the source's shape; nothing where they are not comparable."""
    if outputs.source is None or outputs.target is None or outputs.arranged is None:
        return
    step = max(1, BLOCK_VALUES // max(1, math.prod(source.shape(outputs.source))))
    for start in range(0, len(source), step):
        one, other = source.read(outputs.source, start, start + step), target.read(outputs.target, start, start + step)
        yield one, outputs.arranged(other)


@dataclass(frozen=True)
class Severity:
    """How badly each picture is off, all fields (pictures,).

    ``error`` is the largest over the outputs (NaN where no value matches), ``excess`` the largest multiple of an
    output's tolerance, ``flipped`` whether the best label differs, ``unmatched`` whether some value is NaN or infinite
    on one side only.
    """

    error: metrics.Floats
    excess: metrics.Floats
    flipped: metrics.Flags
    unmatched: metrics.Flags

    @classmethod
    def of(cls, tallies: Sequence[ErrorTally], ranks: RankTally, count: int) -> Severity:
        error, excess, unmatched = np.full(count, np.nan), np.zeros(count), np.zeros(count, np.bool_)
        for tally in tallies:
            if not tally.blocks:
                continue
            largest = tally.of_pictures("largest")
            error = np.fmax(error, largest)
            unmatched |= tally.of_pictures("unmatched") > 0
            with np.errstate(over="ignore"):
                ratio = largest / max(tally.tolerance.value, np.finfo(np.float64).tiny)
            excess = np.fmax(excess, ratio)
        return cls(error, excess, ranks.flips(count), unmatched)

    def worst(self, count: int) -> list[int]:
        """Rows of the pictures that differ most: flipped labels first, then values on one side only, then by error."""
        error = np.nan_to_num(self.error, nan=np.inf)
        order = np.lexsort((-error, -self.excess, ~self.unmatched, ~self.flipped))
        differs = self.flipped | self.unmatched | (self.error > 0)
        return [int(row) for row in order[:count] if differs[row]]

    def histogram(self) -> dict[str, tuple[float, ...]]:
        """The pictures by their largest error, as ``Comparison.histogram`` describes it."""
        found = self.error[~self.unmatched & np.isfinite(self.error)]
        positive = found[found > 0]
        edges, counts = np.zeros(0), np.zeros(0)
        if len(positive):
            top = math.floor(math.log10(positive.max())) + 1
            bottom = max(math.floor(math.log10(positive.min())), top - DECADES, -307)
            edges = np.logspace(bottom, top, (top - bottom) * BINS_PER_DECADE + 1)
            counts, _ = np.histogram(np.clip(positive, edges[0], edges[-1]), edges)
        return {
            "edges": tuple(float(edge) for edge in edges),
            "counts": tuple(float(count) for count in counts),
            "zero": (float(len(found) - len(positive)),),
            "unmatched": (float(len(self.error) - len(found)),),
        }


def _describe(
    row: int, found: Severity, pictures: Pictures, source: StoredTrace, target: StoredTrace, scores: Pair | None
) -> WorstPicture:
    label = int(pictures.known_labels()[row])
    error = float(found.error[row])
    return WorstPicture(
        image=pictures.names[row],
        index=row,
        max_abs_error=error if math.isfinite(error) else None,
        source_top=_top(source, scores.source if scores else None, row),
        target_top=_top(target, scores.target if scores else None, row),
        label=label if label >= 0 else None,
    )


def _top(trace: StoredTrace, output: str | None, row: int) -> tuple[tuple[int, float | None], ...]:
    """The best (class, score) pairs of one picture."""
    if output is None:
        return ()
    values = trace.read(output, row, row + 1).reshape(1, -1)
    found = [(int(label), float(values[0, label])) for label in metrics.top_labels(values)[0]]
    return tuple((label, score if math.isfinite(score) else None) for label, score in found)


def _largest(values: Sequence[float | None]) -> float | None:
    """The largest error; None, which stands for infinite, if any is None or there is none."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
