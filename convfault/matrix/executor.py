"""Takes a plan: what is on disk is taken from there, all else is tried, and each cell is on disk as soon as it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from convfault.matrix import memory, outcomes
from convfault.matrix.board import Board
from convfault.matrix.cells import CellOutcome
from convfault.matrix.outcomes import Attempt
from convfault.matrix.plan import Task, in_order
from convfault.matrix.store import Store
from convfault.process import Job, Worker, report
from convfault.progress import Progress

PHASE = "cells"
Ended = tuple[Task, Attempt]


@dataclass(frozen=True)
class Settings:
    """How cells are tried. ``function`` is ``"module:function"``: it takes a cell's record as ``cell`` and all of
    ``arguments``, which JSON can hold, and returns an ``Attempt``'s record.

    ``jobs`` cells at a time (0: one a core) within ``megabytes`` of expected memory (None: most of what is free).
    ``stall_seconds``: a cell that says nothing for so long is taken for hung. ``cluster`` is the address of a Dask
    scheduler that takes the cells instead. ``fresh``: finished cells are tried again.
    """

    function: str
    folder: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 0
    megabytes: float | None = None
    stall_seconds: float | None = 7200.0
    limits: tuple[float | None, ...] = ()
    cluster: str | None = None
    pages: bool = False
    fresh: bool = False


def execute(tasks: Sequence[Task], settings: Settings, progress: Progress) -> tuple[CellOutcome, ...]:
    """The outcomes of all tasks, in their order.

    Raises the ``UsageError`` that every cell would meet (a full disk); what had ended by then stays on disk.
    """
    store = Store(settings.folder, settings.limits, settings.pages)
    with store.locked():
        known = {} if settings.fresh else _known(tasks, store)
        found = dict(known)
        progress.start(PHASE, len(tasks))
        progress.update(PHASE, len(found))
        for task, attempt in _attempts(tasks, known, settings, progress):
            found[task.cell.key] = store.write(task, attempt)
            progress.update(PHASE, len(found))
        progress.finish(PHASE)
    return tuple(found[task.cell.key] for task in tasks)


def _known(tasks: Sequence[Task], store: Store) -> dict[str, CellOutcome]:
    """What need not be tried: the finished cells."""
    looked_up = ((task, store.find(task)) for task in tasks if not task.refusal)
    return {task.cell.key: outcome for task, outcome in looked_up if outcome is not None}


def _attempts(
    tasks: Sequence[Task], known: Mapping[str, CellOutcome], settings: Settings, progress: Progress
) -> Iterator[Ended]:
    for task in tasks:
        if task.refusal:
            yield task, Attempt(outcomes.no_route(task.cell, task.refusal))
    tried = in_order([task for task in tasks if not task.refusal])
    if all(task.cell.key in known for task in tried):
        return
    if settings.cluster is None:
        yield from _here(tried, known, settings, progress)
        return
    from convfault.matrix import cluster

    rest = [task for task in tried if task.cell.key not in known]
    yield from cluster.attempts(rest, settings.cluster, settings.function, settings.arguments, settings.stall_seconds)


def _here(
    tasks: Sequence[Task], known: Mapping[str, CellOutcome], settings: Settings, progress: Progress
) -> Iterator[Ended]:
    """Try the cells in processes of this machine, as many at once as the memory allows."""
    jobs = settings.jobs or _cores()
    megabytes = memory.budget(jobs) if settings.megabytes is None else settings.megabytes
    waiting = [task for task in tasks if task.cell.key not in known]
    board, by_key = Board(waiting, jobs, megabytes), {task.cell.key: task for task in tasks}
    for key, outcome in known.items():
        yield from _spared(board.end(by_key[key], outcome), by_key)
    running: dict[Future[Attempt], Task] = {}
    with ThreadPoolExecutor(jobs) as pool, Crew(settings, max(1, _cores() // jobs)) as crew:
        while board.waiting or running:
            while task := board.next():
                progress.start(str(task.cell), None)
                running[pool.submit(crew.attempt, task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                progress.finish(str(task.cell))
                attempt = future.result()
                yield task, attempt
                yield from _spared(board.end(task, attempt.outcome), by_key)


def _spared(found: Sequence[CellOutcome], by_key: Mapping[str, Task]) -> Iterator[Ended]:
    for outcome in found:
        yield by_key[outcome.cell.key], Attempt(outcome)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Stoppable(Worker):
    """A job that another thread may end."""

    def stop(self) -> None:
        self._kill()


class Crew:
    """The processes that try cells just now; leaving it ends them all."""

    def __init__(self, settings: Settings, threads: int) -> None:
        self._settings, self._threads = settings, threads
        self._busy: set[_Stoppable] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._busy:
                worker.stop()

    def attempt(self, task: Task) -> Attempt:
        """Try one cell in a process of its own and wait for its end."""
        settings = self._settings
        job = Job(
            settings.function,
            {"cell": task.cell.to_record(), **settings.arguments},
            f"try {task.cell}",
            stall_seconds=settings.stall_seconds,
            environment={"CONVFAULT_THREADS": str(self._threads)},
        )
        with self._lock:
            if self._stopped:
                raise CancelledError
            worker = _Stoppable(job)
            self._busy.add(worker)
        with worker:
            outcome = worker.finish()
        with self._lock:
            self._busy.discard(worker)
        return outcomes.conclude(task.cell, outcome)


class Heartbeat:
    """Inside a cell's process: progress that tells the executor that the cell is alive."""

    def start(self, phase: str, total: int | None) -> None:
        report("phase", phase=phase)

    def update(self, phase: str, done: int) -> None:
        report("progress", phase=phase, done=done)

    def finish(self, phase: str) -> None:
        report("phase_done", phase=phase)
