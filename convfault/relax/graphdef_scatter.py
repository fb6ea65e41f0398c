"""TensorFlow's operators that read or write some places of a tensor, which their indices tell."""

from __future__ import annotations

from typing import Any

from convfault.relax import expressions
from convfault.relax.graphdef import Node, Operator

REDUCTIONS = {
    "TensorScatterAdd": "add",
    "TensorScatterMax": "max",
    "TensorScatterMin": "min",
    "TensorScatterUpdate": "update",
}
"""What becomes of the value that stands where one is written."""


def _gather_nd(node: Node) -> Any:
    from tvm import relax

    return relax.op.gather_nd(node.inputs[0], relax.op.astype(node.inputs[1], "int64"))


def _scatter(node: Node) -> Any:
    """Tensor, indices, updates."""
    return _written(node, node.inputs[0], node.inputs[2], REDUCTIONS[node.operation.type])


def _scatter_difference(node: Node) -> Any:
    from tvm import relax

    return _written(node, node.inputs[0], relax.op.negative(node.inputs[2]), "add")


def _written(node: Node, value: Any, updates: Any, reduction: str) -> Any:
    from tvm import relax

    return relax.op.scatter_nd(value, relax.const(node.constant(1).astype("int64")), updates, reduction)


def _scatter_new(node: Node) -> Any:
    """ScatterNd: indices, updates and a shape; what goes to one place is added up."""
    from tvm import relax

    zeros = relax.op.zeros(node.output_shape(), str(node.inputs[1].ty.dtype))
    return relax.op.scatter_nd(zeros, relax.const(node.constant(0).astype("int64")), node.inputs[1], "add")


def _update_slice(node: Node) -> Any:
    """XlaDynamicUpdateSlice: tensor, update, start; XLA moves a start so that the update fits."""
    starts = [
        min(max(int(start), 0), side - length)
        for start, side, length in zip(node.constant(2), node.shape(0), node.shape(1), strict=True)
    ]
    return expressions.with_block(node.inputs[0], node.shape(0), node.inputs[1], node.shape(1), starts)


OPERATORS: dict[str, Operator] = {
    "GatherNd": _gather_nd,
    "ScatterNd": _scatter_new,
    "TensorScatterSub": _scatter_difference,
    "XlaDynamicUpdateSlice": _update_slice,
    **dict.fromkeys(REDUCTIONS, _scatter),
}
