"""The smallest set of edits that makes the target's graph answer as the source's does on the case's pictures.

Where all edits together do it, or nearly, those that nobody needs are dropped again, in halves: what each suspect
causes when it alone is left in is known already (``localization.effect``) and tells which ones cannot go. Otherwise
greedy forwards, the edit that leaves least error first, then backwards. Faults that mask each other are found because
all edits are tried together. Only what an edit touches is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convfault.localization.answers import Deviation, answers, deviation
from convfault.localization.case import Case
from convfault.localization.effect import Effect, applied, resumed, usable
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph

CERTAIN = 2.0
"""An edit without which the error is so many times the tolerance cannot be left out."""

SPARE = 0.25
"""Of the tolerance: so much of it edits may use up by being left out, for other pictures deviate by more than these."""

NOISE = 1.5
"""How many times what all edits leave before a softmax may be there without some: that much is float arithmetic."""

NEARLY = 0.01
"""Of the error: edits that together leave less are not looked for one by one, though that is above the tolerance."""

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


def search(
    case: Case,
    suspects: Sequence[tuple[Suspect, Effect]],
    step: Callable[[int], None] = lambda done: None,
    always: Sequence[Edit] = (),
) -> Search:
    """Choose among the suspects' edits until the deviation of every output is within its tolerance.

    ``suspects`` come with their measured effects; ``step`` is told how many sets of edits were tried; ``always`` are
    edits that are applied before all others, and are not chosen.
    """
    return _Searching(case, suspects, step, always).run()


class _Searching:
    def __init__(
        self,
        case: Case,
        suspects: Sequence[tuple[Suspect, Effect]],
        step: Callable[[int], None],
        always: Sequence[Edit],
    ) -> None:
        self.case, self.step = case, step
        self.suspects, self.effects = [suspect for suspect, _ in suspects], [effect for _, effect in suspects]
        self.graph: Graph = applied(case.target.graph, always)
        self.values = resumed(case.target.graph, case.target.values, self.graph, everything=True)
        self.expected = answers(case.source.graph, case.source.values)
        self.reasons: dict[int, tuple[bool, str, Deviation | None]] = {}
        self.trials: dict[frozenset[int], Deviation] = {}
        self.unfit: frozenset[int] = frozenset()
        self.before = self.left(frozenset())

    def run(self) -> Search:
        numbers = self._open()
        self.unfit = frozenset(self.reasons)
        if self.within(self.before):
            chosen = []
        elif self.within(together := self.left(frozenset(numbers))) or _size(together) < NEARLY * _size(self.before):
            chosen = self._needed(numbers)
        else:
            chosen = self._backwards(self._everything(self._forwards(numbers)))
        after = self.left(frozenset(chosen))
        for number in chosen:
            self._decide(number, True, "without it the answers differ by more than the tolerance", after)
        for number in range(len(self.suspects)):
            if number not in self.reasons:
                self._decide(number, False, "the answers agree without it", after)
        edits = tuple(edit for number in sorted(chosen) if (edit := self.suspects[number].edit) is not None)
        attempts = tuple(Attempt(self.suspects[n], *self.reasons[n]) for n in sorted(self.reasons))
        return Search(edits, attempts, self.before, after, self.within(after))

    def _needed(self, numbers: list[int]) -> list[int]:
        """Of edits that together leave nothing, or hardly anything, those that are needed."""
        kept = set(numbers)
        doubtful = sorted((n for n in numbers if not self._certain(n)), key=lambda n: -_alone(self.effects[n]))
        self._drop(doubtful, kept)
        return sorted(kept)

    def _certain(self, number: int) -> bool:
        """Whether the answers differ when this one alone is left as it is."""
        caused = self.effects[number].caused
        return caused is not None and caused.latent is not None and caused.latent > CERTAIN

    def _drop(self, numbers: list[int], kept: set[int]) -> None:
        """Take edits out of ``kept`` together where the rest suffices, else in halves."""
        if not numbers:
            return
        left = self.left(frozenset(kept - set(numbers)))
        if self._spares(left):
            kept.difference_update(numbers)
            for number in numbers:
                self._decide(number, False, "the answers agree without it", left)
        elif len(numbers) > 1:
            half = len(numbers) // 2
            self._drop(numbers[half:], kept)
            self._drop(numbers[:half], kept)

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
        order = sorted(numbers, key=lambda number: _alone(self.effects[number]))
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
        kept = sorted(chosen, key=lambda number: -_alone(self.effects[number]))
        for number in list(kept):
            rest = frozenset(kept) - {number}
            with_it, without = self.left(frozenset(kept)), self.left(rest)
            dispensable = self.within(without) if self.within(with_it) else _size(without) <= _size(with_it)
            if dispensable:
                kept.remove(number)
                self._decide(number, False, "the answers agree without it", without)
        return kept

    def left(self, numbers: frozenset[int]) -> Deviation:
        """How far the target is off with some edits applied, in the suspects' order."""
        if numbers not in self.trials:
            graph = applied(self.graph, [self.suspects[number].edit for number in sorted(numbers)])
            values = resumed(self.graph, self.values, graph)
            self.trials[numbers] = deviation(answers(graph, values), self.expected, self.case.tolerances)
            self.step(len(self.trials))
        return self.trials[numbers]

    def _spares(self, found: Deviation) -> bool:
        """Whether edits can be left out that leave this much: far within the tolerance, or no more than all leave.

        So it must be for pictures, too, of which the model is less certain.
        """
        everything = self.left(frozenset(n for n in range(len(self.suspects)) if n not in self.unfit))
        excess, latent = max(SPARE, (everything.excess or 0.0) / ENOUGH), max(SPARE, NOISE * (everything.latent or 0.0))
        return found.excess is not None and found.excess <= excess and (found.latent or 0.0) <= latent

    def within(self, found: Deviation) -> bool:
        return found.excess is not None and found.excess <= 1

    def _decide(self, number: int, accepted: bool, reason: str, left: Deviation | None) -> None:
        self.reasons[number] = (accepted, reason, left)


def _size(found: Deviation) -> float:
    """What is to be made small: labels first would hide progress that flips none yet, so the error alone."""
    return found.max_abs_error if found.excess is None else found.excess


def _alone(effect: Effect) -> float:
    """What is still off with this edit alone; unknown counts as nothing gained."""
    return _size(effect.after or effect.before)
