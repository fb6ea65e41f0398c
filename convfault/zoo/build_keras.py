"""Builds the zoo's models with keras.applications, as ``.keras`` or as a SavedModel. Runs in a process of its own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convfault.errors import FormatError, UsageError
from convfault.zoo.backbone import Backbone
from convfault.zoo.download import downloading, is_address

INPUT = "pictures"
HEAD_KERNEL = re.compile(r"(predictions|dense)")


def build(description: Mapping[str, Any], weights: str, calibration: str, target: str) -> dict[str, Any]:
    """Job: write the model to ``target``: a ``.keras`` file, or a SavedModel folder when it has no such suffix.

    ``weights`` is ``calibrated``, ``imagenet``, an http address or a file of weights. Returns the number of classes.
    """
    if weights == "calibrated":
        model = seeded(description)
        apply_calibration(model, description, Path(calibration))
    elif weights == "imagenet":
        with downloading(f"Keras' weights of {description['keras']['constructor']}"):
            model = construct(description, 1000, weights="imagenet")
    elif is_address(weights):
        model = _from_address(description, weights)
    else:
        model = from_file(description, Path(weights))
    if target.endswith(".keras"):
        model.save(target)
    else:
        export(model, target)
    return {"classes": int(model.output_shape[-1])}


def export(model: Any, target: str) -> None:
    """A SavedModel whose ``serving_default`` takes float32 (N, size, size, 3), N free, and gives ``predictions``."""
    import keras
    import tensorflow as tf

    def serve(pictures: Any) -> dict[str, Any]:
        return {"predictions": model(pictures, training=False)}

    archive = keras.export.ExportArchive()  # tracks the variables such that converters can freeze them
    archive.track(model)
    specification = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=INPUT)
    archive.add_endpoint("serve", serve, input_signature=[specification])
    archive.write_out(target, verbose=False)


def construct(description: Mapping[str, Any], classes: int, weights: str | None = None) -> Any:
    """The bare architecture, as keras.applications makes it."""
    import keras

    keras.utils.clear_session()  # layers without a name of their own are numbered from the session's start
    settings = description["keras"]
    size = int(settings["preprocessing"]["size"])
    constructor = getattr(keras.applications, settings["constructor"])
    return constructor(weights=weights, classes=classes, input_shape=(size, size, 3))


def seeded(description: Mapping[str, Any]) -> Any:
    """The architecture with the seed's backbone; statistics and head are still the constructor's."""
    import keras

    model = construct(description, int(description["classes"]))
    backbone = Backbone.of(description, "keras")
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            shape = tuple(layer.kernel.shape)
            layer.kernel.assign(backbone.kernel(layer.name, shape, (0, 1), 2, shape[0] * shape[1]))
        elif isinstance(layer, keras.layers.Conv2D):
            shape = tuple(layer.kernel.shape)
            layer.kernel.assign(backbone.kernel(layer.name, shape, (0, 1), 3, shape[0] * shape[1] * shape[2]))
            if layer.use_bias:
                layer.bias.assign(backbone.bias(layer.name, shape[3]))
        elif isinstance(layer, keras.layers.BatchNormalization):
            count = int(layer.moving_mean.shape[0])
            layer.beta.assign(backbone.offset(layer.name, count))
            if layer.scale:
                layer.gamma.assign(backbone.scale(layer.name, count))
    return model


def apply_calibration(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Set the shipped statistics and head."""
    import keras
    import numpy as np

    with np.load(path, allow_pickle=False) as values:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.moving_mean.assign(values[f"{layer.name}/mean"])
                layer.moving_variance.assign(values[f"{layer.name}/variance"])
        head = model.get_layer(description["keras"]["head"])
        head.kernel.assign(values["head/kernel"])
        head.bias.assign(values["head/bias"])


def from_file(description: Mapping[str, Any], path: Path) -> Any:
    """The architecture with a file's weights (``.weights.h5`` or ``.h5``); as many classes as its head has."""
    model = construct(description, _classes(path))
    try:
        model.load_weights(str(path))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{path} does not fit {description['keras']['constructor']}: {reason}") from error
    return model


def _from_address(description: Mapping[str, Any], address: str) -> Any:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        with downloading(address):
            name = address.split("?")[0].rstrip("/").rpartition("/")[2]
            path = keras.utils.get_file(name, origin=address, cache_dir=folder, cache_subdir="")
        return from_file(description, Path(path))


def _classes(path: Path) -> int:
    """Read off the only matrix that a file of a picture classifier's weights holds: its head's kernel."""
    import h5py

    found: list[int] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2 and HEAD_KERNEL.search(name):
            found.append(int(item.shape[1]))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise FormatError(f"{path} cannot be read as a file of Keras weights (.weights.h5 or .h5)") from error
    if not found:
        raise UsageError(f"{path} holds no weights of a classifier's last layer: save the whole model's weights")
    return found[0]
