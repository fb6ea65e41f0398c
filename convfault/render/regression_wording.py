"""How the changes since a baseline are put into words."""

from __future__ import annotations

from convfault.comparison import AGREE, CRASH, DIFFER
from convfault.matrix.regress import (
    ADDED,
    ALARMS,
    BETTER,
    BROKEN,
    MENDED,
    MISSING,
    OTHERWISE,
    SAME,
    WORSE,
    Change,
    Regression,
)
from convfault.render import wording

WORDS = {
    BROKEN: "newly crashing",
    WORSE: "worse",
    MISSING: "missing",
    OTHERWISE: "fails otherwise",
    ADDED: "new cell",
    MENDED: "newly working",
    BETTER: "better",
    SAME: "unchanged",
}
SIGNS = {BROKEN: "✕", WORSE: "≠", MISSING: "–", OTHERWISE: "~", ADDED: "·", MENDED: "✓", BETTER: "✓", SAME: "="}
VERDICTS = {AGREE: "NO REGRESSION", DIFFER: "REGRESSION", CRASH: "DEFECT OF CONVFAULT"}


def verdict(regression: Regression) -> str:
    """The exit code as one of the verdicts that the banner has colours for."""
    return {0: AGREE, 1: DIFFER}.get(regression.exit_code, CRASH)


def sentence(regression: Regression) -> str:
    """How many cells became what, the gravest first."""
    counts = [f"{count:,} {WORDS[kind]}" for kind, count in regression.counts.items()]
    cells = wording.plural(len(regression.changes), "cell")
    return f"{cells}: {', '.join(counts)}." if counts else "Neither side has a cell."


def told(regression: Regression) -> tuple[Change, ...]:
    """The changes that are listed one by one."""
    return tuple(change for change in regression.changes if change.kind != SAME)


def tone(change: Change) -> str:
    """The class of a badge, which is the colour of a change."""
    if change.kind in ALARMS:
        return "crashed"
    return "ok" if change.kind in {MENDED, BETTER} else "plain"


def upgrades(change: Change) -> str:
    """``onnx2torch 1.5.15 → 1.6.0``: the tools of the route that have another version now."""
    if change.before is None or change.after is None:
        return ""
    old, new = change.before.versions, change.after.versions
    both = [tool for tool in old if tool in new and old[tool] != new[tool]]
    return ", ".join(f"{tool} {old[tool]} → {new[tool]}" for tool in both)
