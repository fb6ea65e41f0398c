"""Which conversions to trust, read on any terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from convfault.matrix.cells import Matrix
from convfault.render import matrix_terminal
from tests import matrix_samples
from tests.render.terminals import printed, squeezed

SAMPLES = [
    matrix_samples.full,
    matrix_samples.agreeing,
    matrix_samples.own,
    matrix_samples.empty,
    matrix_samples.hostile,
]

NASTY_END = r"\x1b[31m\x00\u202e\udc80"


def shown(matrix: Matrix, width: int = 80, **more: Any) -> str:
    return printed(lambda console, **rest: matrix_terminal.show(matrix, console, **rest), width, **more)


def test_each_model_has_a_grid_that_reads_without_colour() -> None:
    lines = [squeezed(line) for line in shown(matrix_samples.full()).splitlines()]
    assert "→ torch → keras → tf → tflite" in lines
    assert "tf ≠ 92 % 0/1 ✕ crash 0/1 ✓ 0 % 1/2" in lines
    assert "tf ✕ memory 0/1 ✕ crash 0/1 ✓ 0 % 1/2" in lines
    assert "tflite ≠ 2 % 0/2 ✕ crash 0/1 – no route" in lines


def test_cells_of_one_cause_are_one_entry() -> None:
    text = squeezed(shown(matrix_samples.full()))
    assert (
        "✕ 9 0.0.25 onnx2keras: Lambda layer cannot be read back (load) mobilenetv2, inceptionv3, resnet101:"
        " torch → keras, tf → keras, tflite → keras"
    ) in text
    assert text.index("! 1 defect of convfault") < text.index("✕ 9 0.0.25")


def test_the_best_route_of_each_pair_can_be_copied() -> None:
    text = shown(matrix_samples.full())
    assert "  keras → tflite  ✓ 0 %       9.0 MB  4.0 s  keras>tflite:tflite_converter" in text.splitlines()
    assert "torch>onnx:torch.onnx[opset=13]>tf:onnx2tf" in "".join(text.split())
    assert "  tf → torch      ✕ memory                     tf2onnx: out of memory" in text.splitlines()


def test_time_and_what_was_there_already_are_said() -> None:
    assert "34 min 12 s, cells 36 min 32 s, 21 of 63 cells from an earlier run" in shown(matrix_samples.full())


def test_only_signs_that_occur_are_explained() -> None:
    text = squeezed(shown(matrix_samples.agreeing()))
    assert "✓ agrees by the best route · 2/3: routes that agree" in text
    assert "✕" not in text
    assert "failures" not in text


def test_a_matrix_without_cells_says_so() -> None:
    assert "No cell was tried." in shown(matrix_samples.empty())


def test_files_and_the_next_step_are_named_whole() -> None:
    path = Path("/a/rather/long/folder/that/does/not/fit/into/the/columns/of/a/narrow/terminal/matrix.html")
    lines = shown(matrix_samples.agreeing(), width=60, written=[path], next_step="convfault localize").splitlines()
    assert f"  {path}" in lines
    assert "  convfault localize" in lines


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("make", SAMPLES)
def test_few_columns_are_enough(make: Any, width: int) -> None:
    assert max(len(line) for line in shown(make(), width=width).splitlines()) <= width


@pytest.mark.parametrize("make", SAMPLES)
def test_colours_change_nothing_but_colours(make: Any) -> None:
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown(make(), colours=True))
    assert [line.rstrip() for line in plain.splitlines()] == shown(make()).splitlines()


@pytest.mark.parametrize("make", SAMPLES)
def test_without_a_terminal_there_are_no_colours(make: Any) -> None:
    assert all(char.isprintable() or char == "\n" for char in shown(make()))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("make", SAMPLES)
def test_a_terminal_without_unicode_is_no_obstacle(make: Any, encoding: str) -> None:
    assert "\\" not in shown(make(), encoding=encoding).replace(NASTY_END, "")


def test_names_are_shown_as_they_are_and_never_obeyed() -> None:
    text = "".join(shown(matrix_samples.hostile(), width=400).split())
    assert r"onerror=alert(2)>[boldred]b[/boldred]\x1b[31m\x00\u202e\udc80" in text
