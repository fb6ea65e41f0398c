"""A write to a known block is what lies round the block and what is written; to other places it stays a scattering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convfault.relax import evaluate
from convfault.relax.graph import Graph, Parameter
from tests.relax.drafts import Sketch, kinds, simplified

SHAPE = (1, 6, 5, 4)


def scattered(kind: str, indices: Any, updates: tuple[int, ...], reduction: str = "update", **settings: Any) -> Graph:
    """A write of ramps to a computed value."""
    sketch = Sketch(*SHAPE)
    values = sketch.layer("tanh", sketch.source, SHAPE)
    array = np.asarray(indices, np.int64)
    places = sketch.add("constant", (), array.shape, {}, {"values": Parameter(array, ())}, dtype="int64").id
    written = sketch.constant(np.arange(float(np.prod(updates))).reshape(updates), "written")
    names = (values, places, written)
    return sketch.ending(sketch.layer(kind, names, SHAPE, reduction=reduction, **settings))


def mesh(*spans: tuple[int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(*span) for span in spans), indexing="ij"), -1)


def test_a_block_within_all_axes_is_joined_with_what_is_round_it() -> None:
    graph = simplified(scattered("scatter_nd", mesh((0, 1), (2, 4), (1, 3)), (1, 2, 2, 4)))
    assert kinds(graph).count("concat") == 2
    assert "scatter_nd" not in kinds(graph)


def test_a_block_may_be_counted_from_the_end_and_reach_the_edge() -> None:
    graph = simplified(scattered("scatter_nd", mesh((0, 1), (-2, 0)), (1, 2, 5, 4)))
    assert kinds(graph).count("concat") == kinds(graph).count("slice") == 1


def test_a_block_of_everything_is_what_is_written() -> None:
    graph = simplified(scattered("scatter_nd", [[0]], (1, 6, 5, 4)))
    assert kinds(graph) == ["constant"]


@pytest.mark.parametrize("indices", [[[0, 1], [0, 3]], [[0, 3], [0, 2]], [[0, 2], [0, 2]]])
def test_places_that_make_no_block_in_order_stay_a_scattering(indices: list[list[int]]) -> None:
    assert "scatter_nd" in kinds(simplified(scattered("scatter_nd", indices, (2, 5, 4))))


def test_a_sum_with_what_stands_there_stays_a_scattering() -> None:
    assert "scatter_nd" in kinds(simplified(scattered("scatter_nd", [[0, 1]], (1, 5, 4), reduction="add")))


def test_elements_along_an_axis_make_a_block_where_all_go_to_the_next_places() -> None:
    indices = np.broadcast_to(np.arange(2, 4).reshape(1, 2, 1, 1), (1, 2, 5, 4))
    graph = simplified(scattered("scatter_elements", indices, (1, 2, 5, 4), axis=1))
    assert kinds(graph).count("concat") == 1
    turned = indices[:, ::-1]
    assert "scatter_elements" in kinds(simplified(scattered("scatter_elements", turned, (1, 2, 5, 4), axis=1)))


def cut_of_join(begin: int, end: int) -> Graph:
    """A cut along the columns of two values joined along them: 5, then 3."""
    sketch = Sketch(*SHAPE)
    one, other = sketch.layer("tanh", sketch.source, SHAPE), sketch.layer("exp", sketch.source, SHAPE)
    settings = {"begin": (0, 0, 2, 0), "end": SHAPE, "strides": (1, 1, 1, 1)}
    rest = sketch.layer("slice", other, (1, 6, 3, 4), **settings)
    joined = sketch.layer("concat", (one, rest), (1, 6, 8, 4), axis=2)
    settings |= {"begin": (0, 0, begin, 0), "end": (1, 6, end, 4)}
    cut = sketch.layer("slice", joined, (1, 6, end - begin, 4), **settings)
    return sketch.ending(sketch.layer("sigmoid", cut, (1, 6, end - begin, 4)))


@pytest.mark.parametrize(("begin", "end", "read"), [(0, 5, "tanh"), (1, 4, "tanh"), (5, 8, "exp"), (6, 7, "exp")])
def test_a_cut_within_one_part_of_a_join_is_a_cut_of_that_part(begin: int, end: int, read: str) -> None:
    found = kinds(simplified(cut_of_join(begin, end)))
    assert "concat" not in found
    assert read in found
    assert len({"tanh", "exp"} & set(found)) == 1


def test_a_cut_across_two_parts_of_a_join_stays() -> None:
    assert "concat" in kinds(simplified(cut_of_join(4, 6)))


REDUCTIONS = {"update": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_reduction_does_what_it_says(reduction: str) -> None:
    graph = scattered("scatter_nd", [[0, 4], [0, 1]], (2, 5, 4), reduction)
    picture = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    expected, written = np.tanh(picture), np.arange(40.0, dtype=np.float32).reshape(2, 5, 4)
    for number, row in enumerate((4, 1)):
        expected[0, row] = REDUCTIONS[reduction](expected[0, row], written[number])
    np.testing.assert_allclose(evaluate.run_native(graph, {"picture": picture})[graph.outputs[0]], expected)
