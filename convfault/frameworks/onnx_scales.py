"""What the integers of a quantized ONNX model stand for: scale and zero point by value name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

RESULTS = {
    "QuantizeLinear": (1, 2),
    "QGemm": (7, 8),
    "QLinearAdd": (6, 7),
    "QLinearAveragePool": (3, 4),
    "QLinearConcat": (0, 1),
    "QLinearConv": (6, 7),
    "QLinearGlobalAveragePool": (3, 4),
    "QLinearLeakyRelu": (3, 4),
    "QLinearMatMul": (6, 7),
    "QLinearMul": (6, 7),
    "QLinearReduceMean": (3, 4),
    "QLinearSigmoid": (3, 4),
    "QLinearSoftmax": (3, 4),
}
"""Operator → its inputs that say scale and zero point of its output."""

PASSING = frozenset(
    {
        "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that give the integers of their first input on."""


@dataclass(frozen=True, eq=False)
class Scale:
    """``real = scale * (stored - zero_point)``; along ``axis`` where there are several."""

    scale: npt.NDArray[Any]
    zero_point: npt.NDArray[Any]
    axis: int

    def real(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The float32 numbers that stored ones stand for."""
        import numpy as np

        shifted = values.astype(np.float32) - self._along(self.zero_point.astype(np.float32), values.ndim)
        return np.asarray(shifted * self._along(self.scale.astype(np.float32), values.ndim), np.float32)

    def _along(self, numbers: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
        sides = [1] * rank
        if numbers.size > 1:
            sides[self.axis] = -1
        return numbers.reshape(sides)


def scales(proto: Any, folder: Path) -> dict[str, Scale]:
    """Name → scale of every value of the main graph that is stored as integers with a constant scale."""
    if not any(node.op_type in RESULTS for node in proto.graph.node):
        return {}
    constants = _constants(proto.graph, folder)
    found: dict[str, Scale] = {}
    for node in proto.graph.node:
        if node.op_type in PASSING and node.input[0] in found:
            for name in filter(None, node.output[:1] if node.op_type == "MaxPool" else node.output):
                found[name] = found[node.input[0]]
        elif node.op_type in RESULTS and (made := _result(node, constants)) is not None:
            found[node.output[0]] = made
    return found


def _result(node: Any, constants: Mapping[str, npt.NDArray[Any]]) -> Scale | None:
    import numpy as np

    slots = RESULTS[node.op_type]
    scale, zero = (node.input[slot] if slot < len(node.input) else "" for slot in slots)
    if scale not in constants or (zero and zero not in constants):
        return None
    if constants[scale].ndim > 1:  # in blocks, which only weights are
        return None
    axis = next((int(item.i) for item in node.attribute if item.name == "axis"), 1)
    return Scale(constants[scale], constants[zero] if zero else np.zeros((), np.uint8), axis)


def _constants(graph: Any, folder: Path) -> dict[str, npt.NDArray[Any]]:
    """The constants that operators read scales and zero points from."""
    import numpy as np
    from onnx import numpy_helper

    wanted = {
        node.input[slot]
        for node in graph.node
        for slot in RESULTS.get(node.op_type, ())
        if slot < len(node.input) and node.input[slot]
    }
    found = {t.name: numpy_helper.to_array(t, str(folder)) for t in graph.initializer if t.name in wanted}
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in wanted and node.attribute:
            given = node.attribute[0]
            value = numpy_helper.to_array(given.t) if given.name == "value" else given.f or given.i
            found[node.output[0]] = np.asarray(value)
    return found
