"""The only wiring: what each command does, from nouns to a report. Prints nothing and decides nothing about display."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import convfault
from convfault.cache import Cache, check_writable
from convfault.comparing import tolerance
from convfault.comparing.compare import Pictures, compare
from convfault.comparing.tolerance import NoisePlan
from convfault.comparison import Comparison, Tolerance
from convfault.converters.route import all_routes
from convfault.errors import FormatError, SubjectError, UsageError
from convfault.frameworks import runs
from convfault.frameworks.base import Perturbation
from convfault.frameworks.runs import Pass, Side, SideRun
from convfault.matrix import make as making
from convfault.matrix import outcomes
from convfault.matrix import regress as regression
from convfault.matrix.cells import Cell, Matrix
from convfault.matrix.executor import Heartbeat
from convfault.matrix.outcomes import Attempt
from convfault.matrix.regress import Regression
from convfault.matrix.selection import Selection, Work
from convfault.model import Model
from convfault.preparation import Pair, prepare, sides
from convfault.process import Outcome
from convfault.report import Report
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


def diff(request: Request, context: Context | None = None) -> Report:
    """Tell whether the target answers as the source does, on the same pictures.

    A converter or a converted model that crashes or hangs gives a report whose verdict is ``crash``. Raises
    ``UsageError`` for what cannot be read or done, ``SubjectError`` when a file of the user's kills its runtime.
    """
    context, watch, started = context or Context(), Stopwatch(), datetime.now(UTC)
    with watch.phase("prepare"):
        pair = prepare(request, context)
    if pair.target is None:
        assert pair.conversion is not None
        return _report(pair, started, watch, Comparison.crash(pair.failure))
    noise = tolerance.plan(pair.dataset.count) if request.tolerance is None else None
    with watch.phase("decode"):
        source, target = sides(pair, request, context)
    with watch.phase("run"):
        results = runs.run([_with_noise(source, noise), target], context.cache, context.progress, context.fresh)
    watch.seconds |= {"run source": results[0].seconds, "run target": results[1].seconds}
    if failed := _failed(results, pair):
        return _report(pair, started, watch, Comparison.crash(failed))
    with watch.phase("compare"):
        (clean, *perturbed), (answer,) = results[0].traces, results[1].traces
        tolerances = _tolerances(request.tolerance, clean, perturbed, noise)
    if noise and (doubts := tolerance.second_look(clean, answer, tolerances)):
        with watch.phase("second look"):
            tolerances = _second_look(source, doubts, clean, tolerances, context)
    with watch.phase("compare"):
        comparison = compare(clean, answer, Pictures(pair.dataset.names, _labels(pair)), tolerances)
    return _report(pair, started, watch, comparison)


def diff_routes(request: Request, context: Context | None = None) -> Iterator[Report]:
    """``diff`` over every route from source to target that the installed converters allow."""
    source = request.src or Model.from_path(request.source or "", request.weights, request.trust).framework
    for route in all_routes(source, request.dst or ""):
        yield diff(replace(request, route=str(route)), context)


def judge(path: Path, given: float | None = None) -> Report:
    """Judge a saved report again, under another tolerance if one is given, without running anything."""
    return Report.read(path).judged(given)


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


def _failed(results: Sequence[SideRun], pair: Pair) -> str | None:
    """What the target did instead of answering; a source that fails, or a target file of the user's, is an error."""
    for result, ours in zip(results, (False, pair.conversion is not None), strict=True):
        if result.outcome is None:
            continue
        if not ours or _is_usage(result.outcome):
            result.outcome.unwrap()
        return result.outcome.message
    return None


def _is_usage(outcome: Outcome) -> bool:
    """Whether the user can mend it: a missing package or wrong data; an unreadable converted file is a finding."""
    return outcome.error is not None and not isinstance(outcome.error, FormatError | SubjectError)


def _labels(pair: Pair) -> Sequence[int] | None:
    return pair.dataset.labels if _knows_classes(pair) else None


def _knows_classes(pair: Pair) -> bool:
    """Whether labels mean the model's classes: the user's own data does, the embedded set with its own models."""
    return not pair.dataset.embedded or pair.source.metadata.get("weights") == "calibrated"


