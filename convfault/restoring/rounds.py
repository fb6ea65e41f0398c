"""The rounds of a repair in the target's own file.

Each examines the target as it is now, searches the smallest set of edits on a few pictures, writes them natively, and
runs the file over all pictures; what is still off there is the next round's case. A part of the pictures is held out
of every search and only used for the proof.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault.errors import ConvfaultError
from convfault.investigation import Errand, Findings, investigate
from convfault.measurement import Measurement
from convfault.repairing.mend import PATCH
from convfault.repairing.order import LABELS, Order
from convfault.repairing.patch import Patch
from convfault.repairing.place import Place
from convfault.request import Context, Request
from convfault.restoring.labels import Sparing
from convfault.restoring.minutes import Minutes
from convfault.restoring.proof import held_out, prove
from convfault.restoring.version import Version

ROUNDS = 3

FUNCTION = "convfault.repairing.mend:run"

CANNOT_RUN = "a repaired file was written and given up, as it cannot be run"


@dataclass(frozen=True)
class Task:
    """One repair: what was asked for, and the ``folder`` to work in."""

    request: Request
    order: Order
    place: Place
    folder: Path


class Rounds:
    """Mends a measured target; what is done goes to the ``minutes``. ``refused``: it is no conversion of the source."""

    def __init__(self, found: Measurement, task: Task, minutes: Minutes, context: Context) -> None:
        self.found, self.task, self.minutes, self.context = found, task, minutes, context
        self.order = task.order
        self.refused = False

    def run(self) -> Version | None:
        """The best version; None where nothing is worth keeping."""
        best: Version | None = None
        last: Version | None = None
        current = self.found
        for number in range(1, ROUNDS + 1):
            made = self._round(number, current, last)
            if made is None or not (made.provisional or made.is_better_than(current)):
                self._give_up(number, made)
                break
            last, current = made, made.proof.found
            best = made if made.is_better_than(self.found) else best
            if made.reached or made.goal == LABELS:
                break
        if best is None and last is not None:
            self._give_up(1, last)
        if best is not None and best.goal == LABELS and not best.reached and self._may_restore_all():
            self.minutes.note("labels still differ with every rounded layer in half precision: all were restored")
            self.order = replace(self.order, keep_quantized=False)
            return self.run() or best
        return best

    def _give_up(self, number: int, made: Version | None) -> None:
        """The edits of a round whose file was not kept were not accepted; the last note says why."""
        if made is not None and made.proof.worse:
            self.minutes.note(f"a repair was given up, as it makes {made.proof.worse} pictures worse")
        notes = self.minutes.notes
        self.minutes.withdraw(notes[-1] if notes else "what it gives is no nearer to the source", number)

    def _may_restore_all(self) -> bool:
        return self.order.keep_quantized is None and self.order.budget is None

    def _round(self, number: int, current: Measurement, before: Version | None) -> Version | None:
        folder = Path(tempfile.mkdtemp(dir=self.task.folder))
        out = folder / "made" / self.task.place.path.name
        out.parent.mkdir()
        findings = self._examined(current, folder, out)
        if number == 1:
            self.minutes.findings = findings
        repair = findings.repair
        if repair is None:
            self.minutes.notes += [findings.localization["refused"]] if findings.localization else []
            return None
        if repair.get("refused"):
            self.refused = True
            self.minutes.note(repair["refused"])
            return None
        self.minutes.attempt(_numbered(item, number) for item in repair["attempts"])
        if repair.get("reason"):
            self.minutes.note(repair["reason"])
        made = self._made(repair, folder, out, current)
        return None if made is None else made.behind(before)

    def _examined(self, current: Measurement, folder: Path, out: Path) -> Findings:
        order = self.order
        if current.comparison.top1_disagreement is None:
            order = replace(order, keep_quantized=False)  # without labels only the answers themselves can be right
        arguments = {"order": order.to_record(), "out": str(out), "patch": str(folder / PATCH)}
        return investigate(current, self.context, Errand(FUNCTION, arguments, held_out(current.comparison.images)))

    def _made(self, repair: Mapping[str, Any], folder: Path, out: Path, current: Measurement) -> Version | None:
        if repair["goal"] == LABELS and "candidates" in repair:
            return self._spared(repair, folder, current)
        if not repair["written"]:
            return None
        target = current.pair.target
        assert target is not None
        try:
            proof = prove(target.at(out), current, self.task.request, self.context, repair["preprocessing"])
        except ConvfaultError as error:
            self.minutes.note(f"{CANNOT_RUN}: {error}")
            return None
        made = Version(proof, out.parent, tuple(repair["changes"]), Patch.read(folder / PATCH))
        return replace(made, provisional=bool(repair.get("provisional")))

    def _spared(self, repair: Mapping[str, Any], folder: Path, current: Measurement) -> Version:
        sparing = Sparing(current, repair, folder, self.task.request, self.context)
        found = sparing.run(self.task.place.path.name, self.order)
        if found.most < sparing.count and not found.proof.reached(LABELS):
            many = f"{found.most} of {sparing.count} rounded layers"
            self.minutes.note(f"--budget {self.order.budget} allows to restore {many}, and labels still differ then")
        count = repair["fixed"] + found.restored
        whole = Patch.read(folder / PATCH)
        patch = replace(whole, rounds=(whole.rounds[0][:count],), descriptions=(whole.descriptions[0][:count],))
        self.minutes.attempt(
            _restored(item, place < found.restored, number=1) for place, item in enumerate(repair["candidates"])
        )
        place = folder / str(found.restored)
        made = Version(found.proof, place, tuple(found.changes), patch, found.curve, found.restored, LABELS)
        return replace(made, peeked=found.peeked)


def _numbered(attempt: Mapping[str, Any], number: int) -> dict[str, Any]:
    """With its round; faults of later rounds are not those of the report."""
    fault = attempt["fault_id"] if number == 1 else None
    return {**attempt, "fault_id": fault, "round": number, "size_bytes": None}


def _restored(candidate: Mapping[str, Any], accepted: bool, number: int) -> dict[str, Any]:
    reason = "it is among the few layers without which labels differ" if accepted else "the labels are right without it"
    return {
        "fault_id": candidate["fault_id"],
        "strategy": "precision",
        "round": number,
        "edit": candidate["edit"],
        "accepted": accepted,
        "reason": reason,
        "max_abs_error_left": None,
        "top1_disagreement_left": None,
        "size_bytes": candidate["bytes"],
    }
