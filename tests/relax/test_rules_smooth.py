"""Spellings of activations, powers and normalizations that are unified, and their nearest neighbours that are not."""

from __future__ import annotations

import numpy as np
import pytest

from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Layer
from tests.relax.drafts import Sketch, kinds, only, simplified, values

PICTURE = (1, 6, 5, 4)
INFINITY = float("inf")


def relu(sketch: Sketch, source: str) -> str:
    return sketch.layer("clip", source, PICTURE, minimum=0.0, maximum=INFINITY)


def elu_by_choice(sketch: Sketch, alpha: float, tested: float = 0.0) -> str:
    x = sketch.source
    below = sketch.layer("exp", sketch.layer("clip", x, PICTURE, minimum=-INFINITY, maximum=0.0), PICTURE)
    test = sketch.layer("greater", (x, sketch.constant(tested)), PICTURE)
    return sketch.layer("where", (test, x, sketch.affine(below, alpha, -alpha)), PICTURE)


def elu_by_sum(sketch: Sketch, alpha: float, one: float = 1.0) -> str:
    x = sketch.source
    bent = sketch.affine(sketch.layer("exp", x, PICTURE), -1.0, one)
    return sketch.layer("add", (relu(sketch, x), sketch.affine(relu(sketch, bent), -alpha, 0.0)), PICTURE)


@pytest.mark.parametrize("spelling", [elu_by_choice, elu_by_sum])
def test_elu_is_recognized_in_both_spellings(spelling) -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(spelling(sketch, 0.75)))
    assert kinds(graph) == ["elu"]
    assert only(graph, "elu")["alpha"] == pytest.approx(0.75)


@pytest.mark.parametrize("spelling", [elu_by_choice, elu_by_sum])
def test_what_is_nearly_elu_is_not(spelling) -> None:
    sketch = Sketch()
    assert "elu" not in kinds(simplified(sketch.ending(spelling(sketch, 0.75, 0.5))))


def test_selu_is_a_scaled_elu() -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(sketch.layer("selu", sketch.source, PICTURE)))
    assert kinds(graph) == ["elu", "affine"]
    assert only(graph, "elu")["alpha"] == pytest.approx(1.6732632)


def gelu(sketch: Sketch, inside: float, half_before: bool) -> str:
    x = sketch.source
    gate = sketch.affine(sketch.layer("erf", sketch.affine(x, inside, 0.0), PICTURE), 1.0, 1.0)
    if half_before:
        return sketch.layer("multiply", (sketch.affine(x, 0.5, 0.0), gate), PICTURE)
    return sketch.affine(sketch.layer("multiply", (x, gate), PICTURE), 0.5, 0.0)


@pytest.mark.parametrize("half_before", [True, False])
def test_gelu_is_recognized_wherever_its_half_stands(half_before: bool) -> None:
    sketch = Sketch()
    assert kinds(simplified(sketch.ending(gelu(sketch, 0.70710678, half_before)))) == ["gelu"]


def test_a_gelu_of_another_width_is_none() -> None:
    sketch = Sketch()
    assert "gelu" not in kinds(simplified(sketch.ending(gelu(sketch, 0.702, True))))


@pytest.mark.parametrize(("cubic", "expected"), [(0.044715, True), (0.05, False)])
def test_the_approximated_gelu_is_recognized_by_its_constants(cubic: float, expected: bool) -> None:
    sketch = Sketch()
    x = sketch.source
    cube = sketch.layer("power", (x, sketch.constant(3.0)), PICTURE)
    inner = sketch.layer("add", (x, sketch.affine(cube, cubic, 0.0)), PICTURE)
    tanh = sketch.layer("tanh", sketch.affine(inner, np.sqrt(2 / np.pi), 0.0), PICTURE)
    graph = simplified(sketch.ending(sketch.layer("multiply", (x, sketch.affine(tanh, 0.5, 0.5)), PICTURE)))
    assert (kinds(graph) == ["gelu_tanh"]) is expected


