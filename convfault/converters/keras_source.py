"""Opens a Keras model for a converter."""

from __future__ import annotations

from typing import Any

from convfault.model import Model


def load(model: Model) -> Any:
    """The model as ``keras`` or (one of Keras 2) ``tf_keras`` has it; raises ``TrustError`` when it holds code."""
    from convfault.native.keras_files import load

    return load(model)


def is_keras_2(network: Any) -> bool:
    """Whether a loaded model is one of Keras 2, whose export takes no options."""
    return type(network).__module__.partition(".")[0] == "tf_keras"
