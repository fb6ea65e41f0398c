"""Localizing on the real MobileNetV2: the published fault is named, and a sound conversion raises nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convfault.report import invalid

pytestmark = pytest.mark.e2e

PAIR = ("--model", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--limit", "8", "-q")


def localized(folder: Path, *flags: str, exit_code: int) -> dict[str, Any]:
    path = folder / "report.json"
    command = [sys.executable, "-m", "convfault", "localize", *PAIR, *flags, "--json", str(path)]
    command += ["--html", str(folder / "report.html"), "--model-explorer", str(folder / "nodes.json")]
    assert subprocess.run(command, timeout=600).returncode == exit_code
    record = json.loads(path.read_text())
    assert invalid(record) is None
    return dict(record)


def test_every_layer_with_rounded_weights_is_named(tmp_path: Path) -> None:
    report = localized(tmp_path, "--tool-option", "tflite_converter.optimizations=DEFAULT", exit_code=1)
    rounded = [fault for fault in report["faults"] if fault["cause"] == "int8_rounding"]
    assert {fault["kind"] for fault in rounded} == {"parameters"}
    assert len(rounded) >= 45, "the layers of 1,024 weights and more"
    assert all(fault["source_location"] and fault["target_location"] for fault in rounded)
    assert any(fault["kind"] == "tool" and "optimizations" in fault["explanation"] for fault in report["faults"])
    caused = [fault["effect"]["max_abs_error_caused"] for fault in rounded]
    assert max(caused) > 0.01
    assert report["localization"]["max_abs_error_left"] < 1e-3, "with all of them undone the models agree"
    assert report["attribution"]["blame"] == "conversion"


def test_a_sound_conversion_raises_nothing(tmp_path: Path) -> None:
    report = localized(tmp_path, exit_code=0)
    assert report["comparison"]["verdict"] == "agree"
    assert report["faults"] == []
    assert report["attribution"]["blame"] is None
    alignment = report["localization"]["alignment"]
    assert alignment["matched"] == alignment["source_layers"] == alignment["target_layers"]
    assert (tmp_path / "report.html").stat().st_size > 10_000
