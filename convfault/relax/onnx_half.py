"""Makes a half-precision ONNX model single precision: weights, inputs, outputs and casts; what was half is recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from convfault.relax.imported import Encoding
from convfault.relax.onnx_steps import array

LARGE = 4096
"""Elements: larger constants are looked at without their numbers."""

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
    """Make it float32 in place; name → encoding of every weight and every other value that was in float16."""
    from onnx import TensorProto

    half, found = TensorProto.FLOAT16, {name: _encoding(name, False) for name in sorted(half_values(proto))}
    found |= {name: found[cast] for name, cast in _cast_at_once(proto.graph, found).items()}
    for tensor in proto.graph.initializer:
        if tensor.data_type == half:
            found[tensor.name] = _encoding(tensor.name, True)
    for node in proto.graph.node:
        if node.op_type == "Constant" and any(item.t.data_type == half for item in node.attribute):
            found[node.output[0]] = _encoding(node.output[0], True)
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


def _encoding(name: str, constant: bool) -> Encoding:
    return Encoding.half(name, constant)


def _cast_at_once(graph: Any, half: Collection[str]) -> dict[str, str]:
    """Values in single precision that are read only in half precision, and the first cast's output."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    ends = {value.name for value in graph.output} | {tensor.name for tensor in graph.initializer}
    return {
        name: nodes[0].output[0]
        for name, nodes in readers.items()
        if name not in ends and name not in half and all(n.op_type == "Cast" and n.output[0] in half for n in nodes)
    }


def half_values(proto: Any) -> set[str]:
    """Names of the main graph's float16 values, inputs among them, constants not; as far as ONNX can infer types."""
    import onnx

    light = onnx.ModelProto()
    light.CopyFrom(proto)
    for tensor in light.graph.initializer:  # the numbers of large ones say nothing about types
        if int(np.prod(tensor.dims)) > LARGE:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.ClearField("int32_data")
    half, graph = onnx.TensorProto.FLOAT16, onnx.shape_inference.infer_shapes(light).graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == half} - constants


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
