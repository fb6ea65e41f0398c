"""The whole job on tiny models, through Python: sound conversions agree, real faults do not, crashes are data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfault
from convfault import pipeline
from convfault.cache import Cache
from convfault.errors import FormatError, ShapeError, SubjectError, UsageError
from convfault.report import Report
from convfault.request import Request

Diff = Callable[..., Report]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def diff(cache: Cache) -> Diff:
    def run(source: Path, target: Path | None = None, **request: Any) -> Report:
        context = convfault.Context(cache=cache, fresh=request.pop("fresh", False))
        return convfault.diff(source, target, context=context, **{"limit": 12, **request})

    return run


@pytest.mark.parametrize("route", ["keras>tf", "keras>tflite", "keras>onnx>torch"])
def test_every_hop_of_a_sound_route_agrees(diff: Diff, tiny_keras: Path, route: str) -> None:
    report = diff(tiny_keras, route=route)
    assert report.comparison.verdict == "agree", report.comparison.reasons
    assert [hop["status"] for hop in report.route] == ["ok"] * route.count(">")


def test_a_torch_model_keeps_its_layout_through_onnx(diff: Diff, tiny_torch: Path) -> None:
    report = diff(tiny_torch, dst="onnx")
    assert report.comparison.verdict == "agree", report.comparison.reasons
    assert report.target["preprocessing"]["layout"] == "NCHW"


def test_files_of_two_layouts_see_the_same_pictures(diff: Diff, tiny_torch: Path, tiny_tflite: Path) -> None:
    report = diff(tiny_torch, tiny_tflite)
    assert report.comparison.verdict == "agree", report.comparison.reasons
    assert report.source["preprocessing"]["layout"] == "NCHW"
    assert report.target["preprocessing"]["layout"] == "NHWC"


def test_a_changed_weight_is_found(diff: Diff, tiny_keras: Path, tmp_path: Path) -> None:
    import keras

    network = keras.saving.load_model(tiny_keras)
    kernel = network.weights[0]
    kernel.assign(np.asarray(kernel) * np.float32(1.001))
    network.save(tmp_path / "changed.keras")
    assert diff(tiny_keras, tmp_path / "changed.keras").comparison.verdict == "differ"
    shutil.copy(tiny_keras, tmp_path / "copy.keras")
    assert diff(tiny_keras, tmp_path / "copy.keras").comparison.verdict == "agree"


def test_another_preprocessing_of_the_target_is_found(diff: Diff, tiny_keras: Path, tiny_tflite: Path) -> None:
    assert diff(tiny_keras, tiny_tflite, target_preprocessing="scale = 0.008").comparison.verdict == "differ"


def test_a_side_file_gives_the_preprocessing(diff: Diff, tiny_keras: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.keras"
    shutil.copy(tiny_keras, source)
    (tmp_path / "model.keras.toml").write_text('[preprocessing]\nchannels = "bgr"\nscale = 0.01\n')
    report = diff(source, tiny_tflite)
    assert report.source["preprocessing"]["channels"] == "bgr"
    assert report.target["preprocessing"]["scale"] == 0.01
    assert not report.assumptions
    assert report.comparison.verdict == "agree"


def test_what_was_assumed_is_said(diff: Diff, tiny_keras: Path, tiny_tflite: Path) -> None:
    assert any("scale" in assumed for assumed in diff(tiny_keras, tiny_tflite).assumptions)


def test_a_tolerance_that_is_given_rules(diff: Diff, tiny_keras: Path, tiny_tflite: Path) -> None:
    assert diff(tiny_keras, tiny_tflite, tolerance=0.0).comparison.verdict == "differ"
    report = diff(tiny_keras, tiny_tflite, tolerance=0.5)
    assert report.comparison.verdict == "agree"
    assert report.comparison.outputs[0].tolerance.origin == "given"


def test_a_model_agrees_with_itself_to_the_last_bit(diff: Diff, tiny_onnx: Path) -> None:
    comparison = diff(tiny_onnx, tiny_onnx, tolerance=0.0).comparison
    assert (comparison.verdict, comparison.max_abs_error, comparison.kendall_tau) == ("agree", 0.0, 1.0)


def test_running_again_gives_the_same_report(diff: Diff, tiny_onnx: Path, tiny_tflite: Path) -> None:
    first, again = diff(tiny_onnx, tiny_tflite), diff(tiny_onnx, tiny_tflite, fresh=True)
    assert first.comparison == again.comparison


def test_a_converter_that_fails_is_a_crash_with_its_own_message(diff: Diff, tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(picture, 2).mean((2, 3))

    program = torch.export.export(Net().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    report = diff(tmp_path / "net.pt2", route="torch>onnx:torch_onnx>torch:onnx2torch")
    assert report.comparison.verdict == "crash"
    assert report.exit_code == 1
    assert "onnx2torch" in report.comparison.reasons[0]
    assert "Converter is not implemented" in report.comparison.reasons[0]
    assert [hop["status"] for hop in report.route] == ["ok", "crash"]
    assert [hop["ended"] for hop in report.route] == ["ok", "error"]
    assert report.comparison.stage == "convert"
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json").comparison == report.comparison


def test_a_file_that_cannot_be_read_is_an_error_not_a_crash(diff: Diff, tiny_keras: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
    with pytest.raises(FormatError, match=r"bad\.tflite"):
        diff(tiny_keras, tmp_path / "bad.tflite")


def test_a_file_that_its_runtime_opens_and_cannot_run_is_named_with_the_runtimes_words(
    diff: Diff, tiny_onnx: Path, tmp_path: Path
) -> None:
    """A scale for each channel in the shape of the tensor, as a quantizer wrote it."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load(tiny_onnx)
    kernel = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    values, (reader, slot) = (
        numpy_helper.to_array(kernel),
        next((node, slot) for node in proto.graph.node for slot, name in enumerate(node.input) if name == kernel.name),
    )
    stored = {"stored": np.ones(values.shape, np.int8), "scales": np.ones((len(values), 1, 1, 1), np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items())
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", [*stored], ["real"], name="wrong", axis=0))
    reader.input[slot] = "real"
    path = tmp_path / "refused.onnx"
    onnx.save(proto, path)
    with pytest.raises(SubjectError, match=r"refused\.onnx cannot be run by onnx: .*'wrong'"):
        diff(tiny_onnx, path)


def test_data_that_does_not_fit_is_an_error(diff: Diff, tiny_keras: Path, tiny_tflite: Path) -> None:
    with pytest.raises(ShapeError, match="wants"):
        diff(tiny_keras, tiny_tflite, target_preprocessing="size = 20")


def test_outputs_of_another_shape_differ_and_the_reason_says_so(diff: Diff, tiny_keras: Path, tmp_path: Path) -> None:
    import keras

    network = keras.saving.load_model(tiny_keras)
    wider = keras.layers.ZeroPadding1D((0, 1))(network.output[..., None])
    keras.Model(network.input, keras.layers.Flatten()(wider)).save(tmp_path / "wider.keras")
    report = diff(tiny_keras, tmp_path / "wider.keras")
    assert report.comparison.verdict == "differ"
    assert "(10,)" in report.comparison.reasons[0]
    assert "(11,)" in report.comparison.reasons[0]


def test_several_inputs_are_fed_by_name(diff: Diff, tmp_path: Path) -> None:
    import keras

    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    keras.Model([left, right], keras.layers.Dense(3)(left - 2 * right)).save(tmp_path / "two.keras")
    arrays = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", left=arrays[0], right=arrays[1])
    report = diff(tmp_path / "two.keras", dst="tflite", data=str(tmp_path / "data.npz"), limit=None)
    assert report.comparison.verdict == "agree", report.comparison.reasons
    with pytest.raises(UsageError, match=r"\.npz"):
        diff(tmp_path / "two.keras", dst="tflite")


def test_tvm_runs_a_model_as_its_own_runtime_does(diff: Diff, tiny_onnx: Path) -> None:
    report = diff(tiny_onnx, tiny_onnx, target_runtime="tvm", limit=2)
    assert report.comparison.verdict == "agree", report.comparison.reasons


def test_a_converted_file_that_cannot_be_opened_is_a_crash(
    diff: Diff, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convfault import preparation

    inspected = preparation.inspected

    def refuse(model: convfault.Model, *rest: Any) -> convfault.Model:
        if model.framework == "torch":
            raise FormatError("it is garbage")
        return inspected(model, *rest)

    monkeypatch.setattr(preparation, "inspected", refuse)
    report = diff(tiny_onnx, dst="torch")
    assert (report.comparison.verdict, report.exit_code) == ("crash", 1)
    assert report.comparison.reasons == ("what onnx2torch wrote cannot be opened: it is garbage",)
    assert report.comparison.stage == "load"


def test_a_reproducer_of_two_files_is_refused_before_they_are_looked_into(
    cache: Cache, tiny_keras: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    request = Request(source=str(tiny_keras), target=str(tiny_tflite), limit=4)
    with pytest.raises(UsageError, match="these are two files"):
        pipeline.localize(request, convfault.Context(cache=cache), reproducer=tmp_path / "shown")
    assert not (tmp_path / "shown").exists()
