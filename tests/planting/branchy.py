"""A tiny network with everything that faults can be planted in, in every format; tests/tiny.py has too few operators.

Padding of its own → strided conv → two batch norms, leaky relu → residual → three branches joined → two resizes →
strided conv with odd padding → pools → one answer by global mean, dense and softmax, one by flattening.
Weights are drawn from a seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIZE, CLASSES = 16, 10


def lively(weights: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Values of a spread that lets every layer matter; one-dimensional ones around one."""
    rng = np.random.default_rng(seed)
    drawn = []
    for each in weights:
        fan = max(1, int(np.prod(each.shape[:-1])))
        noise = rng.standard_normal(each.shape)
        drawn.append((0.6 + np.abs(noise) * 0.5 if each.ndim == 1 else noise * 1.5 / np.sqrt(fan)).astype(np.float32))
    return drawn


def keras_network(batch: int | None = None) -> Any:
    import keras
    from keras import layers

    def norm(name: str) -> Any:
        return layers.BatchNormalization(epsilon=1e-3, name=name)

    picture = keras.Input((SIZE, SIZE, 3), batch_size=batch, name="picture")
    x = layers.ZeroPadding2D(1, name="padding")(picture)
    x = layers.Conv2D(8, 3, strides=2, name="stem")(x)
    x = norm("stem_norm")(x)
    x = layers.LeakyReLU(negative_slope=0.1, name="leaky")(x)
    y = layers.Conv2D(8, 3, padding="same", name="inner")(x)
    y = norm("inner_norm")(y)
    x = layers.Add(name="residual")([x, y])
    x = layers.ReLU(name="residual_relu")(x)
    one = layers.Conv2D(4, 1, activation="relu", name="first_branch")(x)
    two = layers.AveragePooling2D(3, strides=1, padding="same", name="average")(x)
    two = layers.Conv2D(4, 1, name="second_branch")(two)
    x = layers.Concatenate(name="joined")([one, two])
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.MaxPooling2D(3, strides=1, padding="same", name="maximum")(x)
    x = layers.Resizing(14, 14, interpolation="bilinear", name="linear")(x)
    x = layers.Activation("tanh", name="linear_tanh")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(x)
    x = layers.ReLU(6.0, name="strided_relu")(x)
    x = layers.Resizing(8, 8, interpolation="nearest", name="nearest")(x)
    small = layers.MaxPooling2D(3, strides=2, name="reduced")(x)
    small = layers.Concatenate(name="doubled")([small, layers.MaxPooling2D(2, strides=3, name="thinned")(x)])
    flat = layers.Dense(CLASSES, name="other_head")(layers.Flatten(name="flat")(small))
    pooled = layers.AveragePooling2D(3, strides=2, name="sampled")(x)
    means = [layers.GlobalAveragePooling2D(name="pool")(pooled), layers.GlobalAveragePooling2D(name="whole")(x)]
    x = layers.Add(name="means")(means)
    wide = layers.Dense(8, activation="relu", name="square")(x)
    wide = layers.Dropout(0.5, name="dropout")(wide)
    x = layers.Softmax(name="probabilities")(layers.Dense(CLASSES, name="head")(wide))
    network = keras.Model(picture, [x, flat], name="branchy")
    for number, layer in enumerate(network.layers):
        if layer.name not in ("linear", "nearest", "dropout"):
            drawn = lively(layer.get_weights(), 100 + number)
            layer.set_weights([each * (5 if layer.name == "strided" else 1) for each in drawn])
    return network


def keras_model(folder: Path) -> Path:
    path = folder / "branchy.keras"
    keras_network().save(path)
    return path


def tflite_model(folder: Path) -> Path:
    import tensorflow as tf

    path = folder / "branchy.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras_network(1)).convert())
    return path


def frozen_graph(folder: Path) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    network = keras_network()
    rng = np.random.default_rng(1)
    parts = [rng.uniform(0.5, 1.5, 3).astype(np.float32) for _ in range(4)]

    def answer(picture: Any) -> Any:
        fused = tf.compat.v1.nn.fused_batch_norm(picture, *parts, is_training=False)  # Keras writes norms in pieces
        return network(fused[0], training=False)

    function = tf.function(answer)
    concrete = function.get_concrete_function(tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="picture"))
    path = folder / "branchy.pb"
    path.write_bytes(convert_variables_to_constants_v2(concrete).graph.as_graph_def().SerializeToString())
    return path


def torch_module() -> Any:
    import torch
    from torch import nn
    from torch.nn import functional

    class Branchy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8, eps=1e-3)
            self.inner, self.inner_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, eps=1e-3)
            self.first_branch, self.second_branch = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
            self.square, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)
            self.other_head, self.dropout = nn.Linear(144, CLASSES), nn.Dropout(0.5)

        def forward(self, picture: Any) -> Any:
            x = self.stem(functional.pad(picture, (1, 1, 1, 1)))
            x = functional.leaky_relu(self.stem_norm(x), 0.1)
            x = functional.relu(x + self.inner_norm(self.inner(x)))
            two = self.second_branch(functional.avg_pool2d(x, 3, 1, 1))
            x = torch.cat([functional.relu(self.first_branch(x)), two], 1)
            x = functional.max_pool2d(self.depthwise(x), 3, 1, 1)
            x = functional.interpolate(x, (14, 14), mode="bilinear").tanh()
            x = functional.interpolate(functional.relu6(self.strided(x)), (8, 8), mode="nearest")
            small = torch.cat([functional.max_pool2d(x, 3, 2), functional.max_pool2d(x, 2, 3)], 1)
            flat = self.other_head(torch.flatten(small, 1))
            x = functional.avg_pool2d(x, 3, 2).mean((2, 3)) + x.mean((2, 3))
            x = self.head(self.dropout(functional.relu(self.square(x))))
            return torch.softmax(x, 1), flat

    module = Branchy().eval()
    state = module.state_dict()
    kernels = [name for name, value in state.items() if value.dtype == torch.float32]
    for number, name in enumerate(kernels):
        turned = state[name].numpy().T
        drawn = lively([turned], 100 + number)[0].T * (5 if name.startswith("strided") else 1)
        state[name] = torch.from_numpy(np.ascontiguousarray(drawn))
    module.load_state_dict(state)
    return module


