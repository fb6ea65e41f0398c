"""Models as onnxruntime saves them once it has optimized them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from convfault.relax.onnx_fused import DOMAIN

RANDOM = np.random.default_rng(7)


def drawn(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.standard_normal(shape), np.float32)


def saved(path: Path, nodes: list[Any], constants: dict[str, np.ndarray], shape: tuple[Any, ...]) -> Path:
    """A model from x to y, with onnxruntime's operators allowed in it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def optimized(path: Path, level: str) -> Path:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(path.with_stem(level))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_stem(level)


def network(path: Path) -> Path:
    """Channels that fill no block, groups, a sum, a concatenation, a pool, a larger picture."""
    from onnx import helper

    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", strides=[2, 2], **window),
        helper.make_node("LeakyRelu", ["c1"], ["r1"], alpha=0.2),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="depthwise", group=20, **window),
        helper.make_node("Sigmoid", ["c2"], ["s2"]),
        helper.make_node("Mul", ["c2", "s2"], ["m2"]),
        helper.make_node("Add", ["m2", "r1"], ["a2"]),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["c3"], name="wide", **window),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Concat", ["r3", "a2"], ["k"], axis=1),
        helper.make_node("MaxPool", ["k"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w4", "b4"], ["c4"], name="last", **window),
        helper.make_node("GlobalAveragePool", ["c4"], ["y"]),
    ]
    constants = {"w1": drawn(20, 3, 3, 3), "b1": drawn(20), "w2": drawn(20, 1, 3, 3), "w3": drawn(32, 20, 3, 3),
                 "b3": drawn(32), "w4": drawn(24, 52, 3, 3), "b4": drawn(24)}  # fmt: skip
    return saved(path, nodes, constants, ("n", 3, 16, 16))
