"""What a person reads in five seconds."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from convfault.render import terminal
from convfault.report import Report
from tests import samples
from tests.render import localized, mended
from tests.render.terminals import printed, squeezed

SAMPLES = [
    *(samples.agreeing, samples.differing, samples.crashing, samples.broken, samples.hostile, samples.repaired),
    *localized.ALL,
    *mended.ALL,
]
COPIED = ("\nrepaired file", "\nfile that was written")
"""Headings of paths and commands, which are not wrapped."""


def shown(report: Report, width: int = 100, **more: Any) -> str:
    return printed(lambda console, **rest: terminal.show(report, console, **rest), width, **more)


def test_an_agreement_says_so_first_and_shows_the_figures() -> None:
    text = squeezed(shown(samples.agreeing()))
    assert text.startswith("✓ AGREE inceptionv3: tf → tflite The target answers as the source does on 320 pictures.")
    assert "top-1 disagreement 0 % 0 of 320" in text
    assert "max abs error 2.1e-07 tolerance 1.8e-05" in text
    assert "why" not in text
    assert "worst" not in text


def test_a_difference_shows_counts_reasons_and_worst_pictures() -> None:
    text = squeezed(shown(samples.differing()))
    assert "≠ DIFFER" in text
    assert "top-1 disagreement 13.4 % 43 of 320" in text
    assert "why output 'predictions' is off by up to 0.213" in text
    assert "class_00/0000.png class 0 0.710 class 11 0.520 off by 0.213" in text
    assert "tflite_converter 2.21.0 optimizations=DEFAULT 34 s ok" in text
    assert "assumed preprocessing: scale 1/255, no mean" in text


def test_a_crash_shows_the_hop_and_the_words_of_its_tool_once() -> None:
    text = squeezed(shown(samples.crashing()))
    assert "✕ CRASH" in text
    assert "tf → onnx tf2onnx 1.17.0 21 s ok" in text
    assert "onnx → torch onnx2torch 1.5.15 34 s crashed No Adapter to version 17 for ReduceMean" in text
    assert "target torch torch 2.13.0 was never made" in text
    assert text.count("No Adapter") == 2, "in the route and at the end of the log"
    assert "top-1" not in text


def test_values_that_are_no_numbers_are_said() -> None:
    text = squeezed(shown(samples.broken()))
    assert "max abs error not finite" in text
    assert "NaN or infinite 4,100 values" in text
    assert "class 0 NaN/inf" in text


def test_files_and_the_next_step_are_named_whole_on_a_narrow_terminal() -> None:
    path, step = (
        Path("/a/rather/long/folder/that/does/not/fit/into/sixty/columns/report.html"),
        "convfault localize " * 5,
    )
    lines = shown(samples.differing(), width=60, written=[path], next_step=step).splitlines()
    assert f"  {path}" in lines
    assert f"  {step.strip()}" in lines
    assert "written" not in shown(samples.differing())


@pytest.mark.parametrize("make", SAMPLES)
def test_sixty_columns_are_enough(make: Any) -> None:
    text = shown(make(), width=60)
    end = min(text.find(heading) % (len(text) + 1) for heading in COPIED)
    assert max(len(line) for line in text[:end].splitlines()) <= 60


@pytest.mark.parametrize("make", SAMPLES)
def test_without_a_terminal_there_are_no_colours(make: Any) -> None:
    text = shown(make())
    assert "\x1b" not in text
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("make", SAMPLES)
def test_colours_change_nothing_but_colours(make: Any) -> None:
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown(make(), colours=True))
    assert [line.rstrip() for line in plain.splitlines()] == shown(make()).splitlines()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("make", SAMPLES)
def test_a_terminal_without_unicode_is_no_obstacle(make: Any, encoding: str) -> None:
    text = shown(make(), encoding=encoding)
    assert "->" in text


def test_names_are_shown_as_they_are_and_never_obeyed() -> None:
    text = "".join(shown(samples.hostile(), width=400).split())
    assert r"onerror=alert(2)>[boldred]b[/boldred]\x1b[31m\x00\u202e\udc80" in text


def test_two_files_without_a_route_are_converted_elsewhere() -> None:
    report = replace(samples.differing(), route=(), source={**samples.differing().source, "name": None})
    text = shown(report)
    assert "converted elsewhere" in text
    assert "model: tf → tflite" in text


def test_a_repair_shows_faults_and_the_new_verdict() -> None:
    text = squeezed(shown(samples.repaired()))
    assert "1 parameters int8-rounding not measured 1 % of labels flip" in text
    assert "inception_v3/conv2d_5/Conv2D → conv2d_5/Conv2D1 … off by 0.02" in text
    assert text.startswith(
        "✓ REPAIRED inceptionv3: tf → tflite The target gave another top label on 43 of 320 pictures."
    )
    assert "repaired file, and its patch repaired.tflite repaired.patch.json" in text


def test_a_table_has_a_column_for_each_key() -> None:
    file = io.StringIO()
    rows = [
        {"tool": "[red]tf2onnx", "version": None, "options": ["a", "b"]},
        {"tool": "x", "version": "1", "options": 3},
    ]
    terminal.table("tools", rows, Console(file=file, width=60))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines == [["tool", "version", "options"], ["[red]tf2onnx", "a,b"], ["x", "1", "3"]]


def test_an_empty_table_says_so() -> None:
    file = io.StringIO()
    terminal.table("tools", [], Console(file=file))
    assert file.getvalue() == "no tools\n"
