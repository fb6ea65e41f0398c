"""What runs in a process of its own: choose the edits that make the target agree, and write them into a copy of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.errors import UsageError
from convfault.localization.answers import Deviation, answers, deviation
from convfault.localization.effect import Effect, applied, resumed, usable
from convfault.localization.examine import Examination, Stages, examine
from convfault.localization.suspect import Suspect
from convfault.model import Model
from convfault.relax import store
from convfault.relax.canonical import canonical
from convfault.relax.edits import Edit, in_file
from convfault.relax.graph import Array
from convfault.relax.import_model import import_model
from convfault.repairing import precision
from convfault.repairing.candidate import CORRECTION, Candidate, describe, edits_of, strategy, without_edit
from convfault.repairing.kinship import kinship
from convfault.repairing.order import AGREE, LABELS, PREPROCESSING, Order
from convfault.repairing.patch import Patch, unfit
from convfault.repairing.search import Search, search
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import Change, EditRefusedError

PATCH = "patch.json"
RETRIES = 3
"""How often the search is done again without the edits that the format could not hold."""


def run(
    material: Mapping[str, Any],
    comparison: Mapping[str, Any],
    hops: Sequence[Mapping[str, Any]],
    order: Mapping[str, Any],
    patch: str,
    out: str,
) -> dict[str, Any]:
    """Job: what ``localization.examine.run`` gives, and under ``repair`` what was chosen and written to ``out``.

    ``patch`` is where the edits go. With the goal ``labels`` nothing is written yet: the patch then holds
    ``fixed`` edits and behind them one for each of ``candidates``, the most worthwhile first.
    """
    stages = Stages()
    examination = examine(material, comparison, hops, stages)
    with stages.stage("search the edits") as step:
        mending = _Mending(examination, Order.from_record(order), Path(patch), Path(out), step)
        repair = {**mending.run(), "view": material["target"]["view"]}
    return {**examination.to_record(), "repair": repair, "seconds": stages.seconds}


def write(model: Mapping[str, Any], view: str, patch: str, count: int, out: str) -> list[dict[str, str]]:
    """Job: write the model with the first ``count`` edits of a patch's last round; what was changed.

    ``view`` is the folder of the model's graph.
    """
    edits = Patch.read(Path(patch)).rounds[-1][:count]
    subject = Model.from_record(model)
    changes = WRITERS[subject.format](subject, store.read(Path(view)), edits, Path(out))
    return [change.to_record() for change in changes]


def replay(model: Mapping[str, Any], patch: str, out: str) -> list[dict[str, str]]:
    """Job: write the model with all edits of a patch; what was changed.

    Raises ``UsageError`` when the patch is not for this model.
    """
    found, subject, changes = Patch.read(Path(patch)), Model.from_record(model), list[Change]()
    for number, edits in enumerate(found.rounds, 1):
        graph = canonical(import_model(subject))
        if reason := unfit(edits, graph):
            raise UsageError(f"{patch} is for another model than {model['path']}: {reason}")
        place = Path(out) if number == len(found.rounds) else _aside(Path(out), number)
        changes += WRITERS[subject.format](subject, graph, edits, place)
        subject = subject.at(place)
    return [change.to_record() for change in changes]


def _aside(out: Path, number: int) -> Path:
    """Where a round's file goes that another round follows: not beside the last one, which is published whole."""
    folder = out.parent.with_name(f"{out.parent.name} {number}")
    folder.mkdir()
    return folder / out.name


OUTSIDE = frozenset({"tool", "runtime"})
"""Kinds of fault that no edit of the graph undoes: another way to the target, or other words for it, may."""


