"""The tensors, buffers and operators of a TFLite file, by name; reading and writing the flatbuffer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from convfault import cache
from convfault.flatbuffer import gathered, packed
from convfault.relax.graph import Array
from convfault.relax.import_tflite import operator_names
from convfault.relax.imported import Encoding
from convfault.relax.tflite_dequantize import integers, real_values
from convfault.repairing.writers.document import unused

DTYPES = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT32": np.int32, "UINT8": np.uint8, "INT64": np.int64,
    "BOOL": np.bool_, "INT16": np.int16, "INT8": np.int8, "FLOAT64": np.float64, "UINT32": np.uint32,
}  # fmt: skip
REPRESENTABLE = 1e-6
"""Of the largest value: what a quantized tensor may be off to count as holding the numbers exactly."""


class TFLiteFile:
    """A ``.tflite`` file as a tree of the schema's own objects; tensors of the first graph go by name.

    Tensors of one name are told apart as TFLite's session does in convfault: ``name#index``.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.content = gathered(path.read_bytes(), schema)
        self.tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.content, 0))
        self.graph = self.tree.subgraphs[0]
        self.codes = operator_names(schema)
        self.types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
        self.tensors: dict[str, Any] = {}
        for index, tensor in enumerate(self.graph.tensors):
            name = (tensor.name or b"").decode()
            self.tensors[f"{name}#{index}" if name in self.tensors else name] = tensor
        self.labels = list(self.tensors)
        self.swaps: dict[int, bytes] = {}
        """Buffer number → other bytes of the same length: all that was changed, unless ``restructured``."""
        self.restructured = False

    def label(self, index: int) -> str:
        return self.labels[index] if index >= 0 else ""

    def type(self, tensor: str) -> str:
        return str(self.types[self.tensors[tensor].type])

    def shape(self, tensor: str) -> tuple[int, ...]:
        shape = self.tensors[tensor].shape
        return tuple(int(side) for side in ([] if shape is None else shape))

    def raw(self, tensor: str) -> Array | None:
        """The stored numbers of a constant, None for what is computed."""
        found = self.tensors[tensor]
        data = self.tree.buffers[found.buffer].data
        if data is None or not len(data) or found.sparsity is not None or self.type(tensor) not in DTYPES:
            return None
        return np.frombuffer(bytes(data), DTYPES[self.type(tensor)]).reshape(self.shape(tensor))

    def encoding(self, tensor: str) -> Encoding | None:
        """How a quantized tensor stores real numbers."""
        return integers(self.tree, self.tensors[tensor], self.type(tensor), tensor, True)

    def real(self, tensor: str) -> Array | None:
        """The numbers that a constant stands for: float32 where it is quantized or of half precision."""
        found, encoding = self.tensors[tensor], self.encoding(tensor)
        data = self.tree.buffers[found.buffer].data
        if encoding is not None and data is not None and len(data):
            return real_values(data, self.shape(tensor), encoding)
        raw = self.raw(tensor)
        return raw.astype(np.float32) if raw is not None and raw.dtype == np.float16 else raw

    def stored(self, tensor: str, values: Array) -> Array | None:
        """The numbers as the tensor's own quantization stores them, if it does so exactly."""
        encoding = self.encoding(tensor)
        fits = encoding is not None and not encoding.blocks and values.shape == self.shape(tensor)
        if encoding is None or encoding.dtype not in {"int8", "uint8"} or not fits:
            return None
        side = [1] * values.ndim
        if len(encoding.scales) > 1:
            side[encoding.axis] = -1
        scales, zeros = np.asarray(encoding.scales).reshape(side), np.asarray(encoding.zero_points)
        zeros = zeros.reshape(side if zeros.size > 1 else [1] * values.ndim)
        limits = np.iinfo(encoding.dtype)
        with np.errstate(invalid="ignore"):
            whole = np.clip(np.nan_to_num(np.rint(values / scales)) + zeros, limits.min, limits.max)
            errors = np.abs((whole - zeros) * scales - values)
        exact = bool(np.all(errors <= REPRESENTABLE * max(float(np.abs(values).max(initial=0.0)), 1e-30)))
        return whole.astype(encoding.dtype) if exact else None

    def users(self) -> Counter[int]:
        """How many tensors of all graphs, and how many entries of the metadata, use each buffer."""
        found = Counter(int(tensor.buffer) for graph in self.tree.subgraphs for tensor in graph.tensors)
        found.update(int(entry.buffer) for entry in self.tree.metadata or [])
        return found

    def set_bytes(self, tensor: str, values: Array) -> None:
        """Give a tensor other stored numbers, in a buffer of its own where others use the one that it has."""
        found = self.tensors[tensor]
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        old = self.tree.buffers[found.buffer]
        if found.buffer and self.users()[int(found.buffer)] == 1:
            if old.data is not None and len(old.data) == len(data):
                self.swaps[int(found.buffer)] = data.tobytes()
            else:
                self.restructured = True
            old.data = data
        else:
            found.buffer = self.buffer(data)

    def buffer(self, data: Array | None) -> int:
        """A new buffer."""
        self.restructured = True
        made = self.schema.BufferT()
        made.data = data
        self.tree.buffers.append(made)
        return len(self.tree.buffers) - 1

    def add(self, name: str, shape: tuple[int, ...], kind: str, values: Array | None = None) -> str:
        """A new tensor; its name, which may have got a number."""
        made = self.schema.TensorT()
        made.shape = np.asarray(shape, np.int32)
        made.type = getattr(self.schema.TensorType, kind)
        made.buffer = 0
        made.hasRank = True
        name = unused(name, set(self.tensors))
        made.name = name.encode()
        self.tensors[name] = made
        if values is not None:
            made.buffer = self.buffer(np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8))
        self.restructured = True
        return name

    def code(self, kind: str, version: int) -> int:
        """The number of an operator code, added if the file has none."""
        number = getattr(self.schema.BuiltinOperator, kind)
        for place, code in enumerate(self.tree.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version >= version:
                return place
        made = self.schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = number, min(number, 127), version
        self.tree.operatorCodes.append(made)
        return len(self.tree.operatorCodes) - 1

    def kind(self, operator: Any) -> str:
        code = self.tree.operatorCodes[operator.opcodeIndex]
        return self.codes.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")

    def save(self, path: Path) -> None:
        """Write the file aside and rename it into place: other bytes in the old one's place where that is all."""
        cache.write_aside(path, self.packed() if self.restructured else self._swapped())

    def _swapped(self) -> bytes:
        flat = self.schema.Model.GetRootAs(self.content, 0)
        content = bytearray(self.content)
        for number, data in self.swaps.items():
            table = flat.Buffers(number)._tab
            begin = table.Vector(table.Offset(4))
            content[begin : begin + len(data)] = data
        return bytes(content)

    def packed(self) -> bytes:
        """The tree as a flatbuffer; buffers that nobody uses any more are emptied, their numbers stay."""
        self.graph.tensors = list(self.tensors.values())
        users = self.users()
        before = self.schema.Model.GetRootAs(self.content, 0)
        for number, buffer in enumerate(self.tree.buffers):
            if number and not users[number] and number < before.BuffersLength() and _was_used(before, number):
                buffer.data = None
        return packed(self.tree)


def _was_used(flat: Any, number: int) -> bool:
    graphs = [flat.Subgraphs(index) for index in range(flat.SubgraphsLength())]
    return any(graph.Tensors(place).Buffer() == number for graph in graphs for place in range(graph.TensorsLength()))
