"""The summary that a command prints: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convfault.comparison import AGREE, CRASH, DIFFER, WorstPicture
from convfault.render import fault_terminal, repair_terminal, repair_wording, wording
from convfault.render.printing import Line, as_text, columns, joined, print_ending, print_line, print_whole, section
from convfault.report import Report

COLOURS = {AGREE: "green", DIFFER: "red", CRASH: "magenta"}
WORST_SHOWN = 5
ERRORS_FROM = 80
"""Columns that it takes to show the pictures' errors beside their labels."""


def show(report: Report, console: Console | None = None, *, written: Sequence[Path] = (), next_step: str = "") -> None:
    """Print the report in as much as fits in five seconds of reading.

    ``written`` names the files that hold all of it, ``next_step`` is a command that the user may want to run next.
    """
    console = console or Console()
    for line in _lines(report, console.width):
        print_line(console, line)
    for heading, lines in repair_terminal.files(report):
        print_whole(console, heading, lines)
    print_ending(console, written, next_step)


def table(title: str, rows: Iterable[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print rows of plain values, one column for each key of the first row."""
    rows = list(rows)
    if not rows:
        print_line(console or Console(), Text(f"no {title}"))
        return
    grid = Table(title=None, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in rows[0]:
        grid.add_column(as_text(name), overflow="fold")
    for row in rows:
        grid.add_row(*(as_text(_cell(value)) for value in row.values()))
    print_line(console or Console(), grid)


def _lines(report: Report, width: int) -> Iterator[Line]:
    yield ""
    yield _verdict(report)
    yield _route(report)
    mended = repair_wording.mended(report)
    if repair_wording.tried(report):
        yield from repair_terminal.result(report, width)
    if not mended:
        yield from _figures(report)
    yield from section("why it differed" if mended else "why", wording.reasons(report))
    yield from _log(report)
    if not mended:  # the page shows those of the target as it came
        yield from _worst(report, width)
    yield from fault_terminal.faults(report, width)
    yield from section("assumed", report.assumptions)


def _verdict(report: Report) -> Line:
    banner = repair_wording.banner(report)
    colour = {**COLOURS, **repair_terminal.COLOURS}[banner.state]
    word = Text(f" {banner.sign} {banner.word} ", style=f"bold reverse {colour}")
    return Text.assemble(word, "  ", as_text(wording.title(report), "bold"), "\n", as_text(banner.headline))


def _route(report: Report) -> Line:
    grid = columns()
    grid.add_row(Text("source", style="dim"), _side(report.source))
    for hop in report.route:
        grid.add_row(Text("  │", style="dim"), _hop(hop))
    if not report.route:
        grid.add_row(Text("  │", style="dim"), Text("converted elsewhere", style="dim"))
    grid.add_row(Text("target", style="dim"), _side(report.target))
    return grid


def _side(side: Mapping[str, Any]) -> Text:
    place = side.get("path")
    name = Path(place).name if place else "was never made"
    facts = [wording.versions(side), name, wording.size(side["size_bytes"]) if side.get("size_bytes") else ""]
    return Text.assemble(as_text(side["framework"], "bold"), "  ", joined(facts))


def _hop(hop: Mapping[str, Any]) -> Text:
    state = wording.hop_state(hop)
    style = "bold magenta" if state == "crashed" else "green"
    facts = [wording.options(hop), wording.duration(hop["seconds"])]
    tool = f"{hop['tool']} {hop['tool_version'] or ''}".rstrip()
    line = Text.assemble(
        as_text(f"{hop['from']} → {hop['to']}"), "  ", as_text(tool), "  ", joined(facts), "  ", (state, style)
    )
    if state == "crashed":
        line.append("\n").append_text(as_text(wording.hop_message(hop), "magenta"))
    return line


def _figures(report: Report) -> Iterator[Line]:
    figures = wording.figures(report.comparison)
    if not figures:
        return
    grid = columns(3)
    for figure in figures:
        value = Text(figure.value, style="bold red" if figure.bad else "bold")
        grid.add_row(figure.name, value, Text(figure.note, style="dim"))
    yield ""
    yield grid


def _log(report: Report) -> Iterator[Line]:
    hop = wording.crashed_hop(report)
    lines = wording.tail(hop.get("log")) if hop else ""
    yield from section("last lines of its log", lines.splitlines())


def _worst(report: Report, width: int) -> Iterator[Line]:
    shown = report.comparison.worst[:WORST_SHOWN]
    if not shown or report.comparison.verdict != DIFFER:
        return
    grid = columns(4 if width >= ERRORS_FROM else 3)
    for picture in shown:
        answers = (_answer(report, side, picture) for side in (picture.source_top, picture.target_top))
        cells = (as_text(picture.image), *answers, as_text(wording.picture_error(picture), "dim"))
        grid.add_row(*cells[: len(grid.columns)])
    yield Text("\nworst pictures (source → target)", style="bold")
    yield Padding(grid, (0, 0, 0, 2), expand=False)


def _answer(report: Report, top: Sequence[tuple[int, float | None]], picture: WorstPicture) -> Text:
    if not top:
        return Text("")
    class_, score = top[0]
    flipped = bool(picture.source_top) and class_ != picture.source_top[0][0]
    return as_text(f"{wording.label(report, class_)} {wording.score(score)}", "bold red" if flipped else "")


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else wording.value_text(value)
