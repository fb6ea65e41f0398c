"""A matrix is a value: it reads back what it wrote, ranks the routes of a pair, and groups its failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.errors import InputError
from convfault.matrix.cells import STAGES, STATUSES, Cell, Matrix, invalid, schema, titles
from tests.matrix import matrices
from tests.matrix.matrices import cell, matrix, outcome


@given(matrices.MATRICES)
def test_a_matrix_reads_back_what_it_wrote(drawn: Matrix) -> None:
    record = json.loads(json.dumps(drawn.to_record(), allow_nan=False))
    assert Matrix.from_record(record) == drawn
    assert invalid(record) is None


def test_a_file_reads_back_what_was_written(tmp_path: Path) -> None:
    whole = matrix(outcome(), outcome("crash", "torch"))
    whole.write(tmp_path / "matrix.json")
    assert Matrix.read(tmp_path / "matrix.json") == whole


def test_the_schema_is_one_and_knows_every_status_and_stage() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    properties = schema()["$defs"]["outcome"]["properties"]
    assert tuple(properties["status"]["enum"]) == STATUSES
    assert tuple(properties["stage"]["enum"]) == STAGES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not a JSON matrix"),
        ("[]", "is not a matrix of schema version 1"),
        ('{"schema_version": 2}', "it says 2"),
        ('{"schema_version": 1}', "is not a valid matrix"),
    ],
)
def test_what_is_no_matrix_is_refused_in_a_sentence(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=reason):
        Matrix.read(tmp_path / "x.json")


def test_a_matrix_that_is_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the matrix"):
        Matrix.read(tmp_path / "x.json")


def test_keys_of_cells_are_different_and_name_files() -> None:
    cells = [cell("tflite"), cell("torch"), cell("tflite", route="tf>tflite:tool[a='b/c']"), cell(model="/a/b.keras")]
    keys = [found.key for found in cells]
    assert len(set(keys)) == len(keys)
    assert all("/" not in key for key in keys)


def test_the_key_of_a_cell_stays_from_one_release_to_the_next() -> None:
    assert Cell("mobilenetv2", "tf", "tflite", "tf>tflite:tflite_converter").key == "mobilenetv2-tf-tflite-90ff7b3414e8"


def test_routes_rank_by_agreement_then_disagreement_then_size_then_speed_and_failures_last() -> None:
    best_first = [
        outcome("agree", size_bytes=10, conversion_seconds=1.0),
        outcome("agree", size_bytes=10, conversion_seconds=2.0),
        outcome("agree", size_bytes=20),
        outcome("differ", top1_disagreement=0.1, size_bytes=99),
        outcome("differ", top1_disagreement=0.2, size_bytes=1),
        outcome("crash"),
    ]
    named = [replace(found, cell=cell(route=f"tf>tflite:{number}")) for number, found in enumerate(best_first)]
    assert list(matrix(*reversed(named)).pair("mobilenetv2", "tf", "tflite")) == named


def test_a_model_without_classes_ranks_by_its_error() -> None:
    small = outcome("differ", cell=cell(route="a"), top1_disagreement=None, max_abs_error=0.1)
    large = outcome("differ", cell=cell(route="b"), top1_disagreement=None, max_abs_error=0.2)
    unknown = outcome("differ", cell=cell(route="c"), top1_disagreement=None, max_abs_error=None)
    assert matrix(unknown, large, small).pair("mobilenetv2", "tf", "tflite") == (small, large, unknown)


def test_the_recommendation_is_the_best_route_that_answers() -> None:
    good = outcome("differ", cell=cell(route="good"))
    assert matrix(outcome("crash"), good).recommendation("mobilenetv2", "tf", "tflite") == good


def test_nothing_is_recommended_where_every_route_fails() -> None:
    assert matrix(outcome("crash"), outcome("no_route")).recommendation("mobilenetv2", "tf", "tflite") is None


def test_nothing_is_recommended_for_a_pair_that_has_no_cell() -> None:
    assert matrix(outcome()).recommendation("mobilenetv2", "tf", "keras") is None


def test_failures_with_one_cause_are_one_group_and_the_commonest_comes_first() -> None:
    rare = outcome("crash", "keras", cause="a: rare")
    common = [outcome("crash", target, cause="z: common") for target in ("torch", "tflite")]
    found = matrix(rare, *common, outcome("agree", "onnx")).causes()
    assert [(cause.text, len(cause.outcomes)) for cause in found] == [("z: common", 2), ("a: rare", 1)]


def test_a_defect_of_convfault_comes_before_every_other_cause() -> None:
    found = matrix(outcome("crash"), outcome("crash", "torch"), outcome("defect", "keras", cause="ours")).causes()
    assert found[0].text == "ours"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["agree"], 0),
        (["agree", "no_route"], 0),
        ([], 0),
        (["agree", "differ"], 1),
        (["agree", "crash"], 1),
        (["timeout"], 1),
        (["memory"], 1),
        (["differ", "defect"], 3),
    ],
)
def test_the_exit_code_tells_the_worst(statuses: list[str], code: int) -> None:
    assert matrix(*(outcome(status) for status in statuses)).exit_code == code


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["mobilenetv2", "/x/m.onnx", "app.nets:build"], ["mobilenetv2", "m.onnx", "app.nets:build"]),
        (["a/model.onnx", "b/model.onnx"], ["a/model.onnx", "b/model.onnx"]),
        (["/x/a/1/model.onnx", "/x/b/1/model.onnx", "c.onnx"], ["a/1/model.onnx", "b/1/model.onnx", "c.onnx"]),
        (["model.onnx", "a/model.onnx"], ["model.onnx", "a/model.onnx"]),
    ],
)
def test_a_title_is_a_name_with_as_many_folders_as_tell_it_from_others(models: list[str], expected: list[str]) -> None:
    assert list(titles(models).values()) == expected


@given(some.lists(some.text("ab/.:", max_size=8), max_size=6))
def test_no_two_models_have_one_title(models: list[str]) -> None:
    found = titles(models)
    assert set(found) == set(models)
    assert len(set(found.values())) == len(found)
