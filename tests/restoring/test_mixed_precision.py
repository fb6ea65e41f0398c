"""A source that Keras trained in mixed precision: what it rounds itself is no fault of the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import convfault


def network(policy: str) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu", dtype=policy),
            layers.Conv2D(16, 3, strides=2, activation="relu", dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
            layers.Dense(10, dtype=policy),
            layers.Activation("softmax", dtype="float32"),
        ]
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    network("mixed_float16").save(tmp_path / "mixed.keras")
    return tmp_path / "mixed.keras"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "pictures.npz"
    np.savez(place, images=np.random.default_rng(3).standard_normal((8, 16, 16, 3)).astype(np.float32))
    return place


def converted(model: Any, path: Path) -> Path:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


def test_its_twin_in_single_precision_agrees(source: Path, data: Path, tmp_path: Path) -> None:
    target = converted(network("float32"), tmp_path / "twin.tflite")
    report = convfault.localize(str(source), str(target), data=str(data))
    assert report.comparison.verdict == "agree"
    assert all(fault.harmless for fault in report.faults)


def test_a_fault_of_its_twin_is_told_from_its_own_rounding(source: Path, data: Path, tmp_path: Path) -> None:
    damaged = network("float32")
    kernel, bias = damaged.layers[1].get_weights()
    damaged.layers[1].set_weights([kernel * (np.arange(16) != 5), bias])
    target = converted(damaged, tmp_path / "damaged.tflite")
    report = convfault.localize(str(source), str(target), data=str(data))
    assert report.comparison.verdict == "differ"
    assert [fault.cause for fault in report.faults if not fault.harmless] == ["channels_zeroed"]


def test_where_tflite_has_no_half_precision_it_is_converted_in_single(source: Path, data: Path, tmp_path: Path) -> None:
    order = convfault.Order(out=tmp_path / "mended.tflite")
    report = convfault.repair(str(source), None, order, dst="tflite", data=str(data))
    assert report.comparison.verdict == "crash"
    assert [fault.cause for fault in report.faults] == ["unsupported_type"]
    assert report.repaired is not None
    assert report.repaired["comparison"]["verdict"] == "agree"
