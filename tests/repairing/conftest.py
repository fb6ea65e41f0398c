"""The branchy model of the planter's tests, and the sound tiny models, for the writers to be tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.planting import branchy
from tests.planting.conftest import sys as _sys  # noqa: F401 - makes scripts/planting importable
from tests.repairing.views import View, view


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """Format → the branchy model and its graph."""
    for name in ("tensorflow", "torch", "tvm", "onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("sound")
    return {"tflite": view(branchy.tflite_model(folder)), "onnx": view(branchy.onnx_model(folder))}


@pytest.fixture(scope="session")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """Way of quantization → the tiny model in TFLite."""
    for name in ("tensorflow", "tvm", "ai_edge_litert"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("tinies")
    ways = ("float32", "dynamic", "float16", "int8", "int8_inside")
    return {way: view(tiny.tflite_model(folder, None if way == "float32" else way)) for way in ways}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
