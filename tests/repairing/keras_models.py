"""Small Keras models for the writer: of Keras 3 and 2, nested, shared, in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from convfault.frameworks.keras import KERAS
from convfault.model import Model

SIZE = 12


def pictures(count: int = 2) -> np.ndarray:
    """(count, 12, 12, 3), about standard normal."""
    return np.random.default_rng(3).standard_normal((count, SIZE, SIZE, 3)).astype(np.float32)


def answers(path: Path, values: np.ndarray) -> list[np.ndarray]:
    """What the adapter's runtime answers, output by output."""
    with KERAS.open(Model.from_path(str(path))) as session:
        trace = session.run({session.signature.inputs[0].name: values})
        return [trace.tensors[name] for name in trace.outputs]


def lively(network: Any) -> Any:
    """The network with weights that let every layer matter."""
    rng = np.random.default_rng(5)
    for layer in network.layers:
        if hasattr(layer, "layers"):
            lively(layer)
        elif layer.get_weights():
            layer.set_weights([np.abs(rng.standard_normal(w.shape)) * 0.5 + 0.1 if w.ndim == 1 else
                               rng.standard_normal(w.shape) * 0.4 for w in layer.get_weights()])  # fmt: skip
    return network


def branched(keras: Any) -> Any:
    """Two convolutions in branches, an activation inside one of them, a norm, a dropout, two outputs."""
    layers = keras.layers
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="stem")(picture)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 1, use_bias=False, name="inner")(x))
    x = layers.Add(name="residual")([x, layers.ReLU(6.0, name="bounded")(y)])
    x = layers.Dropout(0.5, name="dropout")(layers.MaxPooling2D(2, name="pool")(x))
    flat = layers.Dense(5, name="flat_head")(layers.Flatten(name="flat")(x))
    mean = layers.Dense(4, activation="softmax", name="head")(layers.GlobalAveragePooling2D(name="mean")(x))
    return lively(keras.Model(picture, [mean, flat], name="branched"))


def pooled(keras: Any) -> Any:
    """A pool, and a convolution of the same size behind it."""
    layers = keras.layers
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.MaxPooling2D(3, 2, name="pool")(layers.Conv2D(6, 3, padding="same", name="stem")(picture))
    x = layers.Conv2D(4, 3, padding="same", activation="tanh", name="behind")(x)
    return lively(keras.Model(picture, layers.GlobalAveragePooling2D(name="mean")(x), name="pooled"))


def nested(keras: Any) -> Any:
    """A functional model inside of another one."""
    layers = keras.layers
    source = keras.Input((SIZE, SIZE, 3), name="source")
    x = layers.ReLU(name="inner_relu")(layers.Conv2D(4, 3, name="inner_conv")(source))
    body = keras.Model(source, layers.Conv2D(4, 3, name="second_conv")(x), name="body")
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.ReLU(name="outer_relu")(body(layers.Rescaling(0.5, name="scaling")(picture)))
    head = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="mean")(x))
    return lively(keras.Model(picture, head, name="outer"))


def in_a_row(keras: Any) -> Any:
    """A ``Sequential`` model."""
    layers = keras.layers
    rows = [
        layers.Conv2D(4, 3, name="conv"),
        layers.ReLU(name="relu"),
        layers.GlobalMaxPooling2D(name="largest"),
        layers.Dense(3, name="head"),
    ]
    return lively(keras.Sequential([keras.Input((SIZE, SIZE, 3), name="picture"), *rows], name="row"))


def shared(keras: Any) -> Any:
    """One convolution that is called twice."""
    layers = keras.layers
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    x = layers.ReLU(name="between")(conv(picture))
    head = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="mean")(conv(x)))
    return lively(keras.Model(picture, head, name="shared"))


def scaled(keras: Any) -> Any:
    """Layers that scale and shift, with functions between that keep them apart."""
    layers = keras.layers
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.ReLU(name="relu")(layers.Rescaling(2.0, -0.25, name="scaling")(picture))
    x = layers.Activation("tanh", name="tanh")(layers.LayerNormalization(name="layer_norm")(x))
    return lively(keras.Model(picture, layers.GlobalAveragePooling2D(name="mean")(x), name="scaled"))


def with_functions() -> Any:
    """A model of Keras 2 that calls functions of TensorFlow, with weights among their arguments."""
    import tensorflow as tf
    import tf_keras

    rng = np.random.default_rng(1)
    kernel = (rng.standard_normal((3, 3, 3, 4)) * 0.3).astype(np.float32)
    picture = tf_keras.Input((SIZE, SIZE, 3), name="picture")
    x = tf.nn.convolution(picture, kernel.tolist(), strides=[2, 2], padding="VALID")
    x = tf.math.add(x, [0.5, -0.25, 0.125, 1.0])
    x = tf.reduce_mean(tf.nn.relu(x), axis=[1, 2])
    return tf_keras.Model(picture, tf.linalg.matmul(x, rng.standard_normal((4, 3)).round(3).tolist()), name="functions")
