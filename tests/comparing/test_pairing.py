"""Outputs find their counterparts, whatever the names, order and layout."""

from __future__ import annotations

import numpy as np
import pytest

from convfault.comparing.pairing import is_scores, pair
from convfault.comparison import AGREE, DIFFER
from tests.comparing.runs import compared, saved

RANDOM = np.random.default_rng(0)
BOXES, SCORES, MASKS = RANDOM.random((3, 5, 4)), RANDOM.random((3, 7)), RANDOM.random((3, 6, 8, 2))


def partners(tmp_path, source, target, **layouts):
    one = saved(tmp_path / "source", source, layouts.get("source", "NHWC"))
    other = saved(tmp_path / "target", target, layouts.get("target", "NHWC"))
    return [(p.source, p.target, p.arranged is not None) for p in pair(one, other)]


def test_by_name_in_another_order(tmp_path):
    found = partners(tmp_path, {"a": SCORES, "b": SCORES}, {"b": SCORES, "a": SCORES})
    assert found == [("a", "a", True), ("b", "b", True)]


def test_by_order_when_names_are_lost(tmp_path):
    found = partners(tmp_path, {"a": SCORES, "b": SCORES}, {"x": SCORES, "y": SCORES})
    assert found == [("a", "x", True), ("b", "y", True)]


def test_by_shape_when_neither_names_nor_order_fit(tmp_path):
    found = partners(tmp_path, {"a": BOXES, "b": SCORES}, {"x": SCORES, "y": BOXES})
    assert found == [("a", "y", True), ("b", "x", True)]


def test_equal_names_do_not_pair_what_does_not_fit(tmp_path):
    found = partners(tmp_path, {"0": BOXES, "1": SCORES}, {"0": SCORES, "1": BOXES})
    assert found == [("0", "1", True), ("1", "0", True)]


def test_by_shape_when_the_target_has_more(tmp_path):
    found = partners(tmp_path, {"a": SCORES}, {"x": BOXES, "y": SCORES})
    assert found == [("a", "y", True), (None, "x", False)]


def test_what_has_no_counterpart_is_a_reason(tmp_path):
    both = saved(tmp_path / "both", {"a": SCORES, "b": BOXES})
    one = saved(tmp_path / "one", {"a": SCORES})
    for source, target, words in ((both, one, "in the target"), (one, both, "in the source")):
        found = compared(source, target)
        assert found.verdict == DIFFER
        assert found.max_abs_error == 0
        assert [reason for reason in found.reasons if words in reason and "'b'" in reason] == list(found.reasons) != []


def test_what_fits_nothing_is_paired_in_order_and_not_comparable(tmp_path):
    assert partners(tmp_path, {"a": SCORES}, {"x": BOXES}) == [("a", "x", False)]


@pytest.mark.parametrize("layouts", [("NHWC", "NCHW"), ("NCHW", "NHWC")])
@pytest.mark.parametrize("values", [MASKS, RANDOM.random((3, 5, 2)), RANDOM.random((3, 4, 4, 4))])
def test_a_target_of_another_layout_is_turned_to_the_sources(tmp_path, layouts, values):
    start, end = (-1, 1) if layouts[0] == "NHWC" else (1, -1)
    source = saved(tmp_path / "s", values, layouts[0])
    target = saved(tmp_path / "t", np.moveaxis(values, start, end), layouts[1])
    found = compared(source, target, tolerance=0.0)
    assert (found.verdict, found.outputs[0].comparable) == (AGREE, True)


@pytest.mark.parametrize("values", [MASKS, RANDOM.random((3, 4, 4, 4)), SCORES])
def test_a_target_that_kept_the_sources_layout_is_compared_as_it_is(tmp_path, values):
    source, target = saved(tmp_path / "s", values, "NHWC"), saved(tmp_path / "t", values, "NCHW")
    assert compared(source, target, tolerance=0.0).verdict == AGREE


def test_a_turned_output_of_the_same_layout_is_not_comparable(tmp_path):
    found = compared(saved(tmp_path / "s", MASKS), saved(tmp_path / "t", np.moveaxis(MASKS, -1, 1)))
    assert (found.verdict, found.outputs[0].comparable) == (DIFFER, False)


def test_scores_are_one_vector_of_two_or_more_classes():
    assert all(is_scores(shape) for shape in ((2,), (1000,), (1, 1, 10), (10, 1, 1)))
    assert not any(is_scores(shape) for shape in ((), (1,), (1, 1, 1), (4, 4), (1, 10, 1), (10, 10, 10), (0,)))
