"""ONNX → TFLite by onnx2tf, float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_onnx2tf import OPTIONS, write
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2tf",
    source="onnx",
    target="tflite",
    formats=("onnx",),
    target_format="tflite",
    filename="model.tflite",
    package="onnx2tf",
    convert="convfault.converters.tflite_from_onnx:convert",
    companions=("tensorflow", "onnx", "numpy"),
    options=OPTIONS,
    environment="onnx2tf",
    memory_factor=60.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the float32 one of the files that onnx2tf writes; its input is NHWC."""
    return write(source, target, options, "tflite")
