"""Variances, local response normalization, means and averages in one form, and their nearest neighbours left alone."""

from __future__ import annotations

import numpy as np
import pytest

from convfault.relax.graph import Graph
from tests.relax.drafts import Sketch, kinds, only, simplified, values

PICTURE = (1, 6, 5, 8)
ONE = (1, 1, 1, 8)


def centred_square(sketch: Sketch, axes: tuple[int, ...] = (1, 2), other: tuple[int, ...] | None = None) -> str:
    """mean((x - mean(x))²), the outer mean perhaps over ``other`` axes."""
    x = sketch.source
    centre = sketch.layer("mean", x, _reduced(axes), axes=axes, keepdims=True)
    square = sketch.layer("square", sketch.layer("subtract", (x, centre), PICTURE), PICTURE)
    return sketch.layer("mean", square, _reduced(other or axes), axes=other or axes, keepdims=True)


def _reduced(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if axis in axes else side for axis, side in enumerate(PICTURE))


def test_the_mean_of_centred_squares_is_a_variance() -> None:
    sketch = Sketch(*PICTURE)
    graph = simplified(sketch.ending(sketch.layer("sqrt", centred_square(sketch), ONE)))
    assert kinds(graph) == ["variance", "sqrt"]
    assert only(graph, "variance")["axes"] == (1, 2)


def test_the_mean_square_less_the_square_of_the_mean_is_a_variance() -> None:
    sketch = Sketch(*PICTURE)
    square = sketch.layer("square", sketch.source, PICTURE)
    first = sketch.layer("mean", square, ONE, axes=(1, 2), keepdims=True)
    mean = sketch.layer("mean", sketch.source, ONE, axes=(1, 2), keepdims=True)
    less = sketch.layer("subtract", (first, sketch.layer("square", mean, ONE)), ONE)
    assert kinds(simplified(sketch.ending(sketch.layer("tanh", less, ONE)))) == ["variance", "tanh"]


def test_a_mean_of_centred_squares_over_other_axes_is_no_variance() -> None:
    sketch = Sketch(*PICTURE)
    graph = simplified(sketch.ending(sketch.layer("sqrt", centred_square(sketch, (1, 2), (1, 2, 3)), (1, 1, 1, 1))))
    assert "variance" not in kinds(graph)


def test_a_rule_that_looks_far_is_tried_again_when_what_it_looks_at_has_changed() -> None:
    """(x - mean) * rsqrt(variance + epsilon), the variance being recognized last."""
    sketch = Sketch(*PICTURE)
    x = sketch.source
    variance = centred_square(sketch)
    deviation = sketch.layer("rsqrt", sketch.affine(variance, 1.0, 1e-3), ONE)
    mean = sketch.layer("mean", x, ONE, axes=(1, 2), keepdims=True)
    x = sketch.layer("multiply", (sketch.layer("subtract", (x, mean), PICTURE), deviation), PICTURE)
    assert kinds(simplified(sketch.ending(x))) == ["normalize"]


@pytest.mark.parametrize(("factor", "kind"), [(1 / 30, ["mean", "tanh"]), (1 / 29, ["sum", "affine", "tanh"])])
def test_a_sum_over_its_number_of_values_is_a_mean(factor: float, kind: list[str]) -> None:
    sketch = Sketch(*PICTURE)
    total = sketch.layer("sum", sketch.source, ONE, axes=(1, 2), keepdims=True)
    graph = simplified(sketch.ending(sketch.layer("tanh", sketch.affine(total, factor, 0.0), ONE)))
    assert kinds(graph) == kind


def averages(sketch: Sketch, x: str, size: int, padding: tuple[int, int], axis: int) -> str:
    """Means over neighbouring channels, the channels moved to an axis that a pooling knows."""
    count = int(np.prod(PICTURE)) // PICTURE[axis]
    order = (*(place for place in range(4) if place != axis), axis)
    shape = tuple(PICTURE[place] for place in order)
    rows = sketch.layer("reshape", sketch.layer("transpose", x, shape, order=order), (count, PICTURE[axis], 1, 1))
    pooled = sketch.layer(
        "average_pool", rows, (count, PICTURE[axis], 1, 1), size=(size, 1), strides=(1, 1), dilation=(1, 1),
        padding=(padding, (0, 0)), count_padding=True,
    )  # fmt: skip
    back = tuple(order.index(place) for place in range(4))
    return sketch.layer("transpose", sketch.layer("reshape", pooled, shape), PICTURE, order=back)