@pytest.mark.parametrize(("inside", "expected"), [(1.0, True), (1.5, False)])
def test_the_logarithm_of_one_and_a_power_is_softplus(inside: float, expected: bool) -> None:
    sketch = Sketch()
    power = sketch.affine(sketch.layer("exp", sketch.source, PICTURE), 1.0, inside)
    assert ("softplus" in kinds(simplified(sketch.ending(sketch.layer("log", power, PICTURE))))) is expected


@pytest.mark.parametrize(("sign", "expected"), [(-1.0, ["softplus"]), (-2.0, None)])
def test_the_softplus_that_cannot_overflow_is_softplus(sign: float, expected: list[str] | None) -> None:
    sketch = Sketch()
    size = sketch.affine(sketch.layer("abs", sketch.source, PICTURE), sign, 0.0)
    soft = sketch.layer("log", sketch.affine(sketch.layer("exp", size, PICTURE), 1.0, 1.0), PICTURE)
    graph = simplified(sketch.ending(sketch.layer("add", (relu(sketch, sketch.source), soft), PICTURE)))
    assert kinds(graph) == expected if expected else "add" in kinds(graph)


@pytest.mark.parametrize(("threshold", "left"), [(20.0, INFINITY), (1.0, 1.0)])
def test_a_threshold_of_softplus_counts_only_where_it_shows(threshold: float, left: float) -> None:
    sketch = Sketch()
    soft = sketch.layer("softplus", sketch.source, PICTURE, beta=2.0, threshold=threshold)
    graph = simplified(sketch.ending(soft))
    assert kinds(graph) == ["affine", "softplus", "affine"]
    assert (only(graph, "softplus")["beta"], only(graph, "softplus")["threshold"]) == (1.0, left)


@pytest.mark.parametrize(("limit", "expected"), [(20.0, True), (2.0, False)])
def test_choosing_the_value_itself_beyond_a_threshold_is_softplus(limit: float, expected: bool) -> None:
    sketch = Sketch()
    x = sketch.source
    soft = sketch.layer("softplus", x, PICTURE, beta=1.0, threshold=INFINITY)
    test = sketch.layer("greater", (x, sketch.constant(limit)), PICTURE)
    graph = simplified(sketch.ending(sketch.layer("where", (test, x, soft), PICTURE)))
    assert (kinds(graph) == ["softplus"]) is expected


def test_the_logarithm_of_a_sigmoid_is_a_turned_softplus() -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(sketch.layer("log", sketch.layer("sigmoid", sketch.source, PICTURE), PICTURE)))
    assert kinds(graph) == ["affine", "softplus", "affine"]


@pytest.mark.parametrize("less", [False, True])
@pytest.mark.parametrize(("slopes", "kind"), [(0.3, "leaky_relu"), ((0.1, 0.2, 0.3, 0.4), "prelu")])
def test_prelu_is_recognized_by_its_halves(slopes, kind: str, less: bool) -> None:
    sketch = Sketch()
    below = sketch.layer("clip", sketch.source, PICTURE, minimum=-INFINITY, maximum=0.0)
    if less:  # relu(x) - slopes * relu(-x)
        below = relu(sketch, sketch.affine(sketch.source, -1.0, 0.0))
    pair = (relu(sketch, sketch.source), sketch.affine(below, slopes, 0.0))
    graph = simplified(sketch.ending(sketch.layer("subtract" if less else "add", pair, PICTURE)))
    assert kinds(graph) == [kind]


def test_the_upper_half_less_itself_below_zero_is_no_prelu() -> None:
    sketch = Sketch()
    below = relu(sketch, sketch.affine(sketch.source, -1.0, 0.0))
    pair = (sketch.affine(below, 0.3, 0.0), relu(sketch, sketch.source))
    assert "subtract" in kinds(simplified(sketch.ending(sketch.layer("subtract", pair, PICTURE))))


