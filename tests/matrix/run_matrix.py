"""Run fake cells in a process of its own, for tests that kill it: ``python -m tests.matrix.run_matrix OUT CALLS``."""

from __future__ import annotations

import sys
from pathlib import Path

from convfault.matrix.executor import Settings, execute
from convfault.progress import Silent
from tests.matrix import fakes

TASKS = [fakes.task(f"model{number}", fingerprint="same") for number in range(6)]


def settings(out: Path, calls: Path) -> Settings:
    return Settings("tests.matrix.fakes:cell", out, {"calls": str(calls), "seconds": 0.4}, jobs=2, megabytes=100)


if __name__ == "__main__":
    execute(TASKS, settings(Path(sys.argv[1]), Path(sys.argv[2])), Silent())
