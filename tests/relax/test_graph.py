"""Edits of a graph give a new one; evaluation from a layer on equals the whole."""

from __future__ import annotations

import numpy as np
import pytest

from convfault.errors import UnknownNameError, UsageError
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Layer
from tests.relax.drafts import Sketch, values


@pytest.fixture
def graph() -> Graph:
    sketch = Sketch()
    first = sketch.convolution(sketch.source)
    second = sketch.layer("tanh", first, (1, 6, 5, 8))
    third = sketch.layer("sigmoid", first, (1, 6, 5, 8))
    return sketch.graph_of(sketch.layer("multiply", (second, third), (1, 6, 5, 8)))


def run(graph: Graph, keep: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    picture = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype(np.float32)
    return evaluate.run(graph, {graph.inputs[0]: picture}, keep)


def test_an_edit_leaves_the_old_graph_alone(graph: Graph) -> None:
    before = graph["convolution_1"].parameters["bias"].values.copy()
    changed = graph.with_parameters("convolution_1", bias=before + 1)
    np.testing.assert_array_equal(graph["convolution_1"].parameters["bias"].values, before)
    assert changed["convolution_1"].parameters["bias"].native == ("bias",)
    assert changed["tanh_1"] is graph["tanh_1"]


def test_a_layer_is_inserted_before_some_readers_only(graph: Graph) -> None:
    extra = Layer("extra", "negative", ("convolution_1",), (1, 6, 5, 8))
    changed = graph.with_inserted(extra, ("tanh_1",))
    assert changed["tanh_1"].inputs == ("extra",)
    assert changed["sigmoid_1"].inputs == ("convolution_1",)
    assert graph.readers["convolution_1"] == ("tanh_1", "sigmoid_1")


def test_inserting_and_removing_gives_the_same_answers(graph: Graph) -> None:
    extra = Layer("extra", "negative", ("multiply_1",), (1, 6, 5, 8))
    changed = graph.with_inserted(extra)
    assert changed.outputs == ("extra",)
    np.testing.assert_array_equal(run(changed)["extra"], -run(graph)["multiply_1"])
    np.testing.assert_array_equal(run(changed.without("extra"))["multiply_1"], run(graph)["multiply_1"])


def test_rewiring_keeps_the_order_and_refuses_a_circle(graph: Graph) -> None:
    changed = graph.with_inputs("tanh_1", ("sigmoid_1",))
    assert changed.position("sigmoid_1") < changed.position("tanh_1")
    with pytest.raises(ValueError, match="depend on itself"):
        graph.with_inputs("convolution_1", ("multiply_1",))


def test_an_unknown_layer_gets_a_suggestion(graph: Graph) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tanh_1'"):
        graph["tanh_2"]


def test_resuming_from_a_layer_equals_running_all(graph: Graph) -> None:
    kept = run(graph, tuple(layer.id for layer in graph))
    changed = graph.with_parameters("convolution_1", bias=values(8))
    expected = run(changed)["multiply_1"]
    found = evaluate.resume(changed, {"input_1": kept["input_1"]}, {"convolution_1"})
    np.testing.assert_array_equal(found["multiply_1"], expected)
    other = graph.with_layer(Layer("tanh_1", "negative", ("convolution_1",), (1, 6, 5, 8)))
    found = evaluate.resume(other, {n: kept[n] for n in ("convolution_1", "sigmoid_1")}, {"tanh_1"})
    np.testing.assert_array_equal(found["multiply_1"], run(other)["multiply_1"])


def test_a_missing_value_is_named(graph: Graph) -> None:
    with pytest.raises(UsageError, match="'picture'"):
        evaluate.resume(graph, {}, {"tanh_1"})


def test_any_batch_size_runs(graph: Graph) -> None:
    assert run(graph)["multiply_1"].shape == (2, 6, 5, 8)
