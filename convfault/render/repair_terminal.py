"""The result of a repair on a terminal: before and after, the proof, what was changed, what was tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convfault.render import repair_groups, repair_wording, wording
from convfault.render.printing import Line, as_text, columns, section
from convfault.report import Report

COLOURS = {
    repair_wording.REPAIRED: "green",
    repair_wording.IMPROVED: "yellow",
    repair_wording.FAILED: "red",
    repair_wording.NEEDLESS: "green",
}
STATES = {"good": "bold green", "bad": "bold red", "": "bold"}
SHOWN = 8
"""Rows of changes, of edits and of the curve; more are in the page."""
WIDE = 80
"""Columns that it takes to show a figure's note beside it."""


def result(report: Report, width: int) -> Iterator[Line]:
    """Everything between the verdict and what is known of the target as it came."""
    yield from _figures(report, width)
    yield from _held_out(report)
    yield from section("what is still off", repair_wording.reasons(report))
    yield from _changes(report)
    yield from _edits(report)
    yield from _curve(report)
    yield from section("to know", repair_wording.notes(report))


def files(report: Report) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Headings with paths and commands, which are best copied whole."""
    repaired = report.repaired
    if not repaired:
        return ()
    paths = [repaired["path"], *([repaired["patch"]] if repaired["patch"] else [])]
    replay = repair_wording.replay(report)
    heading = "repaired file" if repaired["reached"] else "file that was written"
    heading += ", and its patch" if repaired["patch"] else ""
    return (heading, tuple(paths)), ("to make this repair again", (replay,) if replay else ())


def _figures(report: Report, width: int) -> Iterator[Line]:
    rows = repair_groups.rows(report)
    if not rows:
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "before", "after", *([""] if width >= WIDE else [])):
        grid.add_column(name, overflow="fold")
    for row in rows:
        figures = as_text(row.before), as_text(row.after, STATES[row.state])
        grid.add_row(*(as_text(row.name), *figures, as_text(row.note, "dim"))[: len(grid.columns)])
    yield ""
    yield grid


def _held_out(report: Report) -> Iterator[Line]:
    said = repair_wording.held_out(report)
    if said:
        sign, style = ("✓", "bold green") if repair_wording.holds(report) else ("≠", "bold red")
        yield Text.assemble("\n", (f"{sign} ", style), as_text(said))


def _changes(report: Report) -> Iterator[Line]:
    found = repair_groups.changes(report)
    if not found:
        return
    grid = columns(3)
    for group in found[:SHOWN]:
        grid.add_row(as_text(group.title, "bold"), as_text(group.values), as_text(group.places, "dim"))
    yield from _listed("changed", grid, len(found))


def _edits(report: Report) -> Iterator[Line]:
    for heading, accepted in (("edits that were kept", True), ("edits that were left out", False)):
        found = repair_groups.edits(report, accepted)
        if not found:
            continue
        grid = columns(2)
        for group in found[:SHOWN]:
            round_ = f"round {group.round}" if group.round > 1 else ""
            facts = "  ".join(fact for fact in (round_, group.faults, group.cost, group.left) if fact)
            told = (as_text(group.title, "bold"), as_text(group.reason), as_text(facts, "dim"))
            grid.add_row(
                as_text(group.strategy, "green" if accepted else "dim"),
                Text("\n").join(line for line in told if line.plain),
            )
        yield from _listed(heading, grid, len(found))


def _curve(report: Report) -> Iterator[Line]:
    points: Sequence[repair_groups.Record] = (report.repaired or {}).get("curve", ())
    if not points:
        return
    grid = columns(4)
    for point in repair_groups.some(points, SHOWN):
        cells = (
            as_text(f"{wording.plural(point['restored'], 'layer')} restored"),
            as_text(wording.size(point["size_bytes"])),
            as_text(repair_groups.point_text(point)),
            Text("← chosen" if point["chosen"] else "", style="bold green"),
        )
        grid.add_row(*cells, style="bold" if point["chosen"] else "")
    yield from _listed("file size against disagreement", grid, 0)


def _listed(heading: str, grid: Table, many: int) -> Iterator[Line]:
    yield Text(f"\n{heading}", style="bold")
    yield Padding(grid, (0, 0, 0, 2), expand=False)
    if many > SHOWN:
        yield Padding(as_text(f"and {many - SHOWN} more: see --html or --json", "dim"), (0, 0, 0, 2))
