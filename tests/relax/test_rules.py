"""Each rule on the smallest graph that it applies to, and on the nearest one that it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convfault.localization.faults import location, native_names
from convfault.relax import evaluate
from convfault.relax.canonical import normalized
from convfault.relax.draft import Draft
from convfault.relax.graph import Graph, Native, Parameter
from convfault.relax.imported import Origin
from tests.relax.drafts import Sketch, kinds, only, simplified, values

PICTURE = (1, 6, 5, 4)
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
INFINITY = float("inf")


def test_what_is_made_of_constants_is_a_constant() -> None:
    sketch = Sketch()
    total = sketch.layer("add", (sketch.constant(values(4), "a"), sketch.constant(values(4), "b")), (4,))
    graph = simplified(sketch.ending(sketch.layer("power", (sketch.source, total), PICTURE)))
    assert kinds(graph) == ["constant", "power"]
    assert only(graph, "constant").parameters["values"].native == ("a", "b")


def test_layers_that_do_nothing_are_gone() -> None:
    sketch = Sketch()
    x = sketch.layer("reshape", sketch.source, PICTURE)
    x = sketch.layer("transpose", x, PICTURE, order=(0, 1, 2, 3))
    x = sketch.layer("clip", x, PICTURE, minimum=-INFINITY, maximum=INFINITY)
    x = sketch.layer("pad", x, PICTURE, padding=((0, 0),) * 4, mode="constant", value=0.0)
    assert kinds(simplified(sketch.ending(sketch.layer("tanh", x, PICTURE)))) == ["tanh"]


def test_a_transpose_of_two_equally_long_axes_is_not_nothing() -> None:
    sketch = Sketch(1, 5, 5, 4)
    x = sketch.layer("transpose", sketch.source, (1, 5, 5, 4), order=(0, 2, 1, 3))
    assert kinds(simplified(sketch.ending(sketch.convolution(x)))) == ["transpose", "convolution"]


def test_two_layers_that_compute_the_same_are_one() -> None:
    sketch = Sketch()
    pair = [sketch.layer("tanh", sketch.source, PICTURE) for _ in range(2)]
    assert kinds(simplified(sketch.ending(sketch.layer("maximum", pair, PICTURE)))) == ["tanh", "maximum"]


def test_two_convolutions_of_one_picture_stay_two() -> None:
    sketch = Sketch()
    pair = [sketch.convolution(sketch.source) for _ in range(2)]
    assert kinds(simplified(sketch.ending(sketch.layer("add", pair, (1, 6, 5, 8))))) == [
        "convolution",
        "convolution",
        "add",
    ]


def test_only_the_last_reshape_counts_and_elementwise_layers_go_before_it() -> None:
    sketch = Sketch()
    x = sketch.layer("reshape", sketch.source, (1, 30, 4))
    x = sketch.layer("reshape", x, (1, 120))
    graph = simplified(sketch.ending(sketch.layer("tanh", x, (1, 120))))
    assert kinds(graph) == ["tanh", "reshape"]
    assert only(graph, "tanh").shape == PICTURE


def test_joins_of_joins_are_one_join_but_not_along_another_axis() -> None:
    sketch = Sketch()
    x = sketch.layer("concat", (sketch.source, sketch.source), (1, 6, 5, 8), axis=3)
    x = sketch.layer("concat", (x, sketch.source), (1, 6, 5, 12), axis=3)
    graph = simplified(sketch.ending(sketch.layer("concat", (x, x), (1, 12, 5, 12), axis=1)))
    assert [(layer["axis"], len(layer.inputs)) for layer in graph if layer.kind == "concat"] == [(3, 3), (1, 2)]


def channels_first_block(sketch: Sketch, source: str) -> str:
    """relu(picture) in NCHW, between transposes to and from a convolution in NHWC."""
    x = sketch.layer("transpose", source, PICTURE, order=TO_LAST)
    x = sketch.convolution(x, filters=4)
    x = sketch.layer("transpose", x, (1, 4, 6, 5), order=TO_FIRST)
    return sketch.layer("clip", x, (1, 4, 6, 5), minimum=0.0, maximum=INFINITY)


@pytest.mark.parametrize(("begin", "end", "stride", "within"), [(1, 3, 1, True), (2, 5, 1, False), (11, -1, -1, False)])
def test_a_cut_of_a_join_is_one_of_a_part_only_where_it_lies_within_it(
    begin: int, end: int, stride: int, within: bool
) -> None:
    sketch = Sketch()
    parts = [sketch.layer(kind, sketch.source, (1, 6, 5, 4)) for kind in ("tanh", "exp", "square")]
    joined = sketch.layer("concat", parts, (1, 6, 5, 12), axis=3)
    length = len(range(begin, end, stride))
    cut = {"begin": (0, 0, 0, begin), "end": (1, 6, 5, end), "strides": (1, 1, 1, stride)}
    graph = simplified(sketch.ending(sketch.layer("slice", joined, (1, 6, 5, length), **cut)))
    assert ("concat" not in kinds(graph)) == within


SPANS = st.tuples(st.integers(0, 4), st.integers(5, 9), st.integers(1, 4))


@given(first=SPANS, second=SPANS)
@settings(deadline=None)
def test_a_cut_of_a_cut_is_one_cut_of_the_same_values(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    numbers = np.arange(9, dtype=np.float32)
    inner = numbers[slice(*first)]
    assume(inner[slice(*second)].size)
    sketch, shape = Sketch(1, 9, 5, 3), (1, 9, 5, 3)
    x = sketch.source
    for begin, end, step in (first, second):
        length = len(range(shape[1])[begin:end:step])
        cut = {"begin": (0, begin, 0, 0), "end": (1, end, 5, 3), "strides": (1, step, 1, 1)}
        shape = (1, length, 5, 3)
        x = sketch.layer("slice", x, shape, **cut)
    graph = simplified(sketch.ending(sketch.layer("tanh", x, shape)))
    assert kinds(graph).count("slice") <= 1
    values = np.broadcast_to(numbers[None, :, None, None], (1, 9, 5, 3))
    found = evaluate.run(graph, {graph.inputs[0]: values})[graph.outputs[0]]
    np.testing.assert_array_equal(found[0, :, 0, 0], np.tanh(inner[slice(*second)]))


@pytest.mark.parametrize(
    ("rows", "columns", "modes"),
    [
        ([0, 0, *range(6), 5], [*range(5), 4], ["replicate"]),
        ([1, 0, *range(6), 5], [0, *range(5)], ["symmetric"]),
        ([1, 0, *range(6), 5], [0, 0, *range(5)], ["symmetric", "replicate"]),
        ([2, 1, *range(6), 4], [1, *range(5)], ["reflect"]),
        ([1, *range(6), 5], [3, *range(5)], []),
    ],
)
def test_values_taken_again_round_all_of_them_are_a_border(
    rows: list[int], columns: list[int], modes: list[str]
) -> None:
    sketch = Sketch()
    name, shape = sketch.source, [1, 6, 5, 4]
    for axis, places in ((1, rows), (2, columns)):
        values = {"values": Parameter(np.asarray(places, np.int64), ())}
        known = sketch.add("constant", (), (len(places),), {}, values, dtype="int64").id
        shape[axis] = len(places)
        name = sketch.layer("take", (name, known), shape, axis=axis)
    graph = simplified(sketch.ending(name))
    assert [layer["mode"] for layer in graph if layer.kind == "pad"] == modes
    assert ("take" in kinds(graph)) == (not modes)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_sum_between_two_turns_runs_from_behind_if_they_turn_its_axis(axis: int) -> None:
    sketch = Sketch()
    turn = {"begin": (0, 5, 0, 0), "end": (1, -1, 5, 4), "strides": (1, -1, 1, 1)}
    shape = (1, 6, 5, 4)
    total = sketch.layer("cumsum", sketch.layer("slice", sketch.source, shape, **turn), shape,
                         axis=axis, exclusive=True, reverse=False)  # fmt: skip
    graph = simplified(sketch.ending(sketch.layer("slice", total, shape, **turn)))
    assert kinds(graph) == (["cumsum"] if axis == 1 else ["slice", "cumsum", "slice"])
    assert only(graph, "cumsum")["reverse"] is (axis == 1)


def test_a_model_with_channels_first_gets_them_last_from_input_to_output() -> None:
    sketch = Sketch(1, 4, 6, 5)
    x = sketch.layer("tanh", sketch.source, (1, 4, 6, 5))
    x = channels_first_block(sketch, channels_first_block(sketch, x))
    graph = simplified(sketch.ending(x))
    assert kinds(graph) == ["tanh", "convolution", "clip", "convolution", "clip"]
    assert graph[graph.inputs[0]]["permutation"] == TO_LAST
    assert graph[graph.inputs[0]].native.permutation == TO_LAST


def test_a_reshape_behind_a_turned_layer_shows_the_native_value_as_the_layer_did() -> None:
    """Boxes of a detector: channels cut into anchors, these turned to the front of theirs, then a sigmoid."""
    sketch = Sketch(1, 6, 5, 8)
    cut = sketch.layer("reshape", sketch.source, (1, 30, 2, 4))
    turned = sketch.layer("transpose", cut, (1, 2, 30, 4), order=(0, 2, 1, 3))
    whole = sketch.layer("reshape", turned, (1, 2, 6, 5, 4))
    graph = simplified(sketch.graph_of(sketch.layer("sigmoid", whole, (1, 2, 6, 5, 4))))
    picture = values(1, 6, 5, 8)
    found = evaluate.run(graph, {graph.inputs[0]: picture}, tuple(layer.id for layer in graph))
    native = found[graph.outputs[0]]
    shown = [layer for layer in graph if layer.native.tensor == "sigmoid:0"]
    assert shown
    for layer in shown:
        np.testing.assert_allclose(layer.view(native), found[layer.id])


def test_the_native_value_of_a_moved_layer_is_found_by_its_permutation() -> None:
    sketch = Sketch(1, 4, 6, 5)
    graph = simplified(sketch.ending(channels_first_block(sketch, sketch.source)))
    native = values(1, 4, 6, 5)
    np.testing.assert_array_equal(only(graph, "clip").view(native), native.transpose(TO_LAST))


def test_a_border_before_the_first_change_of_layout_gets_channels_last() -> None:
    sketch = Sketch(1, 4, 6, 5)
    padding = ((0, 0), (0, 0), (1, 1), (1, 1))
    x = sketch.layer("pad", sketch.source, (1, 4, 8, 7), padding=padding, mode="reflect", value=0.0)
    x = sketch.layer("transpose", x, (1, 8, 7, 4), order=TO_LAST)
    graph = simplified(sketch.ending(sketch.convolution(x)))
    assert kinds(graph) == ["pad", "convolution"]
    assert only(graph, "pad")["padding"] == ((0, 0), (1, 1), (1, 1), (0, 0))


def test_channels_that_are_cut_out_first_are_the_last_axis() -> None:
    """torch's transform_input: each channel scaled and shifted, and put together again."""
    sketch = Sketch(1, 2, 6, 5)
    strides, parts = (1, 1, 1, 1), []
    for place in range(2):
        begin, end = (0, place, 0, 0), (1, place + 1, 6, 5)
        x = sketch.layer("slice", sketch.source, (1, 1, 6, 5), begin=begin, end=end, strides=strides)
        parts.append(sketch.affine(x, np.full(5, 0.5 + place), np.full(5, -0.25)))
    x = sketch.layer("concat", parts, (1, 2, 6, 5), axis=1)
    x = sketch.layer("transpose", x, (1, 6, 5, 2), order=TO_LAST)
    graph = simplified(sketch.ending(sketch.convolution(x)))
    assert kinds(graph) == ["slice", "affine", "slice", "affine", "concat", "convolution"]
    assert [layer["end"] for layer in graph if layer.kind == "slice"] == [(1, 6, 5, 1), (1, 6, 5, 2)]
    assert only(graph, "concat")["axis"] == 3


