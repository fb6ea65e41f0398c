"""Collects what a ``Case`` is made of: both models' views in Relax and their tensors on a few pictures.

Foreign libraries work in processes of their own, and all that they give is kept by content.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convfault.cache import Cache, key
from convfault.comparing.compare import paired_errors
from convfault.comparison import Comparison
from convfault.errors import ConvfaultError
from convfault.frameworks import runs
from convfault.frameworks.runs import Pass, Side
from convfault.process import Job, Worker
from convfault.progress import Progress
from convfault.relax import store
from convfault.trace import StoredTrace

WORST, AGREEING = 4, 2
"""How many pictures of each sort are looked at layer by layer: every tensor of each is kept, about 100 MB a picture."""

REFEREED = (0,)
"""The pictures that TVM runs, too: always the same, so that a model is imported and compiled once for all its cases."""


@dataclass(frozen=True)
class Material:
    """Where everything of a case lies: the ``answers`` of source and target to the whole data, the ``views`` in Relax,
    and the ``traces`` with every tensor.

    ``rows`` are the chosen pictures' numbers in the data.
    """

    sides: tuple[Side, Side]
    answers: tuple[StoredTrace, StoredTrace]
    views: tuple[Path, Path]
    traces: tuple[StoredTrace, StoredTrace]
    rows: tuple[int, ...]

    def to_record(self) -> dict[str, Any]:
        """What the examining process needs."""
        parties = [
            {
                "model": side.model.to_record(),
                "batches": side.batches.to_record(),
                "preprocessing": side.preprocessing.to_record(),
                "answers": str(answers.folder),
                "view": str(view),
                "trace": str(trace.folder),
            }
            for side, answers, view, trace in zip(self.sides, self.answers, self.views, self.traces, strict=True)
        ]
        return {"source": parties[0], "target": parties[1], "rows": list(self.rows)}


def gather(
    sides: Sequence[Side], answers: Sequence[StoredTrace], rows: tuple[int, ...], cache: Cache, progress: Progress
) -> Material:
    """Import both models to Relax and run both natively on the chosen pictures with every tensor kept.

    Raises ``ConvfaultError`` when a model cannot be imported at all, with the reason.
    """
    source, target = sides
    views = _views((source, target), REFEREED, cache, progress)
    passes = [
        replace(side, passes=(Pass(rows, capture=store.tensors(view)),))
        for side, view in zip((source, target), views, strict=True)
    ]
    results = runs.run(passes, cache, progress)
    for result in results:
        if result.outcome is not None:
            result.outcome.unwrap()
    return Material(
        (source, target), (answers[0], answers[1]), views, (results[0].traces[0], results[1].traces[0]), rows
    )


def chosen(answers: Sequence[StoredTrace], found: Comparison, held_out: Collection[int] = ()) -> tuple[int, ...]:
    """The rows of the worst pictures and of those that agree best, in the data's order, none that is held out."""
    source, target = answers
    errors = next((item for item in paired_errors(source, target) if item is not None), np.zeros(len(source)))
    order = np.argsort(np.nan_to_num(errors, nan=np.inf), kind="stable")
    allowed = [int(row) for row in order if row not in held_out]
    named = [picture.index for picture in found.worst if picture.index not in held_out]
    worst = list(dict.fromkeys([*named, *reversed(allowed)]))[:WORST]
    rest = [row for row in allowed if row not in worst]
    return tuple(sorted([*worst, *rest[: WORST + AGREEING - len(worst)]]))


def _views(sides: tuple[Side, Side], rows: Sequence[int], cache: Cache, progress: Progress) -> tuple[Path, Path]:
    """The folder of each side's view, made at once where the cache lacks them."""
    phase = "import to Relax"
    progress.start(phase, len(sides))
    with ExitStack() as stack:
        pending = [_start(side, rows, cache, stack) for side in sides]
        folders = []
        for number, (entry, folder, worker) in enumerate(pending, 1):
            if worker is not None and folder is not None:
                outcome = worker.finish()
                if outcome.status != "ok" and outcome.error is None:
                    raise ConvfaultError(f"{outcome.message}; so the layers cannot be compared")
                outcome.unwrap()
                cache.keep("views", entry, folder)
            folders.append(cache.path("views", entry))
            progress.update(phase, number)
    progress.finish(phase)
    return folders[0], folders[1]


@functools.cache
def _importers() -> str:
    """The content of the code that makes views: a view that other code made is made again."""
    digest = hashlib.sha256()
    for path in sorted(Path(store.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _start(side: Side, rows: Sequence[int], cache: Cache, stack: ExitStack) -> tuple[str, Path | None, Worker | None]:
    prepared: Mapping[str, Any] = {**side.preprocessing.to_record(), "assumed": ()}
    entry = key(side.model.sha256, side.model.format, side.data_key, prepared, list(rows), _importers())
    if cache.find("views", entry):
        return entry, None, None
    folder = stack.enter_context(cache.aside("views"))
    arguments = {
        "model": side.model.to_record(),
        "folder": str(folder),
        "batches": side.batches.to_record(),
        "preprocessing": side.preprocessing.to_record(),
        "rows": list(rows),
    }
    stage = f"import the {side.label} to Relax"
    return entry, folder, stack.enter_context(Worker(Job("convfault.relax.jobs:view", arguments, stage)))
