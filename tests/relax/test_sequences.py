"""Windows along sequences are those of pictures of one row, in every framework, and answer as the framework does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.fingerprint import paired
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from tests.relax.drafts import Sketch, kinds, only, simplified, values
from tests.relax.test_opaque import exported

RNG = np.random.default_rng(6)
SEQUENCE = RNG.standard_normal((1, 6, 24)).astype(np.float32)
LAST = np.ascontiguousarray(SEQUENCE.transpose(0, 2, 1))


def torch_functions() -> dict[str, Callable[[Any], Any]]:
    import torch
    from torch.nn import functional

    wide, split, back = (torch.from_numpy(values(*shape)) for shape in ((8, 6, 5), (6, 2, 3), (6, 4, 4)))
    high = wide[:, :1].repeat(1, 8, 1)
    return {
        "convolution": lambda x: functional.conv1d(x, wide, torch.ones(8), stride=2, padding=1),
        "dilated groups": lambda x: functional.conv1d(x, split, dilation=2, groups=3, padding=2).relu(),
        "transposed": lambda x: functional.conv_transpose1d(x, back, stride=2, padding=1, output_padding=1),
        "largest": lambda x: functional.max_pool1d(x, 3, 2, 1).tanh(),
        "average": lambda x: functional.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
        "whole average": lambda x: functional.adaptive_avg_pool1d(x, 1).flatten(1),
        "parts": lambda x: functional.adaptive_avg_pool1d(x, 8),
        "two in a row": lambda x: functional.conv1d(functional.pad(functional.conv1d(x, wide).relu(), (2, 0)), high),
        "joined": lambda x: torch.cat([functional.max_pool1d(x, 2), functional.avg_pool1d(x, 2)], 1),
    }  # fmt: skip


NAMES = ["convolution", "dilated groups", "transposed", "largest", "average", "whole average", "parts", "two in a row",
         "joined"]  # fmt: skip


def same(graphs: list[Graph]) -> None:
    pairs = paired(*graphs)
    assert len(pairs) == len(graphs[0]) == len(graphs[1])
    assert max(pair.distance for pair in pairs) < 1e-5


def answered(graph: Graph, feed: np.ndarray, wanted: np.ndarray) -> None:
    assert graph.unsupported == ()
    end = graph[graph.outputs[0]]
    found = evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): feed})[end.id]
    np.testing.assert_allclose(found, end.view(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_torch_and_onnx_have_one_form_and_answer_alike(name: str, tmp_path: Path) -> None:
    import torch

    function = torch_functions()[name]

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    given = torch.from_numpy(SEQUENCE)
    torch.onnx.export(Module(), (given,), str(tmp_path / "m.onnx"), dynamo=False, input_names=["x"])
    converted = import_model(Model.from_path(str(tmp_path / "m.onnx")))
    graphs = [canonical(exported(tmp_path, function, SEQUENCE)), canonical(converted)]
    wanted = function(given).numpy()
    for graph in graphs:
        answered(graph, SEQUENCE, wanted)
        assert not [layer.kind for layer in graph if "1d" in layer.kind]
    same(graphs)


def keras_network() -> Any:
    import keras
    from keras import layers

    signal = keras.Input((24, 6), name="signal")
    x = layers.Conv1D(8, 5, padding="causal", name="causal")(signal)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.MaxPooling1D(2, name="largest")(x)
    x = layers.Conv1D(8, 3, dilation_rate=2, padding="same", activation="tanh", name="dilated")(x)
    x = layers.AveragePooling1D(2, name="average")(x)
    x = layers.GlobalMaxPooling1D(name="whole")(x)
    return keras.Model(signal, layers.Dense(4, activation="softmax", name="head")(x))


def test_keras_and_tflite_have_one_form_and_answer_alike(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    network = keras_network()
    network.save(tmp_path / "m.keras")
    (tmp_path / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    graphs = [canonical(import_model(Model.from_path(str(tmp_path / f"m.{end}")))) for end in ("keras", "tflite")]
    for graph in graphs:
        answered(graph, LAST, np.asarray(network(LAST)))
    same(graphs)
    assert [layer.kind for layer in graphs[0]].count("convolution") == 2


def test_a_row_of_channels_first_shows_what_its_sequence_holds() -> None:
    sketch = Sketch(1, 6, 24)
    picture = sketch.layer("reshape", sketch.source, (1, 6, 1, 24))
    turned = sketch.layer("transpose", picture, (1, 1, 24, 6), order=(0, 2, 3, 1))
    back = sketch.layer("transpose", sketch.convolution(turned), (1, 8, 1, 24), order=(0, 3, 1, 2))
    graph = simplified(sketch.ending(sketch.layer("tanh", sketch.layer("reshape", back, (1, 8, 24)), (1, 8, 24))))
    tanh = only(graph, "tanh")
    held = values(1, 8, 24)
    np.testing.assert_array_equal(tanh.view(held), held.transpose(0, 2, 1)[:, None])


def test_a_constant_of_each_channel_of_a_sequence_goes_into_the_window_before_it() -> None:
    sketch = Sketch(1, 1, 24, 6)
    row = sketch.convolution(sketch.source)
    sequence = sketch.layer("reshape", row, (1, 24, 8))
    shifted = sketch.layer("add", (sequence, sketch.constant(values(1, 1, 8))), (1, 24, 8))
    assert kinds(simplified(sketch.ending(shifted))) == ["convolution", "reshape"]


def test_a_column_is_laid_down_and_a_picture_stays() -> None:
    sketch = Sketch(1, 24, 1, 6)
    column = sketch.layer("max_pool", sketch.source, (1, 12, 1, 6), size=(2, 1), strides=(2, 1),
                          padding=((0, 0), (0, 0)), dilation=(1, 1))  # fmt: skip
    assert only(simplified(sketch.ending(column)), "max_pool")["size"] == (1, 2)
    sketch = Sketch(1, 24, 2, 6)
    picture = sketch.layer("max_pool", sketch.source, (1, 12, 2, 6), size=(2, 1), strides=(2, 1),
                           padding=((0, 0), (0, 0)), dilation=(1, 1))  # fmt: skip
    assert only(simplified(sketch.ending(picture)), "max_pool")["size"] == (2, 1)


def test_a_pad_along_an_axis_that_the_row_has_not_got_stays_behind_the_reshape() -> None:
    sketch = Sketch(1, 1, 24, 6)
    flat = sketch.layer("reshape", sketch.convolution(sketch.source), (1, 192, 1))
    padded = sketch.layer("pad", flat, (1, 192, 3), padding=((0, 0), (0, 0), (1, 1)), mode="constant", value=0.0)
    assert kinds(simplified(sketch.ending(padded))) == ["convolution", "reshape", "pad"]
