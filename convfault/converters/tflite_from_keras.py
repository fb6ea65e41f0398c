"""Keras → TFLite by ``tf.lite.TFLiteConverter.from_keras_model``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_tflite_converter import OPTIONS, write
from convfault.model import Model

CONVERTER = Converter(
    tool="tflite_converter",
    source="keras",
    target="tflite",
    formats=("keras", "keras_h5"),
    target_format="tflite",
    filename="model.tflite",
    package="tensorflow",
    convert="convfault.converters.tflite_from_keras:convert",
    extra="keras",
    companions=("keras",),
    options=OPTIONS,
    calibration_option="representative_dataset",
    memory_factor=12.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Trace the model, fuse and write it; layout NHWC, the batch stays free where TFLite allows it."""
    import tensorflow as tf

    from convfault.converters.keras_source import load

    write(tf.lite.TFLiteConverter.from_keras_model(load(source)), source, target, options)
