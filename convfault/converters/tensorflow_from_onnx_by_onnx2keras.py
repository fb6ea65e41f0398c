"""ONNX → TensorFlow SavedModel by onnx2keras and Keras's own ``model.export``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_onnx2keras import OPTIONS, facts, network
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2keras",
    source="onnx",
    target="tf",
    formats=("onnx",),
    target_format="saved_model",
    filename="model",
    package="onnx2keras",
    convert="convfault.converters.tensorflow_from_onnx_by_onnx2keras:convert",
    companions=("tensorflow", "keras", "onnx"),
    options=OPTIONS,
    environment="onnx2keras",
    memory_factor=20.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model before it is saved: a SavedModel keeps what ``Lambda`` layers compute, a ``.keras`` does not."""
    export = network(source, options).export
    known = inspect.signature(export).parameters  # Keras 2 has neither
    export(
        target,
        **{name: value for name, value in {"format": "tf_saved_model", "verbose": False}.items() if name in known},
    )
    return facts(options)
