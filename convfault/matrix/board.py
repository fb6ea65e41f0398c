"""Which cell may begin now: within the memory, and never to make what another one is making already.

A pure state machine without processes or clocks; the executor asks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from convfault.comparison import AGREE, DIFFER
from convfault.matrix.cells import BUILD, CONVERT, LOAD, MEMORY, TIMEOUT, CellOutcome
from convfault.matrix.plan import Step, Task


@dataclass(frozen=True)
class _Begun:
    task: Task
    makes: frozenset[str]
    megabytes: float


class Board:
    """Tasks that wait, in order, and those that were begun; ``jobs`` at a time within ``megabytes``.

    A task that alone is expected to take more than ``megabytes`` is begun when nothing else runs.
    """

    def __init__(self, tasks: Iterable[Task], jobs: int, megabytes: float) -> None:
        self._waiting = list(tasks)
        self._jobs, self._megabytes = jobs, megabytes
        self._begun: dict[str, _Begun] = {}
        self._made: set[str] = set()
        self._broken: dict[str, CellOutcome] = {}

    @property
    def waiting(self) -> tuple[Task, ...]:
        """The tasks that were not begun, in order."""
        return tuple(self._waiting)

    @property
    def running(self) -> int:
        return len(self._begun)

    def next(self) -> Task | None:
        """Begin the first task that may; None when all must wait for one that runs, or none is left."""
        if len(self._begun) >= self._jobs:
            return None
        for task in self._waiting:
            if self._may_begin(task):
                self._waiting.remove(task)
                self._begun[task.cell.key] = _Begun(task, self._missing(task), self._expected(task))
                return task
        return None

    def end(self, task: Task, outcome: CellOutcome) -> tuple[CellOutcome, ...]:
        """``task`` ended, now or in an earlier invocation. Outcomes of waiting tasks that need not be tried any more.

        A hop that ran out of time or memory would do so again for every route that begins with it.
        """
        self._begun.pop(task.cell.key, None)
        self._made |= {step.name for step in _reached(task, outcome)}
        failing = _failing(task, outcome)
        if failing is not None and outcome.status in {TIMEOUT, MEMORY}:
            self._broken[failing.name] = outcome
        spared = [(other, step) for other in self._waiting if (step := self._doomed(other))]
        self._waiting = [task for task in self._waiting if self._doomed(task) is None]
        return tuple(_as_outcome_of(other, step, self._broken[step]) for other, step in spared)

    def _may_begin(self, task: Task) -> bool:
        needed = {step.name for step in task.steps} - self._made
        if any(needed & begun.makes for begun in self._begun.values()):
            return False
        used = sum(begun.megabytes for begun in self._begun.values())
        return not self._begun or used + self._expected(task) <= self._megabytes

    def _missing(self, task: Task) -> frozenset[str]:
        return frozenset(step.name for step in task.steps) - self._made

    def _expected(self, task: Task) -> float:
        """The most that one of its steps takes: they follow each other, and what is made already takes nothing."""
        steps = (step.megabytes for step in task.steps if step.name not in self._made)
        return max(task.megabytes, *steps, 0.0)

    def _doomed(self, task: Task) -> str | None:
        """The name of a step that fails for others, too."""
        return next((step.name for step in task.steps if step.name in self._broken), None)


def _reached(task: Task, outcome: CellOutcome) -> tuple[Step, ...]:
    """The steps that are made now that the task ended so: the cache holds them, a conversion's failure included."""
    if outcome.status in {AGREE, DIFFER}:
        return task.steps
    if outcome.stage == LOAD:
        return tuple(step for step in task.steps if step.stage in {BUILD, CONVERT})
    failing = _failing(task, outcome)
    if failing is None:
        return ()
    end = task.steps.index(failing)
    return task.steps[: end if outcome.status in {TIMEOUT, MEMORY} else end + 1]


def _failing(task: Task, outcome: CellOutcome) -> Step | None:
    """The step of the hop that failed."""
    if outcome.stage != CONVERT or outcome.hop is None or outcome.hop >= len(task.hops):
        return None
    return task.hops[outcome.hop]


def _as_outcome_of(task: Task, step: str, failure: CellOutcome) -> CellOutcome:
    """The failure of a shared ``step`` as the outcome of another cell, for which it may have made the source."""
    names = [step.name for step in task.hops]
    hop, stage = (names.index(step), CONVERT) if step in names else (None, BUILD)
    return replace(failure, cell=task.cell, stage=stage, hop=hop, seconds=0.0, report="", cached=False)
