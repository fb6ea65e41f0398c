"""A ``Measurement``: both models run on the same pictures and compared, with all that later questions need of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from convfault.comparing import tolerance
from convfault.comparing.compare import Pictures, compare
from convfault.comparing.tolerance import NoisePlan
from convfault.comparison import Comparison, Tolerance
from convfault.errors import FormatError, SubjectError
from convfault.frameworks import runs
from convfault.frameworks.base import Perturbation
from convfault.frameworks.runs import Pass, Side, SideRun
from convfault.preparation import Pair, prepare, sides
from convfault.process import Outcome
from convfault.request import Context, Request
from convfault.trace import StoredTrace


class Stopwatch:
    """Wall seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


@dataclass(frozen=True)
class Measurement:
    """Two models on the same pictures.

    ``sides`` and ``traces`` are those of source and target; they are empty when the comparison's verdict is ``crash``.
    """

    pair: Pair
    comparison: Comparison
    started: datetime
    watch: Stopwatch = field(default_factory=Stopwatch)
    sides: tuple[Side, ...] = ()
    traces: tuple[StoredTrace, ...] = ()

    @property
    def knows_classes(self) -> bool:
        """Whether labels mean the model's classes: the user's own data does, the embedded set with its own models."""
        return _knows_classes(self.pair)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall seconds by phase."""
        return {name: round(seconds, 3) for name, seconds in self.watch.seconds.items()}


def measure(request: Request, context: Context) -> Measurement:
    """Prepare both models, run them on the same pictures and compare their answers.

    Raises ``UsageError`` for what cannot be read or done, ``SubjectError`` when a file of the user's kills its runtime.
    """
    watch, started = Stopwatch(), datetime.now(UTC)
    with watch.phase("prepare"):
        pair = prepare(request, context)
    return measure_pair(pair, request, context, watch, started)


def measure_pair(
    pair: Pair, request: Request, context: Context, watch: Stopwatch | None = None, started: datetime | None = None
) -> Measurement:
    """What ``measure`` does, of models that are prepared; ``request`` says by what and how strictly they are run."""
    watch, started = watch or Stopwatch(), started or datetime.now(UTC)
    if pair.target is None:
        assert pair.conversion is not None
        return Measurement(pair, Comparison.crash(pair.failure, pair.failed_stage), started, watch)
    noise = tolerance.plan(pair.dataset.count) if request.tolerance is None else None
    with watch.phase("decode"):
        source, target = sides(pair, request, context)
    with watch.phase("run"):
        results = runs.run([_with_noise(source, noise), target], context.cache, context.progress, context.fresh)
    watch.seconds |= {"run source": results[0].seconds, "run target": results[1].seconds}
    if failed := _failed(results, (source, target), pair):
        return Measurement(pair, failed, started, watch)
    with watch.phase("compare"):
        (clean, *perturbed), (answer,) = results[0].traces, results[1].traces
        tolerances = _tolerances(request.tolerance, clean, perturbed, noise)
    if noise and (doubts := tolerance.second_look(clean, answer, tolerances)):
        with watch.phase("second look"):
            tolerances = _second_look(source, doubts, clean, tolerances, context)
    with watch.phase("compare"):
        labels = pair.dataset.labels if _knows_classes(pair) else None
        comparison = compare(clean, answer, Pictures(pair.dataset.names, labels), tolerances)
    return Measurement(pair, comparison, started, watch, (source, target), (clean, answer))


def _knows_classes(pair: Pair) -> bool:
    return not pair.dataset.embedded or pair.source.metadata.get("weights") == "calibrated"


def _with_noise(side: Side, noise: NoisePlan | None) -> Side:
    """The side with the runs of its perturbed self that a noise plan asks for, after the run over everything."""
    if noise is None:
        return side
    perturbed = (Pass(noise.rows, Perturbation(noise.relative, seed)) for seed in noise.seeds)
    return replace(side, passes=(*side.passes, *perturbed))


def _tolerances(
    given: float | None, clean: StoredTrace, perturbed: Sequence[StoredTrace], noise: NoisePlan | None
) -> Sequence[Tolerance]:
    """One for each output of the source: as given, or derived from its perturbed runs."""
    if noise is None:
        return [Tolerance(given or 0.0, "given") for _ in clean.outputs]
    return tolerance.derive(clean, perturbed, noise.rows)


def _second_look(
    source: Side, doubts: NoisePlan, clean: StoredTrace, first: Sequence[Tolerance], context: Context
) -> Sequence[Tolerance]:
    """The tolerances once the noise is known on the pictures that deviate most, too."""
    side = _with_noise(replace(source, passes=()), doubts)
    result = runs.run([side], context.cache, context.progress)[0]
    if result.outcome is not None:
        result.outcome.unwrap()
    return tolerance.widest(first, tolerance.derive(clean, result.traces, doubts.rows))


def _failed(results: Sequence[SideRun], parties: Sequence[Side], pair: Pair) -> Comparison | None:
    """What the target did instead of answering; a source that fails, or a target file of the user's, is an error."""
    for result, side, ours in zip(results, parties, (False, pair.conversion is not None), strict=True):
        outcome = result.outcome
        if outcome is None:
            continue
        if ours and not _is_usage(outcome):
            return Comparison.crash(outcome.message, result.stage)
        if outcome.status == "error" and outcome.error is None:  # in the runtime's own words, which name no file
            message = f"{side.model.path} cannot be run by {side.framework}: {outcome.message}"
            raise SubjectError(message, outcome.status, result.stage, outcome.log)
        outcome.unwrap()
    return None


def _is_usage(outcome: Outcome) -> bool:
    """Whether the user can mend it: a missing package or wrong data; an unreadable converted file is a finding."""
    return outcome.error is not None and not isinstance(outcome.error, FormatError | SubjectError)