def test_the_halves_of_two_values_are_no_prelu() -> None:
    sketch = Sketch()
    below = sketch.layer("clip", sketch.affine(sketch.source, 1.0, 0.5), PICTURE, minimum=-INFINITY, maximum=0.0)
    pair = (relu(sketch, sketch.source), sketch.affine(below, 0.3, 0.0))
    assert "add" in kinds(simplified(sketch.ending(sketch.layer("add", pair, PICTURE))))


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1.0, []), (2.0, ["square"]), (3.0, ["square", "multiply"]), (2.5, ["constant", "power"])],
)
def test_powers_have_names(exponent: float, expected: list[str]) -> None:
    sketch = Sketch()
    power = sketch.layer("power", (sketch.source, sketch.constant(exponent)), PICTURE)
    graph = simplified(sketch.ending(sketch.layer("clip", power, PICTURE, minimum=0.0, maximum=1.0)))
    assert kinds(graph) == [*expected, "clip"]


def test_dividing_by_a_root_is_multiplying_with_its_inverse_and_by_a_sum_is_not() -> None:
    sketch = Sketch()
    size = sketch.affine(sketch.layer("square", sketch.source, PICTURE), 1.0, 1.0)
    root = sketch.layer("divide", (sketch.source, sketch.layer("sqrt", size, PICTURE)), PICTURE)
    graph = simplified(sketch.ending(root, sketch.layer("divide", (sketch.source, size), PICTURE)))
    assert sorted(kinds(graph)) == ["affine", "divide", "multiply", "rsqrt", "square"]


def test_one_element_and_equal_steps_are_cuts_and_a_shuffle_is_not() -> None:
    sketch = Sketch()
    one = sketch.layer("take", (sketch.source, whole(sketch, -1)), (1, 6, 5), axis=3)
    several = sketch.layer("take", (sketch.source, whole(sketch, [0, 2])), (1, 6, 5, 2), axis=3)
    shuffled = sketch.layer("take", (sketch.source, whole(sketch, [2, 0, 1])), (1, 6, 5, 3), axis=3)
    graph = simplified(sketch.ending(one, several, shuffled))
    assert sorted(kinds(graph)) == ["constant", "reshape", "slice", "slice", "take"]


def whole(sketch: Sketch, numbers: int | list[int]) -> str:
    name = sketch.constant(numbers)
    layer = sketch.layers[name]
    found = layer.parameters["values"].values.astype(np.int64)
    parameter = layer.parameters["values"].with_values(found)
    sketch.put(Layer(name, "constant", (), found.shape, "int64", {}, {"values": parameter}))
    return name


def test_batch_normalization_written_as_arithmetic_keeps_its_epsilon_and_statistics() -> None:
    graph = simplified(batch_norm("add"))
    assert kinds(graph) == ["affine"]
    details = only(graph, "affine").details["batch_norm"]
    assert details["epsilon"] == pytest.approx(0.01)
    assert [details[name].native for name in ("gamma", "beta", "mean", "variance")] == [
        ("gamma",), ("beta",), ("mean",), ("variance",)
    ]  # fmt: skip


def test_a_root_of_something_else_than_a_variance_and_an_epsilon_has_no_details() -> None:
    graph = simplified(batch_norm("multiply"))
    assert "batch_norm" not in only(graph, "affine").details


def batch_norm(inside: str):
    sketch = Sketch()
    size = (4,)
    variance = sketch.constant(np.abs(values(4)) + 0.5, "variance")
    total = sketch.layer(inside, (variance, sketch.constant(0.01, "epsilon")), size)
    scale = sketch.layer("multiply", (sketch.layer("rsqrt", total, size), sketch.constant(values(4), "gamma")), size)
    product = sketch.layer("multiply", (sketch.source, scale), PICTURE)
    inner = sketch.layer("multiply", (sketch.constant(values(4), "mean"), scale), size)
    shift = sketch.layer("subtract", (sketch.constant(values(4), "beta"), inner), size)
    return sketch.ending(sketch.layer("add", (product, shift), PICTURE))


