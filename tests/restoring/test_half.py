"""A model that was converted to half precision: only its weights are at fault where the runtime rounds nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("onnxruntime")

import convfault
from tests.relax.quantized import answer, float_file, half_file, pictures


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "pictures.npz"
    np.savez(place, x=np.concatenate([pictures(seed) for seed in range(3, 8)]))
    return place


def test_only_its_weights_are_named(data: Path, tmp_path: Path) -> None:
    source, target = float_file(tmp_path), half_file(tmp_path, ends=True)
    report = convfault.localize(str(source), str(target), data=str(data))
    assert report.comparison.verdict == "differ"
    assert {(fault.kind, fault.cause) for fault in report.faults} == {("parameters", "float16_rounding")}
    assert "output" not in {fault.attribute for fault in report.faults}


def test_with_its_weights_restored_it_answers_as_its_source(data: Path, tmp_path: Path) -> None:
    source, target = float_file(tmp_path), half_file(tmp_path, ends=True)
    out = tmp_path / "mended.onnx"
    order = convfault.Order(out=out, strategies=("precision",), keep_quantized=False)
    report = convfault.repair(str(source), str(target), order, data=str(data))
    assert report.repaired is not None
    assert report.repaired["reached"]
    (found,), (wanted,) = answer(out, pictures()), answer(source, pictures())
    assert np.abs(found - wanted).max() < 1e-6
