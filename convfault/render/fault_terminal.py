"""The faults of a report on a terminal: one row each, alike ones together, then what is true of all of them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convfault.render import fault_tables, fault_wording
from convfault.render.fault_groups import Group, groups, without_effect
from convfault.render.fault_tables import SmallTable
from convfault.render.printing import Line, as_text, columns
from convfault.report import Report

WIDE = 96
"""Columns that it takes to show what is left beside what is caused."""
NAME = 44
"""Columns that a native name takes at most."""
SHOWN = 12
"""Rows; more are in the page."""


def faults(report: Report, width: int) -> Iterator[Line]:
    """Nothing for a report whose layers were not looked at."""
    rows, harmless = groups(report), without_effect(report)
    said = fault_wording.lines(report)
    if not rows and not harmless and not said:
        return
    yield Text(f"\n{fault_wording.heading(report).lower() or 'faults'}", style="bold")
    if rows:
        yield Padding(_table(report, rows[:SHOWN], width), (0, 0, 1, 2), expand=False)
        told = columns()
        for group in rows[:SHOWN]:
            told.add_row(Text(f"{group.number}.", style="bold"), as_text(fault_wording.sentence(group.first)))
            for table in fault_tables.of_fault(group.first):
                told.add_row("", _small(table))
        yield Padding(told, (0, 0, 0, 2), expand=False)
        if len(rows) > SHOWN:
            yield Padding(as_text(f"and {len(rows) - SHOWN} more: see --html or --json", "dim"), (0, 0, 0, 2))
        yield ""
    for line in (*said, *fault_wording.notes(report), harmless):
        if line:
            yield Padding(as_text(line), (0, 0, 0, 2), expand=False)
    for table in fault_tables.of_report(report):
        yield Padding(_small(table), (0, 0, 0, 2), expand=False)


def _table(report: Report, rows: tuple[Group, ...], width: int) -> Table:
    wide = width >= WIDE
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("", justify="right", overflow="fold")
    for name in ("what and where", "causes alone", *(["left when undone"] if wide else [])):
        grid.add_column(name, overflow="fold")
    for group in rows:
        head = Text.assemble((group.first.kind, "red"), "  ", as_text(group.title, "bold"))
        where = as_text(fault_wording.places(group, min(NAME, width // 2 - 6)), "dim")
        cells = [Text(str(group.number), style="bold"), Text("\n").join(part for part in (head, where) if part.plain)]
        for name in ("caused", "after") if wide else ("caused",):
            cells.append(as_text("\n".join(fault_wording.effect(report, group, name))))
        grid.add_row(*cells)
    return grid


def _small(table: SmallTable) -> Table:
    grid = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title=table.heading, title_justify="left"
    )
    for name in table.head:
        grid.add_column(name, overflow="fold")
    for row in table.rows:
        grid.add_row(*(as_text(cell) for cell in row))
    return grid
