"""How much of the disagreement each suspect causes: it is undone in the target's graph, and what follows runs again.

Two questions are asked of every suspect. Undone alone: how far is the target still off? And the other way round, left
in alone while all others are undone: how far off is the answer then? The second tells the faults that mask each other,
where undoing either alone changes nothing or makes it worse.

A third one is asked of those that stand together: with all of them left in alone, is anything off at all? Two
converters may say one function so differently that parts of it correspond and differ, and each looks like a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from convfault.errors import ConvfaultError
from convfault.localization.answers import Answer, Deviation, answers, arguments, deviation
from convfault.localization.case import Case
from convfault.localization.suspect import Suspect
from convfault.relax import evaluate
from convfault.relax.edits import Edit
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.variants import changed, resume_each

BUDGET = 1.0e12
"""Multiplications that all trials may take together, about 12 s on two cores; with many suspects fewer pictures are
used, those that deviate most. Counted rather than timed, so that a busy machine gives the same answers."""

ELEMENTWISE = 4.0
"""Multiplications that moving one value through memory costs as much as."""


@dataclass(frozen=True)
class Effect:
    """``before``: the target as it is; ``after``: with this suspect alone undone; ``caused``: with it alone left in.

    The last two are None for a suspect that cannot be undone in the graph.
    """

    before: Deviation
    after: Deviation | None = None
    caused: Deviation | None = None

    def to_record(self) -> dict[str, float | None]:
        record = {
            "top1_disagreement_before": self.before.top1_disagreement,
            "max_abs_error_before": self.before.max_abs_error,
        }
        for name, found in (("after", self.after), ("caused", self.caused)):
            record[f"top1_disagreement_{name}"] = found.top1_disagreement if found else None
            record[f"max_abs_error_{name}"] = found.max_abs_error if found else None
        return record


@dataclass(frozen=True)
class Effects:
    """The effect of each suspect, in their order; ``left`` is what remains when all of them are undone."""

    each: tuple[Effect, ...]
    before: Deviation
    left: Deviation
    pictures: int


def measured(case: Case, suspects: Sequence[Suspect], step: Callable[[int], None] = lambda done: None) -> Effects:
    """Try every suspect's edit. ``step`` is told how many suspects are done."""
    trials = _Trials(case, suspects)
    each = trials.effects(step)
    return Effects(tuple(trials.together(suspects, each)), trials.before, trials.left, trials.count)


def as_native(case: Case, effects: Effects) -> Effects:
    """The effects where the graphs cannot be believed: each causes at most what the models themselves differ by."""
    found, expected = ([Answer(value) for value in side.outputs] for side in (case.target, case.source))
    most = deviation(found, expected, case.tolerances, by_name=False)
    return replace(effects, each=tuple(Effect(most, most, most) for _ in effects.each), before=most, left=most)


