"""The same cells on a Dask cluster of two workers on loopback give what they give here, a lost worker or not."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from convfault.errors import MissingPackageError, StorageError, UsageError
from convfault.matrix import cluster
from convfault.matrix.cells import CellOutcome
from convfault.matrix.executor import Settings, execute
from convfault.matrix.plan import Step, Task
from convfault.progress import Silent
from tests.matrix import fakes

pytest.importorskip("distributed")
SOURCE_RUN = Step("run source", "run", 1.0)
TASKS = [
    fakes.task("first", steps=(SOURCE_RUN,)),
    fakes.task("second", steps=(SOURCE_RUN,)),
    fakes.task("breaks_convfault"),
    fakes.task("is_no_model"),
    *(fakes.task(f"model{number}") for number in range(4)),
]


class Cluster:
    """A scheduler and two workers, each a process; ``address`` is where the scheduler answers."""

    def __init__(self, stack: ExitStack, folder: Path, *flags: str) -> None:
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self.folder = folder
        port = self.address.rpartition(":")[2]
        start = ["--host", "127.0.0.1", "--no-dashboard"]
        self.scheduler = self._process(stack, ["scheduler", *start, "--port", port])
        worker = ["worker", self.address, *start, "--nthreads", "1", "--no-nanny", *flags]
        self.workers = [self._process(stack, worker) for _ in range(2)]

    def _process(self, stack: ExitStack, arguments: list[str]) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{arguments[0]}-{time.time_ns()}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, cwd=Path(__file__).parents[2]
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    def wait(self) -> None:
        from distributed import Client

        deadline = time.monotonic() + 90
        with Client(self.address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=deadline - time.monotonic())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Cluster]:
    """``flags`` are given to the workers."""
    with ExitStack() as stack:
        mine = Cluster(stack, folder, *flags)
        mine.wait()
        yield mine


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("cluster")) as mine:
        yield mine


def run(folder: Path, address: str | None, *tasks: Task, seconds: float = 0.0) -> tuple[CellOutcome, ...]:
    folder.mkdir(exist_ok=True)
    arguments = {"calls": str(folder), "seconds": seconds}
    settings = Settings("tests.matrix.fakes:cell", folder / "out", arguments, 2, 1000.0, cluster=address)
    return execute(tasks, settings, Silent())


def comparable(found: tuple[CellOutcome, ...]) -> list[CellOutcome]:
    """Without what no two runs have in common: wall time, and where in a log a traceback stands."""
    return [replace(outcome, seconds=0.0, details="") for outcome in found]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))


def test_a_cluster_gives_what_this_machine_gives(tmp_path: Path, shared: Cluster) -> None:
    here, there = run(tmp_path / "here", None, *TASKS), run(tmp_path / "there", shared.address, *TASKS)
    assert comparable(there) == comparable(here)
    assert files(tmp_path / "there" / "out") == files(tmp_path / "here" / "out")


def test_both_workers_take_cells(tmp_path: Path, shared: Cluster) -> None:
    run(tmp_path / "x", shared.address, fakes.task("a"), fakes.task("b"), seconds=3.0)
    (first, second) = fakes.times(tmp_path / "x").values()
    assert max(first[0], second[0]) < min(first[1], second[1])


def test_a_cell_waits_for_what_another_one_makes(tmp_path: Path, shared: Cluster) -> None:
    tasks = [fakes.task(name, steps=(SOURCE_RUN,)) for name in ("a", "b")]
    run(tmp_path / "x", shared.address, *tasks, seconds=0.5)
    found = fakes.times(tmp_path / "x")
    assert found[tasks[0].cell.key][1] <= found[tasks[1].cell.key][0]


def test_finished_cells_are_not_sent_again(tmp_path: Path, shared: Cluster) -> None:
    run(tmp_path / "x", shared.address, fakes.task("a"))
    (found,) = run(tmp_path / "x", shared.address, fakes.task("a"))
    assert found.cached
    assert len(fakes.begun(tmp_path / "x")) == 1


def test_what_all_cells_would_meet_ends_the_whole(tmp_path: Path, shared: Cluster) -> None:
    with pytest.raises(StorageError, match="no space"):
        run(tmp_path / "x", shared.address, fakes.task("fills_the_disk"))


def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    first, fatal = fakes.task("first", steps=(SOURCE_RUN,)), fakes.task("kills_its_worker", steps=(SOURCE_RUN,))
    tasks = [first, *(fakes.task(f"model{number}") for number in range(4)), fatal]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "killed.txt").touch()  # this machine's own process is to live
    whole = run(tmp_path / "here", None, *tasks)
    with started(tmp_path) as mine:
        found = run(tmp_path / "there", mine.address, *tasks, seconds=0.3)
        assert sum(worker.poll() is not None for worker in mine.workers) == 1
    assert comparable(found) == comparable(whole)
    assert files(tmp_path / "there" / "out") == files(tmp_path / "here" / "out")
    assert fakes.begun(tmp_path / "there").count(fatal.cell.key) == 2


def test_workers_take_no_more_than_fits_and_the_largest_one_what_none_has_room_for(tmp_path: Path) -> None:
    small, large = (fakes.task(name, megabytes=size) for name, size in (("small", 40.0), ("large", 5000.0)))
    with started(tmp_path, "--resources", "megabytes=60") as mine:
        found = run(tmp_path / "x", mine.address, small, large)
    assert [outcome.status for outcome in found] == ["agree", "agree"]


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1"):
        run(tmp_path / "x", f"tcp://127.0.0.1:{_free_port()}", fakes.task("a"))


def test_an_address_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Dask scheduler answers at nonsense://x"):
        run(tmp_path / "x", "nonsense://x", fakes.task("a"))


def test_without_dask_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPackageError, match=r"convfault\[cluster\]"):
        run(tmp_path / "x", "tcp://127.0.0.1:1", fakes.task("a"))


def test_a_scheduler_that_dies_is_one_sentence_and_finished_cells_are_kept(tmp_path: Path) -> None:
    tasks = [fakes.task(f"model{number}") for number in range(6)]
    with started(tmp_path) as mine:

        def kill_it() -> None:
            deadline = time.monotonic() + 60
            while len(list(tmp_path.glob("x/out/cells/*.json"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            mine.scheduler.kill()

        killer = threading.Thread(target=kill_it)
        killer.start()
        with pytest.raises(UsageError, match="was lost"):
            run(tmp_path / "x", mine.address, *tasks, seconds=1.0)
        killer.join()
    found = run(tmp_path / "x", None, *tasks)
    assert 2 <= sum(outcome.cached for outcome in found) < len(tasks)
