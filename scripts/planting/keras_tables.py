"""What Keras calls the things that the catalogue speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

from planting.network import Unfit

KINDS = {
    "Conv2D": "conv",
    "DepthwiseConv2D": "depthwise",
    "Dense": "dense",
    "BatchNormalization": "norm",
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Maximum": "max",
    "Concatenate": "concat",
    "MaxPooling2D": "max_pool",
    "AveragePooling2D": "average_pool",
    "GlobalAveragePooling2D": "mean",
    "LeakyReLU": "leaky",
    "Softmax": "softmax",
    "Flatten": "reshape",
    "Reshape": "reshape",
    "Permute": "transpose",
    "ZeroPadding2D": "pad",
    "Resizing": "resize",
    "UpSampling2D": "resize",
    "Dropout": "dropout",
}
FUSED = ("relu", "relu6", "sigmoid", "tanh", "softmax")
ROLES = {
    ("conv", "kernel"): ("kernel", "HWIO"),
    ("conv", "bias"): ("bias", "O"),
    ("depthwise", "kernel"): ("kernel", "HWOM"),
    ("depthwise", "depthwise_kernel"): ("kernel", "HWOM"),
    ("depthwise", "bias"): ("bias", "O"),
    ("dense", "kernel"): ("kernel", "IO"),
    ("dense", "bias"): ("bias", "O"),
    ("norm", "gamma"): ("gamma", "O"),
    ("norm", "beta"): ("beta", "O"),
    ("norm", "moving_mean"): ("mean", "O"),
    ("norm", "moving_variance"): ("variance", "O"),
}
SETTINGS = {
    ("BatchNormalization", "epsilon"): "epsilon",
    ("LeakyReLU", "slope"): "negative_slope",
    ("Softmax", "axis"): "axis",
    ("Concatenate", "axis"): "axis",
    ("Resizing", "method"): "interpolation",
    ("UpSampling2D", "method"): "interpolation",
    ("ZeroPadding2D", "pads"): "padding",
}


def kind_of(class_name: str, settings: dict[str, Any]) -> str:
    """The kind of a layer, by its class and, for activations, its settings."""
    if class_name == "Activation":
        activation = settings["activation"]
        return activation if activation in FUSED else "other"
    if class_name == "ReLU":
        plain = not settings.get("negative_slope") and not settings.get("threshold")
        return {None: "relu", 6.0: "relu6"}.get(settings.get("max_value"), "other") if plain else "other"
    return KINDS.get(class_name, "other")


def layer(keras: Any, kind: str, settings: dict[str, Any], name: str) -> Any:
    """A new layer of a kind."""
    layers = keras.layers
    if kind == "transpose":
        return layers.Permute(settings["permutation"][1:], name=name)
    if kind == "pad":
        if settings.get("value"):
            raise Unfit("Keras pads with zeros only")
        return layers.ZeroPadding2D(settings["pads"], name=name)
    if kind in ("scale", "shift"):
        values = np.asarray(settings["values"]).ravel().tolist()
        return layers.Rescaling(values if kind == "scale" else 1.0, 0.0 if kind == "scale" else values, name=name)
    if kind == "reverse":
        return type(keras.ops.flip(keras.KerasTensor((1, 1)))._keras_history.operation)(
            axis=settings["axis"], name=name
        )
    if kind == "relu6":
        return layers.ReLU(6.0, name=name)
    sums = {"add": layers.Add, "sub": layers.Subtract, "mul": layers.Multiply, "max": layers.Maximum}
    return sums[kind](name=name) if kind in sums else layers.Activation(kind, name=name)
