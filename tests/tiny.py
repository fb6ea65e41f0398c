"""One tiny network, the same weights in every framework and format, built in a second or two.

conv 3x3 → batch norm → relu6 → depthwise 3x3 stride 2 → batch norm → relu → conv 1x1 (bias) → relu → global average
pool → dense → softmax, on 16x16x3 pictures with 10 classes. Paddings are such that every framework means the same, so
that all files answer alike up to rounding. The 1x1 convolution has 1,024 weights: enough for TFLite's converter to
quantize it. Weights are lively: every channel matters, relu6 clips and relu cuts. Frameworks are imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIZE, CLASSES = 16, 10
CENTRING = (1.6, 5.2, -3.2, -9.1, 12.6, -22.6, 19.8, 3.2, -1.6, -6.7)
"""The head's bias: minus the mean logits over ``pictures``, so that every class is somebody's answer."""


def weights() -> dict[str, np.ndarray]:
    """Float32 arrays in Keras' layout: convolutions (height, width, in, out), dense (in, out)."""
    rng = np.random.default_rng(7)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    def norm(prefix: str, channels: int) -> dict[str, np.ndarray]:
        return {
            f"{prefix}/gamma": 1 + np.abs(draw(channels)),
            f"{prefix}/beta": draw(channels) + 1,
            f"{prefix}/mean": draw(channels, scale=0.3),
            f"{prefix}/variance": 0.5 + np.abs(draw(channels, scale=0.5)),
        }

    return {
        "stem/kernel": draw(3, 3, 3, 16, scale=0.4),
        **norm("stem_norm", 16),
        "depthwise/kernel": draw(3, 3, 16, 1, scale=0.4),
        **norm("depthwise_norm", 16),
        "pointwise/kernel": draw(1, 1, 16, 64, scale=0.3),
        "pointwise/bias": draw(64, scale=0.2),
        "dense/kernel": draw(64, CLASSES, scale=0.4),
        "dense/bias": np.asarray(CENTRING, np.float32),
    }


def pictures(count: int = 8, seed: int = 0, layout: str = "NHWC") -> np.ndarray:
    """Float32 model inputs, (count, 16, 16, 3) or (count, 3, 16, 16), about standard normal with a colour cast each."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, SIZE, SIZE, 3)).astype(np.float32)
    values += rng.standard_normal((count, 1, 1, 3)).astype(np.float32) * 1.5  # a cast of colour each: answers differ
    return np.ascontiguousarray(values if layout == "NHWC" else values.transpose(0, 3, 1, 2))


def torch_module() -> Any:
    """The network as an ``nn.Module`` in eval mode, for NCHW inputs."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.ReLU6()),
                nn.Sequential(
                    nn.Conv2d(16, 16, 3, stride=2, groups=16, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.ReLU()
                ),
                nn.Sequential(nn.Conv2d(16, 64, 1), nn.ReLU()),
            )
            self.classifier = nn.Linear(64, CLASSES)

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.classifier(self.features(x).mean((2, 3))), 1)

    module = Tiny()
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in torch_state().items()})
    return module.eval()


def torch_state() -> dict[str, np.ndarray]:
    """The weights as the state dict of ``torch_module``."""
    w = weights()
    state = {
        "features.0.0.weight": w["stem/kernel"].transpose(3, 2, 0, 1),
        "features.1.0.weight": w["depthwise/kernel"].transpose(2, 3, 0, 1),
        "features.2.0.weight": w["pointwise/kernel"].transpose(3, 2, 0, 1),
        "features.2.0.bias": w["pointwise/bias"],
        "classifier.weight": w["dense/kernel"].T,
        "classifier.bias": w["dense/bias"],
    }
    for place, prefix in (("features.0.1", "stem_norm"), ("features.1.1", "depthwise_norm")):
        parts = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
        state.update({f"{place}.{name}": w[f"{prefix}/{part}"] for name, part in parts.items()})
        state[f"{place}.num_batches_tracked"] = np.asarray(0, np.int64)
    return {name: np.array(value, order="C") for name, value in state.items()}


def torch_model(folder: Path, batch: int | None = None, name: str = "tiny.pt2") -> Path:
    """An exported program; ``batch`` fixes its batch size, None leaves it free."""
    import torch

    example = (torch.zeros(batch or 2, 3, SIZE, SIZE),)
    shapes = None if batch else {"x": {0: torch.export.Dim("batch", min=1)}}
    path = folder / name
    torch.export.save(torch.export.export(torch_module(), example, dynamic_shapes=shapes), path)
    return path


