"""Whole commands on the three real models, at full size, through the real converters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

MODELS = ("mobilenetv2", "resnet101", "inceptionv3")


class Command:
    """The command line in a folder of its own, sharing one cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.environment = folder, {**os.environ, "CONVFAULT_CACHE": str(cache), "NO_COLOR": "1"}

    def diff(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        report = self.folder / "report.json"
        command = [sys.executable, "-m", "convfault", "diff", *arguments, "--json", str(report)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, json.loads(report.read_text())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("CONVFAULT_TEST_CACHE") or tmp_path_factory.mktemp("cache"))


@pytest.fixture
def command(tmp_path: Path, cache: Path) -> Command:
    return Command(tmp_path, cache)


@pytest.mark.parametrize("model", MODELS)
def test_tensorflow_to_tflite_agrees_and_knows_its_labels(command: Command, model: str) -> None:
    code, report = command.diff("-m", model, "--src", "tf", "--dst", "tflite", "--limit", "32")
    comparison = report["comparison"]
    assert (code, comparison["verdict"], comparison["top1_disagreement"]) == (0, "agree", 0.0)
    assert comparison["accuracy"]["source"] >= 0.85
    assert all(hop["status"] == "ok" for hop in report["route"])


@pytest.mark.parametrize("model", MODELS)
def test_quantized_weights_differ(command: Command, model: str) -> None:
    option = "tflite_converter.optimizations=DEFAULT"
    code, report = command.diff("-m", model, "--src", "tf", "--dst", "tflite", "--limit", "32", "--tool-option", option)
    assert (code, report["comparison"]["verdict"]) == (1, "differ")
    assert report["comparison"]["max_abs_error"] > 100 * report["comparison"]["outputs"][0]["tolerance"]["value"]


def test_a_second_run_converts_and_runs_nothing(command: Command) -> None:
    arguments = ("-m", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--limit", "32")
    _, first = command.diff(*arguments)
    _, second = command.diff(*arguments)
    assert all(hop["cached"] for hop in second["route"])
    assert second["seconds"]["run source"] == second["seconds"]["run target"] == 0
    assert second["comparison"] == first["comparison"]


@pytest.mark.parametrize(
    ("src", "dst"), [("keras", "tf"), ("keras", "tflite"), ("keras", "onnx"), ("tf", "onnx"), ("tflite", "onnx"),
                     ("torch", "onnx"), ("tf", "torch"), ("keras", "torch"), ("tflite", "torch")]
)  # fmt: skip
def test_every_default_route_of_mobilenet_agrees(command: Command, src: str, dst: str) -> None:
    code, report = command.diff("-m", "mobilenetv2", "--src", src, "--dst", dst, "--limit", "16")
    assert (code, report["comparison"]["verdict"]) == (0, "agree"), report["comparison"]["reasons"]


def test_onnx2torch_cannot_read_todays_default_export_and_that_is_a_finding(command: Command) -> None:
    route = "torch>onnx:torch_onnx>torch:onnx2torch"
    code, report = command.diff("-m", "mobilenetv2", "--route", route, "--limit", "8")
    assert (code, report["comparison"]["verdict"]) == (1, "crash")
    assert "ReduceMean" in report["route"][-1]["message"]
    assert report["route"][-1]["tool_version"]
