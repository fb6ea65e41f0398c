"""Layers are restored in the order in which that pays: the most harm undone for each byte first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.localization.answers import Deviation
from convfault.localization.effect import Effect
from convfault.localization.suspect import Suspect
from convfault.relax import evaluate
from convfault.relax.edits import Edit, Remove, SetParameters
from convfault.relax.graph import Graph, Parameter
from convfault.relax.imported import Encoding
from convfault.repairing.precision import corrected, halved, is_quantized, ranked
from tests.localization.pairs import drawn, network


def graph_of(dtype: str | None = "int8", count: int = 3) -> Graph:
    """Convolutions ``c0``, ``c1`` ... of twice the weights each, stored in a dtype (None: as they are)."""
    graph = network()
    first = graph["convolution_1"]
    layers, encodings = list(graph.layers), {}
    for number in range(count):
        name, size = f"kernel {number}", 8 * 2**number
        weights = {"weights": Parameter(drawn(size), (name,)), "bias": Parameter(drawn(4), (f"bias {number}",))}
        layers.append(replace(first, id=f"c{number}", parameters=weights))
        if dtype is not None:
            encodings[name] = Encoding(name, dtype, (0.1,), (0,), 0, True)
    return replace(graph, layers=tuple(layers), encodings=encodings)


def suspect(edit: Edit | None) -> Suspect:
    return Suspect("parameters", "int8_rounding", "It is rounded.", "Restore it.", edit=edit)


def rounded(graph: Graph, layer: str) -> Suspect:
    values = graph[layer].parameters["weights"].values
    return suspect(SetParameters(layer, {"weights": values}))


def harm(error: float | None) -> Effect:
    before = Deviation(max_abs_error=1.0, top1_disagreement=0.0)
    return Effect(before, None, None if error is None else replace(before, max_abs_error=error))


def order(graph: Graph, *errors: float | None) -> list[int]:
    found = [(rounded(graph, f"c{number}"), harm(error)) for number, error in enumerate(errors)]
    return [number for number, _ in ranked(graph, found)]


def test_a_graph_is_quantized_when_its_weights_are_stored_narrower() -> None:
    assert is_quantized(graph_of("int8"))
    assert is_quantized(graph_of("float16"))
    assert not is_quantized(graph_of(None))
    activation = Encoding("somewhere", "int8", (0.1,), (0,), 0, False)
    assert not is_quantized(replace(graph_of(None), encodings={"somewhere": activation}))


def test_of_equal_harm_the_smallest_layer_comes_first() -> None:
    assert order(graph_of(), 0.1, 0.1, 0.1) == [0, 1, 2]


def test_harm_counts_squared_over_bytes() -> None:
    assert order(graph_of(count=2), 0.1, 0.1 * 1.5) == [1, 0]  # 2.25 times the harm for twice the bytes
    assert order(graph_of(count=2), 0.1, 0.1 * 1.3) == [0, 1]


def test_a_rounding_that_breaks_everything_comes_first() -> None:
    assert order(graph_of(), 0.1, 0.1, float("inf"))[0] == 2
    assert order(graph_of(), 0.1, 0.1, float("nan"))[-1] == 2


def test_the_bytes_are_what_half_precision_adds() -> None:
    for dtype, width in (("int8", 1), ("int4", 0.5), ("uint8", 1), ("float16", 2)):
        graph = graph_of(dtype)
        found = dict(ranked(graph, [(rounded(graph, f"c{n}"), harm(0.1)) for n in range(3)]))
        assert found == {n: int(8 * 2**n * (2 - width)) for n in range(3)}


def test_what_is_stored_as_it_is_costs_nothing() -> None:
    graph = graph_of(None)
    assert [size for _, size in ranked(graph, [(rounded(graph, "c0"), harm(0.1))])] == [0]
    assert [size for _, size in ranked(graph, [(suspect(Remove("c0", ())), harm(0.1))])] == [0]


@given(errors=st.lists(st.floats(0, 1e3), min_size=1, max_size=3))
def test_every_layer_is_in_the_order_once(errors: list[float]) -> None:
    assert sorted(order(graph_of(), *errors)) == list(range(len(errors)))


@given(errors=st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3), factor=st.floats(0.01, 100))
def test_the_order_does_not_depend_on_the_unit_of_the_error(errors: list[float], factor: float) -> None:
    graph = graph_of()
    worth = [error**2 / 2**number for number, error in enumerate(errors)]
    if min(abs(a / b - 1) for a in worth for b in worth if a is not b) > 1e-6:  # no ties
        assert order(graph, *errors) == order(graph, *(error * factor for error in errors))


def values(edit: Edit | None, name: str = "weights") -> np.ndarray:
    assert isinstance(edit, SetParameters)
    return np.asarray(edit.values[name])


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_what_was_quantized_gets_half_precision(dtype: str) -> None:
    graph = graph_of(dtype)
    exact = rounded(graph, "c1")
    half = values(halved(graph, {}, exact))
    assert half.dtype == np.float32
    assert np.array_equal(half, half.astype(np.float16).astype(np.float32))
    assert 0 < np.abs(half - values(exact.edit)).max() < 1e-2


@pytest.mark.parametrize("dtype", ["float16", None])
def test_what_was_not_gets_its_exact_values(dtype: str | None) -> None:
    graph = graph_of(dtype)
    exact = rounded(graph, "c1")
    assert np.array_equal(values(halved(graph, {}, exact)), values(exact.edit))


def test_a_bias_that_is_not_quantized_stays_exact() -> None:
    graph = graph_of()
    parameters = graph["c0"].parameters
    both = suspect(SetParameters("c0", {name: parameters[name].values for name in ("weights", "bias")}))
    edit = halved(graph, {}, both)
    assert np.array_equal(values(edit, "bias"), parameters["bias"].values)
    assert not np.array_equal(values(edit), parameters["weights"].values)


def test_values_beyond_half_precision_stay_exact() -> None:
    graph = graph_of()
    large = suspect(SetParameters("c0", {"weights": np.full(8, 1e6, np.float32)}))
    assert np.array_equal(values(halved(graph, {}, large)), np.full(8, 1e6, np.float32))


def test_an_edit_of_another_kind_stays_as_it_is() -> None:
    other = suspect(Remove("c0", ()))
    assert halved(graph_of(), {}, other) is other.edit


def test_a_bias_of_32_bits_is_restored_in_full() -> None:
    graph = graph_of("int8")
    stored = {**graph.encodings, "bias 0": Encoding("bias 0", "int32", (0.1,), (0,), 0, True)}
    graph = replace(graph, encodings=stored)
    values = {"weights": drawn(8), "bias": drawn(4)}
    edit = halved(graph, {}, suspect(SetParameters("c0", values)))
    assert isinstance(edit, SetParameters)
    np.testing.assert_array_equal(edit.values["bias"], values["bias"])
    np.testing.assert_array_equal(edit.values["weights"], values["weights"].astype(np.float16))


def coarse(layer: str = "convolution_2") -> tuple[Graph, Suspect, dict[str, np.ndarray]]:
    """A network with a layer's weights rounded to a few steps, what restores them, and every layer's right value."""
    sound = network()
    weights, bias = (sound[layer].parameters[name] for name in ("weights", "bias"))
    stored = replace(weights, values=np.round(weights.values))
    graph = sound.with_layer(replace(sound[layer], parameters={"weights": stored, "bias": bias}))
    graph = replace(graph, encodings={"kernel": Encoding("kernel", "int8", (1.0,), (0,), 0, True)})
    found = evaluate.resume(sound, {sound.inputs[0]: drawn(2, 6, 6, 4)}, set(sound.inputs), [each.id for each in sound])
    return graph, suspect(SetParameters(layer, {"weights": weights.values})), found


def average(graph: Graph, right: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of each filter's output, with right values before the layer."""
    layer = graph["convolution_2"]
    return evaluate.evaluate(layer, [right[layer.inputs[0]]]).mean(axis=(0, 1, 2))


