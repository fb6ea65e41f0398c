"""ONNX files of a stem, what shows a bug, and a head; lively weights; plain names unless the names are the bug."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZE, CHANNELS, WIDE, CLASSES = 24, 8, 16, 10
Nodes = list[Any]
Arrays = dict[str, np.ndarray]


def network(
    folder: Path,
    name: str,
    middle: Callable[[Arrays], Nodes],
    *,
    opset: int = 17,
    batch: int | str = "batch",
    rename: Callable[[str], str] = str,
    pool: Callable[[Arrays], Nodes] | None = None,
) -> Path:
    """Conv → BatchNormalization → Relu → ``middle`` (from tensor ``a`` to ``b``) → 1x1 Conv → Relu → pool → Gemm."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    arrays = _weights()
    nodes = [
        node("Conv", ["picture", "stem_weight"], "stem", kernel_shape=[3, 3], pads=[1] * 4),
        node("BatchNormalization", ["stem", "gamma", "beta", "mean", "variance"], "normed", epsilon=1e-3),
        node("Relu", ["normed"], "a"),
        *middle(arrays),
        node("Conv", ["b", "wide_weight", "wide_bias"], "wide", kernel_shape=[1, 1]),
        node("Relu", ["wide"], "wide_relu"),
        *(pool or _global_pool)(arrays),
        node("Flatten", ["pooled"], "flat", axis=1),
        node("Gemm", ["flat", "dense_weight", "dense_bias"], "logits", transB=1),
    ]
    for item in nodes:
        item.name = rename(item.name)
        item.input[:] = [text if text in {"picture", ""} else rename(text) for text in item.input]
        item.output[:] = [text if text == "logits" else rename(text) for text in item.output]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value, rename(key)) for key, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = folder / f"{name}.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes)


def _weights() -> Arrays:
    random = np.random.default_rng(11)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    return {
        "stem_weight": draw(CHANNELS, 3, 3, 3, scale=0.4),
        "gamma": 1 + np.abs(draw(CHANNELS)),
        "beta": draw(CHANNELS) + 1,
        "mean": draw(CHANNELS, scale=0.3),
        "variance": 0.5 + np.abs(draw(CHANNELS, scale=0.5)),
        "wide_weight": draw(WIDE, CHANNELS, 1, 1, scale=0.4),
        "wide_bias": draw(WIDE, scale=0.2),
        "dense_weight": draw(CLASSES, WIDE, scale=0.5),
        "dense_bias": draw(CLASSES, scale=0.2),
    }


def _global_pool(arrays: Arrays) -> Nodes:
    return [node("GlobalAveragePool", ["wide_relu"], "pooled")]


def plain(arrays: Arrays) -> Nodes:
    return [node("Relu", ["a"], "b")]


def pool(**attributes: Any) -> Callable[[Arrays], Nodes]:
    return lambda arrays: [node("AveragePool", ["a"], "b", **attributes)]


def clip(arrays: Arrays) -> Nodes:
    arrays |= {"zero": np.asarray(0, np.float32), "two": np.asarray(2, np.float32)}
    return [node("Clip", ["a", "zero", "two"], "b")]


def resize(scale: float, **attributes: Any) -> Callable[[Arrays], Nodes]:
    def nodes(arrays: Arrays) -> Nodes:
        arrays["scales"] = np.asarray([1, 1, scale, scale], np.float32)
        return [node("Resize", ["a", "", "scales"], "b", **attributes)]

    return nodes


def upsample(arrays: Arrays) -> Nodes:
    arrays["scales"] = np.asarray([1, 1, 2, 2], np.float32)
    return [node("Upsample", ["a", "scales"], "b", mode="nearest")]


def same_convolution(arrays: Arrays) -> Nodes:
    arrays["same_weight"] = _square(3)
    return [node("Conv", ["a", "same_weight"], "b", auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2])]


def weight_behind_identity(arrays: Arrays) -> Nodes:
    arrays |= {"shared_weight": _square(3), "shared_bias": np.linspace(-1, 1, CHANNELS, dtype=np.float32)}
    convolution = {"kernel_shape": [3, 3], "pads": [1] * 4}
    return [
        node("Identity", ["shared_bias"], "same_bias"),
        node("Conv", ["a", "shared_weight", "shared_bias"], "first", **convolution),
        node("Conv", ["first", "shared_weight", "same_bias"], "b", **convolution),
    ]


def _square(kernel: int) -> np.ndarray:
    random = np.random.default_rng(5)
    return (random.standard_normal((CHANNELS, CHANNELS, kernel, kernel)) * 0.2).astype(np.float32)


def mean_of_opset_18(arrays: Arrays) -> Nodes:
    arrays["axes"] = np.asarray([2, 3], np.int64)
    return [node("ReduceMean", ["wide_relu", "axes"], "pooled", keepdims=1)]


def as_torch_names(name: str) -> str:
    return f"/features/{name}/output_0"
