"""Relax normalizations → ``normalize`` and what scales and shifts its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from convfault.relax.extract import Extraction, attributes, shape_of
from convfault.relax.graph import Native


def _normalized(at: Extraction, source: str, axes: Sequence[int], epsilon: float) -> str:
    shape = at.draft.layers[source].shape
    values = {"axes": tuple(sorted(int(axis) % len(shape) for axis in axes)), "epsilon": epsilon}
    return at.draft.add("normalize", (source,), shape, values, native=Native(None, None, at.native.operators)).id


def _scaled(at: Extraction, call: Any, value: str, shape: tuple[int, ...]) -> str:
    """The value times gamma plus beta, each reshaped to ``shape``; ``call`` holds both behind its first argument."""
    names = []
    for argument in call.args[1:3]:
        name = at.id(argument)
        dtype = at.draft.layers[name].dtype
        names.append(at.draft.add("reshape", (name,), shape, dtype=dtype).id)
    whole = at.draft.layers[value].shape
    product = at.draft.add("multiply", (value, names[0]), whole, native=Native(None, None, at.native.operators)).id
    return at.draft.add("add", (product, names[1]), whole, native=at.native).id


def _layer_norm(at: Extraction, call: Any) -> str:
    found, rank = attributes(call), len(shape_of(call))
    axes = [int(axis) % rank for axis in found["axes"]]
    value = _normalized(at, at.id(call.args[0]), axes, float(found["epsilon"]))
    full = shape_of(call)
    return _scaled(at, call, value, tuple(full[axis] if axis in axes else 1 for axis in range(rank)))


def _along_channels(call: Any, axis: int) -> tuple[int, ...]:
    shape = shape_of(call)
    return tuple(side if place == axis else 1 for place, side in enumerate(shape))


def _instance_norm(at: Extraction, call: Any) -> str:
    found, rank = attributes(call), len(shape_of(call))
    value = _normalized(at, at.id(call.args[0]), found["axes"], float(found["epsilon"]))
    return _scaled(at, call, value, _along_channels(call, int(found["channel_axis"]) % rank))


def _group_norm(at: Extraction, call: Any) -> str:
    """The channels of a group are a longer row, as ONNX spells it."""
    found, shape = attributes(call), shape_of(call)
    axis = int(found["channel_axis"]) % len(shape)
    if axis != 1:
        names = [at.id(argument) for argument in call.args]
        return at.emit(call, "nn.group_norm", names, found).id
    groups = int(found["num_groups"])
    rows = (shape[0], groups, prod(shape[1:]) // groups)
    value = _normalized(at, at.draft.add("reshape", (at.id(call.args[0]),), rows).id, (2,), float(found["epsilon"]))
    back = at.draft.add("reshape", (value,), shape).id
    return _scaled(at, call, back, _along_channels(call, axis))


OPERATORS: dict[str, Callable[[Extraction, Any], Any]] = {
    "relax.nn.group_norm": _group_norm,
    "relax.nn.instance_norm": _instance_norm,
    "relax.nn.layer_norm": _layer_norm,
}
