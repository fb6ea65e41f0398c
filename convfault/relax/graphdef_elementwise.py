"""TensorFlow's elementwise operators, reductions, products and normalizations in Relax."""

from __future__ import annotations

from typing import Any

import numpy as np

from convfault.relax import expressions
from convfault.relax.graphdef import Node, Operator


def _named(name: str) -> Operator:
    """An operator that Relax has with the same inputs and no attributes."""

    def convert(node: Node) -> Any:
        from tvm import relax

        module = relax.op.nn if hasattr(relax.op.nn, name) else relax.op
        return getattr(module, name)(*node.inputs)

    return convert


def _same(node: Node) -> Any:
    return node.inputs[0]


def _all_same(node: Node) -> Any:
    return list(node.inputs)


def _relu6(node: Node) -> Any:
    from tvm import relax

    return relax.op.clip(node.inputs[0], relax.prim_value(0.0), relax.prim_value(6.0))


def _leaky_relu(node: Node) -> Any:
    from tvm import relax

    return relax.op.nn.leakyrelu(node.inputs[0], float(node.attribute("alpha")))


def _elu(node: Node) -> Any:
    return expressions.elu(node.inputs[0])


def _erfc(node: Node) -> Any:
    from tvm import relax

    return relax.op.subtract(relax.const(1.0, node.operation.outputs[0].dtype.name), relax.op.erf(node.inputs[0]))


def _softplus(node: Node) -> Any:
    return expressions.softplus(node.inputs[0])


def _log_of_more(node: Node) -> Any:
    """log(1 + x)."""
    from tvm import relax

    return relax.op.log(relax.op.add(node.inputs[0], expressions.scalar(1.0, node.inputs[0])))


def _power_less_one(node: Node) -> Any:
    """exp(x) - 1."""
    from tvm import relax

    return relax.op.subtract(relax.op.exp(node.inputs[0]), expressions.scalar(1.0, node.inputs[0]))


def _reciprocal(node: Node) -> Any:
    from tvm import relax

    return relax.op.divide(expressions.scalar(1.0, node.inputs[0]), node.inputs[0])


def _softsign(node: Node) -> Any:
    from tvm import relax

    value = node.inputs[0]
    return relax.op.divide(value, relax.op.add(expressions.scalar(1.0, value), relax.op.abs(value)))


def _quotient_or_zero(node: Node) -> Any:
    """x / y, and 0 where y is."""
    from tvm import relax

    value, divisor = node.inputs
    zero = expressions.scalar(0.0, divisor)
    return relax.op.where(relax.op.equal(divisor, zero), zero, relax.op.divide(value, divisor))


def _local_response(node: Node) -> Any:
    found = [float(node.attribute(name)) for name in ("bias", "alpha", "beta")]
    return expressions.local_response_norm(node.inputs[0], int(node.attribute("depth_radius")), *found)


def _gelu(node: Node) -> Any:
    from tvm import relax

    gelu = relax.op.nn.gelu_tanh if node.attribute("approximate") else relax.op.nn.gelu
    return gelu(node.inputs[0])


def _square_difference(node: Node) -> Any:
    from tvm import relax

    return relax.op.square(relax.op.subtract(*node.inputs))


def _add_all(node: Node) -> Any:
    from tvm import relax

    total = node.inputs[0]
    for other in node.inputs[1:]:
        total = relax.op.add(total, other)
    return total


def _bias_add(node: Node) -> Any:
    from tvm import relax

    bias, rank = node.inputs[1], len(node.shape())
    if node.attribute("data_format").startswith("NC") and rank > 2:
        bias = relax.op.reshape(bias, (1, -1, *[1] * (rank - 2)))
    return relax.op.add(node.inputs[0], bias)


def _batch_norm(node: Node) -> Any:
    from tvm import relax

    if node.attribute("is_training"):
        raise ValueError("batch normalization in training mode depends on the other pictures of the batch")
    axis = 1 if node.attribute("data_format") == "NCHW" else 3
    epsilon = float(node.attribute("epsilon"))
    return relax.TupleGetItem(relax.op.nn.batch_norm(*node.inputs, axis=axis, epsilon=epsilon, training=False), 0)


