"""The graph analyzer: each structural fault is named and cured, and another spelling of the same is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.graph.analyzer import CAUSES, examine
from convfault.localization.input import analyzer as input_analyzer
from convfault.localization.suspect import Suspect
from convfault.relax import evaluate
from convfault.relax.edits import Edit, Insert, Redirect, Remove, SetOutputs, Substitute
from convfault.relax.graph import Graph, Layer, Native, Parameter
from convfault.relax.imported import Origin, UnsupportedOperator
from convfault.relax.rules.affine import folded
from tests.localization.wirings import (
    PICTURES,
    RELU,
    SHAPE,
    WINDOW,
    affine,
    answers,
    case,
    dense,
    layer,
    network,
    pruned,
)

Plant = Callable[[Graph], Graph]


def redirected(graph: Graph, name: str, old: str, new: str) -> Graph:
    return Redirect(old, new, (name,)).apply(graph)


def inserted(name: str, kind: str, source: str, readers: Sequence[str] | None = None, **values: Any) -> Plant:
    def plant(graph: Graph) -> Graph:
        made = layer(name, kind, source, graph[source].shape, **values)
        return graph.with_inserted(made, None if readers is None else tuple(readers))

    return plant


def instead(name: str, kind: str, **values: Any) -> Plant:
    return lambda graph: graph.with_layer(replace(graph[name], kind=kind, hyperparameters=values))


def swapped(name: str) -> Plant:
    return lambda graph: graph.with_inputs(name, graph[name].inputs[::-1])


def activation_first(graph: Graph) -> Graph:
    """relu2 before the sum instead of behind it."""
    moved = graph.without("relu2")
    return moved.with_inserted(layer("relu2", "clip", "scale", **RELU), ("sum",))


def exchanged(graph: Graph) -> Graph:
    """pool before relu1; who read relu1 reads it still."""
    graph = graph.with_inputs("conv2", ("relu1",))
    graph = replace(graph, layers=tuple(item for item in graph.with_inputs("pool", ("conv1",))))
    return graph.with_inputs("relu1", ("pool",))


def turned(graph: Graph) -> Graph:
    """The picture flattened with channels first."""
    made = layer("turned", "transpose", "tanh", (1, 4, 6, 6), order=(0, 3, 1, 2))
    return graph.with_inserted(made, ("flat",))


def softmax_again(graph: Graph) -> Graph:
    return graph.with_inserted(layer("again", "softmax", "scores", (1, 5), axis=1))


def train_mode(graph: Graph) -> Graph:
    """The affine spelled as normalization by the batch's own statistics."""
    flat = (1, 1, 1, 4)
    layers = [
        layer("batch_mean", "mean", "conv2", flat, axes=(0, 1, 2), keepdims=True),
        layer("centred", "subtract", ("conv2", "batch_mean")),
        layer("squared", "square", "centred"),
        layer("variance", "mean", "squared", flat, axes=(0, 1, 2), keepdims=True),
        layer("factor", "rsqrt", "variance", flat),
        layer("normal", "multiply", ("centred", "factor")),
    ]
    position = graph.position("scale")
    whole = replace(graph, layers=(*graph.layers[:position], *layers, *graph.layers[position:]))
    return pruned(redirected(whole, "sum", "scale", "normal"))


