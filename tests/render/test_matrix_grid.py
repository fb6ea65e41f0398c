"""A matrix as grids of squares, and its cells in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convfault.comparison import AGREE, CRASH, DIFFER
from convfault.matrix.cells import DEFECT, MEMORY, NO_ROUTE, Cell, CellOutcome
from convfault.render import matrix_grid
from tests import matrix_samples


def square(model: str, source: str, target: str) -> matrix_grid.Square:
    found = matrix_grid.squares(matrix_samples.full())
    return next(item for item in found if (item.model, item.source, item.target) == (model, source, target))


def test_each_model_has_a_grid_with_its_diagonal_left_out() -> None:
    grids = matrix_grid.grids(matrix_samples.full())
    assert [grid.title for grid in grids] == list(matrix_samples.MODELS)
    for grid in grids:
        assert grid.sources == grid.targets == matrix_samples.FRAMEWORKS
        assert [grid.rows[number][number].status for number in range(4)] == [matrix_grid.UNTRIED] * 4
        assert len(grid.squares) == 12


def test_a_users_model_has_one_row_under_its_name_without_folders() -> None:
    (grid,) = matrix_grid.grids(matrix_samples.own())
    assert (grid.title, grid.sources, grid.targets) == (
        "super resolution.keras",
        ("keras",),
        ("torch", "tf", "tflite"),
    )


@pytest.mark.parametrize(
    ("pair", "status", "shown"),
    [
        (("mobilenetv2", "torch", "keras"), AGREE, "✓ 0 % 1/2"),
        (("inceptionv3", "tf", "torch"), DIFFER, "≠ 92 % 0/1"),
        (("mobilenetv2", "tf", "keras"), CRASH, "✕ crash 0/1"),
        (("resnet101", "tf", "torch"), MEMORY, "✕ memory 0/1"),
        (("inceptionv3", "torch", "keras"), DEFECT, "! defect 0/2"),
        (("resnet101", "tflite", "tf"), NO_ROUTE, "– no route "),
    ],
)
def test_a_square_shows_the_best_route_or_the_gravest_failure(
    pair: tuple[str, str, str], status: str, shown: str
) -> None:
    found = square(*pair)
    assert found.status == status
    assert f"{found.sign} {found.figure} {found.share}" == shown
    assert (found.failure is None) == (found.best is not None)


def test_the_failure_of_a_square_is_the_one_that_its_sign_stands_for() -> None:
    failure = square("inceptionv3", "torch", "keras").failure
    assert failure is not None
    assert failure.status == DEFECT


def test_a_square_can_be_said() -> None:
    said = [square("mobilenetv2", "keras", "tflite").sentence, square("mobilenetv2", "tf", "keras").sentence]
    assert said == [
        "keras → tflite: the best route agrees, 0 % of the top labels differ; 2 of 3 routes agree",
        "tf → keras: crash on 1 route",
    ]
    assert matrix_grid.Square("m", "tf", "tf").sentence == "tf → tf: not tried"


def test_models_without_classes_are_measured_by_their_error() -> None:
    figures = {matrix_grid.figure(outcome) for outcome in matrix_samples.own().outcomes}
    assert {"2.1e-07", "NaN/inf"} <= figures
    assert matrix_grid.measure(matrix_samples.own().outcomes[1]) == "off by up to 2.1e-07"


def test_a_cause_names_its_places_once() -> None:
    cause = next(item for item in matrix_samples.full().causes() if item.text.startswith("onnx2keras"))
    models = "mobilenetv2, inceptionv3, resnet101"
    assert (
        matrix_grid.places(cause, matrix_samples.full().titles)
        == f"{models}: torch → keras, tf → keras, tflite → keras"
    )
    assert matrix_grid.versions(cause.outcomes) == "0.0.25"


def test_a_cause_with_other_places_for_one_model_says_so() -> None:
    cause = next(item for item in matrix_samples.full().causes() if item.text.startswith("onnx2tf"))
    other = replace(cause.outcomes[0], cell=Cell("resnet101", "torch", "tflite", "x"), tool_version="2")
    cause = replace(cause, outcomes=(*cause.outcomes, other))
    expected = "mobilenetv2, inceptionv3: torch → tf; resnet101: torch → tf, torch → tflite"
    assert matrix_grid.places(cause, matrix_samples.full().titles) == expected
    assert matrix_grid.versions(cause.outcomes) == "1.29.24, 2"


def test_the_headline_counts_pairs() -> None:
    assert matrix_grid.headline(matrix_samples.full()) == (
        "22 of 36 pairs can be converted by a route that agrees, 3 only by one that differs, 8 by none that works, "
        "3 by no known route."
    )
    assert matrix_grid.headline(matrix_samples.agreeing()) == "1 of 1 pair can be converted by a route that agrees."
    assert matrix_grid.headline(matrix_samples.empty()) == "No cell was tried."


def test_the_verdict_is_of_the_pairs_unless_convfault_failed() -> None:
    assert matrix_grid.verdict(matrix_samples.full()) == CRASH
    assert matrix_grid.verdict(matrix_samples.own()) == AGREE, "another route of each pair agrees"
    full = matrix_samples.full()
    assert matrix_grid.verdict(full.with_outcomes(o for o in full.outcomes if o.status != DEFECT)) == DIFFER
    none = CellOutcome(Cell("m", "tflite", "tf", ""), NO_ROUTE)
    assert matrix_grid.verdict(full.with_outcomes([none])) == AGREE


def test_times_are_said_where_they_are_known() -> None:
    said = matrix_grid.time_taken(matrix_samples.full())
    assert said == "34 min 12 s, cells 36 min 32 s, 21 of 63 cells from an earlier run"
    assert matrix_grid.time_taken(matrix_samples.own()) == "3 of 7 cells from an earlier run"
    assert matrix_grid.time_taken(matrix_samples.empty()) == ""
