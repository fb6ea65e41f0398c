"""Relax operators whose value is known from their arguments → constants: filled arrays, rows of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convfault.relax.extract import Extraction, number, shape_of
from convfault.relax.graph import Array, Native, Parameter


def _constant(at: Extraction, call: Any, values: Array) -> str:
    values = np.asarray(values, str(call.ty.dtype))
    parameters = {"values": Parameter(values, (at.native.tensor,) if at.native.tensor else ())}
    return at.draft.add("constant", (), values.shape, {}, parameters, Native(), str(values.dtype)).id


def _filled(value: float | None = None) -> Callable[[Extraction, Any], str]:
    """``value`` None: it is the second argument, if that is a number."""

    def convert(at: Extraction, call: Any) -> str:
        if value is None and not hasattr(getattr(call.args[1], "value", None), "numpy"):
            return at.emit(call, "broadcast", [at.id(call.args[1])]).id
        filling = number(call.args[1]) if value is None else value
        return _constant(at, call, np.full(shape_of(call), filling))

    return convert


def _range(at: Extraction, call: Any) -> str:
    start, stop, step = (number(argument) for argument in call.args[:3])
    return _constant(at, call, np.arange(start, stop, step)[: shape_of(call)[0]])


OPERATORS: dict[str, Callable[[Extraction, Any], Any]] = {
    "relax.arange": _range,
    "relax.full": _filled(),
    "relax.full_like": _filled(),
    "relax.ones": _filled(1.0),
    "relax.ones_like": _filled(1.0),
    "relax.zeros": _filled(0.0),
    "relax.zeros_like": _filled(0.0),
}
