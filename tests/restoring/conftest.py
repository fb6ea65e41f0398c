"""Pairs of files: the tiny model, copies of it with planted faults, and arrays to feed them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfault
from convfault.cache import Cache
from convfault.report import Report
from tests import tiny
from tests.planting.conftest import sys as _sys  # noqa: F401 - makes scripts/planting importable
from tests.restoring.rounded import Rounded
from tests.restoring.rounded import rounded as build_rounded

COUNT = 20
"""Four of them are held out."""

Repair = Callable[..., Report]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    for name in ("tensorflow", "tvm", "onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(name)
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model inputs in the layout of the ONNX file."""
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, images=tiny.pictures(COUNT, seed=5, layout="NCHW"))
    return path


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, tiny_tflite: Path) -> Callable[..., Path]:
    """A copy of the tiny model with planted faults, made once a test run."""
    folder = tmp_path_factory.mktemp("faulty")
    sound = {"onnx": tiny_onnx, "tflite": tiny_tflite}

    def make(form: str, *kinds: str, seed: int = 0) -> Path:
        from planting import plant

        path = folder / f"{'-'.join(kinds)}-{seed}.{form}"
        if not path.exists():
            plant(sound[form], list(kinds), seed, path)
        return path

    return make


@pytest.fixture(scope="session")
def rounded(store: Cache, tmp_path_factory: pytest.TempPathFactory) -> Rounded:
    return build_rounded(tmp_path_factory.mktemp("rounded"))


@pytest.fixture
def repair(store: Cache, data: Path, tmp_path: Path) -> Repair:
    """``convfault.repair`` of two files over the arrays, with the result in a folder of its own."""

    def run(source: Path, target: Path | None = None, **given: Any) -> Report:
        names = ("strategies", "keep_quantized", "correct", "out", "budget", "patch")
        order = {name: given.pop(name) for name in names if name in given}
        suffix = "" if target is None else target.suffix
        order.setdefault("out", tmp_path / f"result/mended{suffix}")
        given.setdefault("data", str(data))
        return convfault.repair(
            source, target, convfault.Order(**order), context=convfault.Context(cache=store), **given
        )

    return run


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Where results go."""
    return tmp_path / "result"
