"""TensorFlow (SavedModel or frozen graph) → TFLite by ``tf.lite.TFLiteConverter``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_tflite_converter import OPTIONS, write
from convfault.model import Model

CONVERTER = Converter(
    tool="tflite_converter",
    source="tf",
    target="tflite",
    formats=("saved_model", "frozen_graph"),
    target_format="tflite",
    filename="model.tflite",
    package="tensorflow",
    convert="convfault.converters.tflite_from_tensorflow:convert",
    extra="tensorflow",
    options=OPTIONS,
    calibration_option="representative_dataset",
    memory_factor=12.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Convert the serving signature, or a frozen graph from its placeholders to its outputs; layout NHWC."""
    import tensorflow as tf

    from convfault.converters.tensorflow_source import frozen_function, signature_key

    if source.format == "frozen_graph":
        function = frozen_function(source)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(source.path, signature_keys=[signature_key(source.path)])
    write(converter, source, target, options)