def keras_network(batch: int | None = None) -> Any:
    """The network as a functional Keras model, NHWC."""
    import keras
    from keras import layers

    picture = keras.Input((SIZE, SIZE, 3), batch_size=batch, name="picture")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(picture)
    x = layers.BatchNormalization(epsilon=1e-3, name="stem_norm")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="depthwise_norm")(x)
    x = layers.ReLU(name="depthwise_relu")(x)
    x = layers.Conv2D(64, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(CLASSES, activation="softmax", name="dense")(x)
    network = keras.Model(picture, x, name="tiny")
    values = weights()
    for layer in network.layers:
        mine = [value for name, value in values.items() if name.split("/")[0] == layer.name]
        if mine:
            layer.set_weights(mine)
    return network


def keras_model(folder: Path, suffix: str = ".keras", batch: int | None = None) -> Path:
    """A ``.keras`` (or ``.h5``) file."""
    path = folder / f"tiny{suffix}"
    keras_network(batch).save(path)
    return path


def saved_model(folder: Path, batch: int | None = None) -> Path:
    """A SavedModel folder with the signature ``serving_default``."""
    import tensorflow as tf

    path = folder / "tiny_saved_model"
    network = keras_network(batch)
    if batch is None:
        network.export(path, verbose=False)
    else:  # Keras' own export frees the batch
        function = tf.function(lambda picture: network(picture, training=False))
        spec = tf.TensorSpec((batch, SIZE, SIZE, 3), tf.float32, name="picture")
        tf.saved_model.save(network, path, signatures=function.get_concrete_function(spec))
    return path


def frozen_graph(folder: Path, batch: int | None = None) -> Path:
    """A frozen GraphDef: placeholder ``picture:0``, output ``Identity:0``."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    network = keras_network(batch)
    function = tf.function(lambda picture: network(picture, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((batch, SIZE, SIZE, 3), tf.float32, name="picture"))
    path = folder / "tiny.pb"
    path.write_bytes(convert_variables_to_constants_v2(concrete).graph.as_graph_def().SerializeToString())
    return path


def tflite_model(folder: Path, quantization: str | None = None, batch: int | None = 1) -> Path:
    """A TFLite file; ``quantization``: None, ``dynamic`` (int8 weights), ``float16``, ``int8`` or ``int8_inside``."""
    import tensorflow as tf

    network = keras_network(batch)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization in {"int8", "int8_inside"}:
        converter.representative_dataset = lambda: ([row[None]] for row in pictures(32, seed=1))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if quantization == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path = folder / f"tiny_{quantization or 'float32'}.tflite"
    path.write_bytes(converter.convert())
    return path


def onnx_proto(batch: int | None = None) -> Any:
    """The network as an ONNX ModelProto, NCHW, opset 17; batch dimension ``batch`` when it is free."""
    from onnx import TensorProto, helper, numpy_helper

    state = torch_state()
    constants = {name: value for name, value in state.items() if "num_batches" not in name}
    norm = ("weight", "bias", "running_mean", "running_var")

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes)

    nodes = [
        node("Conv", ["picture", "features.0.0.weight"], "stem", pads=[1] * 4, kernel_shape=[3, 3]),
        node("BatchNormalization", ["stem", *(f"features.0.1.{p}" for p in norm)], "stem_norm", epsilon=1e-3),
        node("Clip", ["stem_norm", "zero", "six"], "stem_relu"),
        node("Conv", ["stem_relu", "features.1.0.weight"], "depthwise", strides=[2, 2], group=16, kernel_shape=[3, 3]),
        node("BatchNormalization", ["depthwise", *(f"features.1.1.{p}" for p in norm)], "depthwise_norm", epsilon=1e-3),
        node("Relu", ["depthwise_norm"], "depthwise_relu"),
        node("Conv", ["depthwise_relu", "features.2.0.weight", "features.2.0.bias"], "pointwise", kernel_shape=[1, 1]),
        node("Relu", ["pointwise"], "pointwise_relu"),
        node("GlobalAveragePool", ["pointwise_relu"], "pool"),
        node("Flatten", ["pool"], "flat", axis=1),
        node("Gemm", ["flat", "classifier.weight", "classifier.bias"], "logits", transB=1),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    constants.update({"zero": np.asarray(0, np.float32), "six": np.asarray(6, np.float32)})
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch or "batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch or "batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_model(folder: Path, batch: int | None = None, external: bool = False) -> Path:
    """An ONNX file, with its weights in ``tiny.onnx.data`` beside it if ``external``."""
    import onnx

    path = folder / "tiny.onnx"
    where = {"save_as_external_data": True, "location": "tiny.onnx.data", "size_threshold": 0} if external else {}
    onnx.save(onnx_proto(batch), path, **where)
    return path
