"""What became of the cells since the baseline, on a terminal: alarms first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from convfault.matrix.regress import Change, Regression
from convfault.render import matrix_grid, regression_wording, wording
from convfault.render.printing import Line, as_text, columns, print_ending, print_line
from convfault.render.terminal import COLOURS

STYLES = {"crashed": "bold red", "ok": "green", "plain": "yellow"}


def show(
    regression: Regression, console: Console | None = None, *, written: Sequence[Path] = (), next_step: str = ""
) -> None:
    """Print whether anything got worse, and every cell that changed with the reason.

    ``written`` names the files that hold all of it, ``next_step`` is a command that the user may want to run next.
    """
    console = console or Console()
    for line in _lines(regression):
        print_line(console, line)
    print_ending(console, written, next_step)


def _lines(regression: Regression) -> Iterator[Line]:
    verdict = regression_wording.verdict(regression)
    words = f" {wording.SIGNS[verdict]} {regression_wording.VERDICTS[verdict]} "
    sides = f"{regression.matrix.started} against the baseline of {regression.baseline.started}"
    badge = Text(words, style=f"bold reverse {COLOURS[verdict]}")
    yield ""
    yield Text.assemble(badge, "  ", as_text(sides, "bold"), "\n", as_text(regression_wording.sentence(regression)))
    told = regression_wording.told(regression)
    if told:
        table = columns(2)
        for change in told:
            table.add_row(*_change(change, regression.title(change)))
        yield Padding(table, (1, 0, 0, 2), expand=False)
    yield Text.assemble("\n", as_text(matrix_grid.time_taken(regression.matrix), "dim"))


def _change(change: Change, title: str) -> tuple[Text, Text]:
    style = STYLES[regression_wording.tone(change)]
    word = f"{regression_wording.SIGNS[change.kind]} {regression_wording.WORDS[change.kind]}"
    facts = Text.assemble(as_text(f"{title} {matrix_grid.route(change.cell)}", "bold"), "\n", as_text(change.reason))
    if upgrades := regression_wording.upgrades(change):
        facts.append("\n").append_text(as_text(upgrades, "dim"))
    return Text(word, style=style), facts
