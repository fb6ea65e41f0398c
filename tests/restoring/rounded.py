"""A network with one layer that must not be rounded, in floating point and with eight-bit weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PICTURES = 60


@dataclass(frozen=True)
class Rounded:
    """The network's files, and arrays to feed them with."""

    source: Path
    target: Path
    data: Path


def rounded(folder: Path) -> Rounded:
    """Three convolutions; the second has huge weights for a channel that is always zero, which spoil its scales."""
    import tensorflow as tf

    random = np.random.default_rng(2)
    images = random.standard_normal((PICTURES, 8, 8, 3)) + random.standard_normal((PICTURES, 1, 1, 3))
    np.savez(folder / "data.npz", images=images.astype(np.float32))
    network = _centred(_network(), images.astype(np.float32))
    places = []
    for name, optimizations in (("source", []), ("target", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = optimizations
        places.append(folder / f"{name}.tflite")
        places[-1].write_bytes(converter.convert())
    return Rounded(*places, folder / "data.npz")


def _centred(network: Any, images: np.ndarray) -> Any:
    """With a head whose classes are all somebody's answer."""
    head = network.get_layer("head")
    logits = np.concatenate([np.asarray(network(image[None])) for image in images])
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias - logits.mean(axis=0)])
    return network


def _network() -> Any:
    import keras
    from keras import layers

    picture = x = keras.Input((8, 8, 3), batch_size=1, name="picture")
    for number, size in enumerate((3, 1, 1)):
        x = layers.Conv2D(48, size, activation="relu", name=f"layer_{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    found = keras.Model(picture, layers.Dense(10, name="head")(x), name="rounded")
    random = np.random.default_rng(1)
    for layer in found.layers:
        drawn = [random.standard_normal(value.shape) for value in layer.get_weights()]
        scaled = [value * (2 / np.prod(value.shape[:-1])) ** 0.5 if value.ndim > 1 else value for value in drawn]
        layer.set_weights(scaled)
    first, second = (found.get_layer(f"layer_{number}") for number in (0, 1))
    kernel, bias = first.get_weights()
    bias[0], kernel[..., 0] = -1.0, 0.0
    first.set_weights([kernel, bias])
    kernel, bias = second.get_weights()
    kernel[:, :, 0] = 30.0
    second.set_weights([kernel, bias])
    return found
