"""Alignment: which layer of the target does what a layer of the source does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfault.localization.aligning.align import align
from convfault.localization.parameters.channels import orders
from convfault.localization.parameters.filters import reordered
from convfault.relax.graph import Graph, Layer
from tests.localization.networks import inception_network, residual_network
from tests.localization.planted import EDITS, Edit, disguised, other_reading, planted, wrong
from tests.relax.drafts import Sketch

RESIDUAL, INCEPTION = residual_network(), inception_network()


@given(st.sampled_from([RESIDUAL, INCEPTION]), st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_sound_pair_is_matched_whole_and_surely(network: Graph, seed: int) -> None:
    target, truth = disguised(network, np.random.default_rng(seed))
    alignment = align(network, target)
    assert {match.source: truth[match.target] for match in alignment.matches} == {item.id: item.id for item in network}
    assert alignment.confidence > 0.999
    assert all(match.evidence == "structure" and match.order is None for match in alignment.matches)


@given(
    st.sampled_from([RESIDUAL, INCEPTION]),
    st.lists(st.sampled_from(EDITS), min_size=1, max_size=3),
    st.integers(0, 10**6),
)
@settings(max_examples=25, deadline=None)
def test_layers_are_found_again_after_up_to_three_edits(network: Graph, edits: list[Edit], seed: int) -> None:
    random = np.random.default_rng(seed)
    made = planted(network, edits, random)
    target, truth = disguised(made.graph, random)
    alignment = align(network, target)
    missed = wrong(network, made, alignment, truth)
    # another reading with no more edits is as good; what three edits at one place leave is anybody's guess
    assert not missed or other_reading(network, target, alignment, truth) or len(missed) <= len(edits)
    assert len({match.target for match in alignment.matches}) == len(alignment.matches)
    listed = {match.source for match in alignment.matches} | set(alignment.source_only)
    assert listed == {layer.id for layer in network}


def counterpart(source: Graph, target: Graph) -> dict[str, str]:
    """Source layer → counterpart, by alignment."""
    return {match.source: match.target for match in align(source, target).matches}


def identity(graph: Graph) -> dict[str, str]:
    return {layer.id: layer.id for layer in graph}


def test_a_wrong_operator_is_matched_by_its_place_and_less_surely() -> None:
    pool = next(layer for layer in INCEPTION if layer.kind == "average_pool")
    alignment = align(INCEPTION, INCEPTION.with_layer(replace(pool, kind="max_pool")))
    match = alignment.to_target[pool.id]
    assert (match.target, match.evidence) == (pool.id, "position")
    assert match.confidence < 0.7
    assert all(other.confidence > 0.95 for other in alignment.matches if other.source != pool.id)


def test_layers_of_unrelated_kinds_at_different_places_are_not_matched() -> None:
    clips = [layer for layer in RESIDUAL if layer.kind == "clip"]
    target = RESIDUAL.without(clips[3].id)
    source = clips[-4]
    added = Layer("added", "transpose", (source.id,), source.shape, hyperparameters={"order": (0, 2, 1, 3)})
    alignment = align(RESIDUAL, target.with_inserted(added))
    assert alignment.source_only == (clips[3].id,)
    assert alignment.target_only == ("added",)


def test_swapped_weights_do_not_move_a_layer() -> None:
    first, second = [layer for layer in RESIDUAL if layer.kind == "convolution"][5:12:3][:2]
    assert first.shape == second.shape
    target = RESIDUAL.with_layer(replace(first, parameters=second.parameters))
    target = target.with_layer(replace(second, parameters=first.parameters))
    assert counterpart(RESIDUAL, target) == identity(RESIDUAL)


def test_swapped_branches_of_a_concat_are_told_by_their_weights() -> None:
    sketch = Sketch(1, 6, 6, 4)
    branches = [sketch.convolution(sketch.source, 8, 3) for _ in range(3)]
    joined = sketch.layer("concat", branches, (1, 6, 6, 24), axis=3)
    source = sketch.ending(joined)
    assert counterpart(source, source.with_inputs(joined, (branches[1], branches[0], branches[2]))) == identity(source)


def test_parameters_that_are_all_broken_leave_the_structure() -> None:
    target = RESIDUAL
    for layer in RESIDUAL:
        target = target.with_parameters(layer.id, **{n: p.values * np.nan for n, p in layer.parameters.items()})
    alignment = align(RESIDUAL, target)
    assert {match.source: match.target for match in alignment.matches} == identity(RESIDUAL)
    assert alignment.confidence < align(RESIDUAL, RESIDUAL).confidence


def test_a_block_missing_among_equal_ones_is_told_by_its_neighbours_weights() -> None:
    sums = [layer.id for layer in RESIDUAL if layer.kind == "add"]
    gone = {layer.id for layer in RESIDUAL} & _between(RESIDUAL, sums[3], sums[4])
    skipped = RESIDUAL.readers[sums[4]][0]
    before = RESIDUAL.readers[sums[3]][0]
    layers = tuple(
        replace(item, inputs=tuple(before if name == skipped else name for name in item.inputs))
        for item in RESIDUAL
        if item.id not in gone | {sums[4], skipped}
    )
    alignment = align(RESIDUAL, replace(RESIDUAL, layers=layers))
    found = {match.source: match.target for match in alignment.matches}
    sure = {name: name for name in identity(RESIDUAL) if RESIDUAL[name].parameters and name not in gone}
    assert sure.items() <= found.items()
    assert not alignment.target_only


def test_values_tell_which_of_two_equal_layers_is_missing() -> None:
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source, 4, 3)
    second = sketch.layer("sigmoid", first, (1, 6, 6, 4))
    third = sketch.layer("sigmoid", sketch.convolution(second, 4, 3), (1, 6, 6, 4))
    fourth = sketch.layer("softmax", third, (1, 6, 6, 4), axis=3)
    source = sketch.ending(fourth)
    shortened = source.with_inputs(third, (first,)).without(second)
    inner = {layer.id for layer in source} - {second, "convolution~3"}
    target = replace(shortened, layers=tuple(layer for layer in shortened if layer.id in inner - {third}))
    target = replace(target, layers=(*target.layers[:-1], replace(source[third], inputs=(first,)), target.layers[-1]))
    target = target.with_inputs(fourth, (third,))
    random = np.random.default_rng(2)
    native = {layer.id: random.standard_normal((2, *layer.shape[1:])) for layer in source}
    copied = {layer.id: native[layer.id] for layer in target} | {third: native[second]}
    values = native, copied
    match = next(m for m in align(source, target, *values).matches if m.target == third)
    assert match.source == second  # the activation behind the same convolution, though it bears the other's name


def _between(graph: Graph, first: str, last: str) -> set[str]:
    behind = graph.descendants({first})
    before = {last}
    for layer in reversed(graph.layers):
        if layer.id in before:
            before.update(layer.inputs)
    through = graph.readers[first][0]
    return (behind & before) - {first, last, through}


def test_permuted_filters_are_matched_with_their_order() -> None:
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source, 8, 3)
    active = sketch.layer("sigmoid", first, (1, 6, 6, 8))
    second = sketch.convolution(active, 6, 3)
    source = sketch.ending(second)
    order = np.random.default_rng(1).permutation(8)
    parameters = {name: item.values[..., order] for name, item in source[first].parameters.items()}
    weights = source[second].parameters["weights"].values[:, :, order]
    target = source.with_parameters(first, **parameters).with_parameters(second, weights=weights)
    matches = align(source, target).to_target
    assert matches[first].order == matches[active].order == tuple(order.tolist())
    assert matches[second].order is None
    assert min(match.confidence for match in matches.values()) > 0.9


def test_a_function_written_as_several_operators_leaves_the_rest_matched() -> None:
    def network(spelled: bool) -> tuple[Graph, list[str]]:
        sketch, linear, last = Sketch(1, 6, 6, 8), [], "input~0"
        random = np.random.default_rng(4)
        last = sketch.source
        for _ in range(6):
            last = sketch.convolution(last, 8, 3)
            weights = random.standard_normal((3, 3, 8, 8)).astype(np.float32)
            parts = sketch.layers[last].parameters
            layer = replace(sketch.layers[last], parameters={**parts, "weights": parts["weights"].with_values(weights)})
            sketch.layers[last] = layer
            linear.append(last)
            last = _gelu(sketch, last) if spelled else sketch.layer("gelu", last, (1, 6, 6, 8))
        return sketch.ending(last), linear

    (source, expected), (target, found) = network(False), network(True)
    for left, right in ((source, target), (target, source)):
        pairs = counterpart(left, right)
        names = (expected, found) if left is source else (found, expected)
        assert [pairs.get(name) for name in names[0]] == names[1]


def _gelu(sketch: Sketch, source: str) -> str:
    shape = sketch.layers[source].shape
    scaled = sketch.affine(source, 0.7071, 0.0)
    error = sketch.layer("erf", scaled, shape)
    half = sketch.affine(error, 0.5, 0.5)
    return sketch.layer("multiply", (source, half), shape)


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_graphs_and_foreign_graphs_are_no_error(count: int) -> None:
    sketch = Sketch(1, 4, 4, 2)
    last = sketch.layer("sigmoid", sketch.source, (1, 4, 4, 2)) if count else sketch.source
    tiny = sketch.ending(last)
    assert counterpart(tiny, tiny) == identity(tiny)
    assert align(tiny, INCEPTION).confidence < 0.3
    assert align(Graph((), (), ()), tiny).target_only == tuple(layer.id for layer in tiny)


@pytest.mark.parametrize("side", [1, 2])
def test_an_order_of_channels_goes_through_a_reshape_that_flattens(side: int) -> None:
    sketch = Sketch(1, side, side, 4)
    flat = sketch.layer("reshape", sketch.convolution(sketch.source, filters=8), (1, 8 * side * side))
    graph = sketch.graph_of(flat)
    rolled = (7, *range(7))
    found = orders(graph, graph, {layer.id: layer.id for layer in graph}, {"convolution_1": rolled})
    assert found["reshape_1"] == tuple(8 * pixel + place for pixel in range(side * side) for place in rolled)


def rolled_filters(graph: Graph, follow: bool, order: tuple[int, ...] = (7, *range(7))) -> Graph:
    """The first convolution's filters in another order, and where ``follow`` the second reads them so."""
    first, second = (graph[name].parameters for name in ("convolution_1", "convolution_2"))
    target = graph.with_parameters("convolution_1", **{name: item.values[..., order] for name, item in first.items()})
    if not follow:
        return target
    own = order if graph["convolution_2"]["groups"] == len(order) else None
    weights = reordered(graph["convolution_2"], second["weights"].values, order, own)
    bias = second["bias"].values if own is None else second["bias"].values[list(own)]
    return target.with_parameters("convolution_2", weights=weights, bias=bias)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_filters_in_another_order_are_a_fault_where_the_layer_behind_does_not_follow(groups: int) -> None:
    sketch = Sketch(1, 8, 8, 4)
    first = sketch.layer("clip", sketch.convolution(sketch.source), (1, 8, 8, 8), minimum=0.0, maximum=6.0)
    second = sketch.convolution(first, groups=groups)
    graph = sketch.graph_of(sketch.layer("mean", second, (1, 1, 1, 8), axes=(1, 2), keepdims=True))
    order = (7, *range(7)) if groups == 1 else (1, 0, 3, 2, 5, 4, 7, 6)
    targets = [rolled_filters(graph, follow, order) for follow in (True, False)]
    followed = [align(graph, target).to_target["convolution_1"] for target in targets]
    assert [match.order for match in followed] == [order, None]


