"""The rounds of a repair.

Each examines the target as it is now, searches the smallest set of edits on a few pictures, writes them natively, and
runs the file over all pictures; what is still off there is the next round's case. A part of the pictures is held out
of every search and only used for the proof. Where the file cannot be mended, the conversion is done in another way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault.comparison import AGREE
from convfault.errors import ConvfaultError
from convfault.investigation import Errand, Findings, investigate
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.repairing.mend import PATCH
from convfault.repairing.order import GOALS, LABELS, Order, size_limit
from convfault.repairing.patch import Patch
from convfault.repairing.place import Place
from convfault.request import Context, Request
from convfault.restoring import reroute, respelling, upstream
from convfault.restoring.labels import Point, Sparing
from convfault.restoring.proof import Proof, held_out, prove
from convfault.restoring.way import Way

ROUNDS = 3
PROGRESS = 0.9
"""A further round must leave less than this share of the error, or of the labels that differ."""

FUNCTION = "convfault.repairing.mend:run"

CANNOT_RUN = "a repaired file was written and given up, as it cannot be run"


@dataclass(frozen=True)
class Restoration:
    """What a repair did: the first round's findings, every attempt, and what was written (None: nothing).

    ``notes`` say what else happened, also where nothing was written.
    """

    findings: Findings
    repairs: tuple[Mapping[str, Any], ...] = ()
    repaired: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """The target after some rounds: where it is, what it answers, and how it came about.

    A ``provisional`` one need not be better than the target: it is only what the next round starts from.
    """

    proof: Proof
    folder: Path
    changes: tuple[Mapping[str, str], ...] = ()
    patch: Patch | None = None
    curve: tuple[Point, ...] = ()
    restored: int = 0
    goal: str = GOALS[0]
    peeked: bool = False
    provisional: bool = False


def restore(found: Measurement, request: Request, order: Order, place: Place, context: Context) -> Restoration:
    """Mend the target until it agrees, and put the result in its place. Nothing is left where nothing helped."""
    with place.scratch() as folder:
        return _Restoring(found, Task(request, order, place, folder), context).run()


@dataclass(frozen=True)
class Task:
    """One repair: what was asked for, and the ``folder`` to work in."""

    request: Request
    order: Order
    place: Place
    folder: Path


class _Restoring:
    def __init__(self, found: Measurement, task: Task, context: Context) -> None:
        self.found, self.context = found, context
        self.request, self.place, self.folder = task.request, task.place, task.folder
        self.order = replace(task.order, related=task.order.related or found.pair.conversion is not None)
        self.refused = False
        self.findings = Findings()
        self.attempts: list[Mapping[str, Any]] = []
        self.notes: list[str] = []

    def run(self) -> Restoration:
        if self.found.comparison.verdict == AGREE:
            best: Version | None = self._copied()
        elif self.found.traces:
            best = self._mended()
        else:
            best, self.findings = None, investigate(self.found, self.context)
        open_ = best is None or not best.proof.reached(best.goal)
        if open_ and not self.refused and "tool" in self.order.strategies:
            best = self._upstream() or self._respelled() or self._rerouted() or best
        best = None if best is None or self._too_large(best) else best
        if best is None:
            return Restoration(self.findings, tuple(self.attempts), notes=tuple(dict.fromkeys(self.notes)))
        self._fed_rightly(best)
        self.place.publish(best.folder)
        if best.patch is not None and self.order.patch is not None:
            best.patch.write(self.order.patch)
        record = self._record(best)
        return Restoration(self.findings, tuple(self.attempts), record, tuple(dict.fromkeys(self.notes)))

    def _too_large(self, best: Version) -> bool:
        """Whether a result is larger than the budget allows: of a file that is not spared, only a size can tell."""
        size = best.proof.model.size_bytes
        limit = size_limit(self.order.budget, best.curve[-1].size_bytes if best.curve else None)
        if limit is not None and size > limit:
            self.notes.append(f"what was made has {size:,} bytes, and --budget {self.order.budget} allows {limit:,}")
            self._give_up_all(self.notes[-1])
            return True
        return False

    def _copied(self) -> Version:
        """A target that agrees is what was asked for: whoever uses the result finds it in its place."""
        self.notes.append("the target agrees already; it was copied as it is")
        return self._taken(self.found, self.folder / "copy")

    # in the target's own file

    def _mended(self) -> Version | None:
        best: Version | None = None
        last: Version | None = None
        current = self.found
        for number in range(1, ROUNDS + 1):
            made = self._round(number, current, last)
            if made is None or not (made.provisional or self._better(made, current)):
                self._give_up(number, made)
                break
            last, current = made, made.proof.found
            best = made if self._better(made, self.found) else best
            if made.proof.reached(made.goal) or made.goal == LABELS:
                break
        if best is None and last is not None:
            self._give_up(1, last)
        if best is not None and best.goal == LABELS and not best.proof.reached(LABELS) and self._may_restore_all():
            self.notes.append("labels still differ with every rounded layer in half precision: all were restored")
            self.order = replace(self.order, keep_quantized=False)
            return self._mended() or best
        return best

    def _give_up(self, number: int, made: Version | None) -> None:
        """The edits of a round whose file was not kept were not accepted; its last note says why."""
        if made is not None and made.proof.worse:
            self.notes.append(f"a repair was given up, as it makes {made.proof.worse} pictures worse")
        reason = self.notes[-1] if self.notes else "what it gives is no nearer to the source"
        self.attempts = [
            {**item, "accepted": False, "reason": reason} if item["accepted"] and item["round"] == number else item
            for item in self.attempts
        ]

    def _give_up_all(self, reason: str) -> None:
        accepted = {"accepted": False, "reason": reason}
        self.attempts = [{**item, **accepted} if item["accepted"] else item for item in self.attempts]

    def _may_restore_all(self) -> bool:
        return self.order.keep_quantized is None and self.order.budget is None

    def _round(self, number: int, current: Measurement, before: Version | None) -> Version | None:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        out = folder / "made" / self.place.path.name
        out.parent.mkdir()
        order = self.order
        if current.comparison.top1_disagreement is None:
            order = replace(order, keep_quantized=False)  # without labels only the answers themselves can be right
        arguments = {"order": order.to_record(), "out": str(out), "patch": str(folder / PATCH)}
        errand = Errand(FUNCTION, arguments, held_out(current.comparison.images))
        findings = investigate(current, self.context, errand)
        if number == 1:
            self.findings = findings
        repair = findings.repair
        if repair is None:
            self.notes += [findings.localization["refused"]] if findings.localization else []
            return None
        if repair.get("refused"):
            self.refused = True
            self.notes.append(repair["refused"])
            return None
        self.attempts += [_numbered(item, number) for item in repair["attempts"]]
        if repair.get("reason"):
            self.notes.append(repair["reason"])
        made = self._made(repair, folder, out, current)
        return made if made is None or before is None else self._joined(before, made)

    def _made(self, repair: Mapping[str, Any], folder: Path, out: Path, current: Measurement) -> Version | None:
        if repair["goal"] == LABELS and "candidates" in repair:
            return self._spared(repair, folder, current)
        if not repair["written"]:
            return None
        target = current.pair.target
        assert target is not None
        try:
            proof = prove(target.at(out), current, self.request, self.context, repair["preprocessing"])
        except ConvfaultError as error:
            self.notes.append(f"{CANNOT_RUN}: {error}")
            return None
        made = Version(proof, out.parent, tuple(repair["changes"]), Patch.read(folder / PATCH))
        return replace(made, provisional=bool(repair.get("provisional")))

    def _spared(self, repair: Mapping[str, Any], folder: Path, current: Measurement) -> Version:
        sparing = Sparing(current, repair, folder, self.request, self.context)
        found = sparing.run(self.place.path.name, self.order)
        if found.most < sparing.count and not found.proof.reached(LABELS):
            many = f"{found.most} of {sparing.count} rounded layers"
            self.notes.append(f"--budget {self.order.budget} allows to restore {many}, and labels still differ then")
        count = repair["fixed"] + found.restored
        whole = Patch.read(folder / PATCH)
        patch = replace(whole, rounds=(whole.rounds[0][:count],), descriptions=(whole.descriptions[0][:count],))
        self.attempts += [
            _restored(item, place < found.restored, number=1) for place, item in enumerate(repair["candidates"])
        ]
        place = folder / str(found.restored)
        made = Version(found.proof, place, tuple(found.changes), patch, found.curve, found.restored, LABELS)
        return replace(made, peeked=found.peeked)

    def _joined(self, before: Version, made: Version) -> Version:
        patch = before.patch.then(made.patch) if before.patch and made.patch else None
        return replace(made, patch=patch, changes=(*before.changes, *made.changes))

    def _better(self, made: Version, current: Measurement) -> bool:
        """Whether a version is worth keeping: it reaches the goal, or is clearly nearer and worse nowhere."""
        if made.proof.reached(made.goal):
            return True
        now, then = made.proof.found.comparison, current.comparison
        if made.proof.worse:
            return False
        fewer = (now.top1_disagreement or 0.0) < PROGRESS * (then.top1_disagreement or 0.0)
        nearer = now.max_abs_error is not None and (
            then.max_abs_error is None or now.max_abs_error < PROGRESS * then.max_abs_error
        )
        return fewer or nearer

    # another way

    def _upstream(self) -> Version | None:
        """The repair of an intermediate model, converted on."""
        folder = self.folder / "upstream"
        return self._first(upstream.passages(self.found, self._mend, folder, self.request, self.context), folder)

    def _respelled(self) -> Version | None:
        """What a converter makes of an ONNX model in plainer words."""
        folder = self.folder / "respelled"
        return self._first(respelling.respellings(self.found, folder, self.request, self.context), folder)

    def _first(self, ways: Iterator[Way], folder: Path) -> Version | None:
        """The target of the first way that agrees."""
        for way in ways:
            self.attempts.append(way.to_record())
            if way.accepted and way.found is not None:
                return self._taken(way.found, folder / "made")
        return None

    def _mend(self, found: Measurement, path: Path) -> Model | None:
        target = found.pair.target
        assert target is not None
        place = Place(path, target.format)
        order = replace(self.order, strategies=tuple(name for name in self.order.strategies if name != "tool"))
        done = restore(found, self.request, replace(order, patch=None, keep_quantized=False), place, self.context)
        return target.at(path) if done.repaired and done.repaired["reached"] else None

    def _taken(self, found: Measurement, folder: Path) -> Version:
        """The target of a measurement, copied under the name that it is to have."""
        folder.mkdir(parents=True)
        assert found.pair.target is not None
        return Version(reroute.copied(found.pair.target, found, folder / self.place.path.name), folder)

    def _rerouted(self) -> Version | None:
        guilty = next((fault.evidence.get("hop") for fault in self.findings.faults if fault.kind == "tool"), None)
        if self.found.comparison.verdict != AGREE and self.found.pair.conversion and not self.found.traces:
            guilty = len(self.found.pair.conversion.hops) - 1
        folder = self.folder / "detour"
        ways = reroute.detours(self.found, guilty, folder, self.request, self.context)
        return self._first((reroute.giving(way, self.place.format) for way in ways), folder)

    def _fed_rightly(self, best: Version) -> None:
        """Put what the model is to be fed with beside it, where source or target were fed with something else."""
        pair, fed = self.found.pair, best.proof.model.preprocessing
        sides = [side.preprocessing for side in (pair.source, pair.target) if side is not None and side.preprocessing]
        if not pair.dataset.pictures or fed is None or self.place.format == "torch_function":
            return
        name = f"{self.place.path.name}.toml"
        stale = self.place.path.with_name(name).exists()  # of an earlier result in this place
        if stale or any(replace(fed, assumed=()) != replace(side, assumed=(), layout=fed.layout) for side in sides):
            (best.folder / name).write_text(fed.to_toml(), encoding="utf-8")
            self.notes.append(f"what the written target is to be fed with is in {name} beside it")

    # what the report says

    def _record(self, best: Version) -> dict[str, Any]:
        before = self.found.pair.target
        written = best.proof.model.at(self.place.path)
        comparison = best.proof.found.comparison
        if best.peeked:
            self.notes.append("pictures that were held out had other labels, and decided how many layers are restored")
        if best.proof.found.comparison.verdict != AGREE and best.goal != LABELS:
            self.notes.append("the written target is better than it was, and does not agree")
        return {
            "path": str(self.place.path),
            "framework": written.framework,
            "format": written.format,
            "sha256": written.sha256,
            "size_bytes": written.size_bytes,
            "size_bytes_before": before.size_bytes if before else None,
            "goal": best.goal,
            "reached": best.proof.reached(best.goal),
            "comparison": comparison.to_record(),
            "held_out": best.proof.held_out(best.goal) if best.patch else None,
            "changes": [dict(change) for change in best.changes],
            "curve": [point.to_record(point.restored == best.restored) for point in best.curve],
            "patch": str(self.order.patch) if self.order.patch and best.patch else None,
            "notes": list(dict.fromkeys(self.notes)),
        }


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
