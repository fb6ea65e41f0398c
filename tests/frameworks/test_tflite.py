from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError
from convfault.frameworks.base import Perturbation
from convfault.frameworks.tflite import TFLITE, dequantize, interpreter_class, quantize
from convfault.frameworks.tflite_weights import schema
from convfault.model import Model
from tests import tiny

PICTURE = "serving_default_picture:0"


def converted(folder: Path, function: Any, *shape: int, flex: bool = False) -> Model:
    """A TFLite file of one TensorFlow function on one float32 input."""
    import tensorflow as tf

    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, tf.float32, name="x"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if flex:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = folder / "function.tflite"
    path.write_bytes(converter.convert())
    return Model.from_path(str(path))


def answer(model: Model, perturbation: Perturbation | None = None) -> np.ndarray:
    with TFLITE.open(model, perturbation) as session:
        return session.run({session.signature.inputs[0].name: tiny.pictures(8)}).output()


def reference(path: Path, pictures: np.ndarray) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Output and every tensor of each picture alone, as stored, by the interpreter without any other kernels."""
    interpreter = interpreter_class()(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs, inner = [], {}
    for picture in pictures:
        interpreter.set_tensor(source["index"], quantize(picture[None], source))
        interpreter.invoke()
        outputs.append(dequantize(interpreter.get_tensor(result["index"]), result)[0])
        for detail in interpreter.get_tensor_details():
            stored = interpreter.get_tensor(detail["index"])
            inner.setdefault(detail["name"], []).append(dequantize(stored, detail))
    return outputs, {name: np.concatenate(values) for name, values in inner.items() if np.ndim(values[0])}


@pytest.mark.parametrize("quantization", [None, "dynamic", "float16", "int8"])
def test_batched_answers_and_inner_tensors_are_those_of_single_pictures(
    tmp_path: Path, quantization: str | None
) -> None:
    path = tiny.tflite_model(tmp_path, quantization)
    outputs, inner = reference(path, tiny.pictures(5))
    with TFLITE.open(Model.from_path(str(path))) as session:
        names = [spec.name for spec in session.tensors()]
        trace = session.run({PICTURE: tiny.pictures(5)}, names)
    np.testing.assert_allclose(trace.output(), outputs, atol=1e-6)
    for name in names:
        assert trace.tensors[name].dtype == np.float32
        np.testing.assert_allclose(trace.tensors[name], inner[name], rtol=1e-5, atol=1e-5)


def test_integer_model_takes_and_gives_real_numbers(tmp_path: Path) -> None:
    model = Model.from_path(str(tiny.tflite_model(tmp_path, "int8")))
    signature = TFLITE.signature(model)
    assert {spec.dtype for spec in (*signature.inputs, *signature.outputs)} == {"float32"}
    output = answer(model)
    sound = answer(Model.from_path(str(tiny.tflite_model(tmp_path))))
    assert np.abs(output - sound).max() < 0.15
    assert set(np.unique(output * 256 % 1)) == {0.0}  # steps of the output's scale, 1/256


@pytest.mark.parametrize("quantization", ["dynamic", "float16"])
def test_perturbation_reaches_quantized_weights(tmp_path: Path, quantization: str) -> None:
    model = Model.from_path(str(tiny.tflite_model(tmp_path, quantization)))
    before = Path(model.path).read_bytes()
    assert 1e-7 < np.abs(answer(model, Perturbation()) - answer(model)).max() < 1e-3
    assert Path(model.path).read_bytes() == before


def test_perturbation_changes_the_scales_of_a_model_of_integers(tmp_path: Path) -> None:
    model = Model.from_path(str(tiny.tflite_model(tmp_path, "int8")))
    assert np.abs(answer(model, Perturbation(relative=0.01)) - answer(model)).max() > 0


def test_quantize_and_dequantize_per_channel() -> None:
    detail = {
        "dtype": np.int8,
        "quantization_parameters": {
            "scales": np.asarray([0.5, 0.1], np.float32),
            "zero_points": np.asarray([0, 3]),
            "quantized_dimension": 1,
        },
    }
    stored = quantize(np.asarray([[1.0, 0.2], [1000.0, -0.3]]), detail)
    np.testing.assert_array_equal(stored, np.asarray([[2, 5], [127, 0]], np.int8))
    np.testing.assert_allclose(dequantize(stored, detail), [[1.0, 0.2], [63.5, -0.3]], rtol=1e-6)


def test_graph_that_mixes_pictures_when_resized_keeps_its_batch(tmp_path: Path) -> None:
    import tensorflow as tf

    model = converted(tmp_path, lambda x: tf.reduce_sum(tf.reshape(x, (1, 48)) * 2.0, axis=1), 1, 4, 4, 3)
    assert TFLITE.signature(model).inputs[0].shape == (1, 4, 4, 3)
    pictures = np.random.default_rng(0).random((5, 4, 4, 3), np.float32)
    with TFLITE.open(model) as session:
        output = session.run({session.signature.inputs[0].name: pictures}).output()
    np.testing.assert_allclose(output, pictures.sum((1, 2, 3)) * 2, rtol=1e-5)


def test_graph_with_a_free_reshape_is_resized(tmp_path: Path) -> None:
    import tensorflow as tf

    model = converted(tmp_path, lambda x: tf.reduce_sum(tf.reshape(x, (-1, 48)) * 2.0, axis=1), 1, 4, 4, 3)
    assert TFLITE.signature(model).inputs[0].shape == (None, 4, 4, 3)


def test_names_that_come_twice_are_told_apart(tmp_path: Path, tiny_tflite: Path) -> None:
    flat = schema()
    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(tiny_tflite.read_bytes(), 0))
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same"
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "same.tflite"
    path.write_bytes(builder.Output())
    with TFLITE.open(Model.from_path(str(path))) as session:
        names = [spec.name for spec in session.tensors()]
        assert len(set(names)) == len(names) == 6
        assert all(name.startswith("same#") for name in names)
        assert len(session.run({"same": tiny.pictures(2)}, names).tensors) == 6


def test_operator_of_tensorflow_alone_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    model = converted(tmp_path, lambda x: tf.linalg.inv(x), 1, 4, 4, flex=True)
    with pytest.raises(FormatError, match="FlexMatrixInverse"):
        TFLITE.signature(model)


def test_interpreter_of_tensorflow_serves_where_litert_is_absent(
    monkeypatch: pytest.MonkeyPatch, tiny_tflite: Path
) -> None:
    model = Model.from_path(str(tiny_tflite))
    expected = answer(model)
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"):
        monkeypatch.setitem(sys.modules, name, None)
    assert interpreter_class().__module__.startswith("tensorflow")
    np.testing.assert_allclose(answer(model, Perturbation(1e-9)), expected, atol=1e-6)


def test_empty_weights_are_one_sentence(tmp_path: Path, tiny_tflite: Path) -> None:
    flat = schema()
    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(tiny_tflite.read_bytes(), 0))
    for buffer in model.buffers:
        buffer.data = None
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "empty.tflite"
    path.write_bytes(builder.Output())
    with pytest.raises(FormatError, match=r"empty\.tflite"):
        TFLITE.signature(Model.from_path(str(path)))
