"""torch → TensorFlow SavedModel by nobuco and Keras's own ``model.export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convfault.converters import keras_from_torch
from convfault.model import Model

CONVERTER = replace(
    keras_from_torch.CONVERTER,
    target="tf",
    target_format="saved_model",
    filename="model",
    convert="convfault.converters.tensorflow_from_torch:convert",
    options=keras_from_torch.options_with(free_batch=True),
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model that nobuco makes (of Keras 2) as a SavedModel with the signature ``serving_default``."""
    keras_from_torch.keras_network(source, options).export(target)
    return keras_from_torch.facts(options)
