"""What all terminal summaries are made of: texts that are never obeyed, columns, sections, any encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convfault.render import wording

ASCII = str.maketrans({"→": "->", "←": "<-", "✓": "+", "≠": "!", "✕": "x", "–": "-", "│": "|", "…": "...", "·": "*"})

Line = RenderableType


def as_text(text: str, style: str = "") -> Text:
    """A text that is shown as it is: a ``Text`` is never read as rich's markup, which names of models may hold."""
    return Text(wording.printable(text), style=style, overflow="fold")


def joined(facts: Iterable[str]) -> Text:
    """Facts in one dim line; empty ones are left out."""
    return as_text("  ".join(fact for fact in facts if fact), "dim")


def columns(number: int = 2) -> Table:
    """A table without lines and heads."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(number):
        grid.add_column(overflow="fold")
    return grid


def section(heading: str, lines: Sequence[str]) -> Iterator[Line]:
    """A heading with its lines; nothing without lines."""
    if lines:
        yield Text(f"\n{heading}", style="bold")
        for line in lines:
            yield Padding(as_text(line), (0, 0, 0, 2), expand=False)


def print_line(console: Console, line: Line, soft_wrap: bool = False) -> None:
    """Print what the terminal's encoding lacks in another way rather than die of it."""
    with console.capture() as capture:
        console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
    text = re.sub(" +$", "", capture.get(), flags=re.MULTILINE)
    encoding = console.encoding or "utf-8"
    if not encoding.lower().startswith("utf"):
        text = text.translate(ASCII).encode(encoding, "backslashreplace").decode(encoding)
    console.file.write(text)
    console.file.flush()


def print_ending(console: Console, written: Sequence[Path], next_step: str = "") -> None:
    """The files that hold all of it, and a command that the user may want to run next."""
    print_whole(console, "written", [str(path) for path in written])
    print_whole(console, "next", [next_step] if next_step else [])


def print_whole(console: Console, heading: str, lines: Sequence[str]) -> None:
    """A heading with lines that are not wrapped, so that paths and commands can be copied from a narrow terminal."""
    if lines:
        text = "\n".join(f"  {line}" for line in lines)
        print_line(console, Text.assemble((f"\n{heading}\n", "bold"), as_text(text)), soft_wrap=True)