class _Mending:
    def __init__(
        self, examination: Examination, order: Order, patch: Path, out: Path, step: Callable[[int], None]
    ) -> None:
        self.case, self.order, self.patch, self.out, self.step = examination.case, order, patch, out, step
        self.model, self.graph = self.case.target.model, self.case.target.graph
        self.attempts: list[dict[str, Any]] = []
        self.refused: dict[int, str] = {}
        self.notes: list[str] = []
        found = [(rank, *pair) for rank, pair in enumerate(examination.ordered, 1)]
        self.refusal = None if order.related else self._strange([suspect for _, suspect, _ in found])
        found = [] if self.refusal else found
        self.open = [item for item in found if self._allowed(*item)]
        self.rounding = [item for item in self.open if strategy(item[1]) == "precision"]
        kept = order.keep_quantized is not False and precision.is_quantized(self.graph)
        self.goal = LABELS if kept and self.rounding else AGREE

    def _strange(self, suspects: Sequence[Suspect]) -> str | None:
        """Why the target is no conversion of the source."""
        return kinship(self.case, suspects).refusal(self.order.weights)

    def _allowed(self, rank: int, suspect: Suspect, effect: Effect) -> bool:
        """Whether a suspect's edit can be tried; the reason is kept where it cannot."""
        chosen = strategy(suspect)
        if chosen in OUTSIDE or chosen not in self.order.strategies:
            reason = "" if chosen in OUTSIDE else f"the strategy {chosen} was not asked for"
        elif suspect.edit is None and not self._beside(suspect):
            reason = without_edit(suspect)
        elif suspect.edit is not None and usable(suspect.edit, self.graph) is None:
            reason = "its edit does not fit the target"
        else:
            return True
        if reason:
            self._note((rank, suspect, effect), False, reason, None)
        return False

    def run(self) -> dict[str, Any]:
        if self.refusal:
            return self._record(None, (), refused=self.refusal)
        if self.model.format not in WRITERS.names():
            reason = f"no writer knows the format {self.model.format}"
            return self._record(None, (), reason=reason)
        fed = next((item for item in self.open if item[1].edit is None), None)
        if fed is not None:
            return self._fed(fed)
        return self._labels() if self.goal == LABELS else self._agree()

    # other pictures

    def _fed(self, item: Candidate) -> dict[str, Any]:
        """Correct what the target is fed with and nothing else: only then can anything else be told of it."""
        self.goal = AGREE
        changes = self._written([item])
        self._note(item, True, "on the source's pictures the target's first layer answers as the source's", None)
        for other in self.open:
            if other is not item:
                self._note(other, False, "looked at again once the target is fed with the source's pictures", None)
        self._keep([item])
        return self._record(None, changes or (), written=changes is not None, provisional=True)

    # answers within the tolerance

    def _agree(self) -> dict[str, Any]:
        for _ in range(RETRIES):
            candidates = [item for item in self.open if item[0] not in self.refused]
            found = search(self.case, [(suspect, effect) for _, suspect, effect in candidates], self.step)
            chosen = [item for item, attempt in zip(candidates, found.attempts, strict=True) if attempt.accepted]
            changes = self._written(chosen)
            if changes is not None:
                break
        self._tell(candidates, found)
        if not chosen or changes is None:
            return self._record(found, ())
        self._keep(chosen)
        return self._record(found, changes, written=True)

    def _written(self, chosen: Sequence[Candidate]) -> Sequence[Change] | None:
        """What the writer changed; None when it refused, with the refused edits and their reasons kept."""
        written = [item for item in chosen if not self._beside(item[1])]
        try:
            return self._write(written)
        except EditRefusedError as error:
            guilty = [item for item in written if self._refuses(item)] or written
            for item in guilty:
                self.refused.setdefault(item[0], str(error))
                self._note(item, False, self.refused[item[0]], None)
            return None

    def _write(self, chosen: Sequence[Candidate]) -> Sequence[Change]:
        """Write the file with these edits; raises ``EditRefusedError``."""
        return WRITERS[self.model.format](self.model, self.case.target.in_file, self._in_file(chosen), self.out)

    def _in_file(self, chosen: Sequence[Candidate]) -> tuple[Edit, ...]:
        return tuple(in_file(edit, self.case.target.places) for edit in edits_of(chosen))

    def _refuses(self, item: Candidate) -> bool:
        try:
            self._write([item])
        except EditRefusedError as error:
            self.refused[item[0]] = str(error)
            return True
        return False

    def _beside(self, suspect: Suspect) -> bool:
        """Whether the preprocessing is corrected instead of the model."""
        return self.order.correct == PREPROCESSING and suspect.evidence.get("preprocessing") is not None

    # the same labels, quantization kept

    def _labels(self) -> dict[str, Any]:
        """Mend all that is no rounding; of the roundings say in which order undoing them pays."""
        others = [item for item in self.open if item not in self.rounding]
        always = edits_of(self.rounding)
        found = search(self.case, [(suspect, effect) for _, suspect, effect in others], self.step, always)
        fixed = [item for item, attempt in zip(others, found.attempts, strict=True) if attempt.accepted]
        self._tell(others, found)
        if self._written(fixed) is None:
            fixed = [item for item in fixed if item[0] not in self.refused]
        inputs = self._right_values(edits_of([*fixed, *self.rounding]))
        corrected = self._corrected(fixed, inputs)
        fixed = [*fixed, *corrected]
        ranked = precision.ranked(self.graph, [(suspect, effect) for _, suspect, effect in self.rounding])
        small = [self._halved(self.rounding[number], inputs) for number, _ in ranked]
        if self._written([*fixed, *small]) is None:  # what the format cannot hold stays rounded
            ranked = [pair for item, pair in zip(small, ranked, strict=True) if item[0] not in self.refused]
            small = [item for item in small if item[0] not in self.refused]
        order = [self.rounding[number] for number, _ in ranked]
        self._keep([*fixed, *small])
        candidates = [
            {"fault_id": f"F{item[0]}", "edit": describe(self.case, item[1]), "bytes": size}
            for item, (_, size) in zip(order, ranked, strict=True)
        ]
        return self._record(found, (), fixed=len(fixed), candidates=candidates)

    def _right_values(self, edits: Sequence[Edit]) -> Mapping[str, Array]:
        """The value of every layer, by its id, with these edits."""
        return resumed(self.graph, self.case.target.values, applied(self.graph, edits), everything=True)

    def _corrected(self, fixed: Sequence[Candidate], inputs: Mapping[str, Array]) -> list[Candidate]:
        """The biases that make up for rounded weights, as far as the format can hold them."""
        found = []
        for rank, suspect, effect in self.rounding:
            edit = precision.corrected(self.graph, inputs, suspect)
            if edit is not None:
                found.append((rank, replace(suspect, edit=edit, cause=CORRECTION), effect))
        if found and not self._sets_numbers(found):
            found = [item for item in found if self._sets_numbers([item])]
        if not found or self._changes([*fixed, *found]) is None or not self._off([*fixed, *found]) < self._off(fixed):
            return []
        for item in found:
            self._note(item, True, "it takes no room", None)
        return found

    def _off(self, chosen: Sequence[Candidate]) -> float:
        """How far the answers are off with these edits, before a softmax hides it."""
        graph = applied(self.graph, edits_of(chosen))
        given = answers(graph, resumed(self.graph, self.case.target.values, graph))
        left = deviation(given, answers(self.case.source.graph, self.case.source.values), self.case.tolerances)
        return left.max_abs_error if left.latent is None else left.latent

    def _sets_numbers(self, chosen: Sequence[Candidate]) -> bool:
        """Whether these edits change nothing but constants, so that operators on integers stay what they are."""
        changes = self._changes(chosen)
        return changes is not None and all(
            change.attribute == "values" or (change.attribute.startswith("input") and not change.before)
            for change in changes
        )

    def _changes(self, chosen: Sequence[Candidate]) -> Sequence[Change] | None:
        """What the writer changes for these edits; None where the format cannot hold them."""
        try:
            return self._write(chosen)
        except EditRefusedError:
            return None

    def _halved(self, item: Candidate, inputs: Mapping[str, Array]) -> Candidate:
        """With half precision in the place of rounded numbers."""
        rank, suspect, effect = item
        return rank, replace(suspect, edit=precision.halved(self.graph, inputs, suspect)), effect

    # what the parent is told

    def _keep(self, chosen: Sequence[Candidate]) -> None:
        written = [item for item in chosen if not self._beside(item[1])]
        target = {"format": self.model.format, "sha256": self.model.sha256, "name": self.model.name}
        texts = tuple(describe(self.case, item[1]) for item in written)
        Patch(target, (self._in_file(written),), (texts,)).write(self.patch)

    def _tell(self, candidates: Sequence[Candidate], found: Search) -> None:
        for item, attempt in zip(candidates, found.attempts, strict=True):
            if item[0] not in self.refused:
                self._note(item, attempt.accepted, attempt.reason, attempt.left)

    def _note(self, item: Candidate, accepted: bool, reason: str, left: Deviation | None) -> None:
        self.attempts.append(
            {
                "fault_id": f"F{item[0]}",
                "strategy": strategy(item[1]),
                "edit": describe(self.case, item[1]),
                "accepted": accepted,
                "reason": reason,
                "max_abs_error_left": _finite(left.max_abs_error) if left else None,
                "top1_disagreement_left": left.top1_disagreement if left else None,
            }
        )

    def _record(
        self, found: Search | None, changes: Sequence[Change], written: bool = False, **more: Any
    ) -> dict[str, Any]:
        accepted = [item for item in self.open if self._accepted(item)]
        beside = [item[1].evidence["preprocessing"] for item in accepted if self._beside(item[1])]
        return {
            "goal": self.goal,
            "written": written,
            "attempts": self.attempts,
            "changes": [change.to_record() for change in changes],
            "solved": found is not None and found.solved,
            "preprocessing": beside[0] if beside else None,
            **more,
        }

    def _accepted(self, item: Candidate) -> bool:
        return any(attempt["accepted"] and attempt["fault_id"] == f"F{item[0]}" for attempt in self.attempts)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
