"""A grid, a mask or a code of positions gets other numbers where the file holds it; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("ai_edge_litert")

from convfault.relax import evaluate
from convfault.relax.edits import SetParameters
from convfault.relax.graph import Array, Layer
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.constants import _laid_out
from tests.repairing.views import View, difference, view

RANDOM = np.random.default_rng(4)
GRID = RANDOM.standard_normal((1, 4, 6, 5)).astype(np.float32)
MASK = RANDOM.standard_normal((6, 5)).astype(np.float32)
PICTURE = RANDOM.standard_normal((1, 4, 6, 5)).astype(np.float32)


def torch_files(folder: Path) -> dict[str, Path]:
    import torch

    class Gridded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("grid", torch.from_numpy(GRID))
            self.register_buffer("mask", torch.from_numpy(MASK))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu((torch.sigmoid(x) + self.grid) * self.mask)

    module, example = Gridded().eval(), (torch.from_numpy(PICTURE),)
    paths = {"pt2": folder / "gridded.pt2", "onnx": folder / "gridded.onnx"}
    torch.export.save(torch.export.export(module, example), paths["pt2"])
    torch.onnx.export(module, example, paths["onnx"], dynamo=True, external_data=False)
    return paths


def tensorflow_files(folder: Path) -> dict[str, Path]:
    import tensorflow as tf

    grid, mask = tf.constant(GRID.transpose(0, 2, 3, 1)), tf.constant(MASK[..., None])
    spec = tf.TensorSpec((1, 6, 5, 4), tf.float32, name="x")
    function = tf.function(lambda x: {"y": tf.nn.relu((tf.sigmoid(x) + grid) * mask)}, input_signature=[spec])
    module, saved = tf.Module(), folder / "gridded"
    module.function = function
    tf.saved_model.save(module, str(saved), signatures={"serving_default": function})
    path = folder / "gridded.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved)).convert())
    return {"tflite": path}


@pytest.fixture(scope="module")
def gridded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    folder = tmp_path_factory.mktemp("gridded")
    return {name: view(path) for name, path in {**torch_files(folder), **tensorflow_files(folder)}.items()}


def constants(target: View) -> list[Layer]:
    return [layer for layer in target.graph if layer.kind == "constant" and layer.parameters["values"].values.size > 1]


@pytest.mark.parametrize("form", ["pt2", "onnx", "tflite"])
@pytest.mark.parametrize("place", [0, 1])
def test_it_is_changed_where_it_is_stored(form: str, place: int, gridded: dict[str, View], tmp_path: Path) -> None:
    target = gridded[form]
    layer = constants(target)[place]
    wanted = np.roll(layer.parameters["values"].values, 1, axis=-2) - 2
    edit = SetParameters(layer.id, {"values": wanted})
    out = tmp_path / f"out{target.path.suffix}"
    changes = WRITERS[target.model.format](target.model, target.graph, [edit], out)
    assert [change.attribute for change in changes] == ["values"]
    picture = PICTURE.transpose(0, 2, 3, 1) if form == "tflite" else PICTURE
    (name,) = target.graph.inputs
    after = edit.apply(target.graph)
    found = evaluate.run(after, {name: target.graph[name].view(picture)})[after.outputs[0]]
    (answer,) = view(out).run(picture)
    assert difference([after[after.outputs[0]].view(answer)], [found]) < 1e-6
    assert difference([answer], target.run(picture)) > 0.1


def test_numbers_are_laid_out_as_the_file_has_them() -> None:
    before, after = GRID.transpose(0, 2, 3, 1), -GRID.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.asarray(_laid_out(GRID, before, after)), -GRID)
    np.testing.assert_array_equal(np.asarray(_laid_out(GRID.reshape(4, 6, 5), GRID, -GRID)), -GRID.reshape(4, 6, 5))


@pytest.mark.parametrize("stored", [GRID + 1, GRID[:, :2], np.zeros_like(GRID)])
def test_numbers_whose_layout_is_not_known_are_left_to_their_readers(stored: Array) -> None:
    before = np.zeros_like(GRID).transpose(0, 2, 3, 1) if not stored.any() else GRID
    assert _laid_out(stored, before, before + GRID.reshape(before.shape)) is None
