"""A recorded repair is replayed on another copy of the model, and on no other model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import convfault
from convfault.errors import InputError, UsageError
from convfault.relax.edits import Edit, Insert, SetParameters
from convfault.relax.graph import Graph, Layer
from convfault.repairing.patch import Patch
from tests import tiny
from tests.repairing.views import run, view


def head(graph: Graph) -> Layer:
    return next(layer for layer in graph if layer.kind == "dense")


def shifted(graph: Graph, by: float) -> Edit:
    layer = head(graph)
    return SetParameters(layer.id, {"bias": layer.parameters["bias"].values + np.float32(by)})


@pytest.fixture(scope="module")
def patch(tiny_tflite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds: a bias, and behind it another bias and a layer more."""
    pytest.importorskip("tvm")
    graph = view(tiny_tflite).graph
    end = graph[graph.outputs[0]]
    rounds = (shifted(graph, 1),), (shifted(graph, 3), Insert(Layer("bent", "tanh", (end.id,), end.shape)))
    path = tmp_path_factory.mktemp("patch") / "patch.json"
    Patch({"format": "tflite", "sha256": "", "name": ""}, rounds, (("a",), ("b", "c"))).write(path)
    return path


def test_every_round_is_replayed_and_only_the_result_is_left(patch: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    copy = shutil.copy(tiny_tflite, tmp_path / "copy.tflite")
    done = convfault.apply(patch, copy, tmp_path / "result/out.tflite")
    assert done.path == tmp_path / "result/out.tflite"
    assert [path.name for path in done.path.parent.iterdir()] == ["out.tflite"]
    found = view(done.path).graph
    assert np.allclose(
        head(found).parameters["bias"].values, head(view(tiny_tflite).graph).parameters["bias"].values + 3
    )
    assert "tanh" in {layer.kind for layer in found}
    assert np.isfinite(run(done.path, tiny.pictures())[0]).all()
    assert len(done.changes) >= 3
    assert {"place", "attribute", "before", "after"} == set(done.changes[0])


def test_another_copy_gives_the_same_bytes(patch: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    outs = [convfault.apply(patch, tiny_tflite, tmp_path / f"{name}.tflite").path for name in ("one", "two")]
    assert outs[0].read_bytes() == outs[1].read_bytes() != tiny_tflite.read_bytes()


def test_another_model_is_refused_in_one_sentence(patch: Path, tmp_path: Path) -> None:
    from tests.restoring.rounded import rounded

    other = rounded(tmp_path).source
    with pytest.raises(UsageError, match="is for another model than") as found:
        convfault.apply(patch, other, tmp_path / "result/out.tflite")
    assert str(other) in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "result").exists()


def test_another_format_is_refused(patch: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is for a model in the format tflite, and .* is onnx"):
        convfault.apply(patch, tiny_onnx, tmp_path / "out.onnx")


def test_the_copy_is_never_written_over(patch: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(tiny_tflite, tmp_path / "copy.tflite"))
    with pytest.raises(UsageError, match="never overwritten"):
        convfault.apply(patch, copy, copy)
    assert copy.read_bytes() == tiny_tflite.read_bytes()


def test_what_is_no_patch_is_refused(tiny_tflite: Path, tmp_path: Path) -> None:
    (tmp_path / "patch.json").write_text("{}")
    with pytest.raises(InputError, match="is no patch"):
        convfault.apply(tmp_path / "patch.json", tiny_tflite, tmp_path / "out.tflite")
    with pytest.raises(InputError, match="cannot read the patch"):
        convfault.apply(tmp_path / "nowhere.json", tiny_tflite, tmp_path / "out.tflite")
