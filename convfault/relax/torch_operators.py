"""ATen operators that convfault expresses in Relax itself, or that TVM is known to get wrong.

Each function takes TVM's importer and the graph's node, and gives the Relax expression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Operator = Callable[[Any, Any], Any]


def same(importer: Any, node: Any) -> Any:
    """An operator that does nothing in evaluation."""
    return importer.env[node.args[0]]


OPERATORS: dict[str, Operator] = {"dropout.default": same, "feature_dropout.default": same, "alpha_dropout.default": same}


def refusal(name: str, node: Any) -> str | None:
    """Why TVM must not import this node: cases in which it is known to compute something else."""
    arguments = {argument.name: value for argument, value in zip(node.target._schema.arguments, node.args, strict=False)}
    arguments |= node.kwargs
    if name.startswith("avg_pool") and arguments.get("divisor_override"):
        return "TVM ignores divisor_override"
    if "dropout" in name and (node.args[2] if len(node.args) > 2 else node.kwargs.get("train", False)):
        return "dropout in training mode gives another answer at every run"
    if name.startswith("upsample"):
        factors = arguments.get("scale_factors") or ()
        if "_aa" in name:
            return "TVM ignores antialiasing"
        if any(not float(factor).is_integer() for factor in factors):
            return "TVM turns a broken scale factor into a size"
    return None
