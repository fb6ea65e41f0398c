"""The names of the models and what their descriptions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfault import shipped
from convfault.errors import UnknownNameError
from convfault.zoo import find, names


def test_the_zoo_holds_the_three_models_of_the_paper() -> None:
    assert names() == ("inceptionv3", "mobilenetv2", "resnet101")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mobilenetv2", "mobilenetv2"),
        ("MobileNetV2", "mobilenetv2"),
        ("mobilenet_v2", "mobilenetv2"),
        ("ResNet101", "resnet101"),
        ("resnet-101", "resnet101"),
        ("inception_v3", "inceptionv3"),
        ("Inception-V3", "inceptionv3"),
    ],
)
def test_a_model_is_found_as_its_frameworks_spell_it(spelling: str, name: str) -> None:
    assert find(spelling).name == name


def test_an_unknown_model_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenetv2'"):
        find("mobilnetv2")


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown framework 'caffe'"):
        find("mobilenetv2").preprocessing("caffe")


@pytest.mark.parametrize("name", names())
def test_preprocessings_differ_where_the_frameworks_do(name: str) -> None:
    torch, keras = find(name).preprocessing("torch"), find(name).preprocessing("keras")
    assert (torch.layout, keras.layout) == ("NCHW", "NHWC")
    assert torch.size == keras.size
    assert torch.mean == (0.485, 0.456, 0.406)
    assert keras == find(name).preprocessing("tf") == find(name).preprocessing("tflite")


def test_resnet_in_keras_wants_bgr() -> None:
    assert find("resnet101").preprocessing("keras").channels == "bgr"


def test_tflite_and_onnx_models_come_from_the_frameworks_that_the_zoo_builds() -> None:
    entry = find("resnet101")
    assert [entry.origin(name) for name in ("torch", "keras", "tf", "tflite", "onnx")] == [
        "torch",
        "keras",
        "tf",
        "tf",
        "torch",
    ]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_each_calibration_is_shipped_small_and_lively(name: str, framework: str) -> None:
    import numpy as np

    entry = find(name)
    path = entry.calibration(framework)
    assert path.stat().st_size < 1_100_000
    with np.load(path, allow_pickle=False) as values:
        assert values["head/kernel"].shape[1] == entry.classes
        variances = np.concatenate([values[key] for key in values if key.endswith("/variance")])
        means = np.concatenate([values[key] for key in values if key.endswith("/mean")])
        assert all(np.isfinite(values[key]).all() for key in values)
    assert variances.min() > 0
    assert np.median(np.abs(np.log(variances))) > 0.3, "variances near 1 would hide a lost one"
    assert np.median(np.abs(means)) > 0.05


def test_the_calibrated_classes_are_those_of_the_embedded_set() -> None:
    for name in names():
        entry = find(name)
        assert entry.classes == shipped.description("datasets", entry.description["dataset"])["classes"] >= 50


def test_shipped_data_is_found_in_the_package_before_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "package" / "_shipped" / "models" / "toy"
    place.mkdir(parents=True)
    (place / "model.toml").write_text('title = "Toy"\naliases = ["toy_1"]\n')
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "package")
    assert names() == ("toy",)
    assert find("TOY-1").title == "Toy"
