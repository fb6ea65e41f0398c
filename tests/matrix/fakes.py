"""Cells that do what their model's name says, and count their calls in a folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault.errors import FormatError, MissingPackageError, StorageError, SubjectError
from convfault.matrix.cells import Cell, CellOutcome
from convfault.matrix.outcomes import Attempt
from convfault.matrix.plan import Step, Task

REPORT = {"command": "diff"}


def task(
    model: str = "agrees",
    target: str = "tflite",
    route: str = "",
    steps: tuple[Step, ...] = (),
    megabytes: float = 1.0,
    fingerprint: str = "same",
) -> Task:
    """A task for the functions of this file."""
    cell = Cell(model, "tf", target, route or f"tf>{target}:tool")
    length = sum(step.stage == "convert" for step in steps)
    return Task(cell, steps, megabytes, length, fingerprint)


def outcome(cell: Cell, status: str = "agree", **values: Any) -> CellOutcome:
    """What a cell of this file gives."""
    figures = {"top1_disagreement": 0.0, "max_abs_error": 1e-7, "tolerance": 1e-5, "images": 8, "size_bytes": 100}
    return CellOutcome(cell, status, **{**figures, **values})


def cell(cell: Mapping[str, Any], calls: str, seconds: float = 0.0, **arguments: Any) -> dict[str, Any]:
    """A job: does what the model's name says."""
    mine = Cell.from_record(cell)
    begun = time.time()
    behave = {
        "aborts": os.abort,
        "is_killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "hangs": lambda: time.sleep(600),
        "is_no_model": lambda: _raise(FormatError("x.keras cannot be read: Unknown layer 'Lambda'")),
        "breaks_convfault": lambda: _raise(IndexError("list index out of range")),
        "lacks_a_tool": lambda: _raise(MissingPackageError("onnx2tf is not installed: pip install onnx2tf")),
        "fills_the_disk": lambda: _raise(StorageError("no space left on the disk")),
        "kills_its_worker": lambda: _kill_the_worker_once(calls),
        "kills_its_builder": lambda: _raise(SubjectError("no end after 5 s", "timeout", "build x for tf")),
    }
    note(calls, f"{mine.key} begins")
    time.sleep(seconds)
    if mine.model in behave:
        behave[mine.model]()
    with open(Path(calls) / "times.txt", "a", encoding="utf-8") as times:
        times.write(f"{mine.key} {begun} {time.time()} {os.environ.get('CONVFAULT_THREADS')}\n")
    page = "<p>a page</p>" if arguments.get("page") else None
    return Attempt(outcome(mine, seconds=0.25), REPORT, page).to_record()


def _kill_the_worker_once(calls: str) -> None:
    if not (marker := Path(calls) / "killed.txt").exists():
        marker.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def _raise(error: Exception) -> None:
    raise error


def note(calls: str, line: str) -> None:
    with open(Path(calls) / "calls.txt", "a", encoding="utf-8") as file:
        file.write(line + "\n")


def begun(calls: Path) -> list[str]:
    """The keys of the cells that were begun, in order."""
    path = calls / "calls.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def times(calls: Path) -> dict[str, tuple[float, float]]:
    """Key → when the cell began and ended."""
    rows = [line.split() for line in (calls / "times.txt").read_text().splitlines()]
    return {row[0]: (float(row[1]), float(row[2])) for row in rows}


def cell_of_pipeline(
    cell: Mapping[str, Any], selection: Mapping[str, Any], cache: str, **settings: Any
) -> dict[str, Any]:
    """A job in place of ``convfault.pipeline:run_cell``: agrees, unless the folder of the cache says otherwise.

    Its file ``wrong.txt`` holds a status and a word; cells whose route has the word end so.
    """
    mine, wrong = Cell.from_record(cell), Path(cache) / "wrong.txt"
    Path(cache).mkdir(parents=True, exist_ok=True)
    note(cache, f"{mine.key} begins")
    status, word = wrong.read_text().split() if wrong.exists() else ("agree", "nothing")
    found = outcome(mine, seconds=0.1)
    if word in mine.route:
        found = outcome(mine, status, top1_disagreement=1.0) if status == "differ" else CellOutcome(mine, status)
    return Attempt(found, REPORT, "<p>a page</p>" if settings.get("page") else None).to_record()
