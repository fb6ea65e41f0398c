"""ONNX operators that convfault expresses in Relax itself, or that TVM is known to get wrong.

TVM's importer turns ``Clip``, ``Pad``, ``Max`` and ``Min`` into anonymous kernels whose attributes cannot be read
back. Each function here takes the operator's Relax inputs and its attributes, and gives the Relax expression, or None
to leave the case to TVM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.relax import expressions, known_onnx

Operator = Callable[[Sequence[Any], Mapping[str, Any]], Any]
PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def constant(expression: Any) -> npt.NDArray[Any] | None:
    """The value of a Relax constant, or None."""
    value = getattr(expression, "value", None)
    return None if value is None or not hasattr(value, "numpy") else np.asarray(value.numpy())


def _argument(inputs: Sequence[Any], index: int) -> Any:
    return inputs[index] if index < len(inputs) else None


def _bound(inputs: Sequence[Any], attributes: Mapping[str, Any], index: int, name: str, default: float) -> float | None:
    given = _argument(inputs, index)
    if given is None:
        return float(attributes.get(name, default))
    value = constant(given)
    return None if value is None or np.isnan(value).any() else float(value.reshape(-1)[0])


def clip(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """``Clip`` with constant bounds."""
    from tvm import relax

    low = _bound(inputs, attributes, 1, "min", -np.inf)
    high = _bound(inputs, attributes, 2, "max", np.inf)
    if low is None or high is None or "float" not in str(inputs[0].ty.dtype):
        return None
    if np.isinf(high) and high > 0 and low == 0:
        return relax.op.nn.relu(inputs[0])
    return relax.op.clip(inputs[0], relax.prim_value(low), relax.prim_value(high))


def pad(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """``Pad`` with constant widths."""
    from tvm import relax

    given = constant(_argument(inputs, 1))
    widths = attributes.get("pads") if given is None else given.reshape(-1)
    mode = attributes.get("mode", b"constant")
    mode = PAD_MODES.get(mode.decode() if isinstance(mode, bytes) else mode)
    chosen = _argument(inputs, 3)
    axes = constant(chosen) if chosen is not None else None
    if widths is None or mode is None or (chosen is not None and axes is None):
        return None
    value = constant(_argument(inputs, 2))
    fill = float(attributes.get("value", 0.0)) if value is None else float(value.reshape(-1)[0])
    rank, padded = len(inputs[0].ty.shape), len(widths) // 2
    places = range(rank) if axes is None else axes.reshape(-1)
    pairs = [0] * 2 * rank
    for place, axis in enumerate(places):
        start = 2 * (int(axis) % rank)
        pairs[start : start + 2] = int(widths[place]), int(widths[place + padded])
    return relax.op.nn.pad(inputs[0], pairs, mode, fill)


def _folded(name: str) -> Operator:
    def fold(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        from tvm import relax

        found = inputs[0]
        for other in inputs[1:]:
            found = getattr(relax.op, name)(found, other)
        return None if len(inputs) < 2 else found

    return fold


def _cumulative_sum(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """``CumSum`` along a known axis; TVM turns the values around in an anonymous kernel."""
    axis = constant(inputs[1])
    exclusive, reverse = (bool(attributes.get(name)) for name in ("exclusive", "reverse"))
    return None if axis is None else expressions.cumulative_sum(inputs[0], int(axis.item()), exclusive, reverse)


def _einsum(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from tvm import relax

    equation = attributes["equation"]
    return relax.op.einsum(tuple(inputs), equation.decode() if isinstance(equation, bytes) else equation)


def _elu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return expressions.elu(inputs[0], float(attributes.get("alpha", 1.0)))


def _selu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """gamma * elu(x); the defaults are those of the specification."""
    from tvm import relax

    bent = expressions.elu(inputs[0], float(attributes.get("alpha", 1.67326319217681884765625)))
    gamma = float(attributes.get("gamma", 1.05070102214813232421875))
    return relax.op.multiply(bent, expressions.scalar(gamma, inputs[0]))


def _celu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from tvm import relax

    return expressions.celu(relax.BlockBuilder.current(), inputs[0], float(attributes.get("alpha", 1.0)))


def _gelu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from tvm import relax

    approximate = attributes.get("approximate", b"none")
    rough = approximate in {b"tanh", "tanh"}
    return relax.op.nn.gelu_tanh(inputs[0]) if rough else relax.op.nn.gelu(inputs[0])


def _instance_norm(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from tvm import relax

    epsilon, axes = float(attributes.get("epsilon", 1e-5)), list(range(2, len(inputs[0].ty.shape)))
    return relax.op.nn.instance_norm(*inputs[:3], channel_axis=1, axes=axes, epsilon=epsilon)


def _group_norm(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """``GroupNormalization`` from version 21 on, with a scale for each channel; earlier ones had one for each group."""
    from tvm import relax

    shape = expressions.shape_of(inputs[0])
    if expressions.shape_of(inputs[1]) != (shape[1],):
        return None
    axes, groups = list(range(2, len(shape))), int(attributes["num_groups"])
    epsilon = float(attributes.get("epsilon", 1e-5))
    return relax.op.nn.group_norm(*inputs[:3], num_groups=groups, channel_axis=1, axes=axes, epsilon=epsilon)


def _swish(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """x * sigmoid(alpha * x)."""
    from tvm import relax

    alpha = float(attributes.get("alpha", 1.0))
    if alpha == 1:
        return relax.op.nn.silu(inputs[0])
    return relax.op.multiply(
        inputs[0], relax.op.sigmoid(relax.op.multiply(inputs[0], expressions.scalar(alpha, inputs[0])))
    )


def _quick_gelu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """onnxruntime's x * sigmoid(alpha * x)."""
    return _swish(inputs, {"alpha": attributes.get("alpha", 1.702)})


def _bias_gelu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """onnxruntime's gelu of a sum, if there are two; ``FastGelu`` bends by tanh."""
    from tvm import relax

    total = relax.BlockBuilder.current().normalize(relax.op.add(*inputs[:2])) if len(inputs) > 1 else inputs[0]
    return _gelu([total], attributes)


def _tile(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from tvm import relax

    repeats = constant(_argument(inputs, 1))
    return None if repeats is None else relax.op.tile(inputs[0], [int(count) for count in repeats])


OPERATORS: dict[str, Operator] = {
    "BiasGelu": _bias_gelu,
    "Celu": _celu,
    "Clip": clip,
    "CumSum": _cumulative_sum,
    "Einsum": _einsum,
    "Elu": _elu,
    "FastGelu": lambda inputs, attributes: _bias_gelu(inputs, {"approximate": b"tanh"}),
    "Gelu": _gelu,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "Max": _folded("maximum"),
    "Min": _folded("minimum"),
    "Mish": lambda inputs, attributes: expressions.mish(inputs[0]),
    "Pad": pad,
    "QuickGelu": _quick_gelu,
    "Selu": _selu,
    "Softplus": lambda inputs, attributes: expressions.softplus(inputs[0]),
    "Swish": _swish,
    "Tile": _tile,
}


def refusal(operator: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    """Why TVM must not import this operator: cases in which it is known to compute something else."""
    if operator == "Pad" and len(inputs) > 1 and constant(inputs[1]) is None:
        return "TVM dies of a Pad with computed widths"
    if operator != "Resize":
        return None
    return known_onnx.refusal(attributes, constant(_argument(inputs, 2)) if len(inputs) > 2 else None)
