"""The tiny network in every format has one normal form, and it answers as the native runtime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.fingerprint import paired
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from tests import tiny

FORMATS = ("torch", "keras", "saved_model", "frozen_graph", "tflite", "onnx")
KINDS = ["convolution", "clip", "convolution", "clip", "convolution", "clip", "mean", "reshape", "dense", "softmax"]


@pytest.fixture(scope="module")
def graphs(request: pytest.FixtureRequest) -> dict[str, Graph]:
    paths = {name: request.getfixturevalue(f"tiny_{name}") for name in FORMATS}
    return {name: canonical(import_model(Model.from_path(str(path)))) for name, path in paths.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_layers(graphs: dict[str, Graph], name: str) -> None:
    assert [layer.kind for layer in graphs[name]][1:] == KINDS


@pytest.mark.parametrize("name", FORMATS)
def test_every_layer_has_its_equal_in_the_keras_model(graphs: dict[str, Graph], name: str) -> None:
    pairs = paired(graphs["keras"], graphs[name])
    assert len(pairs) == len(graphs["keras"])
    assert max(pair.distance for pair in pairs) < 1e-5


@pytest.mark.parametrize("name", FORMATS)
def test_the_normal_form_answers_like_the_model(graphs: dict[str, Graph], name: str) -> None:
    graph = graphs[name]
    pictures = tiny.pictures(4, layout=graph.layout)
    expected = np.asarray(tiny.keras_network()(tiny.pictures(4), training=False))
    result = evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): pictures})
    np.testing.assert_allclose(result[graph.outputs[0]], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weights", "layer"),
    [
        ("torch", "features.0.0.weight", "features.0.2"),
        ("keras", "stem/kernel", "stem_relu"),
        ("onnx", "features.0.0.weight", None),
    ],
)
def test_native_names_come_along(graphs: dict[str, Graph], name: str, weights: str, layer: str | None) -> None:
    graph = graphs[name]
    convolution = next(item for item in graph if item.kind == "convolution")
    assert weights in convolution.parameters["weights"].native
    assert convolution in graph.by_native(weights)
    if layer is not None:
        assert next(item for item in graph if item.kind == "clip").native.tensor == layer


def test_a_changed_weight_is_the_only_difference(graphs: dict[str, Graph]) -> None:
    source = graphs["keras"]
    layer = [item for item in source if item.kind == "convolution"][1]
    weights = layer.parameters["weights"].values.copy()
    weights[0, 0, 0, 0] += 1
    pairs = paired(source, source.with_parameters(layer.id, weights=weights))
    assert [pair.source.id for pair in pairs if pair.distance > 1e-5] == [layer.id]


def test_a_changed_hyperparameter_separates_the_structures(graphs: dict[str, Graph]) -> None:
    source = graphs["keras"]
    changed = source.with_hyperparameters("clip_1", maximum=7.0)
    assert len(paired(source, changed)) < len(source)


@pytest.mark.parametrize("quantization", ["dynamic", "float16", "int8"])
def test_a_quantized_model_has_the_same_structure_and_says_its_encodings(
    graphs: dict[str, Graph], tmp_path: Path, quantization: str
) -> None:
    path = tiny.tflite_model(tmp_path, quantization)
    graph = canonical(import_model(Model.from_path(str(path))))
    pairs = paired(graphs["keras"], graph)
    assert len(pairs) == len(graphs["keras"])
    assert 1e-5 < max(pair.distance for pair in pairs) < 0.1
    expected = {"dynamic": "int8", "float16": "float16", "int8": "int8"}[quantization]
    assert expected in {encoding.dtype for encoding in graph.encodings.values() if encoding.constant}
