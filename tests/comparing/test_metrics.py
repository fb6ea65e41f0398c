"""Metrics against oracles: scipy, naive loops, and what must hold of any two batches."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from convfault.comparing import metrics

SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 12))
# few distinct values, so that ties happen, beside any others
ROUND = st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0])
FINITE = ROUND | st.floats(-(2.0**60), 2.0**60, width=32)
ANY = ROUND | st.floats(width=32, allow_nan=True, allow_infinity=True)


def pairs(elements: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    def two(shape: tuple[int, int]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
        return st.tuples(*[hnp.arrays(np.float32, shape, elements=elements)] * 2)

    return SHAPES.flatmap(two)


def tau(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return metrics.kendall_tau(source, target, metrics.top_labels(source), metrics.top_labels(target))


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@given(hnp.arrays(np.float32, SHAPES, elements=ANY), st.integers(1, 7))
def test_the_best_labels_are_those_of_a_stable_sort_with_nan_last(scores, count):
    for row, top in zip(scores, metrics.top_labels(scores, count), strict=True):
        clean = [-math.inf if math.isnan(value) else value for value in row]
        assert list(top) == sorted(range(len(clean)), key=lambda label: (-clean[label], label))[:count]


def test_equal_scores_go_to_the_lowest_label():
    assert metrics.top_labels(np.array([[1.0, 3.0, 3.0, 1.0]]), 3).tolist() == [[1, 2, 0]]


def test_scores_of_any_dtype_are_ranked():
    for dtype in (np.uint8, np.int8, np.int64, np.bool_, np.float16, np.float64):
        assert metrics.top_labels(np.array([[0, 1, 0]], dtype), 2).tolist() == [[1, 0]]


@given(pairs(ANY))
def test_kendall_tau_is_that_of_scipy_on_the_best_labels_of_either_side(batches):
    source, target = batches
    found = tau(source, target)
    for row in range(len(source)):
        both = [np.where(np.isnan(scores[row]), -np.inf, scores[row]) for scores in (source, target)]
        union = sorted({*metrics.top_labels(source)[row], *metrics.top_labels(target)[row]})
        ranks = [stats.rankdata(scores[union]) for scores in both]
        constant = [len(set(values)) == 1 for values in ranks]
        if any(constant):
            assert found[row] == (1.0 if all(constant) else 0.0)
        else:
            assert found[row] == pytest.approx(stats.kendalltau(*ranks).statistic, abs=1e-12)


@given(pairs(ANY))
def test_kendall_tau_is_symmetric_and_1_for_equal_scores(batches):
    source, target = batches
    assert np.array_equal(tau(source, target), tau(target, source))
    assert np.array_equal(tau(source, source), np.ones(len(source)))


@given(st.permutations(range(20)))
def test_disjoint_lists_of_best_labels_score_below_0(order):
    source, target = np.zeros((1, 20)), np.zeros((1, 20))
    source[0, order[:5]] = np.arange(5) + 1
    target[0, order[5:10]] = np.arange(5) + 1
    assert tau(source, target)[0] < 0


def test_reversed_ranks_score_minus_1():
    scores = np.array([[0.1, 0.5, 0.2, 0.3, 0.4]])
    assert tau(scores, -scores)[0] == -1


def test_label_numbers_do_not_matter_only_ranks_do():
    scores = np.random.default_rng(0).standard_normal((30, 50))
    shuffled = np.random.default_rng(1).permutation(50)
    other = scores + np.random.default_rng(2).standard_normal(scores.shape)
    assert np.allclose(tau(scores, other), tau(scores[:, shuffled], other[:, shuffled]))


@given(pairs(ANY))
def test_flips_are_symmetric_and_none_against_itself(batches):
    one, other = (metrics.top_labels(scores) for scores in batches)
    for flips in (metrics.top1_flips, metrics.top5_flips):
        assert np.array_equal(flips(one, other), flips(other, one))
        assert not flips(one, one).any()


def test_the_order_within_the_best_five_is_no_flip_of_the_set():
    one, other = np.array([[1, 2, 3, 4, 5]]), np.array([[2, 1, 3, 5, 4]])
    assert metrics.top1_flips(one, other).tolist() == [True]
    assert metrics.top5_flips(one, other).tolist() == [False]
    assert metrics.top5_flips(one, np.array([[1, 2, 3, 4, 6]])).tolist() == [True]


@given(pairs(ANY))
def test_errors_are_those_of_a_loop_over_the_values(batches):
    source, target = batches
    found = metrics.errors(source, target)
    for row, (one, other) in enumerate(zip(source.tolist(), target.tolist(), strict=True)):
        deviations, unmatched = [], 0
        for a, b in zip(one, other, strict=True):
            if math.isfinite(a) and math.isfinite(b):
                deviations.append(abs(a - b))
            elif a == b or (math.isnan(a) and math.isnan(b)):
                deviations.append(0.0)
            else:
                unmatched += 1
        assert (found.unmatched[row], found.matched[row]) == (unmatched, len(deviations))
        assert found.nonfinite_source[row] == sum(not math.isfinite(a) for a in one)
        assert found.nonfinite_target[row] == sum(not math.isfinite(b) for b in other)
        assert found.magnitude[row] == max((abs(a) for a in one if math.isfinite(a)), default=0.0)
        if deviations:
            assert found.largest[row] == max(deviations)
            assert found.total[row] == pytest.approx(math.fsum(deviations))
        else:
            assert math.isnan(found.largest[row])


@given(hnp.arrays(np.float32, SHAPES, elements=ANY))
def test_a_batch_and_itself_have_perfect_figures(scores):
    found = metrics.errors(scores, scores)
    assert not found.largest.any()
    assert not found.total.any()
    assert not found.unmatched.any()
    assert (found.cosine == 1).all()


@given(pairs(ANY))
def test_errors_are_symmetric(batches):
    source, target = batches
    there, back = metrics.errors(source, target), metrics.errors(target, source)
    for name in ("largest", "total", "matched", "unmatched", "cosine"):
        assert np.array_equal(getattr(there, name), getattr(back, name), equal_nan=True)


@given(pairs(FINITE))
def test_cosine_is_the_textbook_one(batches):
    source, target = batches
    for one, other, found in zip(source, target, metrics.errors(source, target).cosine, strict=True):
        a, b = one.astype(np.longdouble), other.astype(np.longdouble)
        norms = np.sqrt((a * a).sum() * (b * b).sum())
        expected = float((a * b).sum() / norms) if norms else float(not a.any() and not b.any())
        assert found == pytest.approx(expected, abs=1e-9)


def test_cosine_of_huge_and_tiny_float64_values_does_not_overflow():
    values = np.array([[1e300, 1e300], [1e-300, 0.0], [0.0, 0.0]])
    assert metrics.errors(values, values * [1, -1]).cosine == pytest.approx([0.0, 1.0, 1.0])


def test_an_error_beyond_any_number_is_infinite():
    assert metrics.errors(np.array([[1.7e308]]), np.array([[-1.7e308]])).largest.tolist() == [math.inf]


def test_tensors_of_any_rank_and_without_values_are_compared():
    deep = np.arange(24.0).reshape(2, 3, 2, 2)
    assert metrics.errors(deep, deep + 1).largest.tolist() == [1.0, 1.0]
    assert metrics.errors(np.zeros(3), np.ones(3)).largest.tolist() == [1.0, 1.0, 1.0]
    assert metrics.errors(np.zeros((2, 0)), np.zeros((2, 0))).largest.tolist() == [0.0, 0.0]


def test_pictures_of_the_true_label_are_correct():
    assert metrics.correct(np.array([[3, 1], [2, 0]]), np.array([3, 0])).tolist() == [True, False]


def test_the_ranks_of_a_whole_imagenet_sized_run_take_well_under_a_second():
    source = np.random.default_rng(0).standard_normal((5500, 1000), dtype=np.float32)
    target = source + np.float32(0.1) * np.random.default_rng(1).standard_normal(source.shape, dtype=np.float32)
    one, other = metrics.top_labels(source), metrics.top_labels(target)
    start = time.process_time()
    metrics.kendall_tau(source, target, one, other)
    assert time.process_time() - start < 0.5
