"""A matrix against a baseline: what got worse is told, noise is not, and what cannot be compared is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.errors import UsageError
from convfault.matrix import cells
from convfault.matrix.cells import CellOutcome, Matrix
from convfault.matrix.regress import (
    ADDED,
    ALARMS,
    BETTER,
    BROKEN,
    KINDS,
    MENDED,
    MISSING,
    OTHERWISE,
    PASSED,
    SAME,
    WORSE,
    compare,
)
from tests.matrix import matrices
from tests.matrix.matrices import matrix, outcome


def differ(rate: float | None = 0.5, error: float | None = 0.3, images: int = 50) -> CellOutcome:
    return outcome("differ", top1_disagreement=rate, max_abs_error=error, images=images)


def near(status: str, ratio: float | None, rate: float = 0.0, error: float = 1e-5) -> CellOutcome:
    """Off by so many times its tolerance."""
    return outcome(status, top1_disagreement=rate, max_abs_error=error, tolerance_ratio=ratio)


CASES = [
    ("noise moved it over its tolerance", near("agree", 0.95), near("differ", 1.05), SAME),
    ("noise moved it back within its tolerance", near("differ", 1.05), near("agree", 0.95), SAME),
    ("it was far within its tolerance and is beyond it", near("agree", 0.4), near("differ", 1.05), WORSE),
    ("it is just beyond its tolerance and labels flip", near("agree", 0.95), near("differ", 1.05, 0.3), WORSE),
    ("it was just within its tolerance and has NaN now", near("agree", 0.95), near("differ", None), WORSE),
    ("one small output of several broke", near("agree", 0.9, error=1.0), near("differ", 90.0, error=1.0), WORSE),
    ("a baseline of before there were ratios", near("agree", None), near("differ", 1.05), WORSE),
    ("it was exact and is not", near("agree", 0.0), near("differ", 1.01), WORSE),
    ("nothing changed", outcome(), outcome(), SAME),
    ("the error changed within the tolerance", outcome(max_abs_error=1e-9), outcome(max_abs_error=9e-6), SAME),
    ("it differs newly", outcome(), differ(), WORSE),
    ("it differs newly though no label does", outcome(), differ(0.0), WORSE),
    ("it agrees newly", differ(), outcome(), BETTER),
    ("it crashes newly", outcome(), outcome("crash"), BROKEN),
    ("it differed and crashes", differ(), outcome("crash"), BROKEN),
    ("it runs out of memory newly", outcome(), outcome("memory"), BROKEN),
    ("its tool has gone", outcome(), outcome("no_route"), BROKEN),
    ("convfault fails newly", outcome("crash"), outcome("defect", cause="ours"), BROKEN),
    ("it works newly", outcome("crash"), outcome(), MENDED),
    ("it differs where it crashed", outcome("crash"), differ(), MENDED),
    ("it crashes as before", outcome("crash"), outcome("crash"), SAME),
    ("it crashes for another cause", outcome("crash"), outcome("crash", cause="tool: another"), OTHERWISE),
    ("it crashes and hung before", outcome("timeout"), outcome("crash"), OTHERWISE),
    ("one more picture of fifty differs", differ(0.10), differ(0.12), SAME),
    ("two more pictures of fifty differ", differ(0.10), differ(0.14), SAME),
    ("many more pictures differ", differ(0.10), differ(0.60), WORSE),
    ("many fewer pictures differ", differ(0.60), differ(0.10), BETTER),
    ("three of fifty differ where none did", differ(0.0), differ(0.06), WORSE),
    ("a share moves within its standard errors", differ(0.50), differ(0.60), SAME),
    ("the same share of many pictures moves", differ(0.50, images=5500), differ(0.60, images=5500), WORSE),
    ("the error grew by half", differ(0.5, 0.2), differ(0.5, 0.3), SAME),
    ("the error grew tenfold", differ(0.5, 0.2), differ(0.5, 2.0), WORSE),
    ("the error shrank tenfold", differ(0.5, 2.0), differ(0.5, 0.2), BETTER),
    ("the error of a model without classes grew", differ(None, 0.2), differ(None, 2.0), WORSE),
    ("the answer became infinite", differ(None, 0.2), differ(None, None), WORSE),
    ("the answer stays infinite", differ(None, None), differ(None, None), SAME),
]


@pytest.mark.parametrize(("before", "after", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_became_of_a_cell(before: CellOutcome, after: CellOutcome, kind: str) -> None:
    found = compare(matrix(before), matrix(after))
    assert [change.kind for change in found.changes] == [kind]
    assert found.changes[0].reason
    assert found.exit_code == (3 if after.status == "defect" else int(kind in ALARMS))


def test_a_cell_that_was_not_tried_is_an_alarm_and_no_pass() -> None:
    both, one = matrix(outcome(), outcome(target="torch")), matrix(outcome())
    found = compare(both, one)
    assert [change.cell.target for change in found.of(MISSING)] == ["torch"]
    assert found.exit_code == 1
    assert MISSING not in PASSED


def test_a_cell_that_the_baseline_lacks_is_no_alarm_and_no_pass() -> None:
    both, one = matrix(outcome(), outcome(target="torch")), matrix(outcome())
    found = compare(one, both)
    assert [change.cell.target for change in found.of(ADDED)] == ["torch"]
    assert found.exit_code == 0
    assert ADDED not in PASSED


def test_only_what_got_worse_or_was_not_tried_makes_it_exit_one() -> None:
    assert set(ALARMS) == {BROKEN, WORSE, MISSING}
    assert not set(ALARMS) & set(PASSED)
    assert set(KINDS) - set(ALARMS) - set(PASSED) == {ADDED, OTHERWISE}


def test_two_files_of_one_name_are_two_models() -> None:
    def both(first: str, second: str) -> Matrix:
        found = ((f"{place}/m.onnx", status) for place, status in (("a", first), ("b", second)))
        outcomes = [outcome(status, cell=matrices.cell(model=model)) for model, status in found]
        return matrix(*outcomes, models={"a/m.onnx": "aa", "b/m.onnx": "bb"})

    found = compare(both("agree", "differ"), both("agree", "crash"))
    assert found.counts == {BROKEN: 1, SAME: 1}
    assert {found.title(change) for change in found.changes} == {"a/m.onnx", "b/m.onnx"}


def test_the_gravest_change_comes_first() -> None:
    before = matrix(outcome(), outcome(target="torch"), outcome("crash", "keras"))
    after = matrix(outcome("agree"), outcome("crash", "torch"), outcome("agree", "keras"))
    assert [change.kind for change in compare(before, after).changes] == [BROKEN, MENDED, SAME]


def test_the_same_file_in_another_folder_is_the_same_model() -> None:
    here, there = (
        matrix(replace(outcome(), cell=matrices.cell(model=f"/{place}/m.keras")), models={f"/{place}/m.keras": "aa"})
        for place in ("here", "there")
    )
    assert compare(here, there).counts == {SAME: 1}


def released(version: str) -> CellOutcome:
    pinned = f"tf>tflite:tool=={version}[x=1]" if version else "tf>tflite:tool[x=1]"
    return replace(outcome(), cell=matrices.cell(route=pinned))


def test_a_release_is_compared_with_the_one_of_the_baseline() -> None:
    assert compare(matrix(released("")), matrix(released("1.13.0"))).counts == {SAME: 1}


def test_releases_beside_each_other_stay_apart() -> None:
    both = matrix(released("1.13.0"), released("1.17.0"))
    assert compare(both, both).counts == {SAME: 2}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"models": {"mobilenetv2": None, "resnet101": None}}, "other models"),
    ({"models": {"mobilenetv2": "aa"}}, "content of mobilenetv2"),
    ({"dataset": {**matrices.DATA, "sha256": "cd"}}, r"other data \(sha256\): ab12, not cd"),
    ({"dataset": {**matrices.DATA, "images": 20}}, r"other data \(images\): 50, not 20"),
    ({"settings": {"tolerance": 0.5}}, r"other settings \(tolerance\)"),
    ({"settings": {"preprocessing": "size=224"}}, "preprocessing"),
    ({"settings": {"weights": "imagenet"}}, r"\(weights\): calibrated, not imagenet"),
    ({"settings": {"tool_options": ["tf2onnx.opset=13"]}}, "tool_options"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_baseline_for_something_else_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        compare(matrix(outcome()), matrix(outcome(), **change))


def test_other_versions_and_another_machine_are_what_it_is_for() -> None:
    after = matrix(outcome(), versions={"tf2onnx": "9"}, environment={"platform": "other"}, started="later")
    assert compare(matrix(outcome()), after).exit_code == 0


def test_a_regression_is_valid_by_the_schema_that_is_shipped() -> None:
    shipped = json.loads(resources.files("convfault").joinpath("regression.schema.json").read_text(encoding="utf-8"))
    before = matrix(outcome(), outcome(target="torch"), outcome("crash", "keras"))
    after = matrix(outcome("crash"), outcome("agree", "keras"), outcome("agree", "onnx"))
    record = compare(before, after).to_record()
    jsonschema.Draft202012Validator.check_schema(shipped)
    jsonschema.validate(json.loads(json.dumps(record, allow_nan=False)), shipped)
    for change in record["changes"]:
        for side in filter(None, (change["before"], change["after"])):
            jsonschema.validate(side, {**cells.schema(), **cells.schema()["$defs"]["outcome"], "required": []})
    assert tuple(shipped["$defs"]["kind"]["enum"]) == KINDS


@given(matrices.MATRICES)
def test_a_matrix_is_never_worse_than_itself(whole: Matrix) -> None:
    found = compare(whole, whole)
    assert {change.kind for change in found.changes} <= {SAME}


@given(matrices.MATRICES, matrices.MATRICES)
def test_every_cell_of_either_side_is_told_of_once(one: Matrix, other: Matrix) -> None:
    one, other = (
        whole.with_outcomes(replace(found, cell=replace(found.cell, weights="w")) for found in whole.outcomes)
        for whole in (one, other)
    )
    try:
        found = compare(one, other)
    except UsageError:
        return
    cells = {found.cell for whole in (one, other) for found in whole.outcomes}
    assert sorted(change.cell.key for change in found.changes) == sorted(cell.key for cell in cells)


FIGURES = some.tuples(
    some.sampled_from(("agree", "differ", "crash")), some.floats(0, 1), some.floats(1e-6, 1e6), some.integers(1, 6000)
)
OPPOSITE = {SAME: SAME, WORSE: BETTER, BETTER: WORSE, BROKEN: MENDED, MENDED: BROKEN}


@given(FIGURES, FIGURES)
def test_what_is_worse_one_way_is_better_the_other(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    images = one[3]
    sides = [
        outcome(status, top1_disagreement=rate, max_abs_error=error, images=images)
        if status != "crash"
        else outcome("crash")
        for status, rate, error, _ in (one, other)
    ]
    forth = compare(matrix(sides[0]), matrix(sides[1])).changes[0].kind
    back = compare(matrix(sides[1]), matrix(sides[0])).changes[0].kind
    assert back == OPPOSITE[forth]


@given(some.integers(1, 5000), some.floats(0, 1), some.integers(-2, 2))
def test_two_pictures_more_or_less_are_never_an_alarm(images: int, rate: float, pictures: int) -> None:
    before = round(rate * images) / images
    after = min(1.0, max(0.0, before + pictures / images))
    assert compare(matrix(differ(before, images=images)), matrix(differ(after, images=images))).exit_code == 0
