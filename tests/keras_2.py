"""The tiny network as Keras 2 (``tf_keras``) builds it: of layers, or as onnx2tf does, of TensorFlow's functions."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny


def network() -> Any:
    """The functional model, NHWC, of Keras' layers."""
    from tf_keras import Input, Model, layers

    picture = Input((tiny.SIZE, tiny.SIZE, 3), name="picture")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(picture)
    x = layers.BatchNormalization(epsilon=1e-3, name="stem_norm")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="depthwise_norm")(x)
    x = layers.ReLU(name="depthwise_relu")(x)
    x = layers.Conv2D(64, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(tiny.CLASSES, activation="softmax", name="dense")(x)
    made = Model(picture, x, name="tiny")
    for layer in made.layers:
        mine = [value for name, value in tiny.weights().items() if name.split("/")[0] == layer.name]
        if mine:
            layer.set_weights(mine)
    return made


def of_functions() -> Any:
    """A model without variables, whose weights are arguments of functions: conv → relu → mean → dense → softmax."""
    import tensorflow as tf
    from tf_keras import Input, Model

    weights = tiny.weights()
    head = np.ascontiguousarray(weights["dense/kernel"][:16])
    picture = Input((tiny.SIZE, tiny.SIZE, 3), name="picture")
    x = tf.nn.convolution(picture, tf.constant(weights["stem/kernel"]), strides=[2, 2], padding="VALID")
    x = tf.math.add(tf.nn.relu(x), tf.constant(weights["stem_norm/beta"]))
    x = tf.linalg.matmul(tf.reduce_mean(x, axis=[1, 2]), tf.constant(head))
    return Model(picture, tf.nn.softmax(x))


def save(model: Any, path: Path) -> Path:
    """Write it as its suffix says."""
    model.save(path, save_format="h5" if path.suffix == ".h5" else "keras")
    return path


def edited(source: Path, target: Path, edit: Callable[[Any], Any]) -> Path:
    """A copy of a ``.keras`` file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(edit(json.loads(content))).encode()
            new.writestr(name, content)
    return target