def _softmax(node: Node) -> Any:
    from tvm import relax

    return relax.op.nn.softmax(node.inputs[0], axis=-1)


def _log_softmax(node: Node) -> Any:
    from tvm import relax

    return relax.op.nn.log_softmax(node.inputs[0], axis=-1)


def _reduction(name: str) -> Operator:
    def convert(node: Node) -> Any:
        from tvm import relax

        axes = [int(axis) for axis in np.atleast_1d(node.constant(1))]
        return getattr(relax.op, name)(node.inputs[0], axis=axes, keepdims=bool(node.attribute("keep_dims")))

    return convert


def _index_of(name: str) -> Operator:
    def convert(node: Node) -> Any:
        from tvm import relax

        found = getattr(relax.op, name)(node.inputs[0], axis=int(node.constant(1)))
        return relax.op.astype(found, node.operation.outputs[0].dtype.name)

    return convert


def _cast(node: Node) -> Any:
    from tvm import relax

    return relax.op.astype(node.inputs[0], node.operation.outputs[0].dtype.name)


def _swapped(expression: Any, rank: int, swap: bool) -> Any:
    from tvm import relax

    return relax.op.permute_dims(expression, [*range(rank - 2), rank - 1, rank - 2]) if swap else expression


def _product(first: str, second: str) -> Operator:
    """A matrix product whose attributes ``first`` and ``second`` say which side is transposed."""

    def convert(node: Node) -> Any:
        from tvm import relax

        left = _swapped(node.inputs[0], len(node.shape(0)), bool(node.attribute(first)))
        right = _swapped(node.inputs[1], len(node.shape(1)), bool(node.attribute(second)))
        return relax.op.matmul(left, right)

    return convert


def _einsum(node: Node) -> Any:
    from tvm import relax

    return relax.op.einsum(tuple(node.inputs), node.attribute("equation"))


NAMED = {
    "Abs": "abs", "Add": "add", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide",
    "Div": "divide", "Maximum": "maximum", "Minimum": "minimum", "Pow": "power", "FloorDiv": "floor_divide",
    "Rsqrt": "rsqrt", "Sqrt": "sqrt", "Square": "square", "Exp": "exp", "Log": "log", "Neg": "negative",
    "Erf": "erf", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin", "Cos": "cos",
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Selu": "selu",
    "Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less", "LessEqual": "less_equal",
    "Equal": "equal", "NotEqual": "not_equal", "LogicalAnd": "logical_and", "LogicalOr": "logical_or",
    "LogicalNot": "logical_not", "SelectV2": "where", "Select": "where",
}  # fmt: skip
"""TensorFlow operator → the Relax operator of the same meaning."""

OPERATORS: dict[str, Operator] = {
    **{operator: _named(name) for operator, name in NAMED.items()},
    **dict.fromkeys(("Identity", "StopGradient", "Snapshot", "EnsureShape", "PreventGradient", "CheckNumerics"), _same),
    **{
        name: _reduction(relax)
        for name, relax in {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod"}.items()
    },
    "AddN": _add_all,
    "ArgMax": _index_of("argmax"),
    "ArgMin": _index_of("argmin"),
    "BatchMatMul": _product("adj_x", "adj_y"),
    "BatchMatMulV2": _product("adj_x", "adj_y"),
    "BatchMatMulV3": _product("adj_x", "adj_y"),
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "DivNoNan": _quotient_or_zero,
    "Einsum": _einsum,
    "Elu": _elu,
    "Erfc": _erfc,
    "Expm1": _power_less_one,
    "IdentityN": _all_same,
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "Gelu": _gelu,
    "Inv": _reciprocal,
    "LRN": _local_response,
    "LeakyRelu": _leaky_relu,
    "Log1p": _log_of_more,
    "LogSoftmax": _log_softmax,
    "MatMul": _product("transpose_a", "transpose_b"),
    "Reciprocal": _reciprocal,
    "Relu6": _relu6,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "SquaredDifference": _square_difference,
}
