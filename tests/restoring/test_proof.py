"""What a proof says of a written file: whether the goal is reached, where it is worse, and on unseen pictures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.comparison import AGREE, DIFFER, Comparison
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.repairing.order import LABELS
from convfault.restoring.proof import HELD_OUT, Proof, _worse, held_out
from convfault.restoring.version import Version
from tests.comparing.runs import compared, saved

AGREEING = "agree"
MODEL = Model("m.onnx", "onnx")


def measured(folder: Path, scores: np.ndarray, answers: np.ndarray, tolerance: float = 1e-3) -> Measurement:
    traces = saved(folder / "source", scores), saved(folder / "target", answers)
    comparison = compared(*traces, tolerance)
    return Measurement(None, comparison, datetime.now(UTC), traces=traces)  # type: ignore[arg-type]


def scores(count: int = 10) -> np.ndarray:
    return np.random.default_rng(0).random((count, 5)).astype(np.float32)


# held out


@given(count=st.integers(0, 500))
def test_a_fifth_is_held_out_and_most_is_not(count: int) -> None:
    rows = held_out(count)
    assert rows <= set(range(count))
    assert len(rows) == (count // HELD_OUT if count >= 2 * HELD_OUT else 0)
    assert count == 0 or 0 not in rows  # every case has its first picture


def test_of_few_pictures_none_is_held_out(tmp_path: Path) -> None:
    found = measured(tmp_path, scores(9), scores(9))
    assert Proof(MODEL, found).held_out(AGREEING) is None


def test_the_figures_are_those_of_the_held_out_rows_only(tmp_path: Path) -> None:
    answers = scores()
    answers[0] = -1.0  # not held out
    found = Proof(MODEL, measured(tmp_path, scores(), answers)).held_out(AGREEING)
    assert found == {"images": 2, "top1_disagreement": 0.0, "max_abs_error": 0.0, "reached": True}


def test_a_held_out_row_that_is_off_is_told(tmp_path: Path) -> None:
    answers = scores()
    answers[HELD_OUT - 1, :] += 0.5  # the same label, another value
    proof = Proof(MODEL, measured(tmp_path, scores(), answers))
    agree, labels = proof.held_out(AGREEING), proof.held_out(LABELS)
    assert agree is not None
    assert labels is not None
    assert (agree["reached"], labels["reached"]) == (False, True)
    assert agree["max_abs_error"] == pytest.approx(0.5, abs=1e-6)


def test_values_that_are_not_finite_are_no_proof(tmp_path: Path) -> None:
    answers = scores()
    answers[HELD_OUT - 1] = np.nan
    found = Proof(MODEL, measured(tmp_path, scores(), answers)).held_out(AGREEING)
    assert found is not None
    assert (found["max_abs_error"], found["reached"]) == (None, False)


# reached


@pytest.mark.parametrize(
    ("verdict", "flips", "agree", "labels"),
    [(AGREE, 0.0, True, True), (AGREE, 0.1, True, True), (DIFFER, 0.0, False, True), (DIFFER, 0.1, False, False),
     (DIFFER, None, False, False)],
)  # fmt: skip
def test_labels_are_enough_where_only_they_were_asked_for(
    verdict: str, flips: float | None, agree: bool, labels: bool
) -> None:
    proof = Proof(MODEL, SimpleNamespace(comparison=Comparison(verdict, 10, flips)))  # type: ignore[arg-type]
    assert (proof.reached(AGREEING), proof.reached(LABELS)) == (agree, labels)


def test_the_rows_with_another_label_are_named(tmp_path: Path) -> None:
    answers = scores()
    answers[3] = answers[3][::-1] - np.arange(5)
    proof = Proof(MODEL, measured(tmp_path, scores(), answers))
    same = answers[3].argmax() == scores()[3].argmax()
    assert proof.flipped() == (() if same else (3,))


# worse


def test_a_picture_that_is_further_off_is_worse_and_one_that_is_nearer_is_not(tmp_path: Path) -> None:
    before = scores()
    before[2] += 0.1
    after = scores()
    after[2] += 0.05
    one = measured(tmp_path / "before", scores(), before)
    assert _worse(one, measured(tmp_path / "nearer", scores(), after)) == 0
    after[7] += 0.2
    assert _worse(one, measured(tmp_path / "further", scores(), after)) == 1


def test_a_picture_that_becomes_nan_is_worse(tmp_path: Path) -> None:
    broken = scores()
    broken[4] = np.nan
    before, after = measured(tmp_path / "before", scores(), scores()), measured(tmp_path / "nan", scores(), broken)
    assert _worse(before, after) == 1
    assert _worse(after, before) == 0


@given(noise=st.lists(st.floats(-1, 1), min_size=10, max_size=10))
def test_what_lies_within_the_tolerance_is_never_worse(noise: list[float], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("runs")
    shift = np.asarray(noise, np.float32)[:, None] * np.float32(9e-4)
    before = measured(folder / "before", scores(), scores())
    assert _worse(before, measured(folder / "after", scores(), scores() + shift)) == 0


# what is kept

ERRORS = st.none() | st.floats(0, 10)
FLIPS = st.none() | st.floats(0, 1)


@given(then=st.tuples(FLIPS, ERRORS), now=st.tuples(FLIPS, ERRORS), worse=st.integers(0, 2), reached=st.booleans())
def test_nothing_is_kept_that_makes_it_worse(
    then: tuple[Any, Any], now: tuple[Any, Any], worse: int, reached: bool
) -> None:
    one, other = (Comparison(DIFFER, 10, flips, max_abs_error=error) for flips, error in (then, now))
    other = replace(other, verdict=AGREE) if reached else other
    proof = Proof(MODEL, SimpleNamespace(comparison=other), worse)  # type: ignore[arg-type]
    if Version(proof, Path()).is_better_than(SimpleNamespace(comparison=one)):  # type: ignore[arg-type]
        fewer = (now[0] or 0.0) < (then[0] or 0.0)
        nearer = now[1] is not None and (then[1] is None or now[1] < then[1])
        assert reached or (not worse and (fewer or nearer))
    else:
        assert not reached
