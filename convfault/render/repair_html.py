"""The result of a repair as the page shows it: figures before and after, the proof, changes, edits, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from convfault.render import plots, repair_groups, repair_plot, repair_wording, wording
from convfault.render.repair_groups import Changes, Edits, Row
from convfault.report import Report


@dataclass(frozen=True)
class Point:
    """A row of the table beside the curve."""

    restored: int
    size: str
    left: str
    chosen: bool


@dataclass(frozen=True)
class Section:
    """All that the page says of the repair; ``file`` is empty if nothing was written, ``holds`` is of ``held_out``."""

    mended: bool
    rows: tuple[Row, ...]
    held_out: str
    holds: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    file: Mapping[str, Any]
    replay: str
    changes: tuple[Changes, ...]
    changed: int
    kept: tuple[Edits, ...]
    left_out: tuple[Edits, ...]
    curve: Markup
    histogram: Markup
    beside_histogram: str
    points: tuple[Point, ...]


def section(report: Report) -> Section | None:
    """None for a report that is not about a repair."""
    if not repair_wording.tried(report):
        return None
    file: Mapping[str, Any] = report.repaired or {}
    mended, points = repair_wording.after(report), file.get("curve", ())
    return Section(
        mended=repair_wording.mended(report),
        rows=repair_groups.rows(report),
        held_out=repair_wording.held_out(report),
        holds=repair_wording.holds(report),
        reasons=repair_wording.reasons(report),
        notes=repair_wording.notes(report),
        file=file,
        replay=repair_wording.replay(report),
        changes=repair_groups.changes(report),
        changed=len(file.get("changes", ())),
        kept=repair_groups.edits(report, accepted=True),
        left_out=repair_groups.edits(report, accepted=False),
        # our own drawings: what they say of the models is figures, and their titles are escaped
        curve=Markup(repair_plot.curve(points)),
        histogram=Markup(plots.histogram(mended, "repaired-histogram") if mended else ""),
        beside_histogram=wording.beside_histogram(mended) if mended else "",
        points=tuple(_point(point) for point in points),
    )


def _point(point: repair_groups.Record) -> Point:
    left = repair_groups.point_text(point)
    return Point(point["restored"], wording.size(point["size_bytes"]), left, point["chosen"])
