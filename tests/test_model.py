"""Models by path: formats by name and by content, and one sentence for what does not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from convfault.errors import FormatError, InputError, UsageError
from convfault.model import Model, Signature, TensorSpec, detect_format
from convfault.preprocessing import Preprocessing

HEADS = {"a.tflite": b"\x1c\x00\x00\x00TFL3", "a.h5": b"\x89HDF\r\n\x1a\n", "a.onnx": b"\x08\x0a", "a.pb": b"\x0a\x10"}


@pytest.mark.parametrize(
    ("name", "expected"), [("a.tflite", "tflite"), ("a.h5", "keras_h5"), ("a.onnx", "onnx"), ("a.pb", "frozen_graph")]
)
def test_the_format_follows_name_and_content(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(HEADS[name])
    assert detect_format(tmp_path / name) == expected


def test_archives_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    for name, members in (("a.keras", ["config.json", "metadata.json"]), ("a.pt2", ["a/archive_format"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "{}")
    assert detect_format(tmp_path / "a.keras") == "keras"
    assert detect_format(tmp_path / "a.pt2") == "pt2"


def test_a_folder_with_saved_model_pb_is_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert detect_format(tmp_path) == "saved_model"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tflite", b"\x89HDF\r\n\x1a\n", "content is keras_h5"),
        ("a.onnx", b"\x1c\x00\x00\x00TFL3", "content is tflite"),
        ("a.tflite", b"", "is empty"),
        ("a.tflite", b"hello, world", "is none of it"),
        ("a.keras", b"PK\x03\x04 and no more", "truncated"),
        ("a.txt", b"hello", "'.txt'"),
        ("a.pt", b"PK\x03\x04", "torch.export.save"),
    ],
)
def test_what_is_not_what_its_name_says_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        Model.from_path(str(tmp_path / name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such file"):
        Model.from_path(str(tmp_path / "nowhere.onnx"))


def test_a_folder_that_is_no_saved_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"without saved_model\.pb"):
        Model.from_path(str(tmp_path))


def test_module_and_function_name_a_torch_model() -> None:
    assert Model.from_path("package.module:build").format == "torch_function"


def test_a_model_survives_the_way_to_another_process() -> None:
    spec = TensorSpec("x", (None, 3, 8, 8), "float32")
    model = Model("a.onnx", "onnx", "a", signature=Signature((spec,), (spec,)), preprocessing=Preprocessing())
    assert Model.from_record(model.to_record()) == model


def test_weights_beside_an_onnx_model_count_as_its_content(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    place = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), place, save_as_external_data=True, location="weights.bin")
    before = Model.from_path(str(place)).sha256
    assert Model.from_path(str(place)).sha256 == before
    (tmp_path / "weights.bin").write_bytes(b"\1" * 16384)
    assert Model.from_path(str(place)).sha256 != before