def normalization(sketch: Sketch, source: str, shape: tuple[int, ...], axes: tuple[int, ...], other=None) -> str:
    small = tuple(1 if axis in axes else side for axis, side in enumerate(shape))
    mean = sketch.layer("mean", source, small, axes=axes, keepdims=True)
    centred = sketch.layer("subtract", (source, mean), shape)
    square = sketch.layer("square", centred, shape)
    small_variance = tuple(1 if axis in (other or axes) else side for axis, side in enumerate(shape))
    variance = sketch.layer("mean", square, small_variance, axes=other or axes, keepdims=True)
    root = sketch.layer("sqrt", sketch.affine(variance, 1.0, 0.01), small_variance)
    return sketch.layer("divide", (centred, root), shape)


def test_normalization_by_own_mean_and_variance_is_recognized() -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(normalization(sketch, sketch.source, PICTURE, (3,))))
    assert kinds(graph) == ["normalize"]
    assert (only(graph, "normalize")["axes"], only(graph, "normalize")["epsilon"]) == ((3,), pytest.approx(0.01))


def test_a_mean_and_a_variance_over_other_axes_are_no_normalization() -> None:
    sketch = Sketch()
    graph = simplified(sketch.ending(normalization(sketch, sketch.source, PICTURE, (3,), (1, 2))))
    assert "normalize" not in kinds(graph)


@pytest.mark.parametrize(("groups", "rest"), [(2, {"groups": 2}), (1, {}), (4, {})])
def test_groups_cut_from_the_channels_are_groups_of_a_normalization(groups: int, rest: dict[str, int]) -> None:
    sketch = Sketch()
    shape = (1, 6, 5, groups, 4 // groups)
    cut = sketch.layer("reshape", sketch.source, shape)
    found = sketch.layer("reshape", normalization(sketch, cut, shape, (1, 2, 4)), PICTURE)
    layer = only(simplified(sketch.ending(found)), "normalize")
    assert {name: value for name, value in layer.hyperparameters.items() if name == "groups"} == rest
    assert layer["axes"] == ((1, 2) if groups == 4 else (1, 2, 3))


def test_groups_laid_side_by_side_as_columns_are_groups_of_a_normalization() -> None:
    """So onnx2tf writes a group normalization: a table whose columns are the groups."""
    sketch = Sketch()
    cut = sketch.layer("reshape", sketch.source, (1, 60, 2))
    turned = sketch.layer("transpose", cut, (1, 2, 60), order=(0, 2, 1))
    table = sketch.layer("reshape", turned, (1, 60, 2))
    whole = normalization(sketch, table, (1, 60, 2), (1,))
    apart = sketch.layer("reshape", whole, (1, 2, 30, 2))
    back = sketch.layer("transpose", apart, (1, 30, 2, 2), order=(0, 2, 3, 1))
    graph = simplified(sketch.ending(sketch.layer("reshape", back, PICTURE)))
    expected = only(graph, "normalize")
    assert kinds(graph) == ["normalize"]
    assert (expected["axes"], expected["groups"]) == ((1, 2, 3), 2)


def test_rows_that_cut_through_the_channels_are_no_groups() -> None:
    sketch = Sketch()
    shape = (1, 5, 24)
    rows = sketch.layer("reshape", sketch.source, shape)
    graph = simplified(sketch.ending(sketch.layer("reshape", normalization(sketch, rows, shape, (2,)), PICTURE)))
    assert only(graph, "normalize").shape == shape


def test_an_average_in_ceiling_mode_leaves_what_lies_beyond_the_padding_out_of_its_count() -> None:
    ones = np.ones((1, 4, 4, 1), np.float32)
    window = {"size": (3, 3), "strides": (2, 2), "padding": ((1, 2), (1, 2)), "dilation": (1, 1), "count_padding": True}
    layer = Layer(
        "pool", "average_pool", ("x",), (1, 3, 3, 1), hyperparameters={**window, "uncounted": ((0, 1), (0, 1))}
    )
    found = evaluate(layer, [ones])[0, :, :, 0]
    # torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True): the last window covers one pixel and one of the padding
    np.testing.assert_allclose(found[2], [2 / 6, 3 / 6, 1 / 4], rtol=1e-6)
    plain = evaluate(Layer("pool", "average_pool", ("x",), (1, 3, 3, 1), hyperparameters=window), [ones])
    assert plain[0, 2, 2, 0] == pytest.approx(1 / 9)
