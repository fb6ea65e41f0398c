"""A graph in a folder is the graph that was put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convfault.relax import store
from convfault.relax.graph import Graph, Native
from convfault.relax.imported import Encoding, Origin
from tests.relax.drafts import Sketch


@pytest.fixture
def graph() -> Graph:
    sketch = Sketch()
    picture = sketch.convolution(sketch.source)
    clip = sketch.layer("clip", picture, sketch.layers[picture].shape, minimum=0.0, maximum=np.inf)
    return sketch.graph_of(clip)


def test_everything_comes_back(graph: Graph, tmp_path: Path) -> None:
    graph = graph.with_hyperparameters("clip_1", minimum=np.float32(0.5))
    store.write(graph, tmp_path)
    again = store.read(tmp_path)
    assert [repr(layer) for layer in again] == [repr(layer) for layer in graph]
    assert (again.inputs, again.outputs, again.layout) == (graph.inputs, graph.outputs, graph.layout)
    for layer in graph:
        assert again[layer.id].native == layer.native
        for name, parameter in layer.parameters.items():
            np.testing.assert_array_equal(again[layer.id].parameters[name].values, parameter.values)
            assert again[layer.id].parameters[name].native == parameter.native


def test_natives_and_encodings_come_back(graph: Graph, tmp_path: Path) -> None:
    from dataclasses import replace

    origin = Origin("conv", "Conv2D", ("model.layer", "file.py:3"))
    layer = replace(graph["convolution_1"], native=Native("t", (0, 3, 1, 2), (origin,)), details={"epsilon": 1e-3})
    encodings = {"kernel": Encoding("kernel", "int8", (0.5, 0.25), (0, 0), 3, True)}
    graph = replace(graph.with_layer(layer), encodings=encodings)
    store.write(graph, tmp_path)
    again = store.read(tmp_path)
    assert again["convolution_1"].native == layer.native
    assert again["convolution_1"].details == {"epsilon": 1e-3}
    assert again.encodings == encodings


def test_the_tensors_to_capture_are_those_of_computed_layers(graph: Graph, tmp_path: Path) -> None:
    store.write(graph, tmp_path)
    assert store.tensors(tmp_path) == ("clip:0",)
