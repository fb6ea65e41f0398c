"""Bars on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from convfault.progress import Progress, Silent
from convfault.render.progress import TerminalProgress


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=True)


def _work(progress: Progress) -> None:
    progress.start("run source [bold]", 40)
    progress.start("run target", 40)
    progress.start("convert \x1b[31m", None)
    progress.update("run target", 8)
    progress.update("run source [bold]", 40)
    progress.finish("run source [bold]")
    progress.finish("convert \x1b[31m")


def test_phases_that_overlap_are_shown_together(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.start("run source [bold]", 40)
        progress.start("run target \x1b[31m", 40)
        progress.update("run target \x1b[31m", 8)
        progress._bars.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "run source [bold]" in text
    assert r"run target \x1b[31m" in text
    assert " 8/40" in text


def test_every_kind_of_phase_can_be_told(console: Console) -> None:
    with TerminalProgress(console) as progress:
        _work(progress)
    _work(Silent())


def test_a_phase_that_is_over_or_starts_twice_does_no_harm(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.update("never started", 3)
        progress.finish("never started")
        progress.start("run", 4)
        progress.start("run", 8)
        progress.finish("run")
        progress.update("run", 8)


def test_the_bars_go_when_the_work_fails(console: Console) -> None:
    def work() -> None:
        with TerminalProgress(console) as progress:
            progress.start("run", 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert console.file.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))  # type: ignore[attr-defined]
