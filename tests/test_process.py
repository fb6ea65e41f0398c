"""Functions in processes of their own: whatever they do, the parent gets a value."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from convfault import process
from convfault.errors import DataError, StorageError, SubjectError
from convfault.process import Job, Worker

HERE = {"PYTHONPATH": str(Path(__file__).parent)}


def job(name: str, **arguments: Any) -> Job:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(process.__file__).parent.parent)])
    return Job(f"test_process:{name}", arguments, "try it", environment={"PYTHONPATH": paths})


def answer(value: Any) -> Any:
    print("a word on stdout")
    return {"got": value}


def fail() -> None:
    raise ValueError("no such operator")


def fail_of_ours() -> None:
    raise DataError("picture 3 is broken")


def fill_the_disk() -> None:
    raise OSError(28, "No space left on device")


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(7)


def hang() -> None:
    process.report("progress", done=1)
    time.sleep(600)


def grow() -> None:
    kept = bytearray(600_000_000)
    kept[::4096] = b"x" * len(kept[::4096])
    time.sleep(600)


def count_after_go(to: int) -> int:
    process.report("loaded")
    process.wait_for_go()
    for done in range(to):
        process.report("progress", done=done)
    return to


def sleep_beside(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def test_a_value_comes_back_and_prints_go_to_the_log() -> None:
    outcome = process.run(job("answer", value=[1, "two"]))
    assert outcome.status == "ok"
    assert outcome.value == {"got": [1, "two"]}
    assert "a word on stdout" in outcome.log


def test_what_it_raises_is_an_error_with_its_text() -> None:
    outcome = process.run(job("fail"))
    assert (outcome.status, outcome.message) == ("error", "ValueError: no such operator")
    with pytest.raises(SubjectError, match="no such operator"):
        outcome.unwrap()


def test_what_our_own_job_raises_is_a_defect_with_its_log() -> None:
    with pytest.raises(RuntimeError, match="no such operator") as caught:
        process.run(job("fail")).of_our_own()
    assert "test_process.py" in caught.value.__notes__[0]


def test_what_our_own_job_refuses_stays_a_refusal() -> None:
    with pytest.raises(DataError, match="picture 3 is broken"):
        process.run(job("fail_of_ours")).of_our_own()


def test_an_error_of_ours_keeps_its_class() -> None:
    with pytest.raises(DataError, match="picture 3 is broken"):
        process.run(job("fail_of_ours")).unwrap()


def test_a_full_disk_in_the_process_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="no space left"):
        process.run(job("fill_the_disk")).unwrap()


@pytest.mark.parametrize(("name", "said"), [("segfault", "SIGSEGV"), ("leave", "exit code 7")])
def test_a_death_is_a_crash_that_says_how(name: str, said: str) -> None:
    outcome = process.run(job(name))
    assert outcome.status == "crash"
    assert said in outcome.message


def test_a_hang_ends_at_its_time_limit() -> None:
    slow = job("hang")
    outcome = process.run(Job(slow.function, {}, "try it", seconds=1.5, environment=slow.environment))
    assert outcome.status == "timeout"


def test_silence_ends_at_the_stall_limit() -> None:
    slow = job("hang")
    outcome = process.run(Job(slow.function, {}, "try it", stall_seconds=1.0, environment=slow.environment))
    assert (outcome.status, "sign of life" in outcome.message) == ("timeout", True)


def test_too_much_memory_ends_it() -> None:
    large = job("grow")
    outcome = process.run(Job(large.function, {}, "try it", megabytes=300, environment=large.environment))
    assert outcome.status == "memory"
    assert outcome.peak_megabytes > 300


def test_go_releases_a_waiting_function_and_every_event_arrives() -> None:
    seen: list[int] = []
    with Worker(job("count_after_go", to=500)) as worker:
        assert worker.wait_until("ready")
        worker.go()
        outcome = worker.finish(lambda event: seen.append(event["done"]))
    assert outcome.value == 500
    assert seen == list(range(500))


def test_a_function_that_dies_before_ready_does_not_block_the_parent() -> None:
    with Worker(job("leave")) as worker:
        assert not worker.wait_until("ready")
        assert worker.finish().status == "crash"


def test_leaving_the_worker_kills_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with Worker(job("sleep_beside", path=str(mark))):
        pid = _wait_for_pid(mark)
    assert _is_gone(pid)


def test_when_the_parent_is_killed_the_child_goes_too(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    script = (
        "import test_process as t; from convfault import process; "
        f"process.run(t.job('sleep_beside', path={str(mark)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent)
    pid = _wait_for_pid(mark)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _is_gone(pid)


def _wait_for_pid(mark: Path) -> int:
    for _ in range(200):
        if mark.exists() and mark.read_text():
            return int(mark.read_text())
        time.sleep(0.05)
    raise AssertionError("the child never started")


def _is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
