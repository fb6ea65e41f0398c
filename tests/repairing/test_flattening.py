"""The rows of a product go to the order in which its picture was flattened, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.relax.graph import Graph, Parameter
from convfault.repairing.writers.flattening import (
    as_flattened_before,
    flattened_rows,
    in_canonical_rows,
    in_native_rows,
    keeps_rows,
)
from tests.localization.pairs import drawn
from tests.relax.drafts import Sketch

WIDTH_FIRST = (0, 2, 1, 3)


def product(height: int, width: int, order: tuple[int, ...] | None) -> Graph:
    """A picture, flattened, and a product; ``order`` is that of the native flattening."""
    sketch = Sketch(1, height, width, 4)
    size = height * width * 4
    flat = sketch.layer("reshape", sketch.source, (1, size))
    dense = sketch.add("dense", (flat,), (1, 3), {}, {"weights": Parameter(drawn(size, 3))}).id
    graph = sketch.graph_of(dense)
    details = {} if order is None else {"flattening_order": order}
    return graph.with_layer(replace(graph[last(graph)], details=details))


def last(graph: Graph) -> str:
    return graph.outputs[0]


@given(st.integers(1, 5), st.integers(1, 5), st.permutations((1, 2, 3)))
def test_rows_are_those_of_the_picture_flattened_in_that_order(height: int, width: int, axes: list[int]) -> None:
    graph = product(height, width, (0, *axes))
    layer = graph[last(graph)]
    rows = flattened_rows(graph, layer)
    assert rows is not None
    picture, weights = drawn(1, height, width, 4), layer.parameters["weights"].values
    native = in_native_rows(weights, rows)
    expected = picture.reshape(1, -1) @ weights
    assert np.allclose(picture.transpose(0, *axes).reshape(1, -1) @ native, expected, atol=1e-4)
    assert np.array_equal(in_canonical_rows(native, rows), weights)


def test_a_product_that_is_flattened_as_it_lies_keeps_its_rows() -> None:
    graph = product(2, 3, None)
    layer = graph[last(graph)]
    assert flattened_rows(graph, layer) is None
    assert in_native_rows(layer.parameters["weights"].values, None) is layer.parameters["weights"].values
    assert keeps_rows(graph, graph, layer, layer)
    assert as_flattened_before(graph, graph, layer, layer) is layer


@pytest.mark.parametrize(("sides", "kept"), [((2, 3), True), ((3, 2), False)])
def test_another_shape_behind_the_same_rows_is_told(sides: tuple[int, int], kept: bool) -> None:
    before, after = product(2, 3, WIDTH_FIRST), product(*sides, WIDTH_FIRST)
    one, other = before[last(before)], after[last(after)]
    assert keeps_rows(before, after, one, other) == kept
    turned = as_flattened_before(before, after, one, other)
    assert turned is not None
    same = np.array_equal(turned.parameters["weights"].values, other.parameters["weights"].values)
    assert same == kept