@pytest.mark.parametrize(("kind", "shape"), [("broadcast", (14, 4)), ("reshape", (1, 4)), ("reshape", (2, 2))])
def test_a_constant_has_no_axis_of_pictures(kind: str, shape: tuple[int, ...]) -> None:
    sketch = Sketch(*shape)
    made = sketch.layer(kind, sketch.constant([1.0, 2.0, 3.0, 4.0]), shape)
    graph = simplified(sketch.ending(sketch.layer("power", (sketch.source, made), shape)))
    found = only(graph, "constant").parameters["values"].values
    np.testing.assert_array_equal(found, np.resize([1.0, 2.0, 3.0, 4.0], shape))


def test_constants_turn_with_the_layer_that_they_are_added_to() -> None:
    sketch = Sketch(1, 4, 6, 5)
    x = channels_first_block(sketch, sketch.source)
    x = sketch.layer("multiply", (sketch.constant(values(4, 1, 1)), x), (1, 4, 6, 5))
    graph = simplified(sketch.ending(channels_first_block(sketch, x)))
    assert kinds(graph) == ["convolution", "clip", "convolution", "clip"]


@pytest.mark.parametrize(("order", "kind"), [((1, 2, 0, 3), "transpose"), ((0, 2, 1, 3), "reshape")])
def test_a_transpose_of_axes_of_size_one_is_a_reshape_unless_it_moves_the_pictures(
    order: tuple[int, ...], kind: str
) -> None:
    sketch = Sketch(1, 6, 1, 4)
    shape = [(1, 6, 1, 4)[axis] for axis in order]
    graph = simplified(sketch.ending(sketch.layer("transpose", sketch.source, shape, order=order)))
    assert kinds(graph) == [kind]


