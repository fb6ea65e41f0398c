"""The matrix on a real model: a run that is killed and called again gives what an uninterrupted one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

CELLS = ("--models", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--max-hops", "1", "-n", "4")
QUANTIZED = ("--route", "tf>tflite:tflite_converter[optimizations=DEFAULT]")
HALVES = ("--route", "tf>tflite:tflite_converter[optimizations=DEFAULT,supported_types=float16]")
"""This converter writes the same file each time, so that even a run of its own gives the same figures."""
VARIES = ("seconds", "conversion_seconds", "peak_megabytes", "cached")
"""What no two runs have in common."""
PATIENCE = 300.0


class Run:
    """``convfault matrix`` in a folder of its own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.out, self.json = folder / "out", folder / "matrix.json"
        self.command = [sys.executable, "-m", "convfault", "matrix", *CELLS, *QUANTIZED, *HALVES, "--jobs", "1"]
        self.command += ["--out", str(self.out), "--json", str(self.json), "-q"]
        self.environment = {**os.environ, "CONVFAULT_CACHE": str(cache)}

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, env=self.environment)

    def finish(self) -> list[dict[str, Any]]:
        assert self.start().wait(PATIENCE) == 1, "the quantized cell differs"
        return list(json.loads(self.json.read_text())["outcomes"])

    def finished(self) -> set[str]:
        return {path.stem for path in self.out.glob("cells/*.json")}


def comparable(outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in outcome.items() if name not in VARIES} for outcome in outcomes]


def killed_after_its_first_cell(run: Run) -> set[str]:
    """The keys of the cells that were on disk when the run was killed."""
    process, deadline = run.start(), time.monotonic() + PATIENCE
    while not run.finished() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    return run.finished()


def test_a_killed_matrix_goes_on_and_gives_what_an_uninterrupted_one_gives(tmp_path: Path) -> None:
    cache = Path(os.environ.get("CONVFAULT_TEST_CACHE") or tmp_path / "cache")
    whole = Run(tmp_path / "whole", cache).finish()
    assert {outcome["status"] for outcome in whole} == {"agree", "differ"}
    # a cache of its own, so that the run that is killed converts and runs the models itself
    run = Run(tmp_path / "killed", tmp_path / "other cache")
    kept = killed_after_its_first_cell(run)
    assert 0 < len(kept) < len(whole)
    assert not run.json.exists()
    resumed = run.finish()
    for ours, theirs in zip(comparable(resumed), comparable(whole), strict=True):
        assert ours == theirs
    assert {outcome["cell"]["key"] for outcome in resumed if outcome["cached"]} == kept