@pytest.mark.parametrize("ending", ["scores", "picture", "shuffled"])
def test_filters_in_another_order_are_a_fault_where_only_places_tell_the_channels_apart(ending: str) -> None:
    sketch = Sketch(1, 4, 4, 4)
    last = sketch.convolution(sketch.source)
    if ending == "scores":  # of classes in another order
        last = sketch.layer("mean", last, (1, 1, 1, 8), axes=(1, 2), keepdims=True)
    elif ending == "shuffled":
        last = sketch.layer("reshape", last, (1, 4, 4, 2, 4))
    graph = sketch.graph_of(last)
    rolled = (7, *range(7))
    parameters = graph["convolution_1"].parameters
    moved = {name: item.values[..., rolled] for name, item in parameters.items()}
    match = align(graph, graph.with_parameters("convolution_1", **moved)).to_target["convolution_1"]
    assert match.order == (rolled if ending == "scores" else None)


@pytest.mark.parametrize("follow", [True, False])
def test_constants_in_another_order_are_a_fault_beside_channels_that_stand_as_they_did(follow: bool) -> None:
    """Anchors whose width and height are swapped, multiplied with what a layer computes."""
    sketch = Sketch(1, 4, 4, 4)
    first = sketch.convolution(sketch.source)
    numbers = np.random.default_rng(2).standard_normal((1, 4, 1, 8))
    graph = sketch.graph_of(sketch.layer("multiply", (first, sketch.constant(numbers)), (1, 4, 4, 8)))
    rolled = (7, *range(7))
    target = graph.with_parameters("constant_1", values=numbers.astype(np.float32)[..., rolled])
    if follow:
        parameters = graph["convolution_1"].parameters
        moved = {name: item.values[..., rolled] for name, item in parameters.items()}
        target = target.with_parameters("convolution_1", **moved)
        ends = [mean_of(each) for each in (graph, target)]
        assert align(*ends).to_target["constant_1"].order == rolled
    else:
        assert align(graph, target).to_target["constant_1"].order is None


def mean_of(graph: Graph) -> Graph:
    """With scores at the end, which may come in any order."""
    (last,) = graph.outputs
    shape, axes = (1, 1, 1, graph[last].shape[-1]), {"axes": (1, 2), "keepdims": True}
    mean = Layer("mean", "mean", (last,), shape, "float32", axes)
    return replace(graph, layers=(*graph.layers, mean), outputs=("mean",))
