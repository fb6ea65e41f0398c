"""The tiny model in every format, built once a test run; tests that change a file copy it first.

Property tests look at the same examples every time, so that a change is judged by what it changes;
``CONVFAULT_EXPLORE=1000`` looks at as many new ones instead.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
from hypothesis import settings

from tests import tiny

EXPLORE = int(os.environ.get("CONVFAULT_EXPLORE", "0"))
settings.register_profile("convfault", deadline=None, max_examples=EXPLORE or 50, derandomize=not EXPLORE)
settings.load_profile("convfault")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny_torch(tiny_folder: Path) -> Path:
    pytest.importorskip("torch")
    return tiny.torch_model(tiny_folder)


@pytest.fixture(scope="session")
def tiny_keras(tiny_folder: Path) -> Path:
    pytest.importorskip("keras")
    return tiny.keras_model(tiny_folder)


@pytest.fixture(scope="session")
def tiny_saved_model(tiny_folder: Path) -> Path:
    pytest.importorskip("tensorflow")
    return tiny.saved_model(tiny_folder)


@pytest.fixture(scope="session")
def tiny_frozen_graph(tiny_folder: Path) -> Path:
    pytest.importorskip("tensorflow")
    return tiny.frozen_graph(tiny_folder)


@pytest.fixture(scope="session")
def tiny_tflite(tiny_folder: Path) -> Path:
    pytest.importorskip("tensorflow")
    return tiny.tflite_model(tiny_folder)


@pytest.fixture(scope="session")
def tiny_onnx(tiny_folder: Path) -> Path:
    pytest.importorskip("onnx")
    return tiny.onnx_model(tiny_folder)
