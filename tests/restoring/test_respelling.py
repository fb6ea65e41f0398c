"""A converter that fails on an ONNX model gets it in plainer words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.investigation import investigate
from convfault.measurement import measure
from convfault.request import Context, Request
from convfault.restoring import respelling
from convfault.restoring.respelling import respellings, unfused
from convfault.restoring.way import Way
from tests.localization.test_optimizing import PICTURES, pooled
from tests.restoring import fakes

Tried = Callable[..., list[Way]]
Faulty = Callable[..., Path]


@pytest.fixture
def tried(store: Cache, data: Path, tmp_path: Path) -> Tried:
    def run(model: Path, guilty: int | None = None) -> list[Way]:
        request = Request(str(model), route="onnx>tflite", data=str(data), limit=12)
        context = Context(store)
        return list(respellings(measure(request, context), guilty, tmp_path / "respelled", request, context))

    return run


@pytest.fixture
def new_words(tiny_onnx: Path, tmp_path: Path) -> Path:
    """The tiny network in opset 20, with a reduction that opset 17 says otherwise."""
    import onnx

    model = onnx.load(tiny_onnx)
    assert all(onnx.defs.get_schema(node.op_type, 20).since_version <= 20 for node in model.graph.node)
    model.opset_import[0].version = 20
    onnx.save(model, tmp_path / "new.onnx")
    return tmp_path / "new.onnx"


def test_a_tool_that_knows_only_old_words_converts_what_is_said_in_them(
    tried: Tried, new_words: Path, tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(monkeypatch, fakes.converter("picky", "onnx", "tflite", "knows_old_words", file=tiny_tflite))
    *left_out, way = tried(new_words)
    assert way.accepted
    assert "opset 17" in way.edit
    assert way.found is not None
    assert way.found.comparison.verdict == "agree"
    assert all("NotImplementedError: opset 20" in item.reason for item in left_out)


def test_a_tool_that_fails_on_any_words_is_not_helped(
    tried: Tried, new_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(monkeypatch, fakes.converter("falling", "onnx", "tflite", "falls"))
    assert all(not way.accepted for way in tried(new_words))


def test_a_conversion_that_did_not_fail_is_left_alone(
    tried: Tried, new_words: Path, tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.install(monkeypatch, fakes.converter("able", "onnx", "tflite", file=tiny_tflite))
    assert tried(new_words) == []


def test_a_tool_that_gives_wrong_values_for_new_words_is_told_in_old_ones(
    tried: Tried, new_words: Path, tiny_tflite: Path, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"file": tiny_tflite, "other": faulty("tflite", "weights_scaled")}
    fakes.install(monkeypatch, fakes.converter("mistaken", "onnx", "tflite", "mistakes_new_words", **files))
    assert tried(new_words) == []  # which hop is guilty is not known
    *left_out, way = tried(new_words, 0)
    assert way.accepted
    assert "opset 17" in way.edit
    assert all(item.found is not None and item.found.comparison.verdict == "differ" for item in left_out)


def test_of_a_tool_that_gives_wrong_values_for_any_words_only_some_are_tried(
    tried: Tried, new_words: Path, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respelling, "RUNS", 2)
    fakes.install(monkeypatch, fakes.converter("wrong", "onnx", "tflite", file=faulty("tflite", "weights_scaled")))
    assert [way.accepted for way in tried(new_words, 0)] == [False, False]


def test_a_keras_model_that_tflite_has_no_words_for_is_said_in_plainer_ones(store: Cache, tmp_path: Path) -> None:
    import keras

    picture = keras.Input((16, 16, 3))
    larger = keras.layers.UpSampling2D(2, interpolation="bicubic")(keras.layers.Conv2D(4, 3)(picture))
    keras.Model(picture, keras.layers.GlobalAveragePooling2D()(larger)).save(tmp_path / "bicubic.keras")
    request = Request(str(tmp_path / "bicubic.keras"), dst="tflite", limit=4)
    context = Context(store)
    found = measure(request, context)
    assert found.comparison.verdict == "crash"
    *_, way = respellings(found, None, tmp_path / "respelled", request, context)
    assert way.accepted
    assert "resizes as products with matrices" in way.edit
    assert way.found is not None
    assert way.found.comparison.verdict == "agree"


def test_a_target_that_its_runtime_optimizes_wrongly_is_said_otherwise(store: Cache, tmp_path: Path) -> None:
    source, target = pooled(tmp_path / "source.onnx", 1e-30), pooled(tmp_path / "target.onnx")
    np.savez(tmp_path / "data.npz", images=PICTURES)
    request = Request(source.path, target.path, data=str(tmp_path / "data.npz"))
    context = Context(store)
    found = measure(request, context)
    assert found.comparison.verdict == "differ"
    (fault,) = investigate(found, context).faults
    assert (fault.kind, fault.cause, fault.target_location) == ("runtime", "optimization", "border")
    (way,) = unfused(found, [fault.evidence["optimizer"]], tmp_path / "unfused", request, context)
    assert way.accepted
    assert way.found is not None
    assert way.found.comparison.verdict == "agree"
    assert list(unfused(found, ["ConvBNFusion"], tmp_path / "other", request, context)) == []
