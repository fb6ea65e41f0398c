"""Keras files: a stem, what shows a bug, and a head; lively weights and statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZE, CHANNELS, WIDE, CLASSES = 24, 8, 16, 10


def network(folder: Path, name: str, middle: Callable[[], Any], bias: bool = True) -> Path:
    """Convolution → batch norm → relu → ``middle`` → 1x1 convolution → mean → dense, with a ``bias`` or without."""
    import keras
    from keras import layers

    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.Conv2D(CHANNELS, 3, padding="same", use_bias=False, name="stem")(picture)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = middle()(x)
    x = layers.Conv2D(WIDE, 1, activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    found = keras.Model(picture, layers.Dense(CLASSES, use_bias=bias, name="dense")(x), name=name)
    _enliven(found)
    path = folder / f"{name}.keras"
    found.save(path)
    return path


def _enliven(network: Any) -> None:
    random = np.random.default_rng(4)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            draws = [random.standard_normal(CHANNELS) for _ in range(4)]
            layer.set_weights([1 + np.abs(draws[0]), 1 + draws[1], 0.3 * draws[2], 0.5 + 0.5 * np.abs(draws[3])])
        else:
            layer.set_weights([_drawn(random, value.shape) for value in layer.get_weights()])


def _drawn(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    fan = int(np.prod(shape[:-1])) if len(shape) > 1 else 20
    return random.standard_normal(shape) * (2 / fan) ** 0.5


def grouped() -> Any:
    from keras import layers

    return layers.Conv2D(CHANNELS, 3, padding="same", groups=2, name="grouped")


def bicubic() -> Any:
    from keras import layers

    return layers.UpSampling2D(2, interpolation="bicubic", name="up")


def identity() -> Any:
    from keras import layers

    return layers.Conv2D(CHANNELS, 3, padding="same", name="more")


def reshaped() -> Any:
    """Reads its batch while it runs, for which TFLite has SHAPE."""
    import keras
    from keras import layers

    return keras.Sequential([layers.Reshape((SIZE, SIZE // 2, 2 * CHANNELS)), layers.Reshape((SIZE, SIZE, CHANNELS))])
