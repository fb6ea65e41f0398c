"""Small graphs for the tests of rules: layers put together by hand, with values that tell every axis apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convfault.relax import evaluate
from convfault.relax.canonical import normalized
from convfault.relax.draft import Draft, Rule, apply
from convfault.relax.graph import Graph, Layer, Native, Parameter

DRAWN = np.random.default_rng(3)


def values(*shape: int) -> np.ndarray:
    return DRAWN.standard_normal(shape).astype(np.float32)


class Sketch(Draft):
    """A draft that starts with one picture input and grows by one call a layer.

    What is drawn after it was begun is the same each time, whichever tests ran before.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        DRAWN.bit_generator.state = np.random.default_rng(3).bit_generator.state
        self.source = self.add("input", (), shape or (1, 6, 5, 4), native=Native("picture")).id
        self.inputs = [self.source]

    def layer(self, kind: str, inputs: Sequence[str] | str, shape: Sequence[int], **hyperparameters: Any) -> str:
        names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        return self.add(kind, names, shape, hyperparameters, native=Native(f"{kind}:0")).id

    def constant(self, array: Any, name: str = "weights") -> str:
        array = np.asarray(array, np.float32)
        return self.add("constant", (), array.shape, {}, {"values": Parameter(array, (name,))}).id

    def affine(self, source: str, scale: Any, shift: Any) -> str:
        shape = self.layers[source].shape
        parts = {
            name: Parameter(np.broadcast_to(np.asarray(v, np.float32), shape[-1:]), (name,))
            for name, v in (("scale", scale), ("shift", shift))
        }
        return self.add("affine", (source,), shape, {}, parts).id

    def convolution(self, source: str, filters: int = 8, size: int = 3, groups: int = 1, **changes: Any) -> str:
        count, height, width, depth = self.layers[source].shape
        window = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": groups} | changes
        sides = [
            (side + sum(window["padding"][axis]) - size) // window["strides"][axis] + 1
            for axis, side in enumerate((height, width))
        ]
        parts = {
            "weights": Parameter(values(size, size, depth // groups, filters), ("kernel",)),
            "bias": Parameter(values(filters), ("bias",)),
        }
        return self.add("convolution", (source,), (count, *sides, filters), window, parts).id

    def ending(self, *outputs: str) -> Graph:
        self.outputs = list(outputs)
        return Graph(tuple(self.layers.values()), tuple(self.inputs), tuple(self.outputs))

    def graph_of(self, *outputs: str) -> Graph:
        """As ``ending``, with layers numbered by kind."""
        self.outputs = list(outputs)
        return self.graph()


def answers(graph: Graph) -> list[np.ndarray]:
    """The outputs for the same random picture, flattened."""
    given = np.random.default_rng(5)
    feeds = {}
    for name in graph.inputs:
        order = graph[name].hyperparameters.get("permutation")
        shape = graph[name].shape
        if order is None:
            feeds[name] = given.standard_normal(shape).astype(np.float32)
        else:
            native = given.standard_normal([shape[order.index(axis)] for axis in range(len(order))]).astype(np.float32)
            feeds[name] = native.transpose(order)
    results = evaluate.run(graph, feeds)
    return [np.sort(results[name].reshape(-1)) for name in graph.outputs]


def after(graph: Graph, *rules: Rule) -> Graph:
    """The graph after these rules only."""
    draft = Draft.of(graph)
    apply(draft, rules)
    return draft.graph()


def simplified(graph: Graph) -> Graph:
    """The normal form, checked to answer as the graph does."""
    result = normalized(graph)
    for before, behind in zip(answers(graph), answers(result), strict=True):
        np.testing.assert_allclose(behind, before, rtol=1e-4, atol=1e-4)
    return result


def kinds(graph: Graph) -> list[str]:
    return [layer.kind for layer in graph if layer.kind != "input"]


def only(graph: Graph, kind: str) -> Layer:
    """The one layer of a kind."""
    (found,) = [layer for layer in graph if layer.kind == kind]
    return found
