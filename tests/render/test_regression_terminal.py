"""What became of the cells since the baseline, on a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from convfault.matrix.cells import DEFECT
from convfault.matrix.regress import Regression, compare
from convfault.render import regression_terminal, regression_wording
from tests import matrix_samples
from tests.render.terminals import printed, squeezed


def shown(regression: Regression, width: int = 80, **more: Any) -> str:
    return printed(lambda console, **rest: regression_terminal.show(regression, console, **rest), width, **more)


def without_defects(regression: Regression) -> Regression:
    sides = (regression.baseline, regression.matrix)
    baseline, matrix = (side.with_outcomes(o for o in side.outcomes if o.status != DEFECT) for side in sides)
    return compare(baseline, matrix)


def test_alarms_come_first_with_the_cell_and_the_reason() -> None:
    text = squeezed(shown(without_defects(matrix_samples.regressed())))
    assert text.startswith("≠ REGRESSION 2026-02-05T10:30:00+00:00 against the baseline of 2026-01-05T10:30:00+00:00")
    assert "1 newly crashing, 1 worse, 1 missing, 1 fails otherwise, 1 new cell, 1 newly working, 1 better" in text
    assert "✕ newly crashing mobilenetv2 torch>keras:nobuco agree before, now crash: onnx2keras: Lambda" in text
    assert text.index("✕ newly crashing") < text.index("≠ worse") < text.index("✓ better")
    assert "unchanged mobilenetv2" not in text


def test_nothing_changed_is_no_regression() -> None:
    same = compare(matrix_samples.own(), matrix_samples.own())
    text = squeezed(shown(same))
    assert text.startswith("✓ NO REGRESSION")
    assert "7 cells: 7 unchanged." in text


def test_a_defect_is_never_a_pass() -> None:
    same = compare(matrix_samples.full(), matrix_samples.full())
    assert "DEFECT OF CONVFAULT" in shown(same)


def test_tools_with_another_version_are_named() -> None:
    before = matrix_samples.agreeing()
    after = before.with_outcomes(replace(o, status="differ", versions={"nobuco": "0.18"}) for o in before.outcomes)
    assert "nobuco 0.17.0 → 0.18" in shown(compare(before, after))


def test_every_kind_of_change_has_a_word_and_a_sign() -> None:
    assert regression_wording.WORDS.keys() == regression_wording.SIGNS.keys()
    assert set(matrix_samples.regressed().counts) == set(regression_wording.WORDS)


@pytest.mark.parametrize("width", [60, 80])
def test_few_columns_are_enough_without_colours(width: int) -> None:
    regression = matrix_samples.regressed()
    text = shown(regression, width)
    assert max(len(line) for line in text.splitlines()) <= width
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown(regression, width, colours=True))
    assert [line.rstrip() for line in plain.splitlines()] == text.splitlines()


def test_names_are_never_obeyed() -> None:
    regression = compare(matrix_samples.hostile(), matrix_samples.hostile().with_outcomes([]))
    assert all(char.isprintable() or char == "\n" for char in shown(regression))