def torch_model(folder: Path) -> Path:
    import torch

    path = folder / "branchy.pt2"
    shapes = {"picture": {0: torch.export.Dim("batch", min=1)}}
    torch.export.save(
        torch.export.export(torch_module(), (torch.zeros(2, 3, SIZE, SIZE),), dynamic_shapes=shapes), path
    )
    return path


def onnx_proto() -> Any:
    """By hand, with the weights of the torch module: opset 17, NCHW."""
    from onnx import TensorProto, helper, numpy_helper

    state = {name: value.numpy() for name, value in torch_module().state_dict().items() if "num_batches" not in name}
    constants = dict(state)
    constants["ones"] = np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    constants["low"], constants["high"] = np.asarray(0, np.float32), np.asarray(6, np.float32)
    constants["ratio"] = np.asarray(0.5, np.float32)
    nodes: list[Any] = []

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs.split(), [output], name=f"{kind}_{output}", **attributes))

    def layer(kind: str, data: str, name: str, **attributes: Any) -> None:
        node(kind, f"{data} {name}.weight {name}.bias", name, **attributes)

    def norm(data: str, name: str) -> None:
        parts = " ".join(f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
        node("BatchNormalization", f"{data} {parts}", name, epsilon=1e-3)

    node("Pad", "picture ones", "padded")
    layer("Conv", "padded", "stem", strides=[2, 2], kernel_shape=[3, 3])
    norm("stem", "stem_norm")
    node("LeakyRelu", "stem_norm", "leaky", alpha=0.1)
    layer("Conv", "leaky", "inner", pads=[1] * 4, kernel_shape=[3, 3])
    norm("inner", "inner_norm")
    node("Add", "leaky inner_norm", "residual")
    node("Relu", "residual", "residual_relu")
    layer("Conv", "residual_relu", "first_branch")
    node("Relu", "first_branch", "first_relu")
    node("AveragePool", "residual_relu", "average", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    layer("Conv", "average", "second_branch")
    node("Concat", "first_relu second_branch", "joined", axis=1)
    node("Conv", "joined depthwise.weight", "depthwise", pads=[1] * 4, group=8)
    node("MaxPool", "depthwise", "maximum", kernel_shape=[3, 3], pads=[1] * 4)
    for name, data, method in (("linear", "maximum", "linear"), ("nearest", "strided_relu", "nearest")):
        sizes = {"linear": 14 / 8, "nearest": 8 / 7}[name]
        constants[f"{name}_scales"] = np.asarray([1, 1, sizes, sizes], np.float32)
        if name == "nearest":
            node("Tanh", "linear", "linear_tanh")
            layer("Conv", "linear_tanh", "strided", strides=[2, 2], pads=[0, 0, 1, 1])
            node("Clip", "strided low high", "strided_relu")
        inputs = [data, "", f"{name}_scales"]
        settings = {"coordinate_transformation_mode": "half_pixel"}
        nodes.append(helper.make_node("Resize", inputs, [name], name=f"Resize_{name}", mode=method, **settings))
    node("MaxPool", "nearest", "reduced", kernel_shape=[3, 3], strides=[2, 2])
    node("MaxPool", "nearest", "thinned", kernel_shape=[2, 2], strides=[3, 3])
    node("Concat", "reduced thinned", "doubled", axis=1)
    node("Flatten", "doubled", "flat")
    layer("Gemm", "flat", "other_head", transB=1)
    node("AveragePool", "nearest", "sampled", kernel_shape=[3, 3], strides=[2, 2])
    node("ReduceMean", "sampled", "pool", axes=[2, 3], keepdims=0)
    node("ReduceMean", "nearest", "whole", axes=[2, 3], keepdims=0)
    node("Add", "pool whole", "means")
    constants["square.matrix"] = np.ascontiguousarray(constants.pop("square.weight").T)
    node("MatMul", "means square.matrix", "square_product")
    node("Add", "square_product square.bias", "square")
    node("Relu", "square", "square_relu")
    constants["training"] = np.asarray(False)
    node("Dropout", "square_relu ratio training", "dropout", seed=1)
    layer("Gemm", "dropout", "head", transB=1)
    node("Softmax", "head", "probabilities", axis=1)
    graph = helper.make_graph(
        nodes,
        "branchy",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", CLASSES])
            for name in ("probabilities", "other_head")
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_model(folder: Path) -> Path:
    import onnx

    path = folder / "branchy.onnx"
    onnx.save(onnx_proto(), path)
    return path
