"""Keeps a target quantized and makes its labels right: how few layers must be restored to full precision?

The layers come in the order in which restoring them pays (``repairing.precision``). Files with the first few of them
restored are written and run natively on the pictures in doubt: those whose label differs and those whose best score is
least above the second. The smallest number with no wrong label is found in halves and then proven on all pictures;
pictures that are still wrong join those in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convfault import process
from convfault.comparing.compare import margins, severity
from convfault.frameworks import runs
from convfault.frameworks.runs import Pass
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.preparation import inspected, prepared_side
from convfault.process import Job
from convfault.repairing.mend import PATCH
from convfault.repairing.order import LABELS, Order, size_limit
from convfault.request import Context, Request
from convfault.restoring.proof import Proof, held_out, pictures, prove
from convfault.trace import StoredTrace

DOUBTFUL = 64
"""How many pictures are looked at before the proof."""

PROOFS = 6
"""How often pictures that are still wrong are added before all that may be restored is."""


@dataclass(frozen=True)
class Point:
    """A file with some layers ``restored``, and what it answers."""

    restored: int
    size_bytes: int
    top1_disagreement: float | None
    max_abs_error: float | None

    def to_record(self, chosen: bool) -> dict[str, Any]:
        return {**self.__dict__, "chosen": chosen}


@dataclass(frozen=True)
class Spared:
    """The file that was chosen, its ``proof``, what was changed, and the files on the way to it.

    ``most``: how many layers the budget allows to restore. ``peeked``: whether pictures that were held out had to
    decide, so that they prove nothing any more.
    """

    restored: int
    most: int
    proof: Proof
    changes: Sequence[Mapping[str, str]]
    curve: tuple[Point, ...]
    peeked: bool = False


class Sparing:
    """The trials. Files go to ``folder/<layers restored>/<name>``."""

    def __init__(
        self, found: Measurement, repair: Mapping[str, Any], folder: Path, request: Request, context: Context
    ) -> None:
        self.found, self.repair, self.folder, self.request, self.context = found, repair, folder, request, context
        self.count = len(repair["candidates"])
        self.written: dict[int, tuple[Path, Sequence[Mapping[str, str]]]] = {}
        self.points: dict[int, Point] = {}
        if not repair["fixed"] and found.pair.target is not None:
            before = found.comparison
            size = found.pair.target.size_bytes
            self.points[0] = Point(0, size, before.top1_disagreement, before.max_abs_error)
        self.rows = self._doubtful()
        self.wrong: dict[int, int] = {}

    def run(self, name: str, order: Order) -> Spared:
        """The smallest file without a wrong label, within the budget; raises ``UsageError`` where none keeps it."""
        self.name, peeked = name, False
        aside = held_out(self.found.comparison.images)
        most = self._affordable(order)
        restored = self._smallest(most)
        for _ in range(PROOFS):
            proof = self._prove(restored)
            if proof.reached(LABELS) or restored == most:
                break
            wrong = set(proof.flipped())
            peeked = peeked or wrong <= aside
            self.rows = tuple(sorted({*self.rows, *(wrong if peeked else wrong - aside)}))
            self.wrong = {}
            restored = self._smallest(most, restored + 1)
        else:
            restored = most
            proof = self._prove(restored)
        self.points.setdefault(self.count, Point(self.count, self._size(self.count), None, None))
        changes = self.written[restored][1]
        return Spared(restored, most, proof, changes, tuple(self.points[n] for n in sorted(self.points)), peeked)

    def _doubtful(self) -> tuple[int, ...]:
        aside = held_out(self.found.comparison.images)
        order = np.argsort(margins(self.found.traces[0]), kind="stable")
        flipped = [int(row) for row in np.flatnonzero(pictures(self.found).flipped)]
        rows = dict.fromkeys(row for row in [*flipped, *map(int, order)] if row not in aside)
        return tuple(sorted(list(rows)[: max(DOUBTFUL, len(flipped))]))

    def _affordable(self, order: Order) -> int:
        """The largest number of restored layers that fits."""
        if order.budget is None:
            return self.count
        full = self._size(self.count)
        order.check_size(self._size(0), full)
        limit = size_limit(order.budget, full) or 0
        low, high = 0, self.count
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._size(middle) <= limit else (low, middle - 1)
        return low

    def _smallest(self, most: int, least: int = 0) -> int:
        """The least number of restored layers with no wrong label among the pictures in doubt; ``most`` if none."""
        low, high = least, most
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._flips(middle) == 0 else (middle + 1, high)
        return low

    def _flips(self, restored: int) -> int:
        """How many of the pictures in doubt have a wrong label."""
        if restored not in self.wrong:
            source, answer = self._answers(restored)
            tolerances = [output.tolerance for output in self.found.comparison.outputs][: len(source.outputs)]
            seen = severity(source, answer, tolerances)
            self.wrong[restored] = int(seen.flipped.sum())
            self._keep(restored, self.wrong[restored], float(np.max(seen.error)))
        return self.wrong[restored]

    def _answers(self, restored: int) -> tuple[StoredTrace, StoredTrace]:
        """Those of the source and of a written file, on the pictures in doubt."""
        pair, context = self.found.pair, self.context
        assert pair.target is not None
        assert pair.target.preprocessing is not None
        model = inspected(self._model(restored), self.request.target_runtime, context)
        model = model.with_preprocessing(pair.target.preprocessing)
        sides = (
            prepared_side("source", pair.source, self.request.source_runtime, pair, context),
            prepared_side("target", model, self.request.target_runtime, pair, context),
        )
        passes = [replace(side, passes=(Pass(self.rows),)) for side in sides]
        results = runs.run(passes, context.cache, context.progress)
        for result in results:
            if result.outcome is not None:
                result.outcome.unwrap()
        return results[0].traces[0], results[1].traces[0]

    def _prove(self, restored: int) -> Proof:
        proof = prove(self._model(restored), self.found, self.request, self.context)
        comparison = proof.found.comparison
        flips = round((comparison.top1_disagreement or 0.0) * comparison.images)
        self._keep(restored, flips, comparison.max_abs_error)
        return proof

    def _keep(self, restored: int, flips: int, error: float | None) -> None:
        share = flips / self.found.comparison.images
        finite = error if error is not None and np.isfinite(error) else None
        self.points[restored] = Point(restored, self._size(restored), share, finite)

    def _model(self, restored: int) -> Model:
        target = self.found.pair.target
        assert target is not None
        if restored not in self.written:
            place = self.folder / str(restored) / self.name
            place.parent.mkdir()
            arguments = {
                "model": target.to_record(),
                "view": self.repair["view"],
                "patch": str(self.folder / PATCH),
                "count": self.repair["fixed"] + restored,
                "out": str(place),
            }
            outcome = process.run(Job("convfault.repairing.mend:write", arguments, "write the repaired target"))
            self.written[restored] = place, outcome.unwrap()
        return target.at(self.written[restored][0])

    def _size(self, restored: int) -> int:
        return self._model(restored).size_bytes
