"""From two models that were measured to the faults that set them apart: gathers a case and has it examined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from convfault import process
from convfault.cache import key
from convfault.comparing.compare import Pictures, compare
from convfault.comparison import AGREE
from convfault.converters.route import Hop
from convfault.errors import ConvfaultError
from convfault.fault import Fault
from convfault.frameworks import runs
from convfault.frameworks.runs import Pass
from convfault.localization import faults
from convfault.localization.gather import Material, chosen, gather
from convfault.localization.knowledge import about
from convfault.localization.suspect import Suspect
from convfault.localization.tool import analyzer as tool
from convfault.localization.tool import crash, judging
from convfault.localization.tool.crash import Failure
from convfault.localization.tool.deviation import OTHERWISE, Hunt, smaller
from convfault.localization.tool.exhibit import Exhibit
from convfault.localization.tool.shrink import Shrunk, shrink
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.preparation import following, inspected, prepared_side
from convfault.process import Job
from convfault.progress import Progress
from convfault.request import Context

STALL_SECONDS = 900.0
REPLAY = "convfault.replaying.replay:replay"
"""What puts a layer to the vote of the runtimes where a native run is not what its graph gives."""


@dataclass(frozen=True)
class Findings:
    """What an investigation gives a report: ``attribution`` and ``localization`` are its sections of those names.

    ``subject`` is what a reproducer shows, None where no conversion done here is at fault. ``repair`` is what a
    repairing errand did.
    """

    faults: tuple[Fault, ...] = ()
    attribution: Mapping[str, Any] | None = None
    localization: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    subject: Exhibit | None = None
    repair: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Errand:
    """What is done with a gathered case in a process of its own.

    ``function`` takes ``material``, ``comparison``, ``hops`` as ``localization.examine.run`` does, and ``arguments``.
    ``held_out``: rows of the data that it must not see.
    """

    function: str = "convfault.localization.examine:run"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    held_out: frozenset[int] = frozenset()


def investigate(found: Measurement, context: Context, errand: Errand = Errand()) -> Findings:
    """Where and why the two models differ. A target that crashed is explained by what its converter said."""
    if not found.traces:
        return _crashed(found, context)
    watch = found.watch
    try:
        with watch.phase("gather"):
            rows = chosen(found.traces, found.comparison, errand.held_out)
            material = gather(found.sides, found.traces, rows, context.cache, context.progress)
    except ConvfaultError as error:
        return Findings(localization={"refused": str(error)})
    with watch.phase("compare hops"):
        hops = _hops(found, material, context)
    with watch.phase("examine"):
        outcome = process.run(_job(found, material, hops, errand), _Stages(context.progress).on_event)
    value = outcome.of_our_own()
    named = tuple(Fault.from_record(item) for item in value["faults"])
    return Findings(
        named,
        value["attribution"],
        value["localization"],
        {name: round(seconds, 3) for name, seconds in value["seconds"].items()},
        _exhibit(found, hops, material, named, context),
        value.get("repair"),
    )


def _job(found: Measurement, material: Material, hops: list[dict[str, Any]], errand: Errand) -> Job:
    names = [found.pair.dataset.names[row] for row in material.rows]
    arguments = {
        "material": {**material.to_record(), "names": names, "replay": REPLAY},
        "comparison": found.comparison.to_record(),
        "hops": hops,
        **errand.arguments,
    }
    return Job(errand.function, arguments, "examine the models", stall_seconds=STALL_SECONDS)


def _crashed(found: Measurement, context: Context) -> Findings:
    """What a crash is to be blamed on, of the conversion or of what it wrote, and the smallest model that shows it."""
    conversion = found.pair.conversion
    if conversion is None:
        return Findings()
    hop, last = conversion.route.hops[len(conversion.hops) - 1], conversion.hops[-1]
    source = conversion.models[len(conversion.hops) - 1]
    unreadable = found.comparison.reasons[0] if last.status == "ok" else ""
    failure = Failure(last.to_record(), unreadable)
    with found.watch.phase("explain the crash"):
        blame = crash.read(failure)
        shrunk = None if blame.cause == "resources" else _shrunk(hop, source, failure, context, crash.hints(blame))
        ways = tool.alternatives(conversion.route, len(conversion.hops) - 1, conversion.source.format)
        suspect = crash.explain(failure, shrunk, tuple(str(way) for way in ways))
    exhibit = Exhibit(shrunk.model if shrunk else source, failure.record, suspect, shrunk=shrunk, whole=source)
    fault = faults.alone(suspect)
    return Findings((fault,), localization={"causes": about([fault])}, subject=exhibit)


def _shrunk(hop: Hop, source: Model, failure: Failure, context: Context, hints: tuple[str, ...]) -> Shrunk | None:
    phase = f"shrink the model that {hop.converter.tool} fails on"
    ending = "unreadable" if failure.unreadable else "crash" if failure.record["status"] == "crash" else "error"
    folder = context.cache.path("shrunk", key(str(hop), source.sha256, ending))
    folder.mkdir(parents=True, exist_ok=True)
    context.progress.start(phase, None)
    try:
        return shrink(hop, source, folder, context.cache, hints=hints, ending=ending)
    except ConvfaultError:  # the fault is told without the smallest model, too
        return None
    finally:
        context.progress.finish(phase)


def _exhibit(
    found: Measurement, hops: list[dict[str, Any]], material: Material, named: Sequence[Fault], context: Context
) -> Exhibit | None:
    """What shows the first hop whose model answers otherwise: its source, one picture, and the answer wanted."""
    conversion = found.pair.conversion
    differing = [n for n, hop in enumerate(hops) if hop["comparison"] and hop["comparison"]["verdict"] != AGREE]
    if conversion is None or not differing:
        return None
    number, row = differing[0], found.comparison.worst[0].index
    model = inspected(conversion.models[number], None, context)
    model = found.pair.source if number == 0 else following(found.pair.source, model, None)
    side = prepared_side("reproducer", model, None, found.pair, context)
    assert model.signature is not None
    inputs = side.batches.inputs(row, row + 1, model.signature, side.preprocessing)
    answers = material.answers[0]
    worst = next((fault for fault in named if not fault.harmless), None)
    told = (worst.cause, worst.explanation) if worst else ("hop", OTHERWISE)
    target = inspected(conversion.models[number + 1], None, context)
    limit = found.comparison.outputs[0].tolerance.value
    values = judging.whole(model, target, tuple(inputs.values()), answers.read(answers.outputs[0], row, row + 1))
    values = replace(values, error=hops[number]["comparison"]["max_abs_error"] or float("inf"), limit=limit)
    whole = Exhibit(model, hops[number]["record"], Suspect("tool", *told, suggestion=""), values)
    hunt = Hunt(conversion.route.hops[number], model, inputs, named, context.cache)
    return replace(whole, smaller=partial(smaller, whole, hunt, context.progress))


def _hops(found: Measurement, material: Material, context: Context) -> list[dict[str, Any]]:
    """The record of each hop with the comparison of what it made and the source, on the chosen pictures."""
    conversion = found.pair.conversion
    if conversion is None:
        return []
    records = conversion.to_records()
    middle = [_compared(found, material, model, context) for model in conversion.models[1:-1]]
    comparisons = [*middle, found.comparison.to_record()]
    return [{"record": record, "comparison": made} for record, made in zip(records, comparisons, strict=True)]


def _compared(found: Measurement, material: Material, model: Model, context: Context) -> dict[str, Any] | None:
    """An intermediate model against the source; None when it cannot be run."""
    pair = found.pair
    try:
        model = following(pair.source, inspected(model, None, context), None)
        side = prepared_side("intermediate", model, None, pair, context)
        result = runs.run([replace(side, passes=(Pass(material.rows),))], context.cache, context.progress)[0]
    except ConvfaultError:
        return None
    if result.outcome is not None:
        return None
    names = [pair.dataset.names[row] for row in material.rows]
    tolerances = [output.tolerance for output in found.comparison.outputs][: len(material.traces[0].outputs)]
    return compare(material.traces[0], result.traces[0], Pictures(names), tolerances).to_record()


class _Stages:
    """Shows the examining process's stages as phases of our own."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._name = progress, ""

    def on_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "stage":
            if self._name:
                self._progress.finish(self._name)
            self._name = event["name"]
            self._progress.start(self._name, event["total"])
        elif event["event"] == "progress":
            self._progress.update(self._name, event["done"])
