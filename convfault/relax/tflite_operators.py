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


OPERATORS: dict[str, Operator] = {"QUANTIZE": same, "DEQUANTIZE": same}
