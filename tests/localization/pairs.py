"""Pairs of graphs for the tests of analyzers: a source, and a target that is an edited copy of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convfault.comparison import DIFFER, Comparison
from convfault.localization.aligning.alignment import Alignment, Match
from convfault.localization.case import Case, Subject
from convfault.localization.suspect import Suspect
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Parameter
from tests.localization.wirings import Tensors
from tests.relax.drafts import Sketch


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float32 values, the same for the same arguments."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def case_of(source: Graph, target: Graph, framework: str = "onnx", orders: dict[str, Any] | None = None) -> Case:
    """A case whose layers of equal id are matched; ``orders`` of channels by id."""
    formats = {"tf": "saved_model", "torch": "pt2"}
    subjects = [
        Subject(
            Model("model", formats.get(name, name)),
            graph,
            {"picture": drawn(2, *graph[graph.inputs[0]].shape[1:])},
            Tensors(),  # type: ignore[arg-type]
        )
        for name, graph in ((framework, source), ("onnx", target))
    ]
    orders = orders or {}
    ids = [layer.id for layer in source if layer.id in target]
    alignment = Alignment(
        tuple(Match(name, name, order=orders.get(name)) for name in ids),
        tuple(layer.id for layer in source if layer.id not in target),
        tuple(layer.id for layer in target if layer.id not in source),
    )
    return Case(subjects[0], subjects[1], alignment, Comparison(DIFFER), ("a", "b"), 1e-5)


def network(groups: int = 1, size: int = 3, filters: int = 8, before: int = 8) -> Graph:
    """Two convolutions with a clip between, the second the one that tests damage: its id is ``convolution_2``."""
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source, filters=before)
    clip = sketch.layer("clip", first, sketch.layers[first].shape, minimum=0.0, maximum=np.inf)
    second = sketch.convolution(clip, filters=filters, size=size, groups=groups)
    graph = sketch.graph_of(second)
    names = {"weights": Parameter(drawn(size, size, before // groups, filters), ("kernel",))}
    names["bias"] = Parameter(drawn(filters, seed=1), ("bias",))
    graph = graph.with_parameters("convolution_1", weights=drawn(3, 3, 4, before), bias=drawn(before, seed=2))
    return graph.with_layer(replace(graph["convolution_2"], parameters=names))


def weights(graph: Graph, name: str = "weights", layer: str = "convolution_2") -> np.ndarray:
    return graph[layer].parameters[name].values


def cured(case: Case, suspects: list[Suspect]) -> bool:
    """Whether all edits together make the target answer as the source does."""
    graph = case.target.graph
    for suspect in suspects:
        assert suspect.edit is not None
        graph = suspect.edit.apply(graph)
    start = dict(case.source.start)
    expected = evaluate.run(case.source.graph, start)
    actual = evaluate.run(graph, start)
    return all(
        np.allclose(expected[a], actual[b], rtol=1e-4, atol=1e-4)
        for a, b in zip(case.source.graph.outputs, graph.outputs, strict=True)
    )
