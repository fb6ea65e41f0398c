"""Answers are compared where they are seen, and where a saturated layer hides them."""

from __future__ import annotations

import numpy as np
import pytest

from convfault.localization.answers import Answer, Deviation, answers, arguments, deviation
from convfault.relax import evaluate
from convfault.relax.graph import Array, Graph, Layer

SCORES = np.array([[30.0, 0.0, -5.0], [1.0, 2.0, 0.0]], np.float32)


def ending(kind: str, reshaped: bool = False) -> Graph:
    """The input, a saturating layer behind it, and perhaps a reshape."""
    settings = {"axis": 1} if kind == "softmax" else {}
    layers = [Layer("x", "input", (), (2, 3)), Layer("y", kind, ("x",), (2, 3), hyperparameters=settings)]
    if reshaped:
        layers.append(Layer("z", "reshape", ("y",), (2, 3, 1)))
    return Graph(tuple(layers), ("x",), (layers[-1].id,))


def answered(graph: Graph, scores: Array) -> tuple[Answer, ...]:
    return answers(graph, evaluate.resume(graph, {"x": scores}, {"y"}, ("x", *arguments(graph))))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "tanh"])
@pytest.mark.parametrize("reshaped", [False, True])
def test_what_a_saturated_layer_hides_is_found_before_it(kind: str, reshaped: bool) -> None:
    graph, scores = ending(kind, reshaped), np.full((2, 3), [60.0, -60.0, -60.0], np.float32)
    more = scores + np.array([0.4, 0.0, 0.0], np.float32)
    found = deviation(answered(graph, more), answered(graph, scores), [0.01])
    assert found.excess == pytest.approx(0.0, abs=1e-9)
    assert found.latent == pytest.approx(40.0 if kind == "tanh" else 10.0, rel=1e-3)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "tanh"])
def test_no_output_differs_by_more_than_its_argument_lets_it(kind: str) -> None:
    rng, graph = np.random.default_rng(4), ending(kind)
    for _ in range(50):
        one, other = (rng.normal(0, 2, (2, 3)).astype(np.float32) for _ in range(2))
        found = deviation(answered(graph, one), answered(graph, other), [1.0])
        assert found.latent is not None
        assert found.max_abs_error <= found.latent + 1e-6


def test_a_constant_more_in_every_score_is_no_difference_to_a_softmax() -> None:
    graph = ending("softmax")
    found = deviation(answered(graph, SCORES + 8), answered(graph, SCORES), [1e-3])
    assert found.latent == pytest.approx(0.0, abs=1e-3)


def test_answers_that_no_layer_saturates_hide_nothing() -> None:
    found = deviation([Answer(SCORES + 1)], [Answer(SCORES)], [0.5])
    assert (found.excess, found.latent) == (2.0, 2.0)


def test_a_softmax_that_is_missing_is_seen_in_the_answers_themselves() -> None:
    found = deviation([Answer(SCORES)], answered(ending("softmax"), SCORES), [0.5])
    assert found.latent == found.excess


def test_answers_of_another_number_or_form_are_beyond_any_number() -> None:
    assert deviation([Answer(SCORES)], [], [0.1]) == Deviation(np.inf, None)
    assert deviation([Answer(SCORES)], [Answer(SCORES[:, :2])], [0.1]).latent == np.inf


ONE, OTHER, WIDE = (np.full(shape, 1.0, np.float32) for shape in ((2, 3), (2, 3), (2, 4)))


def off(found: list[Answer], expected: list[Answer], by_name: bool = True) -> float:
    return deviation(found, expected, by_name=by_name).max_abs_error


def test_outputs_of_one_name_belong_together_whatever_their_order() -> None:
    expected = [Answer(ONE, name="a"), Answer(OTHER + 1, name="b")]
    assert off(expected[::-1], expected) == 0.0
    assert off(expected[::-1], expected, by_name=False) == 1.0


def test_outputs_of_other_names_go_in_order_where_all_fit_and_else_by_shape() -> None:
    boxes, scores, classes = Answer(ONE, name="boxes"), Answer(WIDE, name="scores"), Answer(ONE + 1, name="classes")
    assert off([Answer(ONE, name="0"), Answer(WIDE, name="1")], [boxes, scores]) == 0.0
    assert off([Answer(WIDE, name="0"), Answer(ONE, name="1")], [boxes, scores]) == 0.0
    assert off([Answer(ONE + 1, name="0"), Answer(ONE, name="1")], [boxes, classes]) == 1.0


def test_an_output_too_many_or_of_no_fitting_shape_is_infinitely_far() -> None:
    assert off([Answer(ONE), Answer(WIDE)], [Answer(ONE)]) == float("inf")
    assert off([Answer(ONE), Answer(OTHER)], [Answer(ONE), Answer(WIDE)]) == float("inf")
