"""TFLite operators that convfault expresses in Relax itself.

Each function takes TVM's converter and the operator, and gives the Relax expression, or None to leave it to TVM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Operator = Callable[[Any, Any], Any]


def same(converter: Any, operator: Any) -> Any:
    """QUANTIZE and DEQUANTIZE between tensors that are float by now: the model's own input or output."""
    return converter.get_tensor_expr(converter.get_input_tensors(operator)[0])


def reshape(converter: Any, operator: Any) -> Any:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the file says the result's shape, even where the graph computes it."""
    from tvm import relax

    output = converter.get_output_tensors(operator)[0].tensor
    shape = [int(side) for side in output.ShapeAsNumpy()] if output.ShapeLength() else []
    source = converter.get_tensor_expr(converter.get_input_tensors(operator)[0])
    return None if any(side < 0 for side in shape) else relax.op.reshape(source, shape)


OPERATORS: dict[str, Operator] = {
    "DEQUANTIZE": same,
    "EXPAND_DIMS": reshape,
    "QUANTIZE": same,
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
}
