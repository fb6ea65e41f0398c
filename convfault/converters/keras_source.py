"""Opens a Keras model for a converter."""

from __future__ import annotations

from typing import Any

from convfault.errors import TrustError
from convfault.model import Model


def load(model: Model) -> Any:
    """The ``keras.Model``, not compiled; raises ``TrustError`` when it holds code and the model is not trusted."""
    import keras

    try:
        return keras.saving.load_model(model.path, compile=False, safe_mode=not model.trusted)
    except (ValueError, TypeError) as error:
        if not model.trusted and "arbitrary code execution" in str(error):
            raise TrustError(
                f"{model.path} holds a Lambda layer, whose Python code would be executed: add --trust to load it"
            ) from error
        raise