def test_a_superfluous_transpose_stays_where_it_matters() -> None:
    sketch = Sketch()
    x = sketch.convolution(sketch.source, filters=5)
    x = sketch.layer("transpose", x, (1, 5, 5, 6), order=(0, 2, 3, 1))
    graph = simplified(sketch.ending(sketch.convolution(x)))
    assert kinds(graph) == ["convolution", "transpose", "convolution"]


@pytest.mark.parametrize(("kind", "value", "merges"), [("convolution", 0.0, True), ("convolution", 1.0, False)])
def test_padding_goes_into_a_convolution_if_it_is_of_zeros(kind: str, value: float, merges: bool) -> None:
    sketch = Sketch()
    padding = ((0, 0), (0, 1), (2, 0), (0, 0))
    x = sketch.layer("pad", sketch.source, (1, 7, 7, 4), padding=padding, mode="constant", value=value)
    graph = simplified(sketch.ending(sketch.convolution(x, padding=((0, 0), (0, 0)))))
    assert kinds(graph) == ["convolution"] if merges else ["pad", "convolution"]
    if merges:
        assert only(graph, "convolution")["padding"] == ((0, 1), (2, 0))


@pytest.mark.parametrize(("value", "merges"), [(-INFINITY, True), (0.0, False)])
def test_padding_goes_into_a_maximum_if_it_never_wins(value: float, merges: bool) -> None:
    sketch = Sketch()
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = sketch.layer("pad", sketch.source, (1, 8, 7, 4), padding=padding, mode="constant", value=value)
    pool = {"size": (2, 3), "strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    graph = simplified(sketch.ending(sketch.layer("max_pool", x, (1, 7, 5, 4), **pool)))
    assert kinds(graph) == (["max_pool"] if merges else ["pad", "max_pool"])


def test_zeros_padded_before_an_average_count_in_its_divisor() -> None:
    sketch = Sketch()
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = sketch.layer("pad", sketch.source, (1, 8, 7, 4), padding=padding, mode="constant", value=0.0)
    pool = {"size": (3, 3), "strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": False}
    graph = simplified(sketch.ending(sketch.layer("average_pool", x, (1, 6, 5, 4), **pool)))
    assert kinds(graph) == ["average_pool"]
    assert only(graph, "average_pool")["count_padding"] is True


def test_padding_that_no_window_reaches_is_not_there() -> None:
    sketch = Sketch(1, 6, 6, 4)
    graph = simplified(sketch.ending(sketch.convolution(sketch.source, strides=(2, 2))))
    assert only(graph, "convolution")["padding"] == ((1, 0), (1, 0))


def test_symmetric_and_one_sided_padding_differ_where_windows_reach_it() -> None:
    sketch = Sketch(1, 6, 6, 4)
    graph = simplified(sketch.ending(sketch.convolution(sketch.source, strides=(2, 2), padding=((0, 1), (0, 1)))))
    assert only(graph, "convolution")["padding"] == ((0, 1), (0, 1))


def test_an_average_of_everything_is_a_mean_that_keeps_its_axes() -> None:
    sketch = Sketch()
    pool = {"size": (6, 5), "strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "count_padding": False}
    one = simplified(sketch.ending(sketch.layer("average_pool", sketch.source, (1, 1, 1, 4), **pool)))
    other = Sketch()
    mean = other.layer("mean", other.source, (1, 4), axes=(1, 2), keepdims=False)
    two = simplified(other.ending(mean))
    assert kinds(one) == ["mean"]
    assert kinds(two) == ["mean", "reshape"]
    assert dict(only(one, "mean").hyperparameters) == dict(only(two, "mean").hyperparameters)


def test_batch_normalization_goes_into_the_convolution_and_leaves_its_names() -> None:
    sketch = Sketch()
    x = sketch.convolution(sketch.source)
    statistics = [sketch.constant(np.abs(values(8)) + 0.5, name) for name in ("gamma", "beta", "mean", "variance")]
    graph = simplified(sketch.ending(sketch.layer("batch_norm", (x, *statistics), (1, 6, 5, 8), epsilon=0.1)))
    layer = only(graph, "convolution")
    assert kinds(graph) == ["convolution"]
    assert layer.parameters["weights"].native == ("kernel", "gamma", "variance")
    assert layer.details["batch_norm"]["epsilon"] == 0.1


def test_a_scale_behind_a_convolution_that_others_read_stays() -> None:
    sketch = Sketch()
    x = sketch.convolution(sketch.source)
    y = sketch.affine(x, values(8), values(8))
    assert kinds(simplified(sketch.ending(x, y))) == ["convolution", "affine"]


def test_arithmetic_with_a_value_a_channel_folds_and_with_a_picture_does_not() -> None:
    sketch = Sketch()
    x = sketch.convolution(sketch.source)
    x = sketch.layer("subtract", (sketch.constant(values(8)), x), (1, 6, 5, 8))
    x = sketch.layer("divide", (x, sketch.constant(np.abs(values(1)) + 1)), (1, 6, 5, 8))
    assert kinds(simplified(sketch.ending(x))) == ["convolution"]
    other = Sketch()
    x = other.convolution(other.source)
    x = other.layer("add", (x, other.constant(values(1, 6, 5, 8))), (1, 6, 5, 8))
    assert "add" in kinds(simplified(other.ending(x)))


def test_a_scale_before_a_convolution_folds_but_a_shift_not_through_padding() -> None:
    for shift, folds in ((0.0, True), (1.0, False)):
        sketch = Sketch()
        x = sketch.affine(sketch.source, values(4), shift)
        graph = simplified(sketch.ending(sketch.convolution(x, groups=2)))
        assert kinds(graph) == (["convolution"] if folds else ["affine", "convolution"])


def test_relu6_is_one_clip_however_it_is_spelled() -> None:
    sketch = Sketch()
    x = sketch.layer("maximum", (sketch.source, sketch.constant(0.0)), PICTURE)
    graph = simplified(sketch.ending(sketch.layer("minimum", (sketch.constant([6.0]), x), PICTURE)))
    assert kinds(graph) == ["clip"]
    assert dict(only(graph, "clip").hyperparameters) == {"minimum": 0.0, "maximum": 6.0}


def test_a_maximum_by_channel_is_no_clip() -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(sketch.layer("maximum", (sketch.source, sketch.constant(values(4))), PICTURE)))
    assert "maximum" in kinds(graph)


def hard_swish(spelling: str) -> Sketch:
    sketch = Sketch()
    x = sketch.source
    if spelling == "relu6(x + 3) / 6":
        gate = sketch.layer("clip", sketch.affine(x, 1.0, 3.0), PICTURE, minimum=0.0, maximum=6.0)
        result = sketch.layer("multiply", (x, sketch.affine(gate, 1 / 6, 0.0)), PICTURE)
    elif spelling == "x * relu6(x + 3) then / 6":
        gate = sketch.layer("clip", sketch.affine(x, 1.0, 3.0), PICTURE, minimum=0.0, maximum=6.0)
        result = sketch.affine(sketch.layer("multiply", (x, gate), PICTURE), 1 / 6, 0.0)
    else:
        gate = sketch.layer("clip", sketch.affine(x, 1 / 6, 0.5), PICTURE, minimum=0.0, maximum=1.0)
        result = sketch.layer("multiply", (gate, x), PICTURE)
    sketch.outputs = [result]
    return sketch


@pytest.mark.parametrize("spelling", ["relu6(x + 3) / 6", "x * relu6(x + 3) then / 6", "clip(x / 6 + 1/2, 0, 1)"])
def test_hard_swish_is_one_layer_however_it_is_spelled(spelling: str) -> None:
    sketch = hard_swish(spelling)
    assert kinds(simplified(sketch.ending(*sketch.outputs))) == ["hard_swish"]


def test_another_slope_is_no_hard_swish() -> None:
    sketch = Sketch()
    gate = sketch.layer("clip", sketch.affine(sketch.source, 0.2, 0.5), PICTURE, minimum=0.0, maximum=1.0)
    graph = simplified(sketch.ending(sketch.layer("multiply", (gate, sketch.source), PICTURE)))
    assert "hard_swish" not in kinds(graph)


def test_swish_and_leaky_relu_are_recognized_and_their_neighbours_are_not() -> None:
    sketch = Sketch()
    gate = sketch.layer("sigmoid", sketch.source, PICTURE)
    assert kinds(simplified(sketch.ending(sketch.layer("multiply", (sketch.source, gate), PICTURE)))) == ["swish"]
    for slope, recognized in ((0.1, True), (1.5, False)):
        other = Sketch()
        scaled = other.affine(other.source, slope, 0.0)
        graph = simplified(other.ending(other.layer("maximum", (other.source, scaled), PICTURE)))
        assert ("leaky_relu" in kinds(graph)) is recognized


def test_a_1x1_convolution_of_a_1x1_picture_is_dense_and_dense_of_a_picture_a_convolution() -> None:
    sketch = Sketch(1, 1, 1, 4)
    graph = simplified(sketch.ending(sketch.convolution(sketch.source, size=1, padding=((0, 0), (0, 0)))))
    assert "dense" in kinds(graph)
    other = Sketch()
    product = other.layer("matmul", (other.source, other.constant(values(4, 7))), (1, 6, 5, 7))
    assert kinds(simplified(other.ending(product))) == ["convolution"]


def test_the_order_of_flattening_goes_into_the_rows_of_the_weights() -> None:
    sketch = Sketch()
    x = sketch.layer("transpose", sketch.source, (1, 4, 6, 5), order=TO_FIRST)
    x = sketch.layer("reshape", x, (1, 120))
    graph = simplified(sketch.ending(sketch.layer("matmul", (x, sketch.constant(values(120, 3))), (1, 3))))
    assert kinds(graph) == ["reshape", "dense"]
    assert only(graph, "dense").details["flattening_order"] == TO_FIRST


def test_the_normal_form_is_its_own_normal_form() -> None:
    sketch = Sketch(1, 4, 6, 5)
    graph = simplified(sketch.ending(channels_first_block(sketch, channels_first_block(sketch, sketch.source))))
    again = Draft.of(graph)
    assert kinds(simplified(again.graph())) == kinds(graph)


def residual(order: tuple[int, ...] | None) -> Graph:
    """A sum of two convolutions in NCHW, between convolutions in NHWC; ``order`` transposes one of its summands."""
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source)
    second = sketch.convolution(first)
    left = sketch.layer("transpose", first, (1, 8, 6, 6), order=TO_FIRST)
    right = sketch.layer("transpose", second, (1, 8, 6, 6), order=TO_FIRST)
    left = left if order is None else sketch.layer("transpose", left, (1, 8, 6, 6), order=order)
    total = sketch.layer("add", (left, right), (1, 8, 6, 6))
    return simplified(sketch.ending(sketch.convolution(sketch.layer("transpose", total, (1, 6, 6, 8), order=TO_LAST))))


