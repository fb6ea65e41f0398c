"""The smallest set of edits that makes the target's graph answer as the source's does on the case's pictures.

Greedy forwards, the edit that leaves least error first, then backwards: what is not needed is dropped again. Faults
that mask each other are found because a step forwards that helps nobody alone is followed by all edits together, and
the elimination starts from there. Trials are those of ``localization.effect``: only what an edit touches is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convfault.localization.case import Case
from convfault.localization.effect import Deviation, applied, deviation, resumed, usable
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph

ENOUGH = 0.999
"""A step must leave less than this share of the error, or it is no step forwards."""


@dataclass(frozen=True)
class Attempt:
    """One suspect's edit, in the order of the decisions: whether it is part of the repair, and why."""

    suspect: Suspect
    accepted: bool
    reason: str
    left: Deviation | None = None


@dataclass(frozen=True)
class Search:
    """What a search found: the ``chosen`` edits, every decision, and what is still off ``before`` and ``after``."""

    chosen: tuple[Edit, ...]
    attempts: tuple[Attempt, ...]
    before: Deviation
    after: Deviation
    solved: bool


def search(case: Case, suspects: Sequence[Suspect], step: Callable[[int], None] = lambda done: None) -> Search:
    """Choose among the suspects' edits until the deviation is within the case's tolerance and no label differs.

    ``step`` is told how many suspects are decided.
    """
    return _Searching(case, suspects, step).run()


class _Searching:
    def __init__(self, case: Case, suspects: Sequence[Suspect], step: Callable[[int], None]) -> None:
        self.case, self.suspects, self.step = case, suspects, step
        self.graph: Graph = case.target.graph
        self.expected = tuple(case.source.values[name] for name in case.source.graph.outputs)
        self.reasons: dict[int, tuple[bool, str, Deviation | None]] = {}
        self.trials: dict[frozenset[int], Deviation] = {}
        self.before = self.left(frozenset())

    def run(self) -> Search:
        chosen = self._forwards(self._open())
        if not self.within(self.left(frozenset(chosen))):
            chosen = self._everything(chosen)
        chosen = self._backwards(chosen)
        after = self.left(frozenset(chosen))
        for number in chosen:
            self._decide(number, True, "without it the answers differ by more than the tolerance", after)
        for number in range(len(self.suspects)):
            if number not in self.reasons:
                self._decide(number, False, "the answers agree without it", after)
        edits = tuple(edit for number in sorted(chosen) if (edit := self.suspects[number].edit) is not None)
        attempts = tuple(Attempt(self.suspects[n], *self.reasons[n]) for n in sorted(self.reasons))
        return Search(edits, attempts, self.before, after, self.within(after))

    def _open(self) -> list[int]:
        """The suspects whose edits can be tried."""
        found = []
        for number, suspect in enumerate(self.suspects):
            if suspect.edit is None:
                self._decide(number, False, "no edit of the graph undoes it", None)
            elif usable(suspect.edit, self.graph) is None:
                self._decide(number, False, "its edit does not fit the target", None)
            else:
                found.append(number)
        return found

    def _forwards(self, numbers: list[int]) -> list[int]:
        """Add the edit that leaves least, until that is within the tolerance or no edit helps."""
        chosen: list[int] = []
        order = sorted(numbers, key=lambda number: _size(self.left(frozenset({number}))))
        while order and not self.within(current := self.left(frozenset(chosen))):
            best = self._best(chosen, order)
            if not _size(self.left(frozenset({*chosen, best}))) < ENOUGH * _size(current):
                break
            chosen.append(best)
            order.remove(best)
        return chosen

    def _best(self, chosen: list[int], order: list[int]) -> int:
        """The next edit: with many left the one that did most alone, tried first, is taken if it helps at all."""
        current = _size(self.left(frozenset(chosen)))
        if len(order) > 12:
            for number in order:
                if _size(self.left(frozenset({*chosen, number}))) < ENOUGH * current:
                    return number
        return min(order, key=lambda number: _size(self.left(frozenset({*chosen, number}))))

    def _everything(self, chosen: list[int]) -> list[int]:
        """All edits together where they leave less than the chosen ones: they may mask each other."""
        everyone = [n for n in range(len(self.suspects)) if n not in self.reasons]
        return everyone if _size(self.left(frozenset(everyone))) < _size(self.left(frozenset(chosen))) else chosen

    def _backwards(self, chosen: list[int]) -> list[int]:
        """Drop what is not needed, those that do least alone first."""
        kept = sorted(chosen, key=lambda number: -_size(self.left(frozenset({number}))))
        for number in list(kept):
            rest = frozenset(kept) - {number}
            with_it, without = self.left(frozenset(kept)), self.left(rest)
            dispensable = self.within(without) if self.within(with_it) else _size(without) <= _size(with_it)
            if dispensable:
                kept.remove(number)
                self._decide(number, False, "the answers agree as well without it", without)
        return kept

    def left(self, numbers: frozenset[int]) -> Deviation:
        """How far the target is off with some edits applied, in the suspects' order."""
        if numbers not in self.trials:
            graph = applied(self.graph, [self.suspects[number].edit for number in sorted(numbers)])
            values = resumed(self.graph, self.case.target.values, graph)
            found = tuple(values[name] for name in graph.outputs if name in values)
            self.trials[numbers] = deviation(found, self.expected)
        return self.trials[numbers]

    def within(self, found: Deviation) -> bool:
        return found.max_abs_error <= self.case.tolerance and not found.top1_disagreement

    def _decide(self, number: int, accepted: bool, reason: str, left: Deviation | None) -> None:
        self.reasons[number] = (accepted, reason, left)
        self.step(len(self.reasons))


def _size(found: Deviation) -> float:
    """What is to be made small: labels first would hide progress that flips none yet, so the error alone."""
    return found.max_abs_error
