"""Torch's variances and extremes: TVM lacks some of them, and forgets Bessel's correction of others."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from convfault.relax import expressions
from convfault.relax.torch_nodes import arguments_of, value_of


def _axes(value: Any, found: dict[str, Any]) -> list[int]:
    rank, given = len(expressions.shape_of(value)), found.get("dim")
    axes = [given] if isinstance(given, int) else list(given or range(rank))
    return sorted(int(axis) % rank for axis in axes)


def _variance(importer: Any, node: Any) -> Any:
    """The mean square deviation, by the number of values less the correction: one unless the call says otherwise."""
    from tvm import relax

    found, value, emit = arguments_of(node), value_of(importer, node), importer.block_builder.emit
    axes = _axes(value, found)
    given = found.get("correction", float(found.get("unbiased", True)))
    correction = 1.0 if given is None else float(given)
    count = prod(expressions.shape_of(value)[axis] for axis in axes)
    result = emit(relax.op.variance(value, axis=axes, keepdims=bool(found.get("keepdim", False))))
    if correction == 0:
        return result
    factor = count / (count - correction) if count > correction else float("nan")  # as torch answers
    return emit(relax.op.multiply(result, expressions.scalar(factor, value)))


def _deviation(importer: Any, node: Any) -> Any:
    from tvm import relax

    return importer.block_builder.emit(relax.op.sqrt(_variance(importer, node)))


def _with_mean(spread: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def convert(importer: Any, node: Any) -> Any:
        from tvm import relax

        found, value = arguments_of(node), value_of(importer, node)
        mean = relax.op.mean(value, axis=_axes(value, found), keepdims=bool(found.get("keepdim", False)))
        return spread(importer, node), importer.block_builder.emit(mean)

    return convert


def _extreme_and_place(name: str) -> Callable[[Any, Any], Any]:
    """``max.dim`` and ``min.dim``: the values along one axis, and where they are."""

    def convert(importer: Any, node: Any) -> Any:
        from tvm import relax

        found, value, emit = arguments_of(node), value_of(importer, node), importer.block_builder.emit
        axis, keep = int(found["dim"]), bool(found["keepdim"])
        values = emit(getattr(relax.op, name)(value, axis=[axis], keepdims=keep))
        return values, emit(getattr(relax.op, f"arg{name}")(value, axis=axis, keepdims=keep))

    return convert


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **{f"var.{form}": _variance for form in ("correction", "default", "dim")},
    **{f"std.{form}": _deviation for form in ("correction", "default", "dim")},
    **{f"var_mean.{form}": _with_mean(_variance) for form in ("correction", "default", "dim")},
    **{f"std_mean.{form}": _with_mean(_deviation) for form in ("correction", "default", "dim")},
    "max.dim": _extreme_and_place("max"),
    "min.dim": _extreme_and_place("min"),
}
