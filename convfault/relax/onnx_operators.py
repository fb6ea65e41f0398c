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

Operator = Callable[[Sequence[Any], Mapping[str, Any]], Any]
PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


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
    """``Pad`` with constant widths over all axes."""
    from tvm import relax

    given = constant(_argument(inputs, 1))
    widths = attributes.get("pads") if given is None else given.reshape(-1)
    mode = attributes.get("mode", b"constant")
    mode = PAD_MODES.get(mode.decode() if isinstance(mode, bytes) else mode)
    if widths is None or mode is None or _argument(inputs, 3) is not None or min(widths) < 0:
        return None
    value = constant(_argument(inputs, 2))
    fill = float(attributes.get("value", 0.0)) if value is None else float(value.reshape(-1)[0])
    rank = len(widths) // 2
    pairs = [int(widths[axis + side * rank]) for axis in range(rank) for side in range(2)]
    return relax.op.nn.pad(inputs[0], pairs, mode, fill)


def _folded(name: str) -> Operator:
    def fold(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        from tvm import relax

        found = inputs[0]
        for other in inputs[1:]:
            found = getattr(relax.op, name)(found, other)
        return None if len(inputs) < 2 else found

    return fold


OPERATORS: dict[str, Operator] = {"Clip": clip, "Pad": pad, "Max": _folded("maximum"), "Min": _folded("minimum")}


def refusal(operator: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    """Why TVM must not import this operator: cases in which it is known to compute something else."""
    if operator != "Resize":
        return None
    if attributes.get("antialias"):
        return "TVM ignores antialias"
    scales = constant(_argument(inputs, 2)) if len(inputs) > 2 else None
    whole = scales is None or all(float(scale).is_integer() for scale in scales.reshape(-1))
    if attributes.get("mode", b"nearest") == b"nearest" and not whole:
        return "TVM rounds another way than ONNX in nearest resizing by a broken factor"
    return None
