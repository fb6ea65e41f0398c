"""Keras → TensorFlow SavedModel by Keras's own ``model.export``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.model import Model

CONVERTER = Converter(
    tool="keras_export",
    source="keras",
    target="tf",
    formats=("keras", "keras_h5"),
    target_format="saved_model",
    filename="model",
    package="keras",
    convert="convfault.converters.tensorflow_from_keras:convert",
    extra="keras",
    companions=("tensorflow",),
    memory_factor=8.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Write the forward pass as the SavedModel's ``serving_default``; the batch stays free, the layout NHWC."""
    from convfault.converters.keras_source import is_keras_2, load

    network = load(source)
    network.export(target, **({} if is_keras_2(network) else {"format": "tf_saved_model", "verbose": False}))
