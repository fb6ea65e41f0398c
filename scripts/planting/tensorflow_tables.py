"""What TensorFlow calls the things that the catalogue speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

from planting.network import Operator, Unfit
from planting.tensorflow_graph import Graph

KINDS = {
    "Conv2D": "conv",
    "DepthwiseConv2dNative": "depthwise",
    "MatMul": "dense",
    "FusedBatchNormV3": "norm",
    "AddV2": "add",
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Maximum": "max",
    "ConcatV2": "concat",
    "MaxPool": "max_pool",
    "AvgPool": "average_pool",
    "Mean": "mean",
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "Reshape": "reshape",
    "Transpose": "transpose",
    "Pad": "pad",
    "PadV2": "pad",
    "ResizeBilinear": "resize",
    "ResizeNearestNeighbor": "resize",
}
CODES = {kind: code for code, kind in reversed(KINDS.items())} | {
    "add": "AddV2",
    "pad": "PadV2",
    "scale": "Mul",
    "shift": "AddV2",
    "reverse": "ReverseV2",
}
KERNELS = {"conv": "HWIO", "depthwise": "HWOM", "dense": "IO"}
ATTRIBUTES = {
    "MaxPool": ("ksize", "strides", "padding", "data_format"),
    "AvgPool": ("ksize", "strides", "padding", "data_format"),
}
RESIZES = {"nearest": "ResizeNearestNeighbor", "linear": "ResizeBilinear"}


def read_setting(operator: Operator, name: str, graph: Graph) -> Any:
    """The value of a setting, or None."""
    node, inputs = operator.handle, graph.inputs(operator.handle)
    if operator.kind == "resize":
        corners, centers = node.attr["align_corners"].b, node.attr["half_pixel_centers"].b
        method = next(key for key, op in RESIZES.items() if op == node.op)
        place = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
        return {"method": method, "coordinates": place}.get(name)
    if operator.kind == "norm" and name == "epsilon":
        return float(graph.values(_epsilon(operator, graph))) if node.name in graph.norms else node.attr["epsilon"].f
    if (node.op, name) == ("FusedBatchNormV3", "training"):
        return bool(node.attr["is_training"].b)
    if (operator.kind, name) == ("leaky", "slope"):
        return node.attr["alpha"].f
    if (operator.kind, name) == ("concat", "axis"):
        return int(graph.values(inputs[-1]))
    if (operator.kind, name) == ("mean", "axes"):
        return graph.values(inputs[1]).tolist()
    if operator.kind == "pad":
        amounts = graph.values(inputs[1]).tolist()
        plain = len(amounts) == 4 and not any(amounts[0] + amounts[3])
        value = float(graph.values(inputs[2])) if len(inputs) > 2 else 0.0
        return {"value": value, "pads": tuple(map(tuple, amounts[1:3])) if plain else None}.get(name)
    return None


def _epsilon(operator: Operator, graph: Graph) -> str:
    return graph.inputs(graph.node(graph.norms[operator.name].variance_sum))[1]


def write_setting(operator: Operator, name: str, value: Any, graph: Graph) -> None:
    """Changes a setting; those that are constants get one of their own."""
    node = operator.handle
    if operator.kind == "resize":
        _resize(node, name, value)
    elif operator.kind == "norm" and name == "epsilon" and node.name in graph.norms:
        graph.put(_epsilon(operator, graph), np.asarray(value))
    elif operator.kind == "norm" and name == "epsilon":
        node.attr["epsilon"].f = value
    elif name == "training":
        node.attr["is_training"].b, node.attr["exponential_avg_factor"].f = value, 0.5
    elif name == "slope":
        node.attr["alpha"].f = value
    elif name == "value":
        constant = graph.add(f"{node.name}/value", np.asarray(value, np.float32))
        node.op = "PadV2"
        node.input[:] = [*graph.inputs(node)[:2], constant]
    elif name in ("axis", "axes", "pads"):
        place = len(graph.inputs(node)) - 1 if name == "axis" else 1
        old = graph.values(graph.inputs(node)[place])
        new = [(0, 0), *value, (0, 0)] if name == "pads" else value
        node.input[place] = graph.add(f"{node.name}/{name}", np.asarray(new, old.dtype))
    else:
        raise Unfit(f"{node.op} has no {name}")


def _resize(node: Any, name: str, value: Any) -> None:
    if name == "method":
        node.op = RESIZES[value]
    else:
        node.attr["align_corners"].b, node.attr["half_pixel_centers"].b = (
            value == "align_corners",
            value == "half_pixel",
        )


def recipe(kind: str, settings: dict[str, Any]) -> tuple[str, list[np.ndarray]]:
    """Operator and constant inputs of a new node."""
    op = CODES[kind]
    if kind == "transpose":
        return op, [np.asarray(settings["permutation"], np.int32)]
    if kind == "pad":
        pads = np.asarray([(0, 0), *settings["pads"], (0, 0)], np.int32)
        return op, [pads, np.asarray(settings.get("value", 0.0), np.float32)]
    if kind in ("scale", "shift"):
        return op, [np.asarray(settings["values"], np.float32)]
    return op, [np.asarray([settings["axis"]], np.int32)] if kind == "reverse" else []


def types(kind: str) -> dict[str, type]:
    """The type attributes that a new node needs."""
    extra = {"transpose": "Tperm", "pad": "Tpaddings", "reverse": "Tidx"}
    return {"T": np.float32} | ({extra[kind]: np.int32} if kind in extra else {})
