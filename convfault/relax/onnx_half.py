"""Makes a half-precision ONNX model single precision: weights, inputs, outputs and casts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from convfault.relax.imported import Encoding
from convfault.relax.onnx_steps import array

TYPED = {"Cast": "to", "RandomNormalLike": "dtype", "RandomUniformLike": "dtype", "EyeLike": "dtype"}
"""Operator → the attribute that says which type its output has."""


def is_half(proto: Any) -> bool:
    """Whether a model stores or computes anything in float16."""
    from onnx import TensorProto

    half = TensorProto.FLOAT16
    return any(value.type.tensor_type.elem_type == half for value in (*proto.graph.input, *proto.graph.output)) or any(
        tensor.data_type == half for tensor in _tensors(proto.graph)
    )


def widen(proto: Any) -> dict[str, Encoding]:
    """Make it float32 in place; name → encoding of every weight that was stored in float16."""
    from onnx import TensorProto

    half, found = TensorProto.FLOAT16, {}
    for tensor in proto.graph.initializer:
        if tensor.data_type == half:
            found[tensor.name] = Encoding(tensor.name, "float16", (1.0,), (0,), 0, True)
    for node in proto.graph.node:
        if node.op_type == "Constant" and any(item.t.data_type == half for item in node.attribute):
            found[node.output[0]] = Encoding(node.output[0], "float16", (1.0,), (0,), 0, True)
    for tensor in _tensors(proto.graph):
        if tensor.data_type == half:
            _widen_tensor(tensor)
    for graph in _graphs(proto.graph):
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == half:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        del graph.value_info[:]
        for node in graph.node:
            for item in node.attribute:
                if item.name == TYPED.get(node.op_type) and item.i == half:
                    item.i = TensorProto.FLOAT
    _drop_casts(proto.graph)
    return found


def _widen_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(array(tensor).astype(np.float32), tensor.name))


def _drop_casts(graph: Any) -> None:
    """Turn casts of what is float32 for sure into nothing at all, which is what ``Identity`` means."""
    from onnx import TensorProto

    single = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    single |= {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    weighted = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Clip", "Sigmoid", "BatchNormalization", "Softmax"}
    passing = {"Add", "Mul", "Sub", "Div", "Concat", "Flatten", "Reshape", "Transpose", "MaxPool", "Identity"}
    pools = {"AveragePool", "GlobalAveragePool", "ReduceMean"}
    for node in graph.node:
        known = bool(node.input) and node.input[0] in single
        if node.op_type == "Cast" and any(item.i == TensorProto.FLOAT for item in node.attribute):
            if known:
                node.op_type = "Identity"
                del node.attribute[:]
            single.update(node.output)
        elif node.op_type in weighted | pools or (known and node.op_type in passing):
            single.update(node.output)


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside of it."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            for inner in (item.g, *item.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that the graphs hold."""
    for each in _graphs(graph):
        yield from each.initializer
        for node in each.node:
            for item in node.attribute:
                yield from (item.t, *item.tensors)