def test_a_bias_makes_up_for_what_rounded_weights_shift_on_average() -> None:
    graph, rounding, right = coarse()
    edit = corrected(graph, right, rounding)
    assert edit is not None
    assert set(edit.values) == {"bias"}
    wanted = right["convolution_2"].mean(axis=(0, 1, 2))
    assert np.abs(average(graph, right) - wanted).max() > 0.05
    np.testing.assert_allclose(average(edit.apply(graph), right), wanted, atol=1e-5)


def test_half_precision_leaves_the_average_where_it_was() -> None:
    graph, rounding, right = coarse()
    edit = halved(graph, right, rounding)
    assert isinstance(edit, SetParameters)
    wanted = right["convolution_2"].mean(axis=(0, 1, 2))
    without = SetParameters("convolution_2", {"weights": edit.values["weights"]})
    assert np.abs(average(without.apply(graph), right) - wanted).max() > 1e-5
    np.testing.assert_allclose(average(edit.apply(graph), right), wanted, atol=2e-6)


def test_a_bias_that_is_rounded_itself_or_of_which_nothing_is_known_makes_up_for_nothing() -> None:
    graph, rounding, right = coarse()
    stored = {**graph.encodings, "bias": Encoding("bias", "int32", (0.1,), (0,), 0, True)}
    assert corrected(replace(graph, encodings=stored), right, rounding) is None
    assert corrected(graph, {}, rounding) is None
    assert corrected(graph, right, suspect(Remove("convolution_2", ()))) is None
    assert corrected(graph, right, suspect(SetParameters("convolution_2", {"bias": drawn(8)}))) is None