FAULTS: dict[str, tuple[Plant, str, str | None, str | None, Sequence[str]]] = {
    "lost activation": (lambda g: g.without("relu2"), "missing_node", "relu2", None, ()),
    "lost pooling": (lambda g: g.without("pool"), "missing_node", "pool", None, ()),
    "lost sum": (lambda g: pruned(g.without("sum")), "missing_node", "sum", None, ()),
    "lost softmax": (lambda g: g.without("scores"), "softmax_missing", "scores", None, ()),
    "softmax on the features": (
        lambda g: g.with_inserted(layer("last", "softmax", "mean", (1, 4), axis=1)),
        "softmax_extra",
        None,
        "last",
        (),
    ),
    "second softmax": (softmax_again, "softmax_twice", None, "again", ()),
    "superfluous activation": (inserted("extra", "clip", "conv2", **RELU), "extra_node", None, "extra", ()),
    "activation on one branch": (
        inserted("extra", "negative", "relu2", ["conv4"]), "extra_node", None, "extra", (),
    ),
    "repeated batch norm": (
        lambda g: g.with_inserted(replace(g["scale"], id="scale again", inputs=("scale",))),
        "duplicated_node", None, "scale again", (),
    ),
    "activation before the sum": (activation_first, "misplaced_node", "relu2", "relu2", ("relu2",)),
    "aligned activation before the sum": (activation_first, "misplaced_node", "relu2", "relu2", ()),
    "pooling before activation": (exchanged, "misplaced_node", "relu1", "relu1", ()),
    "shortcut from elsewhere": (lambda g: g.with_inputs("sum", ("scale", "conv1")), "rewired", "sum", "sum", ()),
    "branch from elsewhere": (
        lambda g: pruned(g.with_inputs("joined", ("conv3", "relu1"))), "rewired", "joined", "joined", (),
    ),
    "swapped difference": (swapped("difference"), "input_order", "difference", "difference", ()),
    "swapped concatenation": (swapped("joined"), "input_order", "joined", "joined", ()),
    "max for average": (instead("pool", "max_pool", **WINDOW), "wrong_operator", "pool", "pool", ()),
    "product for sum": (instead("sum", "multiply"), "wrong_operator", "sum", "sum", ()),
    "relu for tanh, not aligned": (instead("tanh", "clip", **RELU), "wrong_operator", "tanh", "tanh", ("tanh",)),
    "transpose left behind": (
        inserted("turned", "transpose", "relu2", order=(0, 2, 1, 3)), "superfluous_transpose", None, "turned", (),
    ),
    "flattened otherwise": (turned, "flatten_order", None, "turned", ()),
    "outputs swapped": (lambda g: replace(g, outputs=g.outputs[::-1]), "reordered_outputs", "scores", "mean", ()),
    "inner output": (lambda g: replace(g, outputs=(*g.outputs, "tanh")), "extra_output", None, "tanh", ()),
    "output lost": (lambda g: pruned(replace(g, outputs=("scores",))), "missing_output", "mean", None, ()),
    "statistics of the batch": (train_mode, "train_mode_batch_norm", "scale", "batch_mean", ("scale",)),
}  # fmt: skip


def cured(made: Case, suspects: Sequence[Suspect]) -> Graph:
    graph = made.target.graph
    for suspect in suspects:
        assert suspect.edit is not None
        graph = suspect.edit.apply(graph)
    return graph


