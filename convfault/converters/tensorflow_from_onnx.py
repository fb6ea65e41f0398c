"""ONNX → TensorFlow SavedModel by onnx2tf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_onnx2tf import OPTIONS, write
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2tf",
    source="onnx",
    target="tf",
    formats=("onnx",),
    target_format="saved_model",
    filename="model",
    package="onnx2tf",
    convert="convfault.converters.tensorflow_from_onnx:convert",
    companions=("tensorflow", "onnx", "numpy"),
    options=OPTIONS,
    environment="onnx2tf",
    memory_factor=60.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the SavedModel with the signature ``serving_default``; its input is NHWC."""
    return write(source, target, options, "saved_model")
