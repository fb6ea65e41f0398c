"""A repair as a whole: in the target's own file, or in another way, and what comes of it in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault.comparison import AGREE
from convfault.fault import Fault
from convfault.investigation import Findings, investigate
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.repairing.order import LABELS, Order, size_limit
from convfault.repairing.place import Place
from convfault.request import Context, Request
from convfault.restoring import reroute, respelling, upstream
from convfault.restoring.minutes import Minutes
from convfault.restoring.rounds import Rounds, Task
from convfault.restoring.version import Version
from convfault.restoring.way import Way


@dataclass(frozen=True)
class Restoration:
    """What a repair did: the first round's findings, every attempt, and what was written (None: nothing).

    ``notes`` say what else happened, also where nothing was written.
    """

    findings: Findings
    repairs: tuple[Mapping[str, Any], ...] = ()
    repaired: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def restore(found: Measurement, request: Request, order: Order, place: Place, context: Context) -> Restoration:
    """Mend the target until it agrees, and put the result in its place. Nothing is left where nothing helped."""
    with place.scratch() as folder:
        return _Restoring(found, Task(request, order, place, folder), context).run()


class _Restoring:
    def __init__(self, found: Measurement, task: Task, context: Context) -> None:
        self.found, self.context = found, context
        related = task.order.related or found.pair.conversion is not None
        self.task = replace(task, order=replace(task.order, related=related))
        self.request, self.place, self.folder, self.order = task.request, task.place, task.folder, self.task.order
        self.minutes = Minutes()

    def run(self) -> Restoration:
        best = self._best()
        minutes = self.minutes
        if best is None or self._too_large(best):
            return Restoration(minutes.findings, tuple(minutes.attempts), notes=minutes.said)
        self._fed_rightly(best)
        self.place.publish(best.folder)
        if best.patch is not None and self.order.patch is not None:
            best.patch.write(self.order.patch)
        record = self._record(best)
        return Restoration(minutes.findings, tuple(minutes.attempts), record, minutes.said)

    def _best(self) -> Version | None:
        """What is worth keeping: the target as it is, mended, or made in another way."""
        if self.found.comparison.verdict == AGREE:
            return self._copied()
        best, refused = None, False
        if self.found.traces:
            rounds = Rounds(self.found, self.task, self.minutes, self.context)
            best, refused = rounds.run(), rounds.refused
        else:
            self.minutes.findings = investigate(self.found, self.context)
        if (best is not None and best.reached) or refused or "tool" not in self.order.strategies:
            return best
        ways = [self._respelled, self._rerouted]  # a tool that fails does so soon; one that gives wrong values does not
        if self.found.traces:
            ways.reverse()
        first = self._unfused() or self._upstream()
        return first or next((version for way in ways if (version := way())), None) or best

    def _too_large(self, best: Version) -> bool:
        """Whether a result is larger than the budget allows: of a file that is not spared, only a size can tell."""
        size = best.proof.model.size_bytes
        limit = size_limit(self.order.budget, best.curve[-1].size_bytes if best.curve else None)
        if limit is not None and size > limit:
            reason = f"what was made has {size:,} bytes, and --budget {self.order.budget} allows {limit:,}"
            self.minutes.note(reason)
            self.minutes.withdraw(reason)
            return True
        return False

    def _copied(self) -> Version:
        """A target that agrees is what was asked for: whoever uses the result finds it in its place."""
        self.minutes.note("the target agrees already; it was copied as it is")
        return self._taken(self.found, self.folder / "copy")

    # another way

    def _upstream(self) -> Version | None:
        """The repair of an intermediate model, converted on."""
        folder = self.folder / "upstream"
        return self._first(upstream.passages(self.found, self._mend, folder, self.request, self.context), folder)

    def _unfused(self) -> Version | None:
        """The target in words that its runtime's optimization, where that is wrong, leaves alone."""
        faults = self.minutes.findings.faults
        names = [str(fault.evidence.get("optimizer")) for fault in faults if fault.cause == "optimization"]
        folder = self.folder / "unfused"
        return self._first(respelling.unfused(self.found, names, folder, self.request, self.context), folder)

    def _respelled(self) -> Version | None:
        """What a converter makes of a model in plainer words; one that was told to round values does so in any."""
        folder, fault = self.folder / "respelled", self._tool_fault()
        guilty = fault.evidence.get("hop") if fault and not fault.evidence.get("changing_options") else None
        return self._first(respelling.respellings(self.found, guilty, folder, self.request, self.context), folder)

    def _first(self, ways: Iterator[Way], folder: Path) -> Version | None:
        """The target of the first way that agrees; what was edited in the target itself is not in it."""
        for way in ways:
            if way.accepted and way.found is not None:
                self.minutes.withdraw("it did not suffice, and the target was made in another way")
                self.minutes.attempt([way.to_record()])
                return self._taken(way.found, folder / "made")
            self.minutes.attempt([way.to_record()])
        return None

    def _mend(self, found: Measurement, path: Path) -> Model | None:
        target = found.pair.target
        assert target is not None
        place = Place(path, target.format)
        order = replace(self.order, strategies=tuple(name for name in self.order.strategies if name != "tool"))
        done = restore(
            found, self.request, replace(order, patch=None, budget=None, keep_quantized=False), place, self.context
        )
        return target.at(path) if done.repaired and done.repaired["reached"] else None

    def _taken(self, found: Measurement, folder: Path) -> Version:
        """The target of a measurement, copied under the name that it is to have."""
        folder.mkdir(parents=True)
        assert found.pair.target is not None
        return Version(reroute.copied(found.pair.target, found, folder / self.place.path.name), folder)

    def _rerouted(self) -> Version | None:
        fault = self._tool_fault()
        guilty = fault.evidence.get("hop") if fault else None
        if self.found.comparison.verdict != AGREE and self.found.pair.conversion and not self.found.traces:
            guilty = len(self.found.pair.conversion.hops) - 1
        folder = self.folder / "detour"
        ways = reroute.detours(self.found, guilty, folder, self.request, self.context)
        return self._first((reroute.giving(way, self.place.format) for way in ways), folder)

    def _tool_fault(self) -> Fault | None:
        """Which hop is to blame, where it is known."""
        return next((fault for fault in self.minutes.findings.faults if fault.kind == "tool"), None)

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
            self.minutes.note(f"what the written target is to be fed with is in {name} beside it")

    # what the report says

    def _record(self, best: Version) -> dict[str, Any]:
        before = self.found.pair.target
        written = best.proof.model.at(self.place.path)
        comparison = best.proof.found.comparison
        if best.peeked:
            self.minutes.note("pictures that were held out had other labels, and decided how many layers are restored")
        if best.proof.found.comparison.verdict != AGREE and best.goal != LABELS:
            self.minutes.note("the written target is better than it was, and does not agree")
        return {
            "path": str(self.place.path),
            "framework": written.framework,
            "format": written.format,
            "sha256": written.sha256,
            "size_bytes": written.size_bytes,
            "size_bytes_before": before.size_bytes if before else None,
            "goal": best.goal,
            "reached": best.reached,
            "comparison": comparison.to_record(),
            "held_out": best.proof.held_out(best.goal) if best.patch else None,
            "changes": [dict(change) for change in best.changes],
            "curve": [point.to_record(point.restored == best.restored) for point in best.curve],
            "patch": str(self.order.patch) if self.order.patch and best.patch else None,
            "notes": list(self.minutes.said),
        }