class _Trials:
    def __init__(self, case: Case, suspects: Sequence[Suspect]) -> None:
        self.graph, self.expected = case.target.graph, answers(case.source.graph, case.source.values)
        self.edits = [usable(suspect.edit, self.graph) for suspect in suspects]
        self.values: Mapping[str, Array] = case.target.values
        # what is not rounded in the target causes no more than what is left without all the others
        self.finer = {number for number, suspect in enumerate(suspects) if suspect.cause == "rounding_missing"}
        self.mended, self.mended_values = self._mended()
        pictures = len(self.expected[0].value) if self.expected else 0
        self.count = self._affordable(pictures)
        if self.count < pictures:
            self._take(self._worst()[: self.count])
        self.limits = case.tolerances
        self.before = deviation(answers(self.graph, self.values), self.expected, self.limits)
        self.left = deviation(answers(self.mended, self.mended_values), self.expected, self.limits)

    def _mended(self) -> tuple[Graph, Mapping[str, Array]]:
        """The target with all edits, and all of its values; an edit that does not fit the others is left out."""
        graph = applied(self.graph, self.edits)
        return graph, resumed(self.graph, self.values, graph, everything=True)

    def _affordable(self, pictures: int) -> int:
        """How many pictures all trials can take, two for each suspect."""
        costs = {layer.id: multiplications(layer) for layer in self.graph}
        total = 0.0
        for edit in self.edits:
            if edit is not None:
                touched = self.graph.descendants(changed(self.graph, edit.apply(self.graph)) & costs.keys())
                total += 2 * sum(costs[name] for name in touched)
        return max(1, min(pictures, int(BUDGET / total) if total else pictures))

    def _worst(self) -> Array:
        """The pictures' rows, those that deviate most first."""
        found = answers(self.graph, self.values)
        values = [(one.value, other.value) for one, other in zip(found, self.expected, strict=False)]
        pairs = [(a, b) for a, b in values if a.shape == b.shape]
        errors = [np.abs(a.astype(np.float64) - b).reshape(len(a), -1).max(axis=1) for a, b in pairs]
        return np.argsort(-np.nan_to_num(errors[0], nan=np.inf), kind="stable") if errors else np.arange(self.count)

    def _take(self, rows: Array) -> None:
        self.expected = tuple(answer.of(rows) for answer in self.expected)
        self.values = _rows(self.graph, self.values, rows)
        self.mended_values = _rows(self.mended, self.mended_values, rows)

    def effects(self, step: Callable[[int], None]) -> list[Effect]:
        """The effect of each suspect; ``step`` is told how many are done."""
        numbers = [number for number, edit in enumerate(self.edits) if edit is not None]
        alone = [applied(self.graph, [self.edits[number]]) for number in numbers]
        others = [applied(self.graph, self._without({number})) for number in numbers]
        after, caused = dict[int, Deviation](), dict[int, Deviation]()
        without = len(self.edits) - len(numbers)
        for place, values in resume_each(self.graph, self.values, alone, arguments):
            after[numbers[place]] = deviation(answers(alone[place], values), self.expected, self.limits)
            step(without + (len(after) + len(caused)) // 2)
        expected = answers(self.mended, self.mended_values)
        for place, values in resume_each(self.mended, self.mended_values, others, arguments):
            caused[numbers[place]] = deviation(answers(others[place], values), expected, self.limits, by_name=False)
            step(without + (len(after) + len(caused)) // 2)
        return [
            Effect(self.before, after[number], caused[number])
            if number in after
            else Effect(self.before, caused=self.left if number in self.finer and nothing(self.left) else None)
            for number in range(len(self.edits))
        ]

    def _caused(self, group: Collection[int]) -> Deviation:
        """How far off the answers are with these alone left in, from those with none."""
        others = applied(self.graph, self._without(group))
        found = answers(others, resumed(self.mended, self.mended_values, others))
        return deviation(found, answers(self.mended, self.mended_values), self.limits, by_name=False)

    def _without(self, group: Collection[int]) -> list[Edit]:
        """The edits of all suspects but these."""
        return [edit for number, edit in enumerate(self.edits) if edit is not None and number not in group]

    def together(self, suspects: Sequence[Suspect], effects: Sequence[Effect]) -> list[Effect]:
        """The effects, where several that stand together cause nothing each with what they cause together."""
        found = list(effects)
        matter = {number for number, effect in enumerate(found) if effect.caused and not nothing(effect.caused)}
        if nothing(self.before):
            return [replace(effect, caused=self.before) if effect.caused else effect for effect in found]
        for group in self._groups(suspects):
            if len(group) > 1 and not matter.isdisjoint(group):
                joint = self._caused(group)
                for number in group & matter if nothing(joint) else ():
                    found[number] = replace(found[number], caused=joint)
        return found

    def _groups(self, suspects: Sequence[Suspect]) -> list[set[int]]:
        """Those whose layers read each other, or one that reads or is read by both."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        places = {layer.id: len(suspects) + place for place, layer in enumerate(self.graph)}
        pairs: list[tuple[int, int]] = []
        for number, suspect in enumerate(suspects):
            edit = self.edits[number]
            own = {*(edit.changed if edit else ()), *([suspect.target] if suspect.target else [])} & places.keys()
            around = {name for layer in own for name in (*self.graph[layer].inputs, *self.graph.readers[layer])}
            pairs += [(number, places[name]) for name in own | around]
        count = len(suspects) + len(places)
        rows, columns = np.asarray(pairs, np.int64).reshape(-1, 2).T
        near = coo_array((np.ones(len(pairs), np.int8), (rows, columns)), (count, count))
        labels = connected_components(near, directed=False)[1][: len(suspects)]
        return [set(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]


def nothing(found: Deviation) -> bool:
    """Whether no answer is off by more than the tolerance, nor would be on pictures that leave no layer saturated."""
    return found.latent is not None and found.latent <= 1 and not found.top1_disagreement


REFUSALS = (ConvfaultError, ValueError, IndexError, KeyError)
"""What an edit may raise over a graph that it does not fit."""


def usable(edit: Edit | None, graph: Graph) -> Edit | None:
    """The edit, unless it cannot be applied."""
    if edit is None:
        return None
    try:
        edit.apply(graph)
    except REFUSALS:
        return None
    return edit


def applied(graph: Graph, edits: Sequence[Edit | None]) -> Graph:
    """The graph with every edit that fits what the ones before it left."""
    for edit in edits:
        if edit is not None:
            with suppress(*REFUSALS):
                graph = edit.apply(graph)
    return graph


def resumed(before: Graph, values: Mapping[str, Array], after: Graph, everything: bool = False) -> Mapping[str, Array]:
    """The values of an edited graph, from those of the one before: only what the edits touch is computed again.

    Holds the outputs and what ``answers`` looks at beside them, or every layer's value. Layers are told apart by
    identity, since edits share what they leave.
    """
    known = {name: value for name, value in values.items() if name in after}
    keep = tuple(layer.id for layer in after) if everything else arguments(after)
    try:
        return evaluate.resume(after, known, changed(before, after), keep)
    except ConvfaultError:  # an edit whose shapes do not fit what is behind it: no answer, the largest deviation
        return {}


def multiplications(layer: Layer) -> float:
    """About how many a picture takes: of the weights at every place of the output, else a few for each value."""
    values = float(np.prod(layer.shape[1:]))
    weights = layer.parameters.get("weights")
    if weights is None:
        return values * ELEMENTWISE
    return float(weights.values.size) * values / max(layer.shape[-1], 1)


def _rows(graph: Graph, values: Mapping[str, Array], rows: Array) -> Mapping[str, Array]:
    """Some rows of every value that depends on the pictures."""
    batched = graph.descendants({layer.id for layer in graph if layer.kind in {"input", "opaque"}})
    return {name: value[rows] if name in batched else value for name, value in values.items() if name in graph}
