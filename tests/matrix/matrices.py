"""Matrices for tests, by hand and drawn by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as some

from convfault.matrix.cells import COMPARED, STATUSES, Cell, CellOutcome, Matrix
from tests.matrix import fakes

MODELS, FRAMEWORKS = ("mobilenetv2", "resnet101"), ("torch", "keras", "tf", "tflite")
DATA = {"name": "fractals", "images": 50, "seed": 0, "sha256": "ab12"}


def cell(target: str = "tflite", model: str = "mobilenetv2", route: str = "") -> Cell:
    return Cell(model, "tf", target, route or f"tf>{target}:tool")


def outcome(status: str = "agree", target: str = "tflite", **values: Any) -> CellOutcome:
    """As a cell gives it: figures only where the target answered."""
    mine = values.pop("cell", None) or cell(target)
    if status in COMPARED:
        worse = {"top1_disagreement": 0.5, "max_abs_error": 0.3} if status == "differ" else {}
        return fakes.outcome(mine, status, **{"images": 50, **worse, **values})
    return CellOutcome(mine, status, **{"stage": "convert", "tool": "tool", "cause": "tool: it broke", **values})


def matrix(*outcomes: CellOutcome, **values: Any) -> Matrix:
    about = {"models": {found.cell.model: None for found in outcomes} or {"mobilenetv2": None}, "dataset": DATA}
    base = Matrix("matrix", "0.1.0", "2026-01-01T00:00:00+00:00", tuple(outcomes))
    return replace(base, **{**about, **values})


NUMBER = some.floats(0, 1e9, allow_nan=False)
RATE = some.none() | some.floats(0, 1)
TEXT = some.text(max_size=20)
CELLS = some.builds(
    Cell, some.sampled_from(MODELS), some.sampled_from(FRAMEWORKS), some.sampled_from(FRAMEWORKS), TEXT, TEXT
)
OUTCOMES = some.builds(
    CellOutcome,
    CELLS,
    status=some.sampled_from(STATUSES),
    stage=some.sampled_from(("", "build", "convert", "load", "run")),
    tool=TEXT,
    hop=some.none() | some.integers(0, 3),
    cause=TEXT,
    message=TEXT,
    details=TEXT,
    top1_disagreement=RATE,
    top5_disagreement=RATE,
    kendall_tau=some.none() | some.floats(-1, 1),
    max_abs_error=some.none() | NUMBER,
    tolerance=some.none() | NUMBER,
    tolerance_ratio=some.none() | NUMBER,
    images=some.integers(0, 10**6),
    seconds=NUMBER,
    conversion_seconds=NUMBER,
    peak_megabytes=NUMBER,
    size_bytes=some.none() | some.integers(0, 10**12),
    versions=some.dictionaries(TEXT, TEXT, max_size=3),
    report=TEXT,
    cached=some.booleans(),
)


def _matrix(outcomes: list[CellOutcome]) -> Matrix:
    return matrix(*{found.cell: found for found in outcomes}.values(), models=dict.fromkeys(MODELS))


MATRICES = some.lists(OUTCOMES, max_size=8).map(_matrix)


def relabelled(whole: Matrix, **values: Any) -> Matrix:
    """The matrix with the same change in every outcome."""
    return whole.with_outcomes(replace(found, **values) for found in whole.outcomes)
