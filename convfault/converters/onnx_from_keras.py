"""Keras → ONNX by ``tf2onnx.convert.from_keras``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_tf2onnx import OPTIONS, arguments, facts
from convfault.model import Model

CONVERTER = Converter(
    tool="tf2onnx",
    source="keras",
    target="onnx",
    formats=("keras", "keras_h5"),
    target_format="onnx",
    filename="model.onnx",
    package="tf2onnx",
    convert="convfault.converters.onnx_from_keras:convert",
    extra="keras,onnx",
    companions=("keras", "tensorflow", "onnx", "numpy"),
    options=OPTIONS,
    memory_factor=70.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Trace the model with the input signature of its layers, so that layer and input names stay."""
    import tensorflow as tf
    from tf2onnx import convert as tf2onnx

    from convfault.converters.keras_source import load

    model = load(source)
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
    inputs = [tensor.name for tensor in model.inputs]
    tf2onnx.from_keras(model, signature, output_path=target, **arguments(options, inputs, model.output_names))
    return facts(options)
