"""What a user asks for is checked before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfault.errors import UsageError
from convfault.request import Request


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing to compare"),
        ({"source": "a.onnx"}, "nothing to compare a.onnx with"),
        ({"source": "a.onnx", "model": "mobilenetv2"}, "give one of them"),
        ({"model": "mobilenetv2", "src": "tf"}, "--src and --dst"),
        ({"source": "a.onnx", "target": "b.onnx", "dst": "torch"}, "drop one of them"),
        ({"source": "a.onnx", "target": "b.onnx", "route": "onnx>torch"}, "drop one of them"),
        ({"source": "a.onnx", "target": "b.onnx", "limit": 0}, "--limit"),
        ({"source": "a.onnx", "target": "b.onnx", "tolerance": float("nan")}, "--tolerance"),
    ],
)
def test_a_contradiction_is_one_sentence(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Request(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "mobilenetv2", "src": "tf", "dst": "tflite"},
        {"model": "mobilenetv2", "route": "tf>onnx:tf2onnx"},
        {"source": "a.onnx", "target": "b.onnx"},
        {"source": "a.onnx", "dst": "torch"},
        {"source": "a.onnx", "target": "b.onnx", "tolerance": 0.0},
    ],
)
def test_every_form_of_the_contract_is_taken(fields: dict[str, object]) -> None:
    assert Request(**fields)  # type: ignore[arg-type]


def test_a_file_in_the_place_of_a_models_name_is_told_where_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inceptionv3").mkdir()
    Path("my.keras").touch()
    with pytest.raises(UsageError, match=r"my\.keras is a file: give it without --model"):
        Request(model="my.keras", dst="tflite")
    assert Request(model="inceptionv3", src="tf", dst="tflite").model == "inceptionv3"


def test_frameworks_may_be_spelt_as_people_do() -> None:
    request = Request(model="mobilenetv2", src="TensorFlow", dst="PyTorch")
    assert (request.src, request.dst) == ("tf", "torch")


def test_only_the_embedded_set_is_limited_unasked() -> None:
    assert Request(source="a.onnx", target="b.onnx").pictures == 200
    assert Request(source="a.onnx", target="b.onnx", data="pictures").pictures is None
    assert Request(source="a.onnx", target="b.onnx", data="pictures", limit=7).pictures == 7
