"""The layer-wise divergence: where it begins, who errs and who only passes it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.divergence import divergence, erring, first_divergent
from convfault.localization.kernels import kernel_errors, like
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Layer, Native
from convfault.relax.imported import Encoding
from tests.localization.wirings import PICTURES, SHAPE, case, network, subject

Tensors = dict[str, np.ndarray]


def run(graph: Graph, noise: float = 2e-7) -> Tensors:
    """What a runtime would show: every layer's value, as another order of summation rounds it."""
    random = np.random.default_rng(0)
    values = evaluate.run(graph, {"picture": PICTURES}, tuple(item.id for item in graph))
    return {
        name: (value * (1 + noise * random.standard_normal(value.shape))).astype(np.float32)
        for name, value in values.items()
    }


def compared(source: Graph, target: Graph, change: Callable[[Tensors], Tensors] = dict) -> Case:
    return case(source, target, natives={"source": run(source), "target": change(run(target))})


def scaled(graph: Graph, name: str, factor: float) -> Graph:
    return graph.with_parameters(name, weights=graph[name].parameters["weights"].values * np.float32(factor))


def test_a_sound_pair_has_no_divergent_layer() -> None:
    steps = divergence(compared(network(), network()))
    assert [step.source for step in steps] == [item.id for item in network()]
    assert first_divergent(steps) is None
    assert erring(steps) == ()


def test_only_the_layer_with_other_weights_errs_and_the_rest_pass_it_on() -> None:
    steps = divergence(compared(network(), scaled(network(), "conv3", 1.01)))
    first = first_divergent(steps)
    assert first is not None
    assert first.source == "conv3"
    assert [step.source for step in erring(steps)] == ["conv3"]
    divergent = {step.source for step in steps if step.divergent}
    assert {"joined", "conv5", "difference", "tanh", "head"} <= divergent
    assert not {"conv1", "conv2", "conv4", "sigmoid"} & divergent


def test_a_change_as_small_as_rounding_is_none() -> None:
    steps = divergence(compared(network(), scaled(network(), "conv3", 1 + 1e-6)))
    assert first_divergent(steps) is None
    assert erring(steps) == ()


def test_swapped_operands_err_locally() -> None:
    swapped = network().with_inputs("difference", ("relu2", "conv5"))
    assert [step.source for step in erring(divergence(compared(network(), swapped)))] == ["difference"]


def test_what_is_missing_or_too_much_shows_at_the_layer_that_reads_it_and_nowhere_else() -> None:
    extra = Layer("extra", "negative", ("scale",), SHAPE)
    for target in (network().without("scale"), network().with_inserted(extra)):
        steps = divergence(compared(network(), target))
        first = first_divergent(steps)
        assert first is not None
        assert first.source == "sum"
        assert [step.source for step in erring(steps)] == ["sum"]


def test_growth_is_relative_to_what_a_layer_reads() -> None:
    steps = {step.source: step for step in divergence(compared(network(), scaled(network(), "conv1", 1.1)))}
    assert steps["relu1"].growth == pytest.approx((steps["relu1"].error or 0) / (steps["conv1"].error or 1))


def test_pictures_whose_answers_differ_are_told_from_those_that_agree() -> None:
    def worse(values: Tensors) -> Tensors:
        one = np.array([1, 0, 0, 0], np.float32)
        return {name: value + one.reshape(-1, *[1] * (value.ndim - 1)) for name, value in values.items()}

    step = divergence(compared(network(), network(), worse))[5]
    assert step.differing is not None
    assert step.agreeing is not None
    assert step.differing > 0.01 > 1e-5 > step.agreeing


def test_layers_that_a_runtime_does_not_show_have_a_local_error_only() -> None:
    def hidden(values: Tensors) -> Tensors:
        return {name: value for name, value in values.items() if name != "conv3"}

    steps = {s.source: s for s in divergence(compared(network(), scaled(network(), "conv3", 1.01), hidden))}
    assert steps["conv3"].error is None
    assert steps["conv3"].erring
    assert steps["joined"].divergent


def test_nan_on_one_side_is_a_problem_and_on_both_is_none() -> None:
    def broken(values: Tensors) -> Tensors:
        return {**values, "conv3": np.full_like(values["conv3"], np.nan)}

    (step,) = [item for item in divergence(compared(network(), network(), broken)) if item.source == "conv3"]
    assert (step.problem, step.to_record()["error"], step.divergent) == ("nonfinite", None, True)
    both = case(network(), network(), natives={side: broken(run(network())) for side in ("source", "target")})
    (step,) = [item for item in divergence(both) if item.source == "conv3"]
    assert (step.problem, step.error) == (None, 0)


