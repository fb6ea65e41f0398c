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
    passes: Sequence[Record],
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Job: run a model over ``batches`` in one or more passes, writing the trace of each to its folder.

    A pass is a record: ``folder``; ``rows`` (only these pictures, one by one; absent: all); ``perturbation`` (fields of
    ``Perturbation``; absent: the model as it is); ``capture`` (inner tensors to keep, as far as the runtime can).
    The first model opens before the parent's go, so that two models load at once but do not compete while they run.
    Returns signature and counts.
    """
    adapter, subject = FRAMEWORKS[framework], Model.from_record(model)
    data, prepare = Batches.from_record(batches), Preprocessing.from_record(preprocessing)
    size, counts, signature = batch_size or adapter.batch_size, [], None
    for number, wanted in enumerate(passes):
        change = Perturbation(**wanted["perturbation"]) if wanted.get("perturbation") else None
        with adapter.open(subject, change) as session, TraceWriter(Path(wanted["folder"])) as writer:
            if number == 0:
                process.wait_for_go()
            signature = session.signature
            spans = _spans(data.count, size) if wanted.get("rows") is None else ((r, r + 1) for r in wanted["rows"])
            feed = _ahead(data, prepare, session, spans)
            counts.append(_run_pass(session, writer, feed, _capturable(session, wanted.get("capture", ()))))
    return {"signature": signature.to_record() if signature else None, "counts": counts}


def _capturable(session: Session, names: Sequence[str]) -> list[str]:
    """Those of the named tensors that this runtime can show: what it fuses away, it cannot."""
    if not names:
        return []
    known = {spec.name for spec in session.tensors()} - {spec.name for spec in session.signature.outputs}
    return [name for name in dict.fromkeys(names) if name in known]


def _run_pass(session: Session, writer: TraceWriter, feed: Iterator[dict[str, Any]], capture: Sequence[str]) -> int:
    done = 0
    for inputs in feed:
        trace = session.run(inputs, capture)
        writer.append(trace)
        done += len(trace.output())
        process.report("progress", done=done)
    return done


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
