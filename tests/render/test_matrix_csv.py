"""A matrix in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from convfault.matrix.cells import Matrix
from convfault.render import matrix_csv
from tests import matrix_samples

SAMPLES = [matrix_samples.full, matrix_samples.own, matrix_samples.empty, matrix_samples.hostile]

FIRST_COLUMNS = [
    "model", "source", "target", "route", "weights", "status", "rank", "top1_disagreement", "top5_disagreement",
    "kendall_tau", "max_abs_error", "tolerance", "images", "size_bytes", "seconds", "conversion_seconds",
    "peak_megabytes", "stage", "hop", "tool", "tool_version", "cause", "message", "versions", "cached", "report", "key",
]  # fmt: skip


def rows(matrix: Matrix) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(matrix_csv.table(matrix))))


def test_the_order_of_the_columns_stays() -> None:
    first = matrix_csv.table(matrix_samples.empty()).splitlines()
    assert len(first) == 1
    assert first[0].split(",")[: len(FIRST_COLUMNS)] == FIRST_COLUMNS


@pytest.mark.parametrize("make", SAMPLES)
def test_each_cell_is_one_line(make: Any) -> None:
    text, matrix = matrix_csv.table(make()), make()
    assert len(text.splitlines()) == 1 + len(matrix.outcomes)
    assert [row["key"] for row in rows(matrix)] == [outcome.cell.key for outcome in matrix.outcomes]


def test_figures_are_written_in_full_and_left_out_where_there_are_none() -> None:
    found = {(row["model"], row["route"]): row for row in rows(matrix_samples.full())}
    sound = found["inceptionv3", "tf>onnx:tf2onnx>torch:onnx2torch"]
    assert (sound["top1_disagreement"], sound["size_bytes"], sound["rank"]) == ("0.92", "87534000", "1")
    crash = found["mobilenetv2", "tf>onnx:tf2onnx>keras:onnx2keras"]
    assert (crash["top1_disagreement"], crash["rank"], crash["hop"]) == ("", "", "1")
    assert crash["cause"] == "onnx2keras: Lambda layer cannot be read back (load)"
    assert crash["versions"] == "tf2onnx 1.17.0; onnx2keras 0.0.25"


def test_the_recommended_route_has_rank_one() -> None:
    matrix = matrix_samples.full()
    best = {matrix.recommendation(*pair).cell.key for pair in matrix.pairs if matrix.recommendation(*pair)}  # type: ignore[union-attr]
    assert {row["key"] for row in rows(matrix) if row["rank"] == "1"} == best


def test_no_text_is_a_formula() -> None:
    found = rows(matrix_samples.hostile())
    assert found[0]["message"].startswith("'=cmd|")
    assert found[1]["route"].startswith("'@a<script>")
    assert found[2]["route"] == "'+second"
    for row in found:
        assert not [value for name, value in row.items() if value.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_negative_figures_stay_numbers() -> None:
    matrix = matrix_samples.full()
    (tau,) = {row["kendall_tau"] for row in rows(matrix) if row["top1_disagreement"] == "0.92"}
    assert float(tau) == pytest.approx(-0.012)
