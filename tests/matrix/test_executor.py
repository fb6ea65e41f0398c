"""Cells are tried in processes, within the memory, shared work once; what ended is on disk, and is not tried again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convfault.errors import StorageError, UsageError
from convfault.matrix.cells import CellOutcome
from convfault.matrix.executor import Settings, execute
from convfault.matrix.plan import Step, Task
from convfault.progress import Silent
from tests.matrix import fakes, run_matrix

SOURCE_RUN = Step("run source", "run", 1.0)


def settings(folder: Path, **changes: Any) -> Settings:
    arguments = {"calls": str(folder), **changes.pop("arguments", {})}
    values = {"jobs": 2, "megabytes": 1000.0, "function": "tests.matrix.fakes:cell", "folder": folder / "out"}
    return Settings(arguments=arguments, **{**values, **changes})


def run(folder: Path, *tasks: Task, **changes: Any) -> tuple[CellOutcome, ...]:
    return execute(tasks, settings(folder, **changes), Silent())


def test_every_cell_has_its_outcome_in_the_order_of_the_plan(tmp_path: Path) -> None:
    tasks = [fakes.task("agrees", target) for target in ("tflite", "torch", "keras")]
    found = run(tmp_path, *tasks)
    assert [outcome.cell for outcome in found] == [task.cell for task in tasks]
    assert {outcome.status for outcome in found} == {"agree"}


def test_an_outcome_and_its_report_are_on_disk(tmp_path: Path) -> None:
    (found,) = run(tmp_path, fakes.task())
    record = json.loads((tmp_path / "out" / "cells" / f"{found.cell.key}.json").read_text())
    assert CellOutcome.from_record(record["outcome"]) == found
    assert json.loads((tmp_path / "out" / found.report).read_text()) == fakes.REPORT


@pytest.mark.parametrize(
    ("model", "status", "stage", "cause"),
    [
        ("aborts", "defect", "", "defect of convfault: killed by SIGABRT"),
        ("is_killed", "memory", "run", "out of memory (run)"),
        ("is_no_model", "crash", "load", "'…' cannot be read"),
        ("breaks_convfault", "defect", "", "defect of convfault: IndexError: list index out of range"),
        ("lacks_a_tool", "no_route", "", "onnx2tf is not installed"),
        ("kills_its_builder", "timeout", "build", "no end in time"),
    ],
)
def test_whatever_goes_wrong_in_a_cell_is_its_outcome(
    tmp_path: Path, model: str, status: str, stage: str, cause: str
) -> None:
    bad, good = run(tmp_path, fakes.task(model), fakes.task("agrees"))
    assert (bad.status, bad.stage) == (status, stage)
    assert cause.removeprefix("'…' ") in bad.cause
    assert good.status == "agree"


def test_a_defect_keeps_its_traceback_and_is_tried_again(tmp_path: Path) -> None:
    task = fakes.task("breaks_convfault")
    (found,) = run(tmp_path, task)
    assert "Traceback" in found.details
    assert "fakes.py" in found.details
    run(tmp_path, task)
    assert len(fakes.begun(tmp_path)) == 2


def test_a_cell_that_hangs_is_ended(tmp_path: Path) -> None:
    (found,) = run(tmp_path, fakes.task("hangs"), stall_seconds=1.0)
    assert found.status == "timeout"


def test_a_full_disk_ends_the_whole_and_keeps_what_had_ended(tmp_path: Path) -> None:
    good, bad = fakes.task("agrees"), fakes.task("fills_the_disk")
    with pytest.raises(StorageError, match="no space"):
        run(tmp_path, good, bad, jobs=1)
    run(tmp_path, good)
    assert fakes.begun(tmp_path).count(good.cell.key) == 1


def test_a_finished_cell_is_not_tried_again(tmp_path: Path) -> None:
    task = fakes.task()
    (first,) = run(tmp_path, task)
    (second,) = run(tmp_path, task)
    assert second == first
    assert second.cached
    assert len(fakes.begun(tmp_path)) == 1


def test_a_cached_cell_costs_next_to_nothing(tmp_path: Path) -> None:
    tasks = [fakes.task(f"model{number}") for number in range(100)]
    from convfault.matrix.outcomes import Attempt
    from convfault.matrix.store import Store

    for task in tasks:
        Store(tmp_path / "out").write(task, Attempt(fakes.outcome(task.cell), fakes.REPORT))
    begun = time.perf_counter()
    run(tmp_path, *tasks)
    assert (time.perf_counter() - begun) / len(tasks) < 0.1
    assert fakes.begun(tmp_path) == []


@pytest.mark.parametrize("change", ["fingerprint", "half", "garbage", "another_cell", "no_report", "schema"])
def test_a_stale_or_half_file_is_made_again(tmp_path: Path, change: str) -> None:
    task = fakes.task()
    (first,) = run(tmp_path, task)
    place = tmp_path / "out" / "cells" / f"{task.cell.key}.json"
    record = json.loads(place.read_text())
    if change == "fingerprint":
        task = replace(task, fingerprint="newer tool")
    elif change == "half":
        place.write_text(place.read_text()[:100])
    elif change == "garbage":
        place.write_text("[1, 2]")
    elif change == "another_cell":
        record["outcome"]["cell"]["model"] = "other"
        place.write_text(json.dumps(record))
    elif change == "no_report":
        (tmp_path / "out" / first.report).unlink()
    else:
        place.write_text(json.dumps({**record, "schema_version": 99}))
    (second,) = run(tmp_path, task)
    assert not second.cached
    assert second.status == "agree"
    assert len(fakes.begun(tmp_path)) == 2


def test_fresh_tries_every_cell_again(tmp_path: Path) -> None:
    run(tmp_path, fakes.task())
    run(tmp_path, fakes.task(), fresh=True)
    assert len(fakes.begun(tmp_path)) == 2


def test_a_report_without_its_page_is_made_again_when_pages_are_wanted(tmp_path: Path) -> None:
    run(tmp_path, fakes.task())
    (found,) = run(tmp_path, fakes.task(), pages=True, arguments={"page": True})
    assert (tmp_path / "out" / found.report).with_suffix(".html").read_text() == "<p>a page</p>"
    run(tmp_path, fakes.task(), pages=True, arguments={"page": True})
    assert len(fakes.begun(tmp_path)) == 2


def test_a_cell_that_ran_out_of_time_is_tried_again_only_under_other_limits(tmp_path: Path) -> None:
    task = fakes.task("kills_its_builder")
    run(tmp_path, task, limits=(5.0, None))
    run(tmp_path, task, limits=(5.0, None))
    assert len(fakes.begun(tmp_path)) == 1
    run(tmp_path, task, limits=(50.0, None))
    assert len(fakes.begun(tmp_path)) == 2


def test_two_cells_run_at_once_and_share_the_cores(tmp_path: Path) -> None:
    run(tmp_path, fakes.task("a"), fakes.task("b"), arguments={"seconds": 2.0})
    (first, second) = fakes.times(tmp_path).values()
    assert max(first[0], second[0]) < min(first[1], second[1])


def test_one_job_at_a_time_means_one_after_the_other(tmp_path: Path) -> None:
    run(tmp_path, fakes.task("a"), fakes.task("b"), jobs=1, arguments={"seconds": 0.3})
    (first, second) = sorted(fakes.times(tmp_path).values())
    assert first[1] <= second[0]


def test_cells_that_do_not_fit_in_memory_together_wait(tmp_path: Path) -> None:
    run(
        tmp_path,
        fakes.task("a", megabytes=600.0),
        fakes.task("b", megabytes=600.0),
        arguments={"seconds": 0.3},
    )
    (first, second) = sorted(fakes.times(tmp_path).values())
    assert first[1] <= second[0]


def test_what_two_cells_need_is_made_by_one_while_the_other_waits(tmp_path: Path) -> None:
    shared = (SOURCE_RUN,)
    tasks = [fakes.task("a", steps=shared), fakes.task("b", steps=shared), fakes.task("c")]
    run(tmp_path, *tasks, arguments={"seconds": 1.5})
    found = fakes.times(tmp_path)
    a, b, c = (found[task.cell.key] for task in tasks)
    assert a[1] <= b[0]
    assert c[0] < a[1]


def test_another_process_in_the_folder_is_refused(tmp_path: Path) -> None:
    task, inside, leave = fakes.task("agrees"), threading.Event(), threading.Event()
    from convfault.matrix.store import Store

    def hold() -> None:
        with Store(tmp_path / "out").locked():
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    with pytest.raises(UsageError, match="another convfault works in"):
        run(tmp_path, task)
    leave.set()
    holder.join()
    assert run(tmp_path, task)[0].status == "agree"


def test_a_run_killed_in_the_middle_goes_on_and_equals_one_that_was_not(tmp_path: Path) -> None:
    out, calls = tmp_path / "killed", tmp_path / "calls"
    calls.mkdir()
    command = [sys.executable, "-m", "tests.matrix.run_matrix", str(out), str(calls)]
    first = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(list(out.glob("cells/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    ended = {path.name: path.read_bytes() for path in out.glob("cells/*.json")}
    before = set(fakes.begun(calls))
    assert 2 <= len(ended) < len(run_matrix.TASKS)

    resumed = execute(run_matrix.TASKS, run_matrix.settings(out, calls), Silent())
    assert all((out / "cells" / name).read_bytes() == content for name, content in ended.items())
    assert sum(outcome.cached for outcome in resumed) == len(ended)
    finished = {name.removesuffix(".json") for name in ended}
    counted = fakes.begun(calls)
    assert all(counted.count(key) == 1 for key in finished)
    assert before <= set(counted)

    elsewhere = tmp_path / "whole"
    whole = execute(run_matrix.TASKS, run_matrix.settings(elsewhere, calls), Silent())
    assert resumed == whole


def test_an_interruption_ends_the_cells_that_run(tmp_path: Path) -> None:
    class Interrupting(Silent):
        def update(self, phase: str, done: int) -> None:
            if done:
                raise KeyboardInterrupt

    tasks = [fakes.task("agrees"), fakes.task("hangs")]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        execute(tasks, settings(tmp_path), Interrupting())
    assert time.monotonic() - begun < 30
