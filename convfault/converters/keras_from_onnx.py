"""ONNX → Keras by onnx2keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_onnx2keras import OPTIONS, facts, network
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2keras",
    source="onnx",
    target="keras",
    formats=("onnx",),
    target_format="keras",
    filename="model.keras",
    package="onnx2keras",
    convert="convfault.converters.keras_from_onnx:convert",
    companions=("tensorflow", "keras", "onnx"),
    options=OPTIONS,
    environment="onnx2keras",
    memory_factor=20.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Save the model that it makes. Where that holds ``Lambda`` layers, the file cannot be read back."""
    network(source, options).save(target)
    return facts(options)
