"""What is to stand for one node of an ONNX graph, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.repairing.onnx_values import attributes_of

Array = npt.NDArray[Any]
LOWEST, HIGHEST, TINY = (float(getattr(np.finfo(np.float32), name)) for name in ("min", "max", "tiny"))
AXES_AS_INPUT = {"ReduceSum": 13}
"""From which version on a reduction takes its axes as an input; 18 for the others."""


class Draft:
    """What is to stand for one node: ``draft("Mul", a, b)`` adds an operator and gives the name of its value."""

    def __init__(self, node: Any, opset: int, constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]):
        self.node, self.opset, self.constants, self.shapes = node, opset, constants, shapes
        self.attributes = attributes_of(node)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.x = node.input[0] if node.input else ""

    def __call__(self, kind: str, *inputs: str | float, **attributes: Any) -> str:
        import onnx

        name = f"{self.node.output[0]}/{len(self.nodes)}"
        names = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        label = f"{self.node.name or self.node.output[0]}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, names, [name], label, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """The name of a constant."""
        import onnx

        name = f"{self.node.output[0]}/constant_{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def whole(self, values: Any) -> str:
        """The name of a constant of whole numbers, such as a shape or axes."""
        return self.constant(values, np.int64)

    def reduce(self, kind: str, value: str, axes: Sequence[int]) -> str:
        """A reduction that keeps its axes."""
        if self.opset >= AXES_AS_INPUT.get(kind, 18):
            return self(kind, value, self.whole(list(axes)), keepdims=1)
        return self(kind, value, axes=list(axes), keepdims=1)

    def given(self, place: int) -> Array | None:
        """The constant that an input is, if it is one."""
        name = self.node.input[place] if len(self.node.input) > place else ""
        return self.constants.get(name)

    def sides(self, name: str | None = None) -> tuple[int, ...] | None:
        """All sizes but the batch's, None where one is open."""
        found = self.shapes.get(name or self.x, ())[1:]
        return found if found and all(found) else None

    @property
    def rank(self) -> int:
        return len(self.shapes.get(self.x, ()))

    def axis(self, default: int) -> int:
        """The attribute ``axis``, counted from the front."""
        axis = int(self.attributes.get("axis", default))
        return axis + self.rank if axis < 0 else axis