def assert_same_answers(graph: Graph, source: Graph) -> None:
    for actual, expected in zip(answers(graph), answers(source), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_suspect_with_its_cause_and_place_and_a_cure(name: str) -> None:
    plant, cause, source, target, apart = FAULTS[name]
    made = case(network(), plant(network()), apart)
    (suspect,) = examine(made)
    assert (suspect.cause, suspect.kind) == (cause, "graph")
    assert (suspect.source, suspect.target) == (source, target)
    assert_same_answers(cured(made, [suspect]), network())
    assert cause in CAUSES
    assert suspect.explanation.endswith(".")
    assert "_of_source" not in suspect.explanation


@pytest.mark.parametrize("name", FAULTS)
def test_the_cured_target_is_sound(name: str) -> None:
    plant, _, _, _, apart = FAULTS[name]
    made = case(network(), plant(network()), apart)
    graph = cured(made, examine(made))
    left = case(network(), pruned(graph))
    assert [suspect for suspect in examine(left) if suspect.cause != "extra_node"] == []


def with_exposed_convolution(scale: float) -> tuple[Graph, Graph]:
    """A source with a normalization folded into conv1, and the target, which answers with conv1's value as well."""
    target = network().with_inserted(affine("normal", "conv1"), ("relu1",))
    source = network().with_parameters("conv1", **folded(target["conv1"], target["normal"]))
    wrong = target.with_parameters("normal", scale=target["normal"].parameters["scale"].values * scale)
    return source, replace(wrong, outputs=(*target.outputs, "conv1"))


@pytest.mark.parametrize(("scale", "told"), [(1.0, {"extra_output"}), (1.5, {"extra_output", "extra_node"})])
def test_a_scale_that_an_output_keeps_from_being_folded_is_no_fault(scale: float, told: set[str]) -> None:
    source, target = with_exposed_convolution(scale)
    made = case(source, target)
    suspects = examine(made)
    assert {suspect.cause for suspect in suspects} == told
    if scale == 1:
        assert_same_answers(cured(made, suspects), source)


def test_a_scale_that_only_the_source_keeps_apart_is_no_fault_either() -> None:
    target, source = with_exposed_convolution(1.0)
    assert {suspect.cause for suspect in examine(case(source, target))} == {"missing_output"}


def test_a_layer_missing_before_its_own_normalization_is_missing_and_not_another_operator() -> None:
    whole = network().with_inserted(affine("normal", "conv1"), ("relu1",))
    scale, shift = (whole["normal"].parameters[name].values for name in ("scale", "shift"))
    statistics = {"epsilon": 0.0, "gamma": scale, "beta": shift, "mean": np.zeros(4), "variance": np.ones(4)}
    source = whole.without("normal").with_parameters("conv1", **folded(whole["conv1"], whole["normal"]))
    source = source.with_layer(replace(source["conv1"], details={"batch_norm": statistics}))
    (suspect,) = examine(case(source, whole.without("conv1")))
    assert (suspect.cause, suspect.source) == ("missing_node", "conv1")
    (suspect,) = examine(case(source, whole.without("conv1").with_parameters("normal", scale=scale * 2)))
    assert suspect.cause == "wrong_operator"


def test_equal_graphs_have_no_suspect() -> None:
    assert examine(case(network(), network())) == []


def doubled(graph: Graph) -> Graph:
    """Computed twice: the difference reads its own copy of the activation."""
    made = layer("relu2 again", "clip", "sum", **RELU)
    position = graph.position("relu2")
    whole = replace(graph, layers=(*graph.layers[: position + 1], made, *graph.layers[position + 1 :]))
    return redirected(whole, "difference", "relu2", "relu2 again")


def as_product(graph: Graph) -> Graph:
    """sigmoid spelled as one half of (1 + tanh(x / 2))."""
    half = np.full(4, 0.5, np.float32)
    zero = np.zeros(4, np.float32)
    shift = {"scale": Parameter(half), "shift": Parameter(half)}
    scale = {"scale": Parameter(half), "shift": Parameter(zero)}
    layers = [
        replace(layer("halved", "affine", "conv4"), parameters=scale),
        layer("bent", "tanh", "halved"),
        replace(layer("lifted", "affine", "bent"), parameters=shift),
    ]
    position = graph.position("sigmoid")
    whole = replace(graph, layers=(*graph.layers[:position], *layers, *graph.layers[position:]))
    return pruned(redirected(whole, "joined", "sigmoid", "lifted"))


def fused(graph: Graph) -> Graph:
    """The affine moved into the convolution before it."""
    scale, shift = (graph["scale"].parameters[name].values for name in ("scale", "shift"))
    conv = graph["conv2"].parameters
    weights, bias = conv["weights"].values * scale, conv["bias"].values * scale + shift
    return graph.with_parameters("conv2", weights=weights, bias=bias).without("scale")


def max_pooled(graph: Graph) -> Graph:
    return graph.with_layer(replace(graph["pool"], kind="max_pool", hyperparameters=dict(WINDOW)))


HARMLESS: dict[str, tuple[Plant, Plant, Sequence[str]]] = {
    "computed twice": (lambda g: g, doubled, ()),
    "computed once": (doubled, lambda g: g, ()),
    "another spelling": (lambda g: g, as_product, ("sigmoid",)),
    "an affine in the weights": (lambda g: g, fused, ()),
    "an affine out of the weights": (fused, lambda g: g, ()),
    "operands of a sum": (lambda g: g, swapped("sum"), ()),
    "activation twice": (lambda g: g, inserted("again", "clip", "relu1", **RELU), ()),
    "two transposes": (
        lambda g: g,
        lambda g: inserted("back", "transpose", "forth", order=(0, 2, 1, 3))(
            inserted("forth", "transpose", "conv2", order=(0, 2, 1, 3))(g)
        ),
        (),
    ),
    "max pooling before activation": (
        lambda g: redirected(max_pooled(g), "sum", "relu1", "conv2"),
        lambda g: redirected(exchanged(max_pooled(g)), "sum", "relu1", "conv2"),
        (),
    ),
    "max pooling before activation, not aligned": (
        lambda g: redirected(max_pooled(g), "sum", "relu1", "conv2"),
        lambda g: redirected(exchanged(max_pooled(g)), "sum", "relu1", "conv2"),
        ("relu1",),
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_another_spelling_of_the_same_is_no_suspect(name: str) -> None:
    first, second, apart = HARMLESS[name]
    assert examine(case(first(network()), second(network()), apart)) == []


def test_the_same_spelling_with_one_wrong_number_is_a_suspect() -> None:
    target = as_product(network()).with_parameters("halved", scale=np.full(4, 0.6, np.float32))
    (suspect,) = examine(case(network(), target, ("sigmoid",)))
    assert suspect.cause == "replaced_nodes"


def test_two_faults_that_hide_each_other_at_one_place_are_both_found() -> None:
    """-tanh(-x) is tanh(x), but the other reader of -x gets the wrong sign."""
    target = inserted("first", "negative", "difference")(network())
    target = inserted("second", "negative", "tanh")(target)
    made = case(network(), target)
    suspects = examine(made)
    assert [suspect.target for suspect in suspects] == ["first", "second"]
    assert_same_answers(cured(made, suspects), network())


def test_two_nodes_that_undo_each_other_are_no_suspects() -> None:
    target = inserted("first", "negative", "difference", ["tanh"])(network())
    assert examine(case(network(), inserted("second", "negative", "tanh")(target))) == []


def opaque(graph: Graph, operator: str, reason: str = "not known", inputs: tuple[str, ...] = ("sum",)) -> Graph:
    """relu2 replaced by an operator that the importer lacks; without ``inputs`` nothing before it is left, either."""
    native = Native("custom", None, (Origin("custom", operator),))
    made = Layer("custom", "opaque", inputs, SHAPE, "float32", {"operator": operator, "output": 0}, native=native)
    cut = UnsupportedOperator("custom", operator, ("sum",), (), reason)
    position = graph.position("relu2")
    layers = (*graph.layers[:position], made, *graph.layers[position:])
    whole = replace(graph, layers=layers, unsupported=(cut,))
    for reader in graph.readers["relu2"]:
        whole = redirected(whole, reader, "relu2", "custom")
    return pruned(whole)


def watched(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a runtime whose operator in relu2's place gives that with a change."""
    values = evaluate.run(network(), {"picture": PICTURES}, tuple(item.id for item in network()))
    return {**values, "custom": change(values["relu2"])}


def test_an_unknown_operator_that_gives_the_same_is_no_suspect() -> None:
    made = case(network(), opaque(network(), "Special"), natives={"target": watched(lambda value: value * 1)})
    assert examine(made) == []


def test_an_unknown_operator_that_nobody_could_watch_is_no_suspect() -> None:
    assert examine(case(network(), opaque(network(), "Special"))) == []


@pytest.mark.parametrize("inputs", [("sum",), ()])
def test_an_unknown_operator_that_gives_something_else_is_named(inputs: tuple[str, ...]) -> None:
    target = opaque(network(), "Special", inputs=inputs)
    made = case(network(), target, natives={"target": watched(lambda value: value + 1)})
    (suspect,) = examine(made)
    assert suspect.cause == "unknown_operator_differs"
    assert "perator Special 'custom'" in suspect.explanation
    assert_same_answers(cured(made, [suspect]), network())


def foreign() -> Graph:
    """The same with an operator that was imported, and that the evaluator does not know."""
    graph = opaque(network(), "ScatterND")
    layers = tuple(replace(item, kind="col2im") if item.id == "custom" else item for item in graph.layers)
    return replace(graph, layers=layers, unsupported=())


def test_an_operator_that_cannot_be_computed_here_is_judged_by_its_native_values() -> None:
    assert examine(case(network(), foreign(), natives={"target": watched(lambda value: value * 1)})) == []
    (suspect,) = examine(case(network(), foreign(), natives={"target": watched(lambda value: value + 1)}))
    assert suspect.cause in CAUSES


def test_dropout_in_training_mode_is_named() -> None:
    target = opaque(network(), "dropout.default", "dropout in training mode gives another answer at every run")
    source = network().without("relu2")
    values = {"target": watched(lambda value: value * (np.arange(4) > 1))}
    (suspect,) = examine(case(source, target, natives=values))
    assert suspect.cause == "train_mode_dropout"
    made = case(source, target, natives=values)
    assert_same_answers(cured(made, examine(made)), source)


def test_a_placeholder_that_only_the_target_has_is_named() -> None:
    flag = layer("training", "input", (), (1,))
    target = replace(network(), layers=(*network().layers, flag), inputs=("picture", "training"))
    (suspect,) = examine(case(network(), target))
    assert (suspect.cause, suspect.target) == ("extra_input", "training")


def test_weights_laid_out_for_channels_first_are_a_fault_of_flattening() -> None:
    rows = np.arange(144).reshape(6, 6, 4).transpose(2, 0, 1).reshape(-1)
    weights = network()["head"].parameters["weights"].values[rows]
    made = case(network(), network().with_parameters("head", weights=weights))
    (suspect,) = examine(made)
    assert (suspect.cause, suspect.target, suspect.actual) == ("flatten_order", "head", [0, 3, 1, 2])
    assert_same_answers(cured(made, [suspect]), network())


def test_a_node_that_moved_before_the_first_weights_is_told_once_and_not_as_a_fault_of_the_input() -> None:
    scale = network()["scale"]
    target = network().without("scale").with_inserted(replace(scale, inputs=("picture",)), ("conv1",))
    for apart in ((), ("scale",)):
        made = case(network(), target, apart)
        assert input_analyzer.examine(made) == []
        (suspect,) = examine(made)
        assert suspect.cause == "misplaced_node"
        assert_same_answers(cured(made, [suspect]), network())


def test_other_weights_are_no_fault_of_flattening() -> None:
    weights = network()["head"].parameters["weights"].values
    assert examine(case(network(), network().with_parameters("head", weights=weights[::-1].copy()))) == []


def permuted(graph: Graph) -> tuple[Graph, tuple[Match, ...]]:
    """The channels of conv2 and scale in another order, which the target's own layers go by."""
    order = (2, 0, 3, 1)
    conv, scale = graph["conv2"].parameters, graph["scale"].parameters
    graph = graph.with_parameters(
        "conv2", weights=conv["weights"].values[..., order], bias=conv["bias"].values[list(order)]
    )
    graph = graph.with_parameters("scale", **{n: scale[n].values[list(order)] for n in ("scale", "shift")})
    matches = [Match(item.id, item.id, order=order if item.id in {"conv2", "scale"} else None) for item in graph]
    return graph, tuple(matches)


def sequence() -> Graph:
    """A network without branches in which channels can be permuted: conv2 → scale → tanh → head."""
    graph = network()
    graph = pruned(replace(graph, outputs=("scale",)))
    relu = layer("relu", "clip", "scale", **RELU)
    mean = layer("features", "mean", "relu", (1, 4), axes=(1, 2), keepdims=False)
    return replace(graph, layers=(*graph.layers, relu, mean, dense("head", "features", 4, 5)), outputs=("head",))


@pytest.mark.parametrize("lost", ["relu", "scale"])
def test_copies_follow_the_targets_order_of_channels(lost: str) -> None:
    source = sequence()
    target, matches = permuted(source)
    order = (2, 0, 3, 1)
    target = target.with_parameters("head", weights=source["head"].parameters["weights"].values[list(order)])
    behind = {"conv2", "scale", "relu", "features"}
    matches = tuple(replace(match, order=order if match.source in behind else None) for match in matches)
    assert_same_answers(target, source)
    assert examine(case(source, target, matches=matches)) == []
    matches = tuple(match for match in matches if match.source != lost)
    made = case(source, target.without(lost), matches=matches)
    (suspect,) = examine(made)
    assert (suspect.cause, suspect.source) == ("missing_node", lost)
    assert_same_answers(cured(made, [suspect]), source)


def test_simple_faults_have_simple_cures() -> None:
    found: dict[str, type[Edit]] = {}
    for name, (plant, _, _, _, apart) in FAULTS.items():
        (suspect,) = examine(case(network(), plant(network()), apart))
        found[name] = type(suspect.edit)
    assert found["lost activation"] is Insert
    assert found["lost softmax"] is Insert
    assert found["superfluous activation"] is Remove
    assert found["product for sum"] is Substitute
    assert found["outputs swapped"] is SetOutputs


def one_of(draw: some.DrawFn, graph: Graph, *kinds: str) -> Layer | None:
    names = [item.id for item in graph if item.kind in kinds]
    return graph[draw(some.sampled_from(names))] if names else None


SAME_SHAPE = ("clip", "average_pool", "max_pool", "affine", "sigmoid", "tanh", "negative")


def plant_loss(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    lost = one_of(draw, graph, *SAME_SHAPE, "softmax", "add", "subtract")
    return graph if lost is None else graph.without(lost.id)


def plant_extra(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    before = graph[draw(some.sampled_from([item.id for item in graph]))]
    kind = draw(some.sampled_from(["negative", "tanh", "square"]))
    readers = sorted(set(graph.readers[before.id]))
    chosen = draw(some.sampled_from([None, *([name] for name in readers)]))
    return inserted(f"extra {number}", kind, before.id, chosen)(graph)


def plant_operator(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    chosen = one_of(draw, graph, "clip", "sigmoid", "tanh", "add", "subtract")
    if chosen is None:
        return graph
    kind = draw(some.sampled_from(["multiply", "maximum"] if len(chosen.inputs) > 1 else ["negative", "erf"]))
    return graph.with_layer(replace(chosen, kind=kind, hyperparameters={}))


def plant_wire(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    chosen = graph[draw(some.sampled_from([item.id for item in graph if item.inputs]))]
    slot = draw(some.integers(0, len(chosen.inputs) - 1))
    shape, position = graph[chosen.inputs[slot]].shape, graph.position(chosen.id)
    others = [item.id for item in graph.layers[:position] if item.shape == shape]
    name = draw(some.sampled_from(others))
    return graph.with_inputs(chosen.id, (*chosen.inputs[:slot], name, *chosen.inputs[slot + 1 :]))


def plant_swap(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    chosen = one_of(draw, graph, "concat", "subtract", "add")
    return graph if chosen is None else swapped(chosen.id)(graph)


def plant_outputs(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    names = draw(some.permutations(graph.outputs))
    more = draw(some.lists(some.sampled_from([item.id for item in graph]), max_size=1))
    return replace(graph, outputs=tuple(names[: draw(some.integers(1, 2))] + more))


def plant_move(draw: some.DrawFn, graph: Graph, number: int) -> Graph:
    moved = one_of(draw, graph, *SAME_SHAPE)
    if moved is None:
        return graph
    without = graph.without(moved.id)
    before = draw(some.sampled_from([item.id for item in without if item.shape == moved.shape]))
    return without.with_inserted(replace(moved, inputs=(before,)))


PLANTS = (plant_loss, plant_extra, plant_operator, plant_wire, plant_swap, plant_outputs, plant_move)


class Planted:
    """No dataclass: hypothesis would print every weight of it."""

    def __init__(self, target: Graph, apart: tuple[str, ...]) -> None:
        self.target, self.apart = target, apart

    def __repr__(self) -> str:
        changed = [
            f"{item}" for item in self.target if item.id not in network() or str(item) != str(network()[item.id])
        ]
        lost = [item.id for item in network() if item.id not in self.target]
        return f"changed {changed}, lost {lost}, outputs {self.target.outputs}, apart {self.apart}"


@some.composite
def faulty(draw: some.DrawFn) -> Planted:
    """The network with one to three faults, and the layers that the alignment shall not know."""
    graph = network()
    for number in range(draw(some.integers(1, 3))):
        graph = draw(some.sampled_from(PLANTS))(draw, graph, number)
    graph = pruned(graph)
    touched = [item.id for item in graph if item.id in network() and not _untouched(item, network()[item.id])]
    apart = draw(some.lists(some.sampled_from(touched), unique=True)) if touched else []
    return Planted(graph, tuple(apart))


def _untouched(item: Layer, other: Layer) -> bool:
    return (item.kind, item.inputs) == (other.kind, other.inputs)


@given(planted=faulty(), random=some.randoms())
def test_all_cures_together_make_the_target_answer_as_the_source(planted: Planted, random: Any) -> None:
    made = case(network(), planted.target, planted.apart)
    suspects = [*examine(made), *input_analyzer.examine(made)]  # what lies before the first layers is the input's
    random.shuffle(suspects)
    assert_same_answers(cured(made, suspects), network())


@given(planted=faulty())
def test_what_an_edit_says_to_change_is_enough_to_compute_again(planted: Planted) -> None:
    target, made = planted.target, case(network(), planted.target, planted.apart)
    values = evaluate.run(target, {"picture": PICTURES}, tuple(item.id for item in target))
    for suspect in examine(made):
        assert suspect.edit is not None
        edited = suspect.edit.apply(target)
        resumed = evaluate.resume(edited, values, set(suspect.edit.changed))
        for name, expected in zip(edited.outputs, answers(edited), strict=True):
            np.testing.assert_allclose(resumed[name], expected, rtol=1e-5, atol=1e-5)


@given(planted=faulty())
def test_each_suspect_names_layers_that_are_there(planted: Planted) -> None:
    target = planted.target
    for suspect in examine(case(network(), target, planted.apart)):
        assert suspect.cause in CAUSES
        assert suspect.source is None or suspect.source in network()
        assert suspect.target is None or suspect.target in target
        assert suspect.source is not None or suspect.target is not None
