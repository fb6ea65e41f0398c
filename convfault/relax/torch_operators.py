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


def batch_norm(importer: Any, node: Any) -> Any:
    """``batch_norm`` as exported; TVM takes its momentum for its epsilon.

    Arguments: input, weight, bias, mean, variance, training, momentum, epsilon.
    """
    import numpy as np
    from tvm import relax

    picture = importer.env[node.args[0]]
    channels, dtype = int(picture.ty.shape[1]), str(picture.ty.dtype)
    weight, bias, mean, variance = (
        relax.const(np.full(channels, default), dtype) if given is None else importer.env[given]
        for given, default in zip(node.args[1:5], (1.0, 0.0, 0.0, 1.0), strict=True)
    )
    normalized = relax.op.nn.batch_norm(
        picture, weight, bias, mean, variance, axis=1, epsilon=float(node.args[7]), training=False
    )
    return importer.block_builder.emit(relax.TupleGetItem(importer.block_builder.emit(normalized), 0))


def static_number(node: Any, batch: int) -> int | None:
    """The number that a node of the graph stands for when the batch is fixed: a size, or what is computed of sizes."""
    value = node.meta.get("val")
    if not hasattr(value, "node") and not (isinstance(value, int) and not isinstance(value, bool)):
        return None
    return static_side(value, batch)


def static_side(side: Any, batch: int) -> int:
    """One side of a torch shape, which may be an expression of the batch."""
    if isinstance(side, int):
        return side
    expression = side.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, batch)))


def static_shape(value: Any, batch: int) -> tuple[int, ...]:
    """The shape of a traced torch tensor when the batch is fixed."""
    return tuple(static_side(side, batch) for side in value.shape)


def reshape(importer: Any, node: Any) -> Any:
    """View, flatten, squeeze and the like: the result's shape is known."""
    from tvm import relax

    shape = static_shape(node.meta["val"], importer.batch)
    return importer.block_builder.emit(relax.op.reshape(importer.env[node.args[0]], shape))


RESHAPES = (
    *("_unsafe_view.default", "flatten.using_ints", "reshape.default", "squeeze.default", "squeeze.dim"),
    *("squeeze.dims", "unflatten.int", "unsqueeze.default", "view.default"),
)

OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(RESHAPES, reshape),
    "alpha_dropout.default": same,
    "batch_norm.default": batch_norm,
    "dropout.default": same,
    "feature_dropout.default": same,
}


def _in_training(name: str, node: Any) -> str | None:
    if "dropout" in name and (node.args[2] if len(node.args) > 2 else node.kwargs.get("train", False)):
        return "dropout in training mode gives another answer at every run"
    if name == "batch_norm.default" and node.args[5]:
        return "batch normalization in training mode depends on the other pictures of the batch"
    return None


def refusal(name: str, node: Any) -> str | None:
    """Why TVM must not import this node: cases in which it is known to compute something else."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    arguments = dict(zip(names, node.args, strict=False)) | node.kwargs
    if name.startswith("avg_pool") and arguments.get("divisor_override"):
        return "TVM ignores divisor_override"
    if reason := _in_training(name, node):
        return reason
    if name.startswith("upsample"):
        factors = arguments.get("scale_factors") or ()
        if "_aa" in name:
            return "TVM ignores antialiasing"
        if any(not float(factor).is_integer() for factor in factors):
            return "TVM turns a broken scale factor into a size"
    return None
