"""Repairing the real MobileNetV2 in TFLite: the published result, the small way, and its replay."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convfault.report import invalid

pytestmark = pytest.mark.e2e

PAIR = ("--model", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--limit", "40", "-q")
QUANTIZED = ("--tool-option", "tflite_converter.optimizations=DEFAULT")


def convfault(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "convfault", *arguments], timeout=900).returncode


def repaired(folder: Path, *flags: str) -> dict[str, Any]:
    """The report of a repair that must succeed."""
    places = ("--out", str(folder / "repaired.tflite"), "--json", str(folder / "report.json"))
    assert convfault("repair", *PAIR, *places, "--html", str(folder / "report.html"), *flags) == 0
    record = json.loads((folder / "report.json").read_text())
    assert invalid(record) is None
    return dict(record)


def test_weight_restoration_brings_disagreement_to_zero_and_can_be_replayed(tmp_path: Path) -> None:
    patch, again = tmp_path / "patch.json", tmp_path / "again.tflite"
    report = repaired(tmp_path, *QUANTIZED, "--strategy", "weights", "--patch", str(patch))
    assert report["comparison"]["verdict"] == "differ"
    assert report["comparison"]["max_abs_error"] > 0.01
    done = report["repaired"]
    assert done["reached"]
    assert done["comparison"]["top1_disagreement"] == 0
    assert done["comparison"]["max_abs_error"] < 1e-3
    assert done["held_out"]["images"] == 8
    assert len(done["changes"]) >= 45
    assert convfault("apply", str(patch), report["target"]["path"], "--out", str(again), "-q") == 0
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (again, Path(done["path"]))}
    assert digests == {done["sha256"]}


def test_a_quantized_target_gets_its_labels_right_in_half_the_size(tmp_path: Path) -> None:
    report = repaired(tmp_path, *QUANTIZED)
    done = report["repaired"]
    assert done["goal"] == "labels"
    assert done["comparison"]["top1_disagreement"] == 0
    assert done["size_bytes"] < 0.52 * 9.13e6, "of the size of the float file"
    assert sum(point["chosen"] for point in done["curve"]) == 1
    sizes = [point["size_bytes"] for point in done["curve"]]
    assert sizes == sorted(sizes)


def test_a_sound_conversion_is_handed_on_as_it_is(tmp_path: Path) -> None:
    report = repaired(tmp_path)
    assert report["faults"] == report["repairs"] == []
    assert report["repaired"]["sha256"] == report["target"]["sha256"]
