"""Makes a quantized TFLite model float, explicitly: TVM's frontend refuses dynamic-range models.

Every quantized tensor becomes float32 with the real numbers that its stored integers stand for; what was done is
recorded as one ``Encoding`` a tensor. QUANTIZE and DEQUANTIZE operators vanish. What integer arithmetic rounds on the
way is not modelled: the float meaning of the graph is what two conversions are compared by.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.relax.imported import Encoding
from convfault.relax.rounding import spread, unpacked

INTEGERS = frozenset({"INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "INT32", "INT64"})
BITS = {"int2": 2, "int4": 4, "uint4": 4}
"""Types of which a byte holds several, the first one in its lowest bits."""
MARKERS = ("QUANTIZE", "DEQUANTIZE")


def encoded_tensors(graph: Any) -> bool:
    """Whether a tensor of this flatbuffer graph stores quantized or half-precision numbers."""
    from ai_edge_litert import schema_py_generated as schema

    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        quantization = tensor.Quantization()
        stored = quantization and (quantization.ScaleLength() or quantization.DetailsType())
        if tensor.Type() == schema.TensorType.FLOAT16 or stored:
            return True
    return False


def dequantize(tree: Any) -> dict[str, Encoding]:
    """Make the first graph of a model tree (``ModelT``) float in place; tensor name → its former encoding."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    encodings = {}
    for tensor in tree.subgraphs[0].tensors:
        encoding = _encoding(tree, tensor, kinds[tensor.type])
        if encoding is None:
            continue
        encodings[encoding.tensor] = encoding
        if encoding.constant:
            values = real_values(tree.buffers[tensor.buffer].data, tuple(tensor.shape), encoding)
            tensor.buffer = len(tree.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            tree.buffers.append(buffer)
        tensor.type = schema.TensorType.FLOAT32
        tensor.quantization = None
    _drop_markers(tree, schema, encodings)
    return encodings


def _encoding(tree: Any, tensor: Any, kind: str) -> Encoding | None:
    data = tree.buffers[tensor.buffer].data
    constant = data is not None and len(data) > 0
    name = tensor.name.decode()
    if kind == "FLOAT16":
        return Encoding.half(name, constant)
    return integers(tree, tensor, kind, name, constant)


def integers(tree: Any, tensor: Any, kind: str, name: str, constant: bool) -> Encoding | None:
    """How a tensor of a model tree, of the schema's type ``kind``, stores real numbers as integers, if it does."""
    found = tensor.quantization
    if kind not in INTEGERS or found is None:
        return None
    blocks: tuple[int, ...] = ()
    scales, zeros = found.scale, found.zeroPoint
    if getattr(found.details, "blockSize", 0):
        held = tree.subgraphs[0].tensors
        counts, scales = _side(tree, held[found.details.scales])
        zeros = _side(tree, held[found.details.zeroPoints])[1] if found.details.zeroPoints > 0 else None
        blocks = tuple(int(side) // count for side, count in zip(tensor.shape, counts, strict=True))
    if scales is None or not len(scales):
        return None
    zeros = [0] * len(scales) if zeros is None or not len(zeros) else zeros
    steps, levels = tuple(float(scale) for scale in scales), tuple(int(zero) for zero in zeros)
    return Encoding(name, kind.lower(), steps, levels, int(found.quantizedDimension), constant, blocks)


def _side(tree: Any, tensor: Any) -> tuple[tuple[int, ...], npt.NDArray[Any]]:
    """The shape and the values in a row of the scales or zero points that a tensor has for its blocks."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {getattr(schema.TensorType, name.upper()): name for name in ("float16", "float32", "int32", "int64")}
    data = np.asarray(tree.buffers[tensor.buffer].data, np.uint8)
    return tuple(int(side) for side in tensor.shape), data.view(np.dtype(kinds[tensor.type]))


def real_values(data: Any, shape: tuple[int, ...], encoding: Encoding) -> npt.NDArray[np.float32]:
    """The float32 numbers that stored bytes stand for, in ``shape``."""
    raw = np.asarray(data, dtype=np.uint8)
    stored: npt.NDArray[Any]
    if encoding.dtype == "float16":
        return raw.view(np.float16).astype(np.float32).reshape(shape)
    if encoding.dtype in BITS:
        held = unpacked(raw, BITS[encoding.dtype])[: int(np.prod(shape))]
        stored = _signed(held, encoding.dtype).reshape(shape)
    else:
        stored = raw.view(np.dtype(encoding.dtype)).reshape(shape)
    parts = np.asarray(encoding.scales, np.float32), np.asarray(encoding.zero_points, np.int64)
    scales, zeros = (spread(part, shape, encoding.axis, encoding.blocks) for part in parts)
    return np.asarray((stored.astype(np.int64) - zeros).astype(np.float32) * scales, np.float32)


def _signed(values: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[np.int8]:
    sign = 0 if dtype.startswith("u") else 1 << BITS[dtype] - 1
    return np.asarray((values.astype(np.int8) ^ sign) - sign, np.int8)


def _drop_markers(tree: Any, schema: Any, encodings: dict[str, Encoding]) -> None:
    """Remove QUANTIZE and DEQUANTIZE: whoever reads their output reads their input.

    Where QUANTIZE alone reads a float that an operator computes, the operator writes to QUANTIZE's output instead: the
    value goes by the name that has its encoding. A model input that is quantized first gets that encoding itself.
    """
    graph = tree.subgraphs[0]
    codes = {getattr(schema.BuiltinOperator, name): name for name in MARKERS}
    outputs = {int(index) for index in graph.outputs}
    reads = Counter(int(index) for operator in graph.operators for index in operator.inputs)
    makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
    alias: dict[int, int] = {}
    kept = []
    for operator in graph.operators:
        code = tree.operatorCodes[operator.opcodeIndex]
        marker = codes.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if marker is None or int(operator.outputs[0]) in outputs:
            kept.append(operator)
            continue
        before, after = int(operator.inputs[0]), int(operator.outputs[0])
        maker = makers.get(before)
        alone = reads[before] == 1 and before not in outputs
        if marker == "QUANTIZE" and maker is not None and maker in kept and alone:
            maker.outputs = [after if int(index) == before else int(index) for index in maker.outputs]
        else:
            alias[after] = alias.get(before, before)
            names = [graph.tensors[index].name.decode() for index in (before, after)]
            if marker == "QUANTIZE" and maker is None and alone and names[1] in encodings:
                encodings[names[0]] = replace(encodings[names[1]], tensor=names[0])
    for operator in kept:
        operator.inputs = [alias.get(int(index), int(index)) for index in operator.inputs]
    graph.operators = kept
