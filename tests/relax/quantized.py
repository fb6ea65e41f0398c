"""Tiny ONNX models, quantized in every way that onnxruntime's tools have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (4, 3, 8, 8)
WAYS = ("pairs", "channels", "operators", "dynamic")


def pictures(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE).astype(np.float32)


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.4).astype(np.float32)

    return {
        "first": draw(8, 3, 3, 3),
        "first_bias": draw(8),
        "second": draw(8, 8, 1, 1),
        "second_bias": draw(8),
        "head": draw(8, 5),
        "head_bias": draw(5),
    }


def nodes() -> list[Any]:
    """Convolution, Relu, convolution, sum, pools, product."""
    from onnx import helper

    make = helper.make_node
    return [
        make("Conv", ["x", "first", "first_bias"], ["c1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        make("Relu", ["c1"], ["r1"], "relu1"),
        make("Conv", ["r1", "second", "second_bias"], ["c2"], "conv2", kernel_shape=[1, 1]),
        make("Add", ["r1", "c2"], ["sum"], "add"),
        make("MaxPool", ["sum"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        make("GlobalAveragePool", ["pooled"], ["mean"], "mean"),
        make("Flatten", ["mean"], ["flat"], "flatten"),
        make("Gemm", ["flat", "head", "head_bias"], ["y"], "gemm"),
    ]


def model(made: list[Any], constants: dict[str, np.ndarray], opset: int = 17, shape: Any = ("n", 3, 8, 8)) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def float_file(folder: Path) -> Path:
    import onnx

    path = folder / "float.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model(nodes(), arrays())), path)
    return path


def quantized_file(folder: Path, way: str) -> Path:
    """The float model next to it, quantized."""
    from onnxruntime import quantization as tools

    source, path = float_file(folder), folder / f"{way}.onnx"
    if way == "dynamic":
        tools.quantize_dynamic(source, path, weight_type=tools.QuantType.QUInt8)
        return path
    reader = Reader()
    settings: dict[str, Any] = {"quant_format": tools.QuantFormat.QDQ}
    if way == "channels":
        settings |= {"per_channel": True, "activation_type": tools.QuantType.QUInt8}
    if way == "operators":
        settings["quant_format"] = tools.QuantFormat.QOperator
    tools.quantize_static(source, path, reader, **settings)
    return path


def half_file(folder: Path, *, ends: bool) -> Path:
    """The float model in float16; with ``ends``, inputs and outputs are float32 and cast."""
    import onnx

    half = {name: values.astype(np.float16) for name, values in arrays().items()}
    made = nodes()
    if ends:
        made[0].input[0], made[-1].output[0] = "x_half", "y_half"
        made.insert(0, onnx.helper.make_node("Cast", ["x"], ["x_half"], to=onnx.TensorProto.FLOAT16))
        made.append(onnx.helper.make_node("Cast", ["y_half"], ["y"], to=onnx.TensorProto.FLOAT))
    proto = model(made, half)
    if not ends:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    path = folder / "half.onnx"
    onnx.save(proto, path)
    return path


class Reader:
    """Pictures to measure ranges on, for onnxruntime's tools."""

    def __init__(self) -> None:
        self._left = [{"x": pictures(seed)} for seed in range(3, 6)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop(0) if self._left else None


def answer(path: Path | Any, values: np.ndarray, names: list[str] | None = None) -> list[np.ndarray]:
    """What onnxruntime answers, nothing fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = str(path) if isinstance(path, Path) else path.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kind = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    return [np.asarray(found) for found in session.run(names, {"x": values.astype(kind)})]
