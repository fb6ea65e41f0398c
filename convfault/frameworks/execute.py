"""What runs in a process of its own: look into a model, or run it over a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from convfault import process
from convfault.batches import Batches
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Perturbation, Session
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.trace import TraceWriter

Record = Mapping[str, Any]


def inspect(model: Record, framework: str) -> dict[str, Any]:
    """Job: the signature of a model and the version of the framework that read it."""
    adapter = FRAMEWORKS[framework]
    return {"signature": adapter.signature(Model.from_record(model)).to_record(), "version": adapter.version()}


def run(
    model: Record,
    framework: str,
    batches: Record,
    preprocessing: Record,
    folder: str,
    capture: Sequence[str] = (),
    rows: Sequence[int] | None = None,
    perturbation: Record | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Job: run a model over ``batches`` (all, or only ``rows``), writing its trace to ``folder``.

    Opens the model, then waits for the parent's go, so that two models load at once but do not compete while they
    run. The next batch is prepared while the runtime works on one. Returns the signature and the count.
    """
    adapter = FRAMEWORKS[framework]
    data, prepare = Batches.from_record(batches), Preprocessing.from_record(preprocessing)
    change = Perturbation(**perturbation) if perturbation else None
    with adapter.open(Model.from_record(model), change) as session, TraceWriter(Path(folder)) as writer:
        size = batch_size or adapter.batch_size
        spans = _spans(data.count, size) if rows is None else ((row, row + 1) for row in rows)
        process.wait_for_go()
        done = 0
        for inputs in _ahead(data, prepare, session, spans):
            trace = session.run(inputs, capture)
            writer.append(trace)
            done += len(trace.output())
            process.report("progress", done=done)
        return {"signature": session.signature.to_record(), "count": done}


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _ahead(
    data: Batches, prepare: Preprocessing, session: Session, spans: Iterator[tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    """Inputs of each span; the next one is read and scaled in a thread while the current one is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for span in spans:
            upcoming = pool.submit(data.inputs, *span, session.signature, prepare)
            if pending is not None:
                yield pending.result()
            pending = upcoming
        if pending is not None:
            yield pending.result()