def response(
    size: int = 5, padding: tuple[int, int] = (2, 2), axis: int = 3, root: bool = False, squared: bool = True
) -> Graph:
    sketch = Sketch(*PICTURE)
    x = sketch.source
    square = sketch.layer("square" if squared else "abs", x, PICTURE)
    below = sketch.affine(averages(sketch, square, size, padding, axis), 0.5, 1.0)
    if root:
        return sketch.ending(sketch.layer("multiply", (sketch.layer("rsqrt", below, PICTURE), x), PICTURE))
    power = sketch.layer("power", (below, sketch.constant(0.75)), PICTURE)
    return sketch.ending(sketch.layer("divide", (x, power), PICTURE))


@pytest.mark.parametrize(("size", "padding"), [(5, (2, 2)), (4, (2, 1)), (4, (1, 2))])
def test_local_response_normalization_is_recognized(size: int, padding: tuple[int, int]) -> None:
    graph = simplified(response(size, padding))
    layer = only(graph, "local_response")
    assert kinds(graph) == ["local_response"]
    assert (layer["axis"], layer["size"], layer["padding"], layer["beta"]) == (3, size, padding, 0.75)
    assert (layer["alpha"], layer["bias"]) == (pytest.approx(0.5), 1.0)


def test_with_an_exponent_of_a_half_it_is_a_root() -> None:
    assert only(simplified(response(root=True)), "local_response")["beta"] == 0.5


def test_along_another_axis_it_is_another_one() -> None:
    assert only(simplified(response(3, (1, 1), axis=2)), "local_response")["axis"] == 2


def test_of_other_than_squares_it_is_none() -> None:
    assert "local_response" not in kinds(simplified(response(squared=False)))


def pooled(factor: float, **changes: object) -> Graph:
    sketch = Sketch(*PICTURE)
    window: dict[str, object] = {
        "size": (2, 2), "strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": False,
    }  # fmt: skip
    shape = (1, 5, 4, 8) if "padding" not in changes else (1, 6, 5, 8)
    pool = sketch.layer("average_pool", sketch.source, shape, **{**window, **changes})
    return sketch.ending(sketch.layer("tanh", sketch.affine(pool, factor, 0.0), shape))


def test_an_average_times_a_number_is_an_average_with_a_divisor() -> None:
    assert only(simplified(pooled(4 / 3)), "average_pool")["divisor"] == 3


def test_an_average_by_no_whole_number_or_of_counted_pixels_is_scaled_behind() -> None:
    edges = ((1, 0), (1, 0))
    for graph in (pooled(0.3), pooled(4 / 3, padding=edges)):
        assert kinds(simplified(graph)) == ["average_pool", "affine", "tanh"]


def test_an_average_over_everything_with_a_divisor_is_a_scaled_mean() -> None:
    sketch = Sketch(*PICTURE)
    window = {"size": (6, 5), "strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": True}
    pool = sketch.layer("average_pool", sketch.source, ONE, divisor=15, **window)
    graph = simplified(sketch.ending(sketch.layer("tanh", pool, ONE)))
    assert kinds(graph) == ["mean", "affine", "tanh"]
    np.testing.assert_allclose(only(graph, "affine").parameters["scale"].values, 2.0)


def test_a_product_along_the_channels_of_a_picture_is_a_convolution_though_it_is_cut_into_rows() -> None:
    sketch = Sketch(*PICTURE)
    rows = sketch.layer("reshape", sketch.source, (30, 8))
    product = sketch.layer("matmul", (rows, sketch.constant(values(8, 3))), (30, 3))
    graph = simplified(sketch.ending(sketch.layer("reshape", product, (1, 6, 5, 3))))
    assert kinds(graph) == ["convolution"]


def test_a_product_of_a_flattened_picture_is_none() -> None:
    sketch = Sketch(*PICTURE)
    rows = sketch.layer("reshape", sketch.source, (1, 240))
    product = sketch.layer("matmul", (rows, sketch.constant(values(240, 3))), (1, 3))
    assert kinds(simplified(sketch.ending(product))) == ["reshape", "dense"]