def test_a_transpose_beside_a_change_of_layout_stays_alone_and_in_its_place() -> None:
    graph = residual((0, 1, 3, 2))
    transposes = [layer for layer in graph if layer.kind == "transpose"]
    assert [layer["order"] for layer in transposes] == [(0, 2, 1, 3)]
    assert [graph[name].kind for name in graph.readers[transposes[0].id]] == ["add"]
    assert "transpose" not in kinds(residual(None))


def test_places_picked_along_an_axis_are_picked_before_a_change_of_layout() -> None:
    sketch = Sketch(1, 6, 5, 4)
    first = sketch.layer("transpose", sketch.source, (1, 4, 6, 5), order=TO_FIRST)
    places = sketch.add("constant", (), (4,), {}, {"values": Parameter(np.array([3, 2, 1, 0]))}).id
    picked = sketch.layer("take", (first, places), (1, 4, 6, 5), axis=1)
    last = sketch.layer("transpose", picked, (1, 6, 5, 4), order=TO_LAST)
    graph = simplified(sketch.ending(sketch.convolution(last)))
    assert "transpose" not in kinds(graph)
    assert only(graph, "take")["axis"] == 3


@pytest.mark.timeout(60)
def test_a_network_whose_paths_double_at_every_layer_is_no_longer_work() -> None:
    sketch = Sketch()
    name, shape = sketch.source, sketch.layers[sketch.source].shape
    for _ in range(60):
        name = sketch.layer("maximum", (sketch.layer("tanh", name, shape), name), shape)
    assert len(normalized(sketch.ending(name))) == 121