def test_other_shapes_are_a_problem() -> None:
    def cropped(values: Tensors) -> Tensors:
        return {**values, "conv3": values["conv3"][:, 1:, 1:]}

    target = network()
    smaller = replace(target, layers=tuple(_cropped(item) if item.id == "conv3" else item for item in target))
    steps = {step.source: step for step in divergence(compared(network(), smaller, cropped))}
    assert steps["conv3"].problem == "shape"


def _cropped(item: Layer) -> Layer:
    return replace(item, shape=(1, 5, 5, 4))


def test_channels_in_another_order_are_compared_in_that_order() -> None:
    order = (2, 0, 3, 1)
    graph = network()
    parameters = graph["conv4"].parameters
    target = graph.with_parameters(
        "conv4", weights=parameters["weights"].values[..., order], bias=parameters["bias"].values[list(order)]
    )
    matches = [Match(item.id, item.id, order=order if item.id in {"conv4", "sigmoid"} else None) for item in graph]
    matches = [match for match in matches if match.source in {"picture", "relu2", "conv4", "sigmoid"}]
    made = case(graph, target, matches=matches, natives={"source": run(graph), "target": run(target)})
    steps = divergence(made)
    assert first_divergent(steps) is None
    assert erring(steps) == ()


def test_an_opaque_layer_that_nobody_shows_leaves_the_rest_comparable() -> None:
    made = Layer("conv3", "opaque", ("relu2",), SHAPE, "float32", {"operator": "Odd"}, native=Native("conv3"))
    graph = network().with_layer(made)
    tensors = {name: value for name, value in run(network()).items() if name != "conv3"}
    steps = divergence(case(graph, graph, natives={"source": tensors, "target": tensors}))
    assert first_divergent(steps) is None
    assert erring(steps) == ()


def test_an_output_of_one_number_a_picture_is_compared_too() -> None:
    best = Layer("best", "argmax", ("head",), (1,), "int64", {"axis": 1, "keepdims": False}, native=Native("best"))
    graph = replace(network(), layers=(*network().layers, best), outputs=("best",))
    assert first_divergent(divergence(compared(graph, graph))) is None
    total = Layer("total", "sum", ("head",), (1,), "float32", {"axes": (1,), "keepdims": False}, native=Native("total"))
    graph = replace(network(), layers=(*network().layers, total), outputs=("total",))
    assert first_divergent(divergence(compared(graph, graph))) is None


def test_the_record_is_plain_json() -> None:
    steps = divergence(compared(network(), scaled(network(), "conv3", 1.01)))
    assert json.loads(json.dumps([step.to_record() for step in steps], allow_nan=False))[3]["source"] == "pool"


def test_a_wrong_kernel_is_found_and_a_right_one_is_not() -> None:
    tensors = run(network())
    assert kernel_errors(subject(network(), tensors)) == []
    wrong = {**tensors, "pool": tensors["pool"] * np.float32(1.01)}
    ((layer, error),) = [item for item in kernel_errors(subject(network(), wrong)) if item[0] == "pool"]
    assert (layer, error) == ("pool", pytest.approx(0.01, rel=0.1))


def test_a_hidden_layer_is_judged_with_the_next_one_that_is_shown() -> None:
    tensors = run(network())
    del tensors["conv1"]
    assert kernel_errors(subject(network(), tensors)) == []
    tensors["relu1"] = tensors["relu1"] * np.float32(1.1)
    assert "relu1" in [layer for layer, _ in kernel_errors(subject(network(), tensors))]


def test_rounding_to_an_integer_encoding_is_no_kernel_error() -> None:
    step = 0.05
    tensors = run(network())
    tensors["tanh"] = np.rint(tensors["tanh"] / step).astype(np.float32) * np.float32(step)
    plain = network()
    encoded = replace(plain, encodings={"tanh": Encoding("tanh", "int8", (step,), (0,), 0, False)})
    assert "tanh" not in [layer for layer, _ in kernel_errors(subject(encoded, tensors))]
    assert "tanh" in [layer for layer, _ in kernel_errors(subject(plain, tensors))]


def test_values_without_axes_are_compared_with_each_other_and_with_one_number() -> None:
    assert like(np.asarray(2.0), np.asarray(3.0)).shape == ()
    assert like(np.asarray(2.0), np.ones((1, 1))).shape == (1, 1)
    assert like(np.ones((2, 3)), np.asarray(3.0)).shape == (2, 3)
