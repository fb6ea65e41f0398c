"""The summary of a matrix on a terminal: a grid for each model, the causes of failures, the route to take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convfault.comparison import AGREE, CRASH, DIFFER
from convfault.matrix.cells import DEFECT, MEMORY, NO_ROUTE, TIMEOUT, Cause, Matrix
from convfault.render import matrix_grid, wording
from convfault.render.matrix_grid import Grid, Square
from convfault.render.printing import Line, as_text, columns, print_ending, print_line

STYLES = {
    AGREE: "green",
    DIFFER: "yellow",
    CRASH: "magenta",
    TIMEOUT: "magenta",
    MEMORY: "magenta",
    DEFECT: "bold red",
    NO_ROUTE: "dim",
    matrix_grid.UNTRIED: "dim",
}
FAR = 0.1
"""A share of labels from which a square that differs is red."""
SIDE_BY_SIDE_FROM = 14
"""Columns that a square takes with its share of routes on the same line."""


def show(matrix: Matrix, console: Console | None = None, *, written: Sequence[Path] = (), next_step: str = "") -> None:
    """Print which conversions to trust, why others fail and which route to take.

    ``written`` names the files that hold all of it, ``next_step`` is a command that the user may want to run next.
    """
    console = console or Console()
    for line in _lines(matrix, console.width):
        print_line(console, line)
    print_ending(console, written, next_step)


def _lines(matrix: Matrix, width: int) -> Iterator[Line]:
    yield ""
    yield _verdict(matrix)
    grids = matrix_grid.grids(matrix)
    for grid in grids:
        yield _heading(grid.title)
        yield _squares(grid, width)
    yield from _legend(grids)
    yield from _causes(matrix.causes(), matrix.titles)
    for grid in grids:
        yield from _routes(grid, width)
    yield _remark(matrix_grid.time_taken(matrix))


def _verdict(matrix: Matrix) -> Line:
    verdict = matrix_grid.verdict(matrix)
    sign, words = wording.SIGNS[verdict], matrix_grid.VERDICTS[verdict]
    badge = Text(f" {sign} {words} ", style=f"bold reverse {STYLES[verdict]}")
    title = as_text(matrix_grid.title(matrix), "bold")
    return Text.assemble(badge, "  ", title, "\n", as_text(matrix_grid.headline(matrix)))


def _heading(title: str) -> Text:
    return Text.assemble("\n", as_text(title, "bold"))


def _remark(text: str) -> Line:
    return Text.assemble("\n", as_text(text, "dim"))


def _squares(grid: Grid, width: int) -> Line:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", style="bold", overflow="fold")
    wide = width >= SIDE_BY_SIDE_FROM * (len(grid.targets) + 1)
    for target in grid.targets:
        table.add_column(as_text(f"→ {target}"), overflow="fold", min_width=8)
    for source, row in zip(grid.sources, grid.rows, strict=True):
        table.add_row(as_text(source), *(_square(square, "  " if wide else "\n") for square in row))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _square(square: Square, between: str) -> Text:
    best = square.best
    far = best is not None and best.status == DIFFER and (best.top1_disagreement or 0) >= FAR
    style = "bold red" if far else STYLES[square.status]
    text = Text(f"{square.sign} {square.figure}".strip(), style=style)
    return text.append(f"{between}{square.share}", style="dim") if square.share else text


def _legend(grids: Sequence[Grid]) -> Iterator[Line]:
    """What the signs that occur mean."""
    found = {square.status for grid in grids for square in grid.squares}
    found |= {CRASH} if found & {TIMEOUT, MEMORY} else set()
    meanings = [
        f"{matrix_grid.SIGNS[status]} {text}" for status, text in matrix_grid.MEANINGS.items() if status in found
    ]
    if meanings:
        meanings.append("2/3: routes that agree, of those tried")
        yield _remark(" · ".join(meanings))


def _causes(causes: Sequence[Cause], titles: Mapping[str, str]) -> Iterator[Line]:
    if not causes:
        return
    table = columns(3)
    for cause in causes:
        count = Text(f"{matrix_grid.SIGNS[cause.status]} {len(cause.outcomes)}", style=STYLES[cause.status])
        facts = Text.assemble(as_text(cause.text), "\n", as_text(matrix_grid.places(cause, titles), "dim"))
        table.add_row(count, as_text(matrix_grid.versions(cause.outcomes), "dim"), facts)
    yield Text("\nfailures by cause (cells, version of the tool, cause)", style="bold")
    yield Padding(table, (0, 0, 0, 2), expand=False)


def _routes(grid: Grid, width: int) -> Iterator[Line]:
    yield Text.assemble("\nbest routes: ", as_text(grid.title), style="bold")
    table = columns(5)
    for number in (2, 3):
        table.columns[number].justify = "right"
    rows = [(square, _facts(square)) for square in grid.squares]
    room = width - 2 - sum(2 + max(facts[n].cell_len for _, facts in rows) for n in range(4))
    for square, facts in rows:
        table.add_row(*facts, _way(square, room))
    yield Padding(table, (0, 0, 0, 2), expand=False)


def _facts(square: Square) -> tuple[Text, ...]:
    best, state = square.best, Text(f"{square.sign} {square.figure}", style=STYLES[square.status])
    if best is None:
        return as_text(square.title), state, Text(), Text()
    size, seconds = wording.size(best.size_bytes), wording.duration(best.conversion_seconds)
    return as_text(square.title), state, as_text(size), as_text(seconds)


def _way(square: Square, room: int) -> Text:
    """The best route, broken between its hops only; where none answered, the gravest failure."""
    if square.best is None:
        text = as_text(square.failure.cause if square.failure else "", "dim")
        text.no_wrap, text.overflow = True, "ellipsis"
        return text
    lines = [""]
    for hop in re.findall(r"[^>]*>?", wording.printable(square.best.cell.route)):
        if lines[-1] and cell_len(lines[-1] + hop) > room:
            lines.append("")
        lines[-1] += hop
    return as_text("\n".join(lines))
