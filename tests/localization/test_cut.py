"""Models of every format are taken apart into smaller ones that their runtimes open and run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from convfault.frameworks import FRAMEWORKS
from convfault.localization.tool import cut_tflite, reduction
from convfault.model import Model
from tests import tiny

MAKERS = {
    "onnx": (tiny.onnx_model, "Relu"),
    "keras": (tiny.keras_model, "DepthwiseConv2D"),
    "pt2": (tiny.torch_model, "aten.relu"),
    "saved_model": (tiny.saved_model, "Relu"),
    "frozen_graph": (tiny.frozen_graph, "Relu"),
    "tflite": (tiny.tflite_model, "DEPTHWISE_CONV_2D"),
}


def cutter(folder: Path, format_: str) -> reduction.Cut:
    return reduction.cutter(Model(str(MAKERS[format_][0](folder)), format_, trusted=True))


def runs(model: Model) -> bool:
    """Whether its runtime opens it and answers with finite values."""
    with FRAMEWORKS[model.framework].open(model) as session:
        random = np.random.default_rng(0)
        arrays = {
            spec.name: random.standard_normal([side or 2 for side in spec.shape]).astype(spec.dtype)
            for spec in session.signature.inputs
        }
        return bool(np.isfinite(session.run(arrays).output()).all())


@pytest.mark.parametrize("format_", list(MAKERS))
def test_a_model_is_cut_to_one_node_to_its_middle_and_to_all_of_it(tmp_path: Path, format_: str) -> None:
    (tmp_path / "model").mkdir()
    cut = cutter(tmp_path / "model", format_)
    operators = [operator for operator, _ in cut.nodes]
    single = operators.index(MAKERS[format_][1])
    whole = tuple(range(len(operators)))
    for number, kept in enumerate([(single,), tuple(range(single, len(operators) - 1)), whole]):
        place = tmp_path / str(number)
        place.mkdir()
        found = cut.write(kept, place)
        assert found is not None
        assert set(kept) <= set(found.held)
        assert runs(found.model)


def test_tflite_is_taken_apart_where_its_classes_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cut_tflite.where().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert cut_tflite.classes().__name__ == "schema_py_generated"
    assert [operator for operator, _ in cutter(tmp_path, "tflite").nodes].count("DEPTHWISE_CONV_2D") == 1


def test_what_is_found_outside_of_a_file_is_one_failure_whatever_it_is() -> None:
    flatbuffers = pytest.importorskip("flatbuffers")

    def signature(place: int) -> str:
        try:
            flatbuffers.table.Table(bytearray(b"\xff" * 8), 0).Get(flatbuffers.number_types.Uint32Flags, place)
        except Exception as error:
            return reduction.signature(error)
        raise AssertionError

    assert signature(100) == signature(10_000)
    assert "outside of the file" in signature(100)
