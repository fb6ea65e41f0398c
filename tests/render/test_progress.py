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


def shown(console: Console, progress: TerminalProgress) -> str:
    """What the bars look like now, without what they looked like before."""
    assert isinstance(console.file, io.StringIO)
    console.file.seek(0)
    console.file.truncate()
    progress._bars.refresh()
    return console.file.getvalue()


def _work(progress: Progress) -> None:
    progress.start("run source", 40)
    progress.start("run target", 40)
    progress.start("convert", None)
    progress.update("run target", 8)
    progress.update("run source", 40)
    progress.finish("run source")
    progress.finish("convert")


def test_phases_that_overlap_are_shown_together(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.start("run source [bold]", 40)
        progress.start("run target \x1b[31m", 40)
        progress.update("run target \x1b[31m", 8)
        text = shown(console, progress)
    assert "run source [bold]" in text
    assert r"run target \x1b[31m" in text
    assert " 8/40" in text


def test_a_phase_that_is_over_is_shown_no_more(console: Console) -> None:
    with TerminalProgress(console) as progress:
        _work(progress)
        text = shown(console, progress)
    assert "run target" in text
    assert " 8/40" in text
    assert "run source" not in text
    assert "convert" not in text


def test_a_phase_without_a_total_is_shown_without_amounts(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.start("convert", None)
        progress.update("convert", 3)
        text = shown(console, progress)
    assert "convert" in text
    assert "3/" not in text


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _work(Silent())
    assert capsys.readouterr() == ("", "")


def test_a_phase_that_starts_twice_is_shown_once(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.start("run", 4)
        progress.start("run", 8)
        text = shown(console, progress)
    assert text.count("run") == 1
    assert "0/8" in text


def test_what_is_said_of_a_phase_that_does_not_go_on_is_left_out(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.update("never started", 3)
        progress.finish("never started")
        progress.start("run", 8)
        progress.finish("run")
        progress.update("run", 8)
        text = shown(console, progress)
    assert "started" not in text
    assert "run" not in text


def test_the_bars_go_when_the_work_fails(console: Console) -> None:
    def work() -> None:
        with TerminalProgress(console) as progress:
            progress.start("run", 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert console.file.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))  # type: ignore[attr-defined]
