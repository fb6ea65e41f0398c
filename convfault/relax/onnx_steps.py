"""How ONNX says which real numbers stored integers stand for: ``real = scale * (stored - zero_point)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.relax.imported import Encoding
from convfault.relax.rounding import spread

LOWEST = {"int2": -2, "int4": -8, "int8": -128, "int16": -32768, "uint2": 0, "uint4": 0, "uint8": 0, "uint16": 0}
"""Stored type → its smallest value."""
HIGHEST = {"int2": 1, "int4": 7, "int8": 127, "int16": 32767, "uint2": 3, "uint4": 15, "uint8": 255, "uint16": 65535}


@dataclass(frozen=True, eq=False)
class Steps:
    """Scales and zero points: one for the tensor, or several along ``axis``, or one for each ``block`` of that many
    values along it (0: no blocks); none where they are found at run time."""

    dtype: str
    scales: Array
    zeros: Array
    axis: int = 0
    block: int = 0

    @property
    def clamps(self) -> bool:
        """Whether nothing below zero can be stored, which is how quantizers say Relu."""
        return self.dtype in LOWEST and self.zeros.size > 0 and bool(np.all(self.zeros == LOWEST[self.dtype]))

    @property
    def single(self) -> bool:
        """Whether there is one scale for the tensor."""
        return self.scales.size == 1 and self.zeros.size == 1

    def same(self, other: Steps) -> bool:
        """Whether the other stands for the same numbers."""
        return (
            np.array_equal(self.scales.ravel(), other.scales.ravel())
            and np.array_equal(self.zeros.ravel(), other.zeros.ravel())
            and (self.single or (self.axis == other.axis and self.block == other.block))
        )

    def encoding(self, name: str, constant: bool) -> Encoding:
        scales, zeros = self.scales.ravel().tolist(), self.zeros.ravel().tolist()
        levels = tuple(int(zero) for zero in zeros)
        return Encoding(name, self.dtype, tuple(scales), levels, self.axis, constant, self._blocks(self.scales.ndim))

    def real(self, stored: Array) -> Array:
        """The float32 numbers that stored ones stand for."""
        if self.dtype.startswith("float"):
            shifted = stored.astype(np.float32)
        else:
            shifted = (stored.astype(np.int64) - self._along(self.zeros.astype(np.int64), stored)).astype(np.float32)
        return np.asarray(shifted * self._along(self.scales.astype(np.float32), stored), np.float32)

    def stored(self, values: Array) -> Array:
        """What is stored of real numbers, as int64: rounded to the nearest, even where two are, and cut off."""
        codes = np.rint(values / self._along(self.scales.astype(np.float32), values))
        codes = codes + self._along(self.zeros.astype(np.int64), values)
        return np.clip(codes, LOWEST[self.dtype], HIGHEST[self.dtype]).astype(np.int64)

    def _blocks(self, rank: int) -> tuple[int, ...]:
        """How long a block is along each axis."""
        if not self.block or self.single:
            return ()
        return tuple(self.block if axis == self.axis else 1 for axis in range(rank))

    def _along(self, numbers: Array, stored: Array) -> Array:
        """One number for each value, as far as broadcasting does not do it."""
        return spread(numbers, stored.shape, self.axis, self._blocks(stored.ndim))


def constants_of(graph: Any) -> dict[str, Any]:
    """Name → tensor of every initializer and ``Constant``."""
    from onnx import helper, numpy_helper

    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Constant" or not node.attribute:
            continue
        given = node.attribute[0]
        if given.name == "value":
            found[node.output[0]] = given.t
        elif given.name in {"value_float", "value_floats", "value_int", "value_ints"}:
            kind = np.float32 if "float" in given.name else np.int64
            found[node.output[0]] = numpy_helper.from_array(np.asarray(helper.get_attribute_value(given), kind))
    return found


def type_name(tensor: Any) -> str:
    """The type that a tensor is stored in, in numpy's words and ``int4``, ``float8e4m3fn``."""
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(tensor.data_type)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def array(tensor: Any) -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a native node as plain values."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def steps_of(
    constants: dict[str, Any], scale: str, zero: str, dtype: str, axis: int = 0, block: int = 0
) -> Steps | None:
    """Steps from the names of scale and zero point; ``dtype`` where there is none. None: they are not constant."""
    if scale not in constants or (zero and zero not in constants):
        return None
    scales = array(constants[scale]).astype(np.float32)
    if not zero:
        return Steps(dtype, scales, np.zeros((), np.int64), axis, block)
    zeros = array(constants[zero])
    kind = type_name(constants[zero])
    return Steps(kind, scales, zeros.astype(np.float32 if kind.startswith("float") else np.int64), axis, block)


def inner_reads(graph: Any) -> Iterator[str]:
    """Names that the graphs inside of nodes read or give."""
    for node in graph.node:
        for item in node.attribute:
            for inner in (item.g, *item.graphs):
                yield from (name for each in inner.node for name in each.input)
                yield from (value.name for value in inner.output)
                yield from inner_reads(inner)
