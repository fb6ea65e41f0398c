"""Other ways to the target: another tool is taken where one gives the right answers, and none where none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.restoring import fakes
from tests.restoring.conftest import Repair
from tests.restoring.fakes import converter

Faulty = Callable[..., Path]
ONLY = {"strategies": ("tool",), "limit": 12}


@pytest.fixture
def wrong(faulty: Faulty) -> Path:
    return faulty("tflite", "weights_scaled")


def test_another_tool_takes_the_place_of_a_wrong_one(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, wrong: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(
        monkeypatch,
        converter("first", "onnx", "tflite", file=wrong),
        converter("second", "onnx", "tflite", file=wrong.with_name("nowhere.tflite")),
        converter("third", "onnx", "tflite", file=tiny_tflite),
        converter("fourth", "onnx", "tflite", file=tiny_tflite),
    )
    report = repair(tiny_onnx, dst="tflite", out=result / "mended.tflite", **ONLY)
    assert (report.comparison.verdict, report.exit_code) == ("differ", 0)
    assert (result / "mended.tflite").read_bytes() == tiny_tflite.read_bytes()
    told = [(item["strategy"], item["edit"], item["accepted"]) for item in report.repairs if item["strategy"] == "tool"]
    assert told == [
        ("tool", "convert by onnx>tflite:second", False),
        ("tool", "convert by onnx>tflite:third", True),
    ]
    assert [item["strategy"] for item in report.repairs if item["accepted"]] == ["tool"]
    assert [path.name for path in result.iterdir()] == ["mended.tflite"]


def test_where_every_tool_is_wrong_nothing_is_left(
    repair: Repair, tiny_onnx: Path, wrong: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [converter(name, "onnx", "tflite", file=wrong) for name in ("first", "second")]
    fakes.install(monkeypatch, *tools)
    report = repair(tiny_onnx, dst="tflite", out=result / "mended.tflite", **ONLY)
    assert (report.exit_code, report.repaired) == (1, None)
    assert not result.exists()
    told = [item for item in report.repairs if item["strategy"] == "tool"]
    assert {item["accepted"] for item in told} == {False}
    assert all("tolerance" in item["reason"] for item in told), told
    # the other tool, and then the first one, with the model in other words
    assert "second" in told[0]["edit"]
    assert {"plainer words" in item["edit"] for item in told[1:]} == {True}


def test_a_tool_that_crashes_is_replaced(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(
        monkeypatch,
        converter("first", "onnx", "tflite", "falls"),
        converter("second", "onnx", "tflite", file=tiny_tflite),
    )
    report = repair(tiny_onnx, dst="tflite", out=result / "mended.tflite", limit=12)
    assert (report.comparison.verdict, report.exit_code) == ("crash", 0)
    assert (result / "mended.tflite").read_bytes() == tiny_tflite.read_bytes()


def test_of_two_files_the_source_is_converted_afresh(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, wrong: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(monkeypatch, converter("first", "onnx", "tflite", file=tiny_tflite))
    report = repair(tiny_onnx, wrong, **ONLY)
    assert report.exit_code == 0
    assert (result / "mended.tflite").read_bytes() == tiny_tflite.read_bytes()


def test_no_other_way_is_taken_unless_it_may(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, wrong: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(monkeypatch, converter("first", "onnx", "tflite", file=tiny_tflite))
    report = repair(tiny_onnx, wrong, strategies=("graph",), limit=12)
    assert report.exit_code == 1
    assert not result.exists()