def _data(pair: Pair) -> Mapping[str, Any]:
    record = pair.dataset.to_record()
    return record if _knows_classes(pair) else {**record, "class_names": []}


def _report(pair: Pair, started: datetime, watch: Stopwatch, comparison: Comparison) -> Report:
    shown = {picture.image: pair.dataset.thumbnail(picture.index) for picture in comparison.worst}
    return Report(
        command="diff",
        convfault_version=convfault.__version__,
        started=started.isoformat(timespec="seconds"),
        source=_describe(pair.source),
        target=_describe(pair.target) if pair.target else _unborn(pair),
        comparison=comparison,
        seconds={name: round(seconds, 3) for name, seconds in watch.seconds.items()},
        route=tuple(pair.conversion.to_records()) if pair.conversion else (),
        dataset=_data(pair),
        environment={"platform": platform.platform(), "python": platform.python_version()},
        assumptions=pair.assumptions,
        thumbnails={name: picture for name, picture in shown.items() if picture is not None},
    )


def _describe(model: Model) -> Mapping[str, Any]:
    path = Path(model.path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        "framework": model.framework,
        "format": model.format,
        "name": model.name,
        "path": model.path,
        "sha256": model.sha256,
        "size_bytes": sum(file.stat().st_size for file in files),
        "weights": model.metadata.get("weights", model.weights),
        "versions": versions(model.framework),
        "signature": model.signature.to_record() if model.signature else None,
        "preprocessing": model.preprocessing.to_record() if model.preprocessing else None,
    }


def _unborn(pair: Pair) -> Mapping[str, Any]:
    """What is known of a target that no converter could make."""
    assert pair.conversion is not None
    framework = pair.conversion.route.target
    return {"framework": framework, "path": None, "sha256": None, "versions": versions(framework)}


def versions(framework: str) -> dict[str, str]:
    """Of the framework's package and of Python."""
    adapter = convfault.frameworks.FRAMEWORKS[framework]
    try:
        found = {adapter.package: adapter.version()}
    except convfault.errors.MissingPackageError:
        found = {}
    return {**found, "numpy": metadata.version("numpy"), "python": platform.python_version()}


CELL = "convfault.pipeline:run_cell"


def matrix(selection: Selection, work: Work | None = None, context: Context | None = None) -> Matrix:
    """Every model, pair and route that was chosen, each diffed in a process of its own; a killed run goes on."""
    return making.make(selection, work or Work(), context or Context(), CELL)


def run_cell(
    cell: Mapping[str, Any],
    selection: Mapping[str, Any],
    cache: str,
    seconds: float,
    megabytes: float | None,
    page: bool,
) -> dict[str, Any]:
    """Job: diff one cell of a matrix; what became of it, with its report."""
    from convfault.render import html

    begun, mine = time.monotonic(), Cell.from_record(cell)
    request = Selection.from_record(selection).request(mine.model, mine.source, mine.target, mine.route)
    report = diff(request, Context(Cache(Path(cache)), Heartbeat(), seconds=seconds, megabytes=megabytes))
    outcome = outcomes.from_report(mine, report, time.monotonic() - begun)
    return Attempt(outcome, report.to_record(), html.page(report) if page else None).to_record()


def regress(
    baseline: Path | None,
    selection: Selection,
    work: Work | None = None,
    context: Context | None = None,
    write_baseline: Path | None = None,
) -> Regression:
    """The chosen cells (none chosen: those of the baseline) against the baseline; without one, against themselves.

    ``write_baseline``: where to keep what they give now. Raises ``UsageError`` before any cell is tried when the
    baseline is for other models, data or settings.
    """
    if baseline is None and write_baseline is None:
        raise UsageError("nothing to compare with: give --baseline FILE, or --write-baseline FILE to begin with")
    if write_baseline is not None:
        check_writable(write_baseline)
    before = None if baseline is None else Matrix.read(baseline)
    if before is not None and selection == Selection():
        selection = Selection.from_record(before.settings)
    check = None if before is None else partial(regression.check, before)
    found = making.make(selection, work or Work(), context or Context(), CELL, check)
    if write_baseline is not None:
        found.write(write_baseline)
    return regression.compare(before or found, found)
