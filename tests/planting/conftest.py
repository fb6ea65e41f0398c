"""Makes ``scripts/planting`` importable, and builds the branchy model once a format."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from tests.planting import branchy


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same sort of network in every format."""
    for name in ("tensorflow", "torch", "onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("branchy")
    return {
        "tflite": branchy.tflite_model(folder),
        "onnx": branchy.onnx_model(folder),
        "torch": branchy.torch_model(folder),
        "keras": branchy.keras_model(folder),
        "tensorflow": branchy.frozen_graph(folder),
    }
