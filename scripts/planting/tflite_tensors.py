"""The tensors of a TFLite file: names, shapes, and constants read and written as float32 whatever they are kept as."""

from __future__ import annotations

from typing import Any

import numpy as np

from planting.network import Unfit

DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16, 9: np.int8}


class Tensors:
    """The tensors of the first subgraph, by index."""

    def __init__(self, model: Any, schema: Any) -> None:
        self.model, self.schema = model, schema
        self.graph = model.subgraphs[0]
        code = schema.BuiltinOperator.DEQUANTIZE
        codes = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in model.operatorCodes]
        widened = (each for each in self.graph.operators if codes[each.opcodeIndex] == code)
        self.widened = {int(each.outputs[0]): int(each.inputs[0]) for each in widened}
        """What a DEQUANTIZE gives, and the constant that it reads."""

    def name(self, index: int) -> str:
        return str(self.graph.tensors[index].name.decode())

    def index(self, name: str) -> int:
        return next(place for place, each in enumerate(self.graph.tensors) if each.name.decode() == name)

    def stored(self, index: int) -> int:
        """The constant itself, where a DEQUANTIZE stands before its reader."""
        return self.widened.get(int(index), int(index))

    def constant(self, index: int) -> bool:
        data = self.model.buffers[self.graph.tensors[self.stored(index)].buffer].data
        return data is not None and len(data) > 0

    def carries(self, index: int) -> bool:
        return int(index) >= 0 and not self.constant(index)

    def float32(self, index: int) -> bool:
        return bool(self.graph.tensors[index].type == 0)

    def shape(self, index: int) -> tuple[int, ...]:
        shape = self.graph.tensors[index].shape
        return tuple(int(size) for size in ([] if shape is None else shape))

    def raw(self, index: int) -> np.ndarray:
        tensor = self.graph.tensors[self.stored(index)]
        data = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8)
        return data.view(DTYPES[tensor.type]).reshape(self.shape(self.stored(index)))

    def _scales(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Scale and zero point, shaped to spread over the tensor."""
        quantization = self.graph.tensors[self.stored(index)].quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return None
        shape = [1] * len(self.shape(index))
        if len(quantization.scale) > 1:
            shape[quantization.quantizedDimension] = -1
        zero = quantization.zeroPoint
        zeros = np.zeros(len(quantization.scale)) if zero is None else np.asarray(zero)
        return np.asarray(quantization.scale, np.float32).reshape(shape), zeros.reshape(shape)

    def values(self, index: int) -> np.ndarray:
        raw, scales = self.raw(index).astype(np.float32), self._scales(index)
        return raw.copy() if scales is None else np.asarray((raw - scales[1]) * scales[0], np.float32)

    def put(self, index: int, values: np.ndarray) -> None:
        """Writes a constant, in a buffer of its own where others share it."""
        tensor = self.graph.tensors[self.stored(index)]
        kind, scales = DTYPES[tensor.type], self._scales(index)
        if scales is not None and not np.isfinite(values).all():
            raise Unfit("whole numbers cannot hold NaN")
        if scales is not None:
            limits = np.iinfo(kind)
            values = np.clip(np.round(values / scales[0]) + scales[1], limits.min, limits.max)
        data = np.frombuffer(np.ascontiguousarray(values.astype(kind)).tobytes(), np.uint8)
        if sum(each.buffer == tensor.buffer for each in self.graph.tensors) > 1:
            tensor.buffer = self._buffer(data)
        else:
            self.model.buffers[tensor.buffer].data = data

    def scale(self, index: int) -> Any:
        """The quantization of a tensor, or None."""
        return None if self._scales(index) is None else self.graph.tensors[self.stored(index)].quantization

    def _buffer(self, data: np.ndarray | None) -> int:
        buffer = self.schema.BufferT()
        buffer.data = data
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _append(self, tensor: Any, name: str) -> int:
        taken = {each.name for each in self.graph.tensors}
        names = (name if not number else f"{name}_{number}" for number in range(len(taken) + 1))
        tensor.name = next(each.encode() for each in names if each.encode() not in taken)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, name: str, values: np.ndarray) -> int:
        """A new constant."""
        tensor = self.schema.TensorT()
        tensor.shape = np.asarray(values.shape, np.int32)
        tensor.type = next(number for number, kind in DTYPES.items() if values.dtype == kind)
        tensor.buffer = self._buffer(np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8))
        return self._append(tensor, name)

    def blank(self, name: str, like: int, shape: tuple[int, ...]) -> int:
        """A new tensor that carries data, of the batch size and type of ``like``."""
        source, tensor = self.graph.tensors[like], self.schema.TensorT()
        tensor.shape, tensor.type = np.asarray(shape, np.int32), source.type
        if source.shapeSignature is not None and len(source.shapeSignature) == len(shape):
            tensor.shapeSignature = np.asarray([source.shapeSignature[0], *shape[1:]], np.int32)
        tensor.buffer = self._buffer(None)
        return self._append(tensor, name)
