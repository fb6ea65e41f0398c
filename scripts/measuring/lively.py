"""Writes networks with lively random weights, and every conversion of them that is known to be sound.

``python -m measuring.lively torch googlenet FOLDER`` writes ``model.pt2``, ``dynamo.onnx`` and ``torchscript.onnx``;
``python -m measuring.lively keras Xception FOLDER`` writes ``model.keras``, ``model.tflite`` and ``model.onnx``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from measuring.networks import Array, pictures

TORCH = {
    "googlenet": 96, "inception_v3": 128, "shufflenet_v2_x1_0": 96, "densenet121": 96, "squeezenet1_1": 96,
    "squeezenet1_0": 96, "efficientnet_b0": 96, "mobilenet_v3_large": 96, "mobilenet_v3_small": 96,
}  # fmt: skip
KERAS = {"InceptionV3": 128, "DenseNet121": 96, "EfficientNetB0": 96, "Xception": 96}
"""Name → side of the pictures: small, yet with more than one pixel left before the head."""

SAMPLES = 24
OPSET = 17


def write_torch(name: str, folder: Path) -> None:
    """Build, set the statistics of the normalizations, and export in three ways, all with a dynamic batch."""
    import torch

    from convfault.native import torchvision_operators

    torchvision_operators.ensure()
    import torchvision

    torch.manual_seed(0)
    options: dict[str, Any] = {}
    if name in {"googlenet", "inception_v3"}:  # transform_input as with the published weights
        options = {"init_weights": False, "transform_input": True}
    model = getattr(torchvision.models, name)(weights=None, **options)
    size = TORCH[name]
    _enliven_torch(model, torch.from_numpy(pictures(SAMPLES, size, 99)).permute(0, 3, 1, 2).contiguous())
    example = torch.from_numpy(pictures(2, size, 0)).permute(0, 3, 1, 2).contiguous()
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, str(folder / "model.pt2"))
    with redirect_stdout(sys.stderr):
        torch.onnx.export(program, (), str(folder / "dynamo.onnx"), dynamo=True, external_data=False)
        axes = {"input": {0: "batch"}, "output": {0: "batch"}}
        names = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes}
        path = str(folder / "torchscript.onnx")
        torch.onnx.export(model, (example,), path, dynamo=False, opset_version=OPSET, **names)


def _enliven_torch(model: Any, samples: Any) -> None:
    """He's initialization, random scales and shifts, and the statistics of one batch, in place."""
    import torch

    rng = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=rng) * (2 / layer.weight[0].numel()) ** 0.5
            if layer.bias is not None:
                layer.bias.data = torch.randn(layer.bias.shape, generator=rng) * 0.1
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data = torch.rand(layer.weight.shape, generator=rng) + 0.5
            layer.bias.data = torch.randn(layer.bias.shape, generator=rng) * 0.3
            layer.momentum = 1.0  # the statistics of one batch, not a running mean
            layer.train()
    with torch.no_grad():
        # only the normalizations in training mode: dropout and stochastic depth stay out
        model.training = False
        for layer in model.modules():
            if not isinstance(layer, torch.nn.BatchNorm2d):
                layer.training = False
        model(samples)
    model.eval()


def write_keras(name: str, folder: Path) -> None:
    """Build, set the statistics of the normalizations, and convert by TensorFlow's converter and by tf2onnx."""
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(0)
    size = KERAS[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    _enliven_keras(model, pictures(SAMPLES, size, 99))
    model.save(folder / "model.keras")
    with redirect_stdout(sys.stderr):  # the converter prints the model's signature
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
        (folder / "model.tflite").write_bytes(content)
        # not from_function, which makes inputs of what the function closes over: EfficientNet's normalization
        spec = (tf.TensorSpec((None, size, size, 3), tf.float32, name="picture"),)
        tf2onnx.convert.from_keras(model, spec, opset=OPSET, output_path=str(folder / "model.onnx"))


def _enliven_keras(model: Any, samples: Array) -> None:
    """As ``_enliven_torch``."""
    import keras

    rng, kinds = np.random.default_rng(1), keras.layers
    weighted = (kinds.Conv2D, kinds.DepthwiseConv2D, kinds.SeparableConv2D, kinds.Dense)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics of one batch, not a running mean
            layer.set_weights([_drawn(rng, weight) for weight in layer.weights])
        elif isinstance(layer, weighted):
            layer.set_weights([_drawn(rng, weight) for weight in layer.weights])
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    rates = [layer.rate for layer in dropouts]
    for layer in dropouts:
        layer.rate = 0.0
    model(samples, training=True)
    for layer, rate in zip(dropouts, rates, strict=True):
        layer.rate = rate


def _drawn(rng: Any, weight: Any) -> Array:
    """Random values for one variable, as its name asks for."""
    name, shape = weight.name, tuple(weight.shape)
    if "kernel" in name:
        fan_in = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return np.asarray(rng.standard_normal(shape) * (2 / fan_in) ** 0.5, np.float32)
    if name == "gamma":
        return np.asarray(rng.random(shape) + 0.5, np.float32)
    return np.asarray(weight) if "moving" in name else np.asarray(rng.standard_normal(shape) * 0.3, np.float32)


def networks() -> Iterator[tuple[str, str]]:
    """Framework and name of every network."""
    yield from (("torch", name) for name in TORCH)
    yield from (("keras", name) for name in KERAS)


if __name__ == "__main__":
    framework, network, place = sys.argv[1:]
    {"torch": write_torch, "keras": write_keras}[framework](network, Path(place))
