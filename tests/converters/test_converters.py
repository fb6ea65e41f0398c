"""Every converter converts the tiny model into one that answers the same, and its options take effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.converters import CONVERTERS
from convfault.converters.base import run
from convfault.converters.convert import convert
from convfault.converters.route import parse
from convfault.errors import TrustError, UsageError
from convfault.frameworks import FRAMEWORKS
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from tests import tiny

NCHW = {"torch", "onnx"}
SOUND = 2e-5
"""Rounding moves the answers of the tiny model by up to 3e-6."""


def write(converter: str, source: Path | str, folder: Path, given: Model | None = None, **options: Any) -> Model:
    """Convert in this process, as the hop's own process would."""
    chosen = CONVERTERS[converter]
    path = folder / chosen.filename
    model = given or Model.from_path(str(source))
    calibration = {"calibration": options.pop("calibration")} if "calibration" in options else {}
    facts = run(chosen.convert, model.to_record(), str(path), {**chosen.with_defaults(options), **calibration})
    layout = facts.get("layout") or ("NCHW" if model.framework in NCHW else "NHWC")
    preprocessing = Preprocessing(size=(tiny.SIZE, tiny.SIZE), layout=layout)
    return Model.from_path(str(path)).with_preprocessing(preprocessing)


def answers(model: Model, count: int = 5) -> np.ndarray:
    """Softmax outputs (count, classes) of the model in its own framework."""
    layout = model.preprocessing.layout if model.preprocessing else "NCHW" if model.framework in NCHW else "NHWC"
    with FRAMEWORKS[model.framework].open(model) as session:
        name = session.signature.inputs[0].name
        return np.asarray(session.run({name: tiny.pictures(count, layout=layout)}).output())


def free_batch(model: Model) -> bool:
    return FRAMEWORKS[model.framework].signature(model).inputs[0].shape[0] is None


