"""ONNX → Keras by onnx2tf, which writes the ``.keras`` of Keras 2 (``tf_keras``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_onnx2tf import OPTIONS, write
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2tf",
    source="onnx",
    target="keras",
    formats=("onnx",),
    target_format="keras",
    filename="model.keras",
    package="onnx2tf",
    convert="convfault.converters.keras_from_onnx_by_onnx2tf:convert",
    companions=("tensorflow", "tf-keras", "onnx", "numpy"),
    options=OPTIONS,
    environment="onnx2tf",
    memory_factor=60.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the model as ``tf_keras`` saves it; its input is NHWC. Keras 3 does not read every layer of such a file."""
    return write(source, target, options, "keras")
