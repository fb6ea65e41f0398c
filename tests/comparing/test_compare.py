"""Two saved runs are compared output by output, block by block."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convfault.comparing import compare as module
from convfault.comparing import metrics
from convfault.comparing.compare import Pictures, compare
from convfault.comparison import AGREE, DIFFER, Tolerance
from convfault.errors import ConvfaultError
from tests.comparing.runs import compared, saved

ANY = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).random((20, 12), dtype=np.float32)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 8)), elements=ANY))
def test_a_model_and_itself_agree_and_have_perfect_figures(tmp_path_factory, values):
    run = saved(tmp_path_factory.mktemp("run"), values)
    found = compared(run, run, tolerance=0.0, labels=[0] * len(values))
    assert (found.verdict, found.reasons, found.worst) == (AGREE, (), ())
    assert (found.max_abs_error, found.mean_abs_error, found.cosine) == (0.0, 0.0, 1.0)
    assert found.histogram["zero"] == (len(values),)
    if values.shape[1] > 1:
        assert (found.top1_disagreement, found.kendall_tau) == (0.0, 1.0)
        assert found.accuracy["source"] == found.accuracy["target"]


def test_the_figures_are_those_of_the_metrics_over_all_pictures(tmp_path, scores, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_VALUES", 36)  # three pictures a block
    other = np.random.default_rng(1).random(scores.shape, dtype=np.float32)
    labels = np.random.default_rng(2).integers(0, 12, 20)
    found = compared(saved(tmp_path / "s", scores), saved(tmp_path / "t", other), labels=[int(i) for i in labels])
    errors, top, other_top = metrics.errors(scores, other), metrics.top_labels(scores), metrics.top_labels(other)
    assert found.verdict == DIFFER
    assert found.images == 20
    assert found.top1_disagreement == (scores.argmax(1) != other.argmax(1)).mean()
    assert found.top5_disagreement == metrics.top5_flips(top, other_top).mean()
    assert found.kendall_tau == pytest.approx(metrics.kendall_tau(scores, other, top, other_top).mean())
    assert found.max_abs_error == pytest.approx(np.abs(scores - other).max())
    assert found.mean_abs_error == pytest.approx(np.abs(scores - other).mean())
    assert found.cosine == pytest.approx(errors.cosine.mean())
    assert found.accuracy == {"source": (top[:, 0] == labels).mean(), "target": (other_top[:, 0] == labels).mean()}
    assert sum(found.histogram["counts"]) == 20
    assert len(found.histogram["edges"]) == len(found.histogram["counts"]) + 1


def test_accuracy_is_over_the_pictures_with_a_known_label(tmp_path):
    run = saved(tmp_path, np.eye(4, dtype=np.float32))
    assert compared(run, run, labels=[0, None, -1, 0]).accuracy == {"source": 0.5, "target": 0.5}
    assert compared(run, run, labels=[None] * 4).accuracy == {"source": None, "target": None}
    assert compared(run, run).accuracy == {"source": None, "target": None}


def test_the_worst_pictures_are_flipped_ones_then_those_with_the_largest_error(tmp_path):
    source = np.tile(np.array([0.5, 0.4, 0.1], np.float32), (6, 1))
    target = source.copy()
    target[1] += [0.3, 0, 0]
    target[2, :2] = [0.44, 0.46]
    target[3] += [0.2, 0, 0]
    target[4, 2] = np.nan
    found = compared(saved(tmp_path / "s", source), saved(tmp_path / "t", target), labels=[0, 0, 1, 0, 0, 0])
    assert [picture.image for picture in found.worst] == ["p2", "p4", "p1", "p3"]
    assert found.worst[0].source_top[0] == (0, pytest.approx(0.5))
    assert found.worst[0].target_top[0] == (1, pytest.approx(0.46))
    assert found.worst[0].label == 1
    assert found.worst[1].target_top[-1] == (2, None)
    assert found.histogram["unmatched"] == (1,)
    assert [
        picture.image
        for picture in compared(saved(tmp_path / "s2", source), saved(tmp_path / "t2", target), worst=1).worst
    ] == ["p2"]


def test_a_flip_within_the_tolerance_is_a_tie_and_no_fault(tmp_path):
    source, target = np.array([[0.5, 0.5 + 1e-7]]), np.array([[0.5 + 1e-7, 0.5]])
    found = compared(saved(tmp_path / "s", source), saved(tmp_path / "t", target))
    assert (found.verdict, found.top1_disagreement) == (AGREE, 1.0)


def test_nan_on_one_side_only_differs_under_any_tolerance(tmp_path, scores):
    broken = scores.copy()
    broken[3, 4] = np.nan
    found = compared(saved(tmp_path / "s", scores), saved(tmp_path / "t", broken), tolerance=1e9)
    assert (found.verdict, found.nonfinite, found.outputs[0].unmatched, found.max_abs_error) == (DIFFER, 1, 1, 0.0)
    assert "NaN" in found.reasons[0]


def test_nan_and_infinity_at_the_same_places_agree(tmp_path, scores):
    scores[3, 4], scores[5] = np.nan, np.inf
    run = saved(tmp_path, scores)
    found = compared(run, run)
    assert (found.verdict, found.nonfinite, found.max_abs_error) == (AGREE, 2 * 13, 0.0)


def test_outputs_of_nan_only_have_an_infinite_error(tmp_path, scores):
    found = compared(saved(tmp_path / "s", scores), saved(tmp_path / "t", np.full_like(scores, np.nan)), 1e9)
    assert (found.verdict, found.max_abs_error) == (DIFFER, None)


def test_different_numbers_of_classes_are_not_comparable(tmp_path):
    source, target = saved(tmp_path / "s", np.ones((3, 1000))), saved(tmp_path / "t", np.ones((3, 1001)))
    found = compared(source, target, tolerance=1e9)
    assert (found.verdict, found.top1_disagreement, found.max_abs_error) == (DIFFER, None, None)
    assert "(1000,)" in found.reasons[0]
    assert "(1001,)" in found.reasons[0]


def test_different_numbers_of_pictures_are_an_error(tmp_path, scores):
    source, target = saved(tmp_path / "s", scores), saved(tmp_path / "t", scores[:-1])
    with pytest.raises(ConvfaultError, match="20 and one of 19 pictures"):
        compared(source, target)
    with pytest.raises(ConvfaultError, match="2 tolerances for 1 outputs"):
        compare(source, source, Pictures(["p"] * 20), [Tolerance(0.0)] * 2)
    with pytest.raises(ConvfaultError, match="over 3"):
        compare(source, source, Pictures(["a", "b", "c"]), [Tolerance(0.0)])


@pytest.mark.parametrize("shape", [(10,), (1, 1, 10), (10, 1, 1)])
def test_scores_are_ranked_in_every_shape_they_come_in(tmp_path, shape):
    values = np.random.default_rng(0).random((4, *shape))
    flat = values.reshape(4, 10)
    found = compared(saved(tmp_path / "s", flat), saved(tmp_path / "t", values))
    assert (found.verdict, found.kendall_tau) == (AGREE, 1.0)


def test_a_model_without_classes_is_judged_by_its_tensors_alone(tmp_path):
    values = np.random.default_rng(0).random((4, 8, 8, 3))
    found = compared(saved(tmp_path / "s", values), saved(tmp_path / "t", values + 0.5))
    assert (found.verdict, found.max_abs_error) == (DIFFER, pytest.approx(0.5))
    assert (found.top1_disagreement, found.top5_disagreement, found.kendall_tau) == (None, None, None)
    assert found.worst[0].source_top == ()
    single = saved(tmp_path / "one", np.random.default_rng(0).random((4, 1)))
    assert compared(single, single).top1_disagreement is None


def test_the_set_of_five_best_says_nothing_of_five_classes(tmp_path):
    run = saved(tmp_path, np.random.default_rng(0).random((4, 5)))
    assert compared(run, run).top5_disagreement is None


def test_each_output_is_judged_by_its_own_tolerance(tmp_path):
    boxes, scores = np.full((3, 4, 4), 100.0), np.full((3, 6), 0.1)
    source = saved(tmp_path / "s", {"boxes": boxes, "scores": scores})
    target = saved(tmp_path / "t", {"scores": scores + 0.01, "boxes": boxes + 1})
    limits = {"good": [2.0, 0.1], "boxes": [0.5, 0.1], "scores": [2.0, 0.001]}
    found = {
        name: compare(source, target, Pictures(["a", "b", "c"]), [Tolerance(value) for value in values])
        for name, values in limits.items()
    }
    assert found["good"].verdict == AGREE
    assert [reason for reason in found["boxes"].reasons if "boxes" in reason] == list(found["boxes"].reasons) != []
    assert [reason for reason in found["scores"].reasons if "scores" in reason] == list(found["scores"].reasons) != []


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    def peak(count: int) -> int:
        values = np.random.default_rng(0).random((count, 1000), dtype=np.float32)
        run = saved(Path(tmp_path / str(count)), values, batch=500)
        del values
        tracemalloc.start()
        compared(run, run)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    assert peak(4000) < 1.2 * peak(1000)
