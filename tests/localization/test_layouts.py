"""Layouts: what a target is fed with and answers, whatever a converter did to the order of the axes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from convfault.localization.tool import layouts
from convfault.model import TensorSpec

SHAPES = some.lists(some.integers(1, 5), min_size=3, max_size=5).map(tuple)


def spec(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name, shape, "float32")


@given(SHAPES, some.sampled_from(["NHWC", "NCHW"]))
def test_turning_there_and_back_changes_nothing(shape: tuple[int, ...], layout: str) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    back = {"NHWC": "NCHW", "NCHW": "NHWC"}[layout]
    turned = values.transpose(layouts.toward(layout, values.ndim)).transpose(layouts.toward(back, values.ndim))
    np.testing.assert_array_equal(turned, values)


@given(SHAPES, some.sampled_from(["NHWC", "NCHW"]))
def test_a_turned_input_and_a_turned_answer_are_found(shape: tuple[int, ...], layout: str) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    answer = values.transpose(layouts.toward(layout, values.ndim))
    (feed, *_) = layouts.feeds([("x", shape)], [spec("x", *answer.shape)], layout)
    np.testing.assert_array_equal(values.transpose(feed[0][1]), answer)
    assert any(np.array_equal(found, values) for _, found in layouts.answers(values, answer, layout))


def test_inputs_are_paired_by_name_whatever_tensorflow_puts_round_it() -> None:
    sources = [("left:0", (1, 4)), ("right:0", (1, 4))]
    feeds = layouts.feeds(sources, [spec("serving_default_right:0", None, 4), spec("serving_default_left:0", 1, 4)], "")
    assert feeds == [((1, (0, 1)), (0, (0, 1)))]


def test_inputs_of_other_names_are_paired_in_order() -> None:
    assert layouts.feeds([("x", (1, 4)), ("y", (1, 5))], [spec("a", 1, 4), spec("b", 1, 5)], "") == [
        ((0, (0, 1)), (1, (0, 1)))
    ]


def test_a_cube_may_be_fed_in_several_ways_and_what_fits_nowhere_in_none() -> None:
    assert len(layouts.feeds([("x", (1, 4, 4, 4))], [spec("x", None, 4, 4, 4)], "")) == 3
    assert layouts.feeds([("x", (1, 4, 4, 3))], [spec("x", None, 5, 4, 3)], "") == []
    assert layouts.feeds([("x", (1, 4))], [], "") == []


def test_answers_of_another_rank_are_compared_when_only_sides_of_one_differ() -> None:
    wanted = np.arange(4.0).reshape(1, 4)
    ((axes, found),) = layouts.answers(wanted, wanted.reshape(1, 1, 1, 4), "")
    assert axes is None
    np.testing.assert_array_equal(found, wanted)
    assert layouts.answers(wanted, np.zeros((2, 2, 1)), "") == []