@pytest.mark.parametrize(
    ("converter", "fixture", "options"),
    [
        ("torch_onnx", "tiny_torch", {}),
        ("torch_onnx_torchscript", "tiny_torch", {}),
        ("keras_export", "tiny_keras", {}),
        ("tflite_converter/keras", "tiny_keras", {}),
        ("tflite_converter/tf", "tiny_saved_model", {}),
        ("tflite_converter/tf", "tiny_frozen_graph", {}),
        ("tf2onnx/keras", "tiny_keras", {}),
        ("tf2onnx/tf", "tiny_saved_model", {}),
        ("tf2onnx/tf", "tiny_frozen_graph", {}),
        ("onnx2torch", "tiny_onnx", {}),
        ("torch_onnx", "tiny_torch", {"optimize": False}),
        ("torch_onnx_torchscript", "tiny_torch", {"opset": 13, "do_constant_folding": False}),
        ("tf2onnx/keras", "tiny_keras", {"inputs_as_nchw": True}),
        ("tf2onnx/tf", "tiny_saved_model", {"inputs_as_nchw": True, "opset": 17}),
        ("tf2onnx/tf", "tiny_frozen_graph", {"inputs_as_nchw": True}),
        ("tflite_converter/tf", "tiny_saved_model", {"supported_ops": ["TFLITE_BUILTINS", "SELECT_TF_OPS"]}),
        ("onnx2torch", "tiny_onnx", {"save_input_names": True, "attach_onnx_mapping": True}),
    ],
)
def test_a_converted_model_answers_as_its_source_and_keeps_its_batch_free(
    converter: str, fixture: str, options: Mapping[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = Model.from_path(str(request.getfixturevalue(fixture)))
    target = write(converter, source.path, tmp_path, **options)
    np.testing.assert_allclose(answers(target), answers(source), atol=SOUND)
    assert free_batch(target)


def test_tflite_goes_to_onnx_with_the_names_of_its_tensors(tiny_tflite: Path, tmp_path: Path) -> None:
    source = Model.from_path(str(tiny_tflite))
    for nchw in (False, True):
        target = write("tf2onnx/tflite", tiny_tflite, tmp_path, inputs_as_nchw=nchw)
        np.testing.assert_allclose(answers(target), answers(source), atol=SOUND)
        before, after = (FRAMEWORKS[model.framework].signature(model).inputs[0] for model in (source, target))
        assert before.name == after.name
        assert after.shape[1:] == ((3, 16, 16) if nchw else (16, 16, 3))


def test_a_keras_h5_file_is_read_too(tmp_path: Path) -> None:
    source = Model.from_path(str(tiny.keras_model(tmp_path, ".h5")))
    np.testing.assert_allclose(answers(write("keras_export", source.path, tmp_path)), answers(source), atol=SOUND)


@pytest.mark.parametrize("converter", ["keras_export", "tflite_converter/keras", "tf2onnx/keras"])
def test_a_file_of_keras_2_is_read_too(converter: str, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    from tests import keras_2

    source = Model.from_path(str(keras_2.save(keras_2.network(), tmp_path / "two.keras")))
    np.testing.assert_allclose(answers(write(converter, source.path, tmp_path)), answers(source), atol=SOUND)


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    source = tiny.torch_model(tmp_path, batch=2, name="fixed.pt2")
    for converter in ("torch_onnx", "torch_onnx_torchscript"):
        target = write(converter, source, tmp_path)
        assert FRAMEWORKS["onnx"].signature(target).inputs[0].shape[0] == 2
        np.testing.assert_allclose(answers(target), answers(Model.from_path(str(source))), atol=SOUND)
    target = write("onnx2torch", tiny.onnx_model(tmp_path, batch=2), tmp_path)
    assert FRAMEWORKS["torch"].signature(target).inputs[0].shape[0] == 2


@pytest.mark.parametrize("converter", ["torch_onnx", "torch_onnx_torchscript"])
def test_a_torch_function_is_exported_with_its_weights(
    converter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    weights = tmp_path / "weights.pt"
    torch.save(tiny.torch_module().state_dict(), weights)
    monkeypatch.chdir(Path(__file__).parents[2])
    source = Model.from_path("tests.tiny:torch_module", str(weights))
    with pytest.raises(UsageError, match=r"input size of tests.tiny:torch_module is not known"):
        write(converter, "", tmp_path, given=source)
    preprocessing = Preprocessing(size=(tiny.SIZE, tiny.SIZE), layout="NCHW")
    target = write(converter, "", tmp_path, given=source.with_preprocessing(preprocessing))
    np.testing.assert_allclose(answers(target), answers(Model.from_path(str(tiny.torch_model(tmp_path)))), atol=SOUND)
    assert free_batch(target)


def tensor_types(model: Model) -> dict[str, int]:
    """Number of weights of a TFLite model by type."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model.path)
    interpreter.allocate_tensors()
    found: dict[str, int] = {}
    for detail in interpreter.get_tensor_details():
        kind = np.dtype(detail["dtype"]).name
        found[kind] = found.get(kind, 0) + 1
    return found


def test_optimizations_make_large_weights_int8(tiny_saved_model: Path, tmp_path: Path) -> None:
    plain = tensor_types(write("tflite_converter/tf", tiny_saved_model, tmp_path))
    assert "int8" not in plain
    for choice in ("DEFAULT", "OPTIMIZE_FOR_SIZE"):
        quantized = write("tflite_converter/tf", tiny_saved_model, tmp_path, optimizations=[choice])
        assert tensor_types(quantized)["int8"] == 1
        assert np.abs(answers(quantized) - answers(Model.from_path(str(tiny_saved_model)))).max() > 1e-4


def test_supported_types_make_weights_float16(tiny_keras: Path, tmp_path: Path) -> None:
    options = {"optimizations": ["DEFAULT"], "supported_types": ["float16"]}
    assert tensor_types(write("tflite_converter/keras", tiny_keras, tmp_path, **options))["float16"] > 4


@pytest.mark.parametrize("known", [True, False], ids=["signature known", "signature unknown"])
def test_a_representative_dataset_makes_everything_int8(known: bool, tiny_keras: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    (tmp_path / "0.raw").write_bytes(pixels.tobytes())
    array = {"name": "pictures", "shape": [tiny.SIZE, tiny.SIZE, 3], "dtype": "uint8"}
    batches = {"folder": str(tmp_path), "arrays": [array], "count": 6, "pictures": True, "layout": "NHWC"}
    scaled = Preprocessing(size=(tiny.SIZE, tiny.SIZE), scale=1 / 64, mean=(2.0,))
    calibration = {"batches": batches, "preprocessing": scaled.to_record(), "key": ""}
    source = Model.from_path(str(tiny_keras))
    target = write(
        "tflite_converter/keras",
        "",
        tmp_path,
        source.with_signature(FRAMEWORKS["keras"].signature(source)) if known else source,
        optimizations=["DEFAULT"],
        representative_dataset=6,
        supported_ops=["TFLITE_BUILTINS_INT8"],
        inference_input_type="int8",
        inference_output_type="uint8",
        calibration=calibration,
    )
    types = tensor_types(target)
    assert "float32" not in types
    assert types["uint8"] == 1
    lowest, highest = calibrated_range(target)
    assert -2.2 < lowest < -1.5
    assert 1.5 < highest < 2.2


def calibrated_range(model: Model) -> tuple[float, float]:
    """The values that the quantized input can take: what the converter has seen."""
    from ai_edge_litert.interpreter import Interpreter

    (detail,) = Interpreter(model.path).get_input_details()
    scale, zero = detail["quantization"]
    return (-128 - zero) * scale, (127 - zero) * scale


def test_a_representative_dataset_needs_pictures(tiny_keras: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs pictures"):
        write("tflite_converter/keras", tiny_keras, tmp_path, optimizations=["DEFAULT"], representative_dataset=4)


@pytest.mark.parametrize(
    ("converter", "fixture", "opset"),
    [
        ("torch_onnx_torchscript", "tiny_torch", 14),
        ("torch_onnx", "tiny_torch", 21),
        ("tf2onnx/keras", "tiny_keras", 13),
        ("tf2onnx/tf", "tiny_saved_model", 18),
        ("tf2onnx/tflite", "tiny_tflite", 16),
    ],
)
def test_the_opset_is_the_one_that_was_asked_for(
    converter: str, fixture: str, opset: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import onnx

    target = write(converter, request.getfixturevalue(fixture), tmp_path, opset=opset)
    (main,) = [entry for entry in onnx.load(target.path).opset_import if entry.domain == ""]
    assert main.version == opset


def test_quantized_weights_come_back_from_onnx_as_the_rounded_ones(tiny_tflite: Path, tmp_path: Path) -> None:
    source = tiny.tflite_model(tmp_path, "dynamic")
    target = write("tf2onnx/tflite", source, tmp_path)
    difference = np.abs(answers(target) - answers(Model.from_path(str(tiny_tflite)))).max()
    assert difference > 1e-4


def test_a_tf_model_with_slashes_in_its_names_goes_to_torch_and_back(tiny_saved_model: Path, tmp_path: Path) -> None:
    middle = write("tf2onnx/tf", tiny_saved_model, tmp_path)
    there = write("onnx2torch", middle.path, tmp_path).with_preprocessing(Preprocessing(layout="NHWC"))
    back = write("torch_onnx", there.path, tmp_path).with_preprocessing(Preprocessing(layout="NHWC"))
    expected = answers(Model.from_path(str(tiny_saved_model)))
    np.testing.assert_allclose(answers(there), expected, atol=SOUND)
    np.testing.assert_allclose(answers(back), expected, atol=SOUND)
    assert free_batch(back)


def test_a_lambda_layer_is_not_executed_unless_trusted(tmp_path: Path) -> None:
    import keras

    path = tmp_path / "lambda.keras"
    picture = keras.Input((4, 4, 3))
    keras.Model(picture, keras.layers.Lambda(lambda x: x * 2)(picture)).save(path)
    with pytest.raises(TrustError, match="Lambda"):
        write("keras_export", path, tmp_path)
    trusted = Model.from_path(str(path), trusted=True)
    assert write("keras_export", "", tmp_path, trusted).format == "saved_model"


def test_a_route_of_four_hops_runs_in_processes_and_keeps_every_model(tiny_keras: Path, tmp_path: Path) -> None:
    source = Model.from_path(str(tiny_keras)).with_preprocessing(Preprocessing(size=(16, 16)))
    conversion = convert(parse("keras>tf>tflite>onnx>torch"), source, {}, Cache(tmp_path / "cache"))
    assert [hop.status for hop in conversion.hops] == ["ok"] * 4, conversion.message
    assert all(hop.peak_megabytes > 50 for hop in conversion.hops)
    expected = answers(source)
    for model in conversion.models[1:]:
        assert model.preprocessing == source.preprocessing
        np.testing.assert_allclose(answers(model), expected, atol=SOUND)


def test_the_default_export_of_torch_cannot_be_read_by_onnx2torch(tiny_torch: Path, tmp_path: Path) -> None:
    source = Model.from_path(str(tiny_torch)).with_preprocessing(Preprocessing(size=(16, 16), layout="NCHW"))
    cache = Cache(tmp_path / "cache")
    conversion = convert(parse("torch>onnx>torch"), source, {}, cache)
    assert [hop.status for hop in conversion.hops] == ["ok", "error"]
    assert "ReduceMean" in conversion.message
    older = convert(parse("torch>onnx:torch_onnx_torchscript[opset=17]>torch"), source, {}, cache)
    assert older.status == "ok"
    assert older.target is not None
    np.testing.assert_allclose(answers(older.target), answers(source), atol=SOUND)
