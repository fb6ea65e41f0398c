"""Edited copies of a graph that run together answer as each of them does alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfault.errors import ConvfaultError
from convfault.relax import evaluate, variants
from convfault.relax.edits import Edit, Insert, Remove, Rewire, SetHyperparameters, SetParameters, Substitute
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.imported import Encoding
from convfault.relax.variants import changed, resume_each
from tests.relax.drafts import Sketch, values

AT_RUN_TIME = Encoding("", "int16", (), (), 0, constant=False)
BORDER = ((1, 1), (1, 1))


@cache
def network() -> Graph:
    """Branches, constants, a gate, a rounding found at run time, and layers that look at all pictures at once."""
    sketch, picture, pair = Sketch(), (1, 6, 5, 8), (1, 6, 5, 16)
    first = sketch.layer("clip", sketch.convolution(sketch.source), picture, minimum=0.0, maximum=6.0)
    window = {"size": (3, 3), "strides": (1, 1), "padding": BORDER, "dilation": (1, 1)}
    pooled = sketch.layer("max_pool", first, picture, **window)
    joined = sketch.layer("concat", (sketch.convolution(first), pooled), pair, axis=3)
    shifted = sketch.layer("add", (joined, sketch.constant(values(1, 1, 1, 16))), pair)
    mean = sketch.layer("mean", shifted, (1, 1, 1, 16), axes=(1, 2), keepdims=True)
    gated = sketch.layer("multiply", (shifted, sketch.layer("sigmoid", mean, (1, 1, 1, 16))), pair)
    last = sketch.convolution(gated)
    turned = sketch.layer("transpose", sketch.layer("softmax", last, picture, axis=0), (8, 6, 5, 1), order=(3, 1, 2, 0))
    strange = sketch.layer("opaque", turned, (1, 3), operator="Strange", output=0)
    graph = sketch.graph_of(last, turned, sketch.layer("add", (strange, sketch.constant(values(3))), (1, 3)))
    return graph.with_layer(replace(graph["multiply_1"], rounding=AT_RUN_TIME))


@cache
def edits() -> tuple[Edit, ...]:
    """Of numbers and of wiring, some of which leave a graph that cannot be computed."""
    graph = network()
    kernels = {name: graph[name].parameters["weights"].values.shape for name in convolutions(graph)}
    return (
        *(SetParameters(name, {"bias": values(8)}) for name in kernels),
        *(SetParameters(name, {"weights": values(*shape)}) for name, shape in kernels.items()),
        SetParameters("constant_1", {"values": values(1, 1, 1, 16)}),
        SetParameters("constant_2", {"values": values(3)}),
        SetHyperparameters("clip_1", {"maximum": 1.0}),
        SetHyperparameters("softmax_1", {"axis": 3}),
        SetHyperparameters("max_pool_1", {"padding": ((0, 0), (0, 0))}),  # smaller than what it is joined with
        SetHyperparameters("concat_1", {"axis": 0}),  # fewer channels than the constant behind it
        Substitute(replace(graph["clip_1"], kind="tanh", hyperparameters={})),
        Insert(Layer("extra", "negative", ("concat_1",), (1, 6, 5, 16))),
        Remove("sigmoid_1", ("multiply_1",)),
        Rewire("max_pool_1", ("convolution_1",)),
        Rewire("concat_1", ("max_pool_1", "convolution_2")),
    )


def convolutions(graph: Graph) -> list[str]:
    return [layer.id for layer in graph if layer.kind == "convolution"]


def all_values(pictures: int) -> dict[str, Array]:
    graph, drawn = network(), np.random.default_rng(1)
    feeds = {"input_1": (pictures, 6, 5, 4), "opaque_1": (pictures, 3)}
    given_values = {name: drawn.standard_normal(shape).astype(np.float32) for name, shape in feeds.items()}
    return evaluate.resume(graph, given_values, set(feeds), [layer.id for layer in graph])


def copy_with(chosen: Sequence[int]) -> Graph:
    graph = network()
    for number in dict.fromkeys(chosen):
        graph = edits()[number].apply(graph)
    return graph


def alone(graph: Graph, known: dict[str, Array], variant: Graph) -> dict[str, Array]:
    try:
        left = {name: value for name, value in known.items() if name in variant}
        return evaluate.resume(variant, left, changed(graph, variant), wanted(variant))
    except ConvfaultError:
        return {}


def wanted(variant: Graph) -> list[str]:
    return ["convolution_2", *(["extra"] if "extra" in variant else [])]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, len(edits()) - 1), max_size=3), max_size=12), st.integers(1, 3))
def test_together_is_as_alone(chosen: list[list[int]], pictures: int) -> None:
    graph, known = network(), all_values(pictures)
    copies = [copy_with(numbers) for numbers in chosen]
    found = dict(resume_each(graph, known, copies, wanted))
    assert sorted(found) == list(range(len(copies)))
    for number, copy in enumerate(copies):
        expected = alone(graph, known, copy)
        assert bool(found[number]) == bool(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[number][name], value, atol=5e-3 * np.abs(value).max())


@pytest.mark.parametrize("held", [True, False])
def test_values_that_are_not_at_hand_are_computed(held: bool) -> None:
    graph, known = network(), all_values(2)
    copies = [copy_with([0]), copy_with([1])]
    some = known if held else {name: known[name] for name in ("input_1", "opaque_1")}
    for number, found in resume_each(graph, some, copies, wanted):
        np.testing.assert_allclose(
            found["convolution_2"], alone(graph, known, copies[number])["convolution_2"], rtol=1e-5
        )


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each layer is computed, in a batch or alone."""
    calls: Counter[str] = Counter()
    compute = evaluate.evaluate

    def evaluated(layer: Layer, inputs: Sequence[Array]) -> Array:
        calls[layer.id] += 1
        return compute(layer, inputs)

    for module in (variants, evaluate):
        monkeypatch.setattr(module, "evaluate", evaluated)
    return calls


def test_what_edits_made_again_leave_as_it_was_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They give other layers that compute the same."""
    base, feeds = copy_with([0, 1, 2]), {"input_1", "opaque_1"}
    known = evaluate.resume(base, all_values(2), feeds, [layer.id for layer in base])
    calls = counted(monkeypatch)
    list(resume_each(base, known, [copy_with([0, 2]), copy_with([0, 1])]))
    assert calls["convolution_1"] == 0
    assert calls["convolution_3"] == 2


def test_what_copies_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known, calls = all_values(2), counted(monkeypatch)
    list(resume_each(network(), known, [copy_with([0]), copy_with([1]), copy_with([8])]))
    assert calls["convolution_3"] == 1
    assert calls["convolution_1"] == 1
    assert calls["softmax_1"] == 3


def test_an_unchanged_copy_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known, calls = all_values(1), counted(monkeypatch)
    ((_, found),) = resume_each(network(), known, [network()])
    assert not calls
    np.testing.assert_array_equal(found["convolution_3"], known["convolution_3"])
