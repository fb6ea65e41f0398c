"""Whether a value of an ONNX graph can be negative, as far as what makes it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from convfault.relax.onnx_forms import PASSING
from convfault.relax.onnx_scene import Scene
from convfault.relax.onnx_steps import LOWEST

SIGNED = frozenset(
    {
        "BatchNormalization", "Celu", "Conv", "ConvTranspose", "Einsum", "Elu", "Gelu", "Gemm", "GroupNormalization",
        "HardSwish", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "LogSoftmax", "MatMul", "Mish", "Neg",
        "PRelu", "Selu", "Sub", "Swish", "Tanh",
    }
)  # fmt: skip
COMBINING = frozenset({"Add", "Concat", "Div", "Mul", "Sum"})
AVERAGING = frozenset({"AveragePool", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean"})


class Signs:
    """Looks at the operators of a scene as they are now; inputs of the model count as what they are given as."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._known: dict[str, bool] = {}

    def may_be_negative(self, name: str, node: Any = None) -> bool:
        """Whether the value may be; ``node`` makes it, before it was cut off at zero."""
        if node is not None:
            return self._of(node)
        if name in self._known:
            return self._known[name]
        encoding = self._scene.encodings.get(name)
        if encoding is not None and {*encoding.zero_points} == {LOWEST.get(encoding.dtype)}:
            return False
        values = self._scene.value(name)
        if values is not None:
            return bool(values.size and np.min(values) < 0)
        producer = self._scene.producers.get(name)
        self._known[name] = producer is not None and self._of(producer)
        return self._known[name]

    def _of(self, node: Any) -> bool:
        if node.op_type in SIGNED:
            return True
        if node.op_type in PASSING | AVERAGING:
            return self.may_be_negative(node.input[0])
        if node.op_type not in COMBINING or (node.op_type == "Mul" and node.input[0] == node.input[1]):
            return False
        return any(self.may_be_negative(name) for name in node.input if name)
