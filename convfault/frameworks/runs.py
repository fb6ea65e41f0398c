"""Run models over data in processes of their own, each run kept in the cache by the content that it came from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault import process
from convfault.batches import Batches
from convfault.cache import Cache, key
from convfault.comparison import LOAD, RUN
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Perturbation
from convfault.model import Model, Signature
from convfault.preprocessing import Preprocessing
from convfault.process import Job, Outcome, Worker
from convfault.progress import Progress
from convfault.trace import StoredTrace

STALL_SECONDS = 900.0
"""A run that reports no batch for so long is taken for hung."""


@dataclass(frozen=True)
class Pass:
    """One pass over the data: all rows or some, with the weights as they are or perturbed, capturing inner tensors."""

    rows: tuple[int, ...] | None = None
    perturbation: Perturbation | None = None
    capture: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        change = self.perturbation
        return {
            "rows": list(self.rows) if self.rows is not None else None,
            "perturbation": {"relative": change.relative, "seed": change.seed} if change else None,
            "capture": list(self.capture),
        }


@dataclass(frozen=True)
class Side:
    """A model to be run by ``framework`` (its own, or another that reads its format) over ``batches``.

    ``label`` names the side in progress and messages ("source", "target"); ``data_key`` the content of the batches.
    """

    label: str
    model: Model
    framework: str
    batches: Batches
    data_key: str
    preprocessing: Preprocessing
    passes: tuple[Pass, ...] = (Pass(),)
    batch_size: int | None = None

    @property
    def stage(self) -> str:
        return f"run the {self.label} in {self.framework}"

    def key(self, wanted: Pass) -> str:
        """The content that a pass's result depends on."""
        version = FRAMEWORKS[self.framework].version()
        prepared = {**self.preprocessing.to_record(), "assumed": ()}
        return key(self.model.sha256, self.framework, version, self.data_key, prepared, wanted.to_record())


@dataclass(frozen=True)
class SideRun:
    """The traces of a side's passes, in order; or, when it went wrong, the ``outcome`` that says how.

    ``stage`` is then where: ``load`` or ``run`` of ``comparison.CRASH_STAGES``.
    """

    traces: tuple[StoredTrace, ...] = ()
    outcome: Outcome | None = None
    seconds: float = 0.0
    cached: bool = False
    peak_megabytes: float = 0.0
    stage: str = ""


def inspect(model: Model, framework: str, cache: Cache) -> Signature:
    """The signature of a model, read in a process of its own and remembered by content.

    Raises ``FormatError`` and its like for a file that cannot be read, ``SubjectError`` when it kills its reader.
    """
    version = FRAMEWORKS[framework].version()
    entry = key(model.sha256, model.format, model.trusted, framework, version)
    name = "signature.json"

    def fill(folder: Path) -> None:
        arguments = {"model": model.to_record(), "framework": framework}
        stage = f"{model.path}: read as {model.format} by {framework}"
        job = Job("convfault.frameworks.execute:inspect", arguments, stage, stall_seconds=STALL_SECONDS)
        outcome = process.run(job)
        (folder / name).write_text(json.dumps(outcome.unwrap()["signature"]))

    return Signature.from_record(json.loads((cache.make("signatures", entry, fill) / name).read_text()))


@dataclass
class _Started:
    side: Side
    missing: Sequence[Pass]
    folders: Sequence[Path] = ()
    worker: Worker | None = None


def run(sides: Sequence[Side], cache: Cache, progress: Progress, fresh: bool = False) -> list[SideRun]:
    """Run every side, one after the other, while the next one's framework and model already load.

    Each has all cores to itself while it runs. Passes that the cache holds are not run again; ``fresh`` runs those of
    the unperturbed model all the same.
    A side that goes wrong ends the whole; the sides after it come back without traces.
    """
    with ExitStack() as stack:
        started = [_start(side, cache, stack, fresh) for side in sides]
        done: list[SideRun] = []
        for one in started:
            done.append(_finish(one, cache, progress))
            if done[-1].outcome is not None:
                break
        return done + [SideRun()] * (len(sides) - len(done))


def _start(side: Side, cache: Cache, stack: ExitStack, fresh: bool) -> _Started:
    again = [fresh and wanted.perturbation is None for wanted in side.passes]
    missing = [w for w, a in zip(side.passes, again, strict=True) if a or not cache.find("runs", side.key(w))]
    if not missing:
        return _Started(side, missing)
    folders = [stack.enter_context(cache.aside("runs")) for _ in missing]
    arguments = {
        "model": side.model.to_record(),
        "framework": side.framework,
        "batches": side.batches.to_record(),
        "preprocessing": side.preprocessing.to_record(),
        "passes": [
            {**wanted.to_record(), "folder": str(folder)} for wanted, folder in zip(missing, folders, strict=True)
        ],
        "batch_size": side.batch_size,
    }
    job = Job("convfault.frameworks.execute:run", arguments, side.stage, stall_seconds=STALL_SECONDS)
    return _Started(side, missing, folders, stack.enter_context(Worker(job)))


def _finish(started: _Started, cache: Cache, progress: Progress) -> SideRun:
    side, outcome = started.side, None
    if started.worker is not None:
        phase = side.stage
        progress.start(phase, _expected(side, started.missing))
        if opened := started.worker.wait_until("ready"):
            started.worker.go()
        counter = _Counter(progress, phase)
        outcome = started.worker.finish(counter.on_event)
        progress.finish(phase)
        if outcome.status != "ok":
            spent, peak = counter.seconds(), outcome.peak_megabytes
            return SideRun(outcome=outcome, seconds=spent, peak_megabytes=peak, stage=RUN if opened else LOAD)
        for wanted, folder in zip(started.missing, started.folders, strict=True):
            cache.drop("runs", side.key(wanted))
            cache.keep("runs", side.key(wanted), folder)
    traces = tuple(StoredTrace(cache.path("runs", side.key(wanted))) for wanted in side.passes)
    if outcome is None:
        return SideRun(traces, cached=True)
    return SideRun(traces, seconds=counter.seconds(), peak_megabytes=outcome.peak_megabytes)


def _expected(side: Side, passes: Sequence[Pass]) -> int:
    return sum(side.batches.count if wanted.rows is None else len(wanted.rows) for wanted in passes)


class _Counter:
    """Adds up the progress of successive passes and keeps the time since the go."""

    def __init__(self, progress: Progress, phase: str) -> None:
        self._progress, self._phase = progress, phase
        self._begun, self._finished, self._last = time.monotonic(), 0, 0

    def on_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] != "progress":
            return
        if event["done"] < self._last:
            self._finished += self._last
        self._last = event["done"]
        self._progress.update(self._phase, self._finished + self._last)

    def seconds(self) -> float:
        return time.monotonic() - self._begun
