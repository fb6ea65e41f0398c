"""A matrix against a baseline: which cells got worse or better, crash or work newly, or are missing.

*What counts.* The verdict of a cell, and for cells that differ in both, the share of labels that differ. What doesn't:
errors within the tolerance (such cells agree), and what two machines make of one model: numeric noise turns the label
of a picture whose best two classes are as good as equal. A rate has changed when it moved by more than two pictures
and by more than two standard errors of a share of so many pictures (binomial: sqrt(p (1 - p) / n), p the mean of both).
Where the shares are equal, an error beyond the tolerance counts when it doubled or halved. A cell that agreed just
within its tolerance and now differs just beyond it (or the other way round) has not changed while its error, measured
in tolerances, less than doubled and its labels stayed: another machine's noise does that.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convfault.comparison import AGREE
from convfault.errors import UsageError
from convfault.matrix.cells import DEFECT, Cell, CellOutcome, Matrix

SAME, WORSE, BETTER, BROKEN, MENDED = "same", "worse", "better", "newly_crashing", "newly_working"
OTHERWISE, MISSING, ADDED = "fails_otherwise", "missing", "added"
KINDS = (BROKEN, WORSE, MISSING, OTHERWISE, ADDED, MENDED, BETTER, SAME)
"""What may have become of a cell, the gravest first. ``fails_otherwise``: failed and fails, for another cause;
``missing``: only the baseline has it; ``added``: the baseline lacks it, so that nothing is known of it."""

ALARMS = (BROKEN, WORSE, MISSING)
"""The kinds that make a regression."""
PASSED = (SAME, BETTER, MENDED)
"""The kinds that count as a pass."""

RELEASE = re.compile(r"==[^>\[]+")
"""The release of a tool in the text of a route."""
PICTURES, STANDARD_ERRORS, FACTOR = 2, 2.0, 2.0


@dataclass(frozen=True)
class Change:
    """What became of one cell since the baseline: one of ``KINDS``, and why; a side that lacks the cell is None."""

    cell: Cell
    kind: str
    reason: str
    before: CellOutcome | None
    after: CellOutcome | None

    @property
    def alarming(self) -> bool:
        return self.kind in ALARMS

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        before, after = (outcome and outcome.to_record() for outcome in (self.before, self.after))
        about = {"cell": self.cell.to_record(), "kind": self.kind, "reason": self.reason}
        return {**about, "before": before, "after": after}


@dataclass(frozen=True)
class Regression:
    """All cells of both sides, the gravest change first."""

    changes: tuple[Change, ...]
    baseline: Matrix
    matrix: Matrix

    @property
    def exit_code(self) -> int:
        """3 for a defect of convfault, 1 when a cell got worse, crashes newly or is missing, else 0."""
        if any(outcome.status == DEFECT for outcome in self.matrix.outcomes):
            return 3
        return 1 if any(change.alarming for change in self.changes) else 0

    def title(self, change: Change) -> str:
        """What a changed cell's model is called on the side that has it, now before then."""
        side = self.baseline if change.after is None else self.matrix
        return side.titles[change.cell.model]

    def of(self, kind: str) -> tuple[Change, ...]:
        """The changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    @property
    def counts(self) -> dict[str, int]:
        """How many cells of each kind there are, the kinds that occur only."""
        return {kind: len(self.of(kind)) for kind in KINDS if self.of(kind)}

    def to_record(self) -> dict[str, Any]:
        """JSON form: versions and times of both sides, and every change."""
        sides = {"baseline": self.baseline, "matrix": self.matrix}
        about = {
            name: {"started": side.started, "versions": dict(side.versions), "environment": dict(side.environment)}
            for name, side in sides.items()
        }
        changes = [change.to_record() for change in self.changes]
        return {"schema_version": 1, "command": "regress", **about, "counts": self.counts, "changes": changes}


def compare(baseline: Matrix, matrix: Matrix) -> Regression:
    """What became of every cell; raises ``UsageError`` when the two say nothing about each other."""
    check(baseline, matrix)
    before, after = _by_identity(baseline), _by_identity(matrix)
    found = [_change(before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
    return Regression(tuple(sorted(found, key=lambda change: KINDS.index(change.kind))), baseline, matrix)


def check(baseline: Matrix, matrix: Matrix) -> None:
    """Raise ``UsageError`` when the two say nothing about each other; ``matrix`` may be without outcomes yet."""
    if reason := next(_obstacles(baseline, matrix), None):
        raise UsageError(f"{reason}; make a new baseline with --write-baseline, or ask for the same")


def _obstacles(baseline: Matrix, matrix: Matrix) -> Iterator[str]:
    """Why the two cannot be compared."""
    for what, of in (("models", _models), ("data", _data), ("settings", _settings)):
        old, new = of(baseline), of(matrix)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                label = what if name == what else f"{what} ({name})"
                yield f"the baseline is for other {label}: {_short(old.get(name))}, not {_short(new.get(name))}"


def _models(matrix: Matrix) -> Mapping[str, Any]:
    """The names of the models, and the content of those that are files."""
    named = {matrix.titles[model]: sha256 for model, sha256 in matrix.models.items()}
    contents = {f"content of {title}": sha256 for title, sha256 in named.items() if sha256}
    return {"models": ", ".join(sorted(named)), **contents}


def _data(matrix: Matrix) -> Mapping[str, Any]:
    return {name: matrix.dataset.get(name) for name in ("name", "images", "seed", "sha256")}


def _settings(matrix: Matrix) -> Mapping[str, Any]:
    """What changes the answers: not which cells were chosen, for those that lack are missing."""
    known = {"preprocessing": None, "tolerance": None, "tool_options": [], **matrix.settings}
    weights = {"weights": matrix.settings.get("weights") or "calibrated"}
    return weights | {name: known[name] for name in ("preprocessing", "tolerance", "tool_options")}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "…"


def _by_identity(matrix: Matrix) -> dict[tuple[str, ...], CellOutcome]:
    """Outcomes by what makes two cells one: not the folder of a file, nor the releases of tools, which are compared.

    Where a matrix holds several releases of a route beside each other, they stay apart.
    """
    names = [_identity(matrix, outcome.cell, RELEASE.sub("", outcome.cell.route)) for outcome in matrix.outcomes]
    times, found = Counter(names), {}
    for name, outcome in zip(names, matrix.outcomes, strict=True):
        found[name if times[name] == 1 else _identity(matrix, outcome.cell, outcome.cell.route)] = outcome
    return found


def _identity(matrix: Matrix, cell: Cell, route: str) -> tuple[str, ...]:
    return matrix.titles[cell.model], cell.source, cell.target, route, cell.weights


def _change(before: CellOutcome | None, after: CellOutcome | None) -> Change:
    if before is None:
        assert after is not None
        return Change(after.cell, ADDED, "the baseline has no such cell", None, after)
    if after is None:
        return Change(before.cell, MISSING, "the baseline has this cell, and it was not tried", before, None)
    kind, reason = _judged(before, after)
    return Change(after.cell, kind, reason, before, after)


def _judged(before: CellOutcome, after: CellOutcome) -> tuple[str, str]:
    if after.status == DEFECT and before.status != DEFECT:
        return BROKEN, after.cause
    if not after.compared:
        if before.compared:
            return BROKEN, f"{before.status} before, now {after.status}: {after.cause}"
        same = (before.status, before.cause) == (after.status, after.cause)
        return (SAME, after.cause) if same else (OTHERWISE, f"{before.cause} before, now {after.cause}")
    if not before.compared:
        return MENDED, f"{before.status} before ({before.cause}), now {after.status}"
    if before.status != after.status:
        if _at_the_edge(before, after):
            return SAME, f"at the edge of the tolerance in both: {before.status} before, now {after.status}"
        kind = BETTER if after.status == AGREE else WORSE
        return kind, f"{before.status} before, now {after.status}{_because(after)}"
    return (SAME, "agree in both") if after.status == AGREE else _both_differ(before, after)


def _at_the_edge(before: CellOutcome, after: CellOutcome) -> bool:
    """Whether noise alone may have moved a cell over its tolerance: the deviation stayed about the same."""
    small, large = sorted(_ratio(side) for side in (before, after))
    return large <= FACTOR * small < math.inf and _share_moved(before, after) == 0.0


def _share_moved(before: CellOutcome, after: CellOutcome) -> float:
    """By how much the share of differing labels grew, if that is more than noise; else, and without classes, 0."""
    old, new = before.top1_disagreement, after.top1_disagreement
    if old is None or new is None or abs(new - old) <= allowance(old, new, min(before.images, after.images)):
        return 0.0
    return new - old


def _because(outcome: CellOutcome) -> str:
    return f": {outcome.message}" if outcome.message else ""


def _both_differ(before: CellOutcome, after: CellOutcome) -> tuple[str, str]:
    if moved := _share_moved(before, after):
        old, new = before.top1_disagreement, after.top1_disagreement
        return (WORSE if moved > 0 else BETTER), f"{old:.1%} of the labels differed before, now {new:.1%}"
    small, large = _error(before), _error(after)
    if large > FACTOR * small:
        return WORSE, f"off by {_figure(small)} before, now by {_figure(large)}"
    if small > FACTOR * large:
        return BETTER, f"off by {_figure(small)} before, now by {_figure(large)}"
    return SAME, "differ in both, by the same beyond noise"


def allowance(old: float, new: float, images: int) -> float:
    """How far two shares of ``images`` pictures may be apart and still be the same share."""
    if images == 0:
        return 0.0
    mean = (old + new) / 2
    return max(PICTURES / images, STANDARD_ERRORS * math.sqrt(mean * (1 - mean) / images)) + 1e-9


def _error(outcome: CellOutcome) -> float:
    """Beyond any number counts as infinite."""
    return math.inf if outcome.max_abs_error is None else outcome.max_abs_error


def _ratio(outcome: CellOutcome) -> float:
    return math.inf if outcome.tolerance_ratio is None else outcome.tolerance_ratio


def _figure(error: float) -> str:
    return "more than any number" if math.isinf(error) else f"{error:.3g}"
