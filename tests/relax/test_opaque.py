"""An operator with several outputs that an importer lacks leaves a hole of as many layers; the rest goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.execute import Executable
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from convfault.relax.imported import Imported
from tests.relax.test_import import onnx_file, saved

SQUARE = np.random.default_rng(2).standard_normal((1, 4, 4)).astype(np.float32)
PICTURE = np.random.default_rng(2).standard_normal((1, 4, 6, 6)).astype(np.float32)


def holes(graph: Graph) -> list[str]:
    return [layer.id for layer in graph if layer.kind == "opaque"]


def answered(graph: Graph, feeds: dict[str, np.ndarray], given: list[np.ndarray]) -> np.ndarray:
    """The first output, the opaque layers having these values."""
    starts = {name: graph[name].view(feeds[str(graph[name].native.tensor)]) for name in graph.inputs}
    values = {name: graph[name].view(value) for name, value in zip(holes(graph), given, strict=True)}
    return evaluate.run(graph, {**starts, **values})[graph.outputs[0]]


def exported(folder: Path, function: Any, example: np.ndarray) -> Imported:
    import torch

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    path = folder / "model.pt2"
    torch.export.save(torch.export.export(Module().eval(), (torch.from_numpy(example),)), path)
    return import_model(Model.from_path(str(path)))


def test_torch(tmp_path: Path) -> None:
    import torch

    def function(x: Any) -> Any:
        first, second = torch.linalg.qr(torch.tanh(x))
        return torch.relu(first) + second

    imported = exported(tmp_path, function, SQUARE)
    graph = canonical(imported)
    (operator,) = imported.unsupported
    assert operator.operator.startswith("aten.linalg_qr")
    assert [layer.kind for layer in graph] == ["input", "tanh", "opaque", "opaque", "clip", "add"]
    assert [layer.inputs for layer in graph if layer.kind == "opaque"] == [("tanh_1",)] * 2
    parts = torch.linalg.qr(torch.tanh(torch.from_numpy(SQUARE)))
    given = [value.numpy() for value in parts]
    wanted = function(torch.from_numpy(SQUARE)).numpy()
    np.testing.assert_allclose(answered(graph, {"x": SQUARE}, given), wanted, atol=1e-5)
    named = dict(zip((spec.name for spec in operator.outputs), given, strict=True))
    (found,) = Executable(imported).run({"x": SQUARE, **named}).values()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_places_of_maxima_are_never_taken_for_zeros(tmp_path: Path) -> None:
    import torch
    from torch.nn import functional

    def with_places(x: Any) -> Any:
        values, places = functional.max_pool2d(x, 2, return_indices=True)
        return functional.max_unpool2d(values, places, 2)

    assert len(holes(canonical(exported(tmp_path, with_places, PICTURE)))) == 2
    (tmp_path / "b").mkdir()
    values_only = exported(tmp_path / "b", lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], PICTURE)
    assert [layer.kind for layer in canonical(values_only)] == ["input", "max_pool"]
    assert torch.__version__


def test_onnx(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Tanh", ["x"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["values", "places"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Cast", ["places"], ["numbers"], to=1),
        helper.make_node("Add", ["values", "numbers"], ["y"]),
    ]
    imported = import_model(onnx_file(tmp_path, nodes, PICTURE.shape))
    (operator,) = imported.unsupported
    assert [(spec.name, spec.dtype) for spec in operator.outputs] == [("values", "float32"), ("places", "int64")]
    graph = canonical(imported)
    given = [np.ones((1, 4, 3, 3), np.float32), np.full((1, 4, 3, 3), 2)]
    np.testing.assert_allclose(answered(graph, {"x": PICTURE}, given), 3.0)


def test_an_output_that_nobody_reads_makes_no_hole(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2], strides=[2, 2])]
    assert holes(canonical(import_model(onnx_file(tmp_path, nodes, PICTURE.shape)))) == []


def test_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    def function(x: Any) -> Any:
        first, second = tf.linalg.qr(tf.tanh(x))
        return tf.nn.relu(first) + second

    imported = import_model(saved(tmp_path, function, 4, 4))
    graph = canonical(imported)
    assert [layer.kind for layer in graph] == ["input", "tanh", "opaque", "opaque", "clip", "add"]
    given = [np.asarray(value) for value in tf.linalg.qr(tf.tanh(SQUARE))]
    np.testing.assert_allclose(
        answered(graph, {imported.inputs[0].name: SQUARE}, given), np.asarray(function(SQUARE)), atol=1e-5
    )


def test_tflite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf = pytest.importorskip("tensorflow")
    from tvm.relax.frontend.tflite.tflite_frontend import OperatorConverter

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(OperatorConverter, "convert_split", refuse)
    function = tf.function(
        lambda x: tf.add(*tf.split(tf.tanh(x), 2, axis=-1)), input_signature=[tf.TensorSpec((1, 4, 4))]
    )
    path = tmp_path / "model.tflite"
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    path.write_bytes(converter.convert())
    imported = import_model(Model.from_path(str(path)))
    graph = canonical(imported)
    assert [layer.kind for layer in graph] == ["input", "tanh", "opaque", "opaque", "add"]
    given = [np.full((1, 4, 2), number, np.float32) for number in (1, 2)]
    np.testing.assert_allclose(answered(graph, {imported.inputs[0].name: SQUARE}, given), 3.0)
