"""The graph rounds to half precision where the runtime does, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convfault.localization.half import as_run
from convfault.relax.graph import Graph
from convfault.relax.imported import Encoding
from convfault.relax.rounding import as_stored
from tests.localization.pairs import case_of, network

PLACES = ("none", "ends", "outputs", "all")


def halved(graph: Graph) -> Graph:
    tensors = [str(layer.native.tensor) for layer in graph]
    return as_stored(replace(graph, encodings={t: Encoding(t, "float16", (1.0,), (0,), 0, False) for t in tensors}))


def rounding(graph: Graph, places: str) -> Graph:
    """With the roundings of some layers only."""
    kept = {"none": (), "outputs": graph.outputs, "ends": (*graph.inputs, *graph.outputs)}.get(places)
    if kept is None:
        return graph
    return replace(graph, layers=tuple(layer if layer.id in kept else replace(layer, rounding=None) for layer in graph))


@pytest.mark.parametrize("places", PLACES)
def test_the_roundings_are_those_of_the_run(places: str) -> None:
    stored = halved(network())
    subject = case_of(stored, stored).target
    really = replace(subject, graph=rounding(stored, places))
    found = as_run(subject, [really.values[name] for name in stored.outputs])
    kept = {layer.id for layer in found.graph if layer.rounding is not None}
    assert kept == {layer.id for layer in really.graph if layer.rounding is not None}


def test_a_model_in_single_precision_is_left_alone() -> None:
    subject = case_of(network(), network()).target
    assert as_run(subject, [np.zeros(1)]) is subject


def test_integers_are_rounded_whatever_the_run_gives() -> None:
    graph = network()
    tensor = str(graph[graph.outputs[0]].native.tensor)
    stored = as_stored(replace(graph, encodings={tensor: Encoding(tensor, "int8", (0.1,), (0,), 0, False)}))
    subject = case_of(stored, stored).target
    exact = replace(subject, graph=graph)
    assert as_run(subject, [exact.values[name] for name in graph.outputs]) is subject
