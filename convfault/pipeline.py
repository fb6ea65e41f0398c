"""The only wiring: what each command does, from nouns to a report. Prints nothing and decides nothing about display."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import convfault
from convfault import process
from convfault.cache import Cache, check_writable
from convfault.converters.route import all_routes
from convfault.errors import UsageError
from convfault.investigation import investigate
from convfault.localization.tool.reproducer import write as reproduce
from convfault.matrix import make as making
from convfault.matrix import outcomes
from convfault.matrix import regress as regression
from convfault.matrix.cells import Cell, Matrix
from convfault.matrix.executor import Heartbeat
from convfault.matrix.outcomes import Attempt
from convfault.matrix.regress import Regression
from convfault.matrix.selection import Selection, Work
from convfault.measurement import Measurement, measure
from convfault.model import FORMAT_OF_SUFFIX, Model
from convfault.preparation import Pair
from convfault.process import Job
from convfault.repairing.order import Order
from convfault.repairing.patch import Patch
from convfault.repairing.place import place_for
from convfault.report import Report
from convfault.request import Context, Request
from convfault.restoring.restore import restore
from convfault.trials import UNASKED, Plan, with_trials


def diff(request: Request, context: Context | None = None) -> Report:
    """Tell whether the target answers as the source does, on the same pictures.

    A converter or a converted model that crashes or hangs gives a report whose verdict is ``crash``. Raises
    ``UsageError`` for what cannot be read or done, ``SubjectError`` when a file of the user's kills its runtime.
    """
    return _report("diff", measure(request, context or Context()))


def localize(
    request: Request, context: Context | None = None, reproducer: Path | None = None, trials: int | None = None
) -> Report:
    """Tell where and why the target differs: ``diff``, then the faults, those that cause most first.

    A pair that agrees is looked at, too: what differs without an effect is listed as harmless. ``reproducer`` is a
    folder to write a model, a script with the converter alone and an issue's text to; ``trials`` how many other ways to
    convert are tried where the conversion is at fault (None: a few, if that is quick). Raises ``UsageError`` where that
    was asked for and cannot be done.
    """
    context = context or Context()
    found = measure(request, context)
    if reproducer is not None and found.pair.conversion is None:
        raise UsageError(
            "a reproducer shows a converter at work, and these are two files: give the source and --dst or --route"
        )
    findings = investigate(found, context)
    with found.watch.phase("try other ways"):
        plan = UNASKED if trials is None else Plan(trials)
        named = with_trials(findings.faults, found, request, context, plan)
    report = _report("localize", found)
    if reproducer is not None:
        if findings.subject is None:
            raise UsageError("there is nothing to reproduce: no conversion done here gives another answer or crashes")
        reproduce(reproducer, findings.subject)
    return replace(
        report,
        faults=named,
        attribution=findings.attribution,
        localization=findings.localization,
        seconds={**found.seconds, **findings.seconds},
    )


def repair(request: Request, order: Order | None = None, context: Context | None = None) -> Report:
    """Mend the target in its own format, prove it by running it, and write it to the ``order``'s place.

    What cannot be mended leaves nothing, what is only better is written and said to be no more. Raises ``UsageError``
    for what cannot be read or done.
    """
    context, order = context or Context(), order or Order()
    order.check()
    _check_places(request, order)
    found = measure(request, context)
    place = place_for(found.pair.target or _wanted(found), order.out, (found.pair.source,))
    if found.pair.target is not None:
        order.check_size(found.pair.target.size_bytes)
    with found.watch.phase("repair"):
        done = restore(found, request, order, place, context)
    return replace(
        _report("repair", found),
        faults=done.findings.faults,
        attribution=done.findings.attribution,
        localization=done.findings.localization,
        seconds={**found.seconds, **done.findings.seconds},
        repairs=done.repairs,
        repaired=done.repaired,
        notes=done.notes,
    )


def _check_places(request: Request, order: Order) -> None:
    """Complain of places for the results that cannot be taken, where both models are files, before they are run."""
    if request.source is None or request.target is None:
        return
    source = Model.from_path(request.source, request.weights, request.trust)
    target = Model.from_path(request.target, trusted=request.trust)
    place_for(target, order.out, (source,))
    for file in (*source.files, *target.files):
        if order.patch is not None and order.patch.resolve() == file.resolve():
            raise UsageError(f"--patch {order.patch} is a model that is to be compared: name another file")


def _wanted(found: Measurement) -> Model:
    """A target that was never made, by what it would be: the route's last format under the source's name."""
    assert found.pair.conversion is not None
    target = found.pair.conversion.route.hops[-1].converter
    suffix = next((end for end, known in FORMAT_OF_SUFFIX.items() if known == target.target_format), "")
    name = found.pair.source.name.removesuffix(Path(found.pair.source.name).suffix)
    return Model(f"{name}{suffix}", target.target_format, name)


def apply(patch: Path, target: Path, out: Path | None = None, trust: bool = False) -> Application:
    """Replay a recorded repair on another copy of the model; what it changed.

    Nothing is run on pictures: ``diff`` tells whether the result agrees. Raises ``UsageError`` where the patch is not
    for that model.
    """
    model = Model.from_path(str(target), trusted=trust)
    wanted = Patch.read(patch).target["format"]
    if wanted != model.format:
        raise UsageError(f"{patch} is for a model in the format {wanted}, and {target} is {model.format}")
    place = place_for(model, out)
    with place.scratch() as folder:
        (folder / "made").mkdir()
        made = folder / "made" / place.path.name
        arguments = {"model": model.to_record(), "patch": str(patch.absolute()), "out": str(made)}
        changes = process.run(Job("convfault.repairing.mend:replay", arguments, "apply the patch")).unwrap()
        place.publish(made.parent)
    return Application(place.path, tuple(changes))


def diff_routes(request: Request, context: Context | None = None) -> Iterator[Report]:
    """``diff`` over every route from source to target that the installed converters allow."""
    source = request.src or Model.from_path(request.source or "", request.weights, request.trust).framework
    for route in all_routes(source, request.dst or ""):
        yield diff(replace(request, route=str(route)), context)


def judge(path: Path, given: float | None = None) -> Report:
    """Judge a saved report again, under another tolerance if one is given, without running anything."""
    return Report.read(path).judged(given)


def _data(found: Measurement) -> Mapping[str, Any]:
    record = found.pair.dataset.to_record()
    return record if found.knows_classes else {**record, "class_names": []}


def _report(command: str, found: Measurement) -> Report:
    pair, comparison = found.pair, found.comparison
    shown = {picture.image: pair.dataset.thumbnail(picture.index) for picture in comparison.worst}
    return Report(
        command=command,
        convfault_version=convfault.__version__,
        started=found.started.isoformat(timespec="seconds"),
        source=_describe(pair.source),
        target=_describe(pair.target) if pair.target else _unborn(pair),
        comparison=comparison,
        seconds=found.seconds,
        route=tuple(pair.conversion.to_records()) if pair.conversion else (),
        dataset=_data(found),
        environment={"platform": platform.platform(), "python": platform.python_version()},
        assumptions=pair.assumptions,
        thumbnails={name: picture for name, picture in shown.items() if picture is not None},
    )


def _describe(model: Model) -> Mapping[str, Any]:
    return {
        "framework": model.framework,
        "format": model.format,
        "name": model.name,
        "path": model.path,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
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


@dataclass(frozen=True)
class Application:
    """A patch applied: the ``path`` of what was written, and the ``changes`` as a report's ``repaired`` has them."""

    path: Path
    changes: tuple[Mapping[str, str], ...]


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
    if before is not None and replace(selection, trust=False) == Selection():
        # a baseline comes from elsewhere, so that it cannot say whom to trust
        selection = replace(Selection.from_record(before.settings), trust=selection.trust)
    check = None if before is None else partial(regression.check, before)
    found = making.make(selection, work or Work(), context or Context(), CELL, check)
    if write_baseline is not None:
        found.write(write_baseline)
    return regression.compare(before or found, found)