def test_a_transpose_that_is_moved_on_is_still_called_as_in_the_file() -> None:
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source)
    operator = Origin("turned", "Transpose")
    native = Native("turned:0", operators=(operator,))
    turned = sketch.add("transpose", (first,), (1, 6, 6, 8), {"order": (0, 2, 1, 3)}, native=native).id
    for _ in range(2):
        turned = sketch.layer("tanh", turned, (1, 6, 6, 8))
    found = simplified(sketch.graph_of(sketch.convolution(turned)))
    moved = only(found, "transpose")
    assert found[moved.inputs[0]].kind == "tanh"
    assert location(moved) == "turned"
    assert "turned" in native_names(moved)


def gathered(places: Any) -> Graph:
    """Channels first of all, picked by known places, and moved back."""
    sketch, count = Sketch(1, 6, 5, 4), len(places)
    x = sketch.layer("transpose", sketch.layer("tanh", sketch.source, (1, 6, 5, 4)), (4, 1, 6, 5), order=(3, 0, 1, 2))
    known = sketch.add("constant", (), (count, 1), {}, {"values": Parameter(np.array(places))}).id
    x = sketch.layer("gather_nd", (x, known), (count, 1, 6, 5), batch_dims=0)
    x = sketch.layer("transpose", x, (1, 6, 5, count), order=(1, 2, 3, 0))
    return sketch.ending(sketch.layer("sigmoid", x, (1, 6, 5, count)))


def test_a_gathering_of_channels_takes_them() -> None:
    graph = simplified(gathered([[3], [0], [2]]))
    assert kinds(graph) == ["tanh", "constant", "take", "sigmoid"]
    assert only(graph, "take")["axis"] == 3


@pytest.mark.parametrize(
    ("condition", "left"), [([1, 1, 1, 1], ["tanh"]), ([1, 0, 1, 1], ["constant", "tanh", "sigmoid", "where"])]
)
def test_a_choice_that_is_the_same_everywhere_is_none(condition: list[int], left: list[str]) -> None:
    sketch, shape = Sketch(1, 6, 5, 4), (1, 6, 5, 4)
    branches = [sketch.layer(kind, sketch.source, shape) for kind in ("tanh", "sigmoid")]
    graph = sketch.ending(sketch.layer("where", (sketch.constant(condition), *branches), shape))
    assert sorted(kinds(simplified(graph))) == sorted(left)
