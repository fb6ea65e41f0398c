"""The order of axes: transposes merged, moved towards the outputs, and taken into the model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from convfault.relax import kinds
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer, Native
from convfault.relax.rules.affine import is_scalar

Order = tuple[int, ...]
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def inverse(order: Order) -> Order:
    """The order that undoes ``order``."""
    return tuple(order.index(axis) for axis in range(len(order)))


def merge_transposes(draft: Draft, layer: Layer) -> Layer | None:
    """Two transposes in a row are one."""
    source = draft.input_of(layer)
    if source.kind != "transpose":
        return None
    order = tuple(source["order"][axis] for axis in layer["order"])
    placed = _placed([source], layer.details)
    return replace(layer, inputs=source.inputs, hyperparameters={"order": order}, details=placed)


def transpose_to_reshape(draft: Draft, layer: Layer) -> Layer | None:
    """A transpose that moves only axes of size 1 is a reshape; the first is as long as there are pictures."""
    if layer["order"][0] != 0:
        return None
    source = draft.input_of(layer)
    moved = [axis for axis in layer["order"] if source.shape[axis] != 1]
    if moved != sorted(moved) or layer["order"] == tuple(range(len(layer["order"]))):
        return None
    return replace(layer, kind="reshape", hyperparameters={}, native=replace(layer.native, operators=()))


def _hyperparameters(layer: Layer, order: Order) -> dict[str, Any] | None:
    """Those of the layer when it reads what ``order`` transposes; None when it cannot."""
    values = dict(layer.hyperparameters)
    if layer.kind in kinds.POINTWISE | kinds.BINARY | {"where"} or (layer.kind == "affine" and is_scalar(layer)):
        return values
    if layer.kind == "normalize" and "groups" not in values:
        return {**values, "axes": tuple(sorted(order[axis] for axis in values["axes"]))}
    if layer.kind == "prelu":
        return values if len(layer.inputs) == 2 else None
    if layer.kind in {"affine", "normalize"}:
        return values if order[-1] == len(order) - 1 else None
    if layer.kind == "cumsum" and values["axis"] is None:
        return None
    if layer.kind in {"concat", "cumsum", "softmax", "log_softmax", "local_response"}:
        return {**values, "axis": order[values["axis"]]}
    if layer.kind in {"argmax", "argmin"} and values["keepdims"] and values["axis"] is not None:
        return {**values, "axis": order[values["axis"]]}
    if layer.kind in kinds.REDUCTIONS and values["keepdims"]:
        return {**values, "axes": tuple(sorted(order[axis] for axis in values["axes"]))}
    if layer.kind in {"slice", "pad"}:
        back = inverse(order)
        return {n: tuple(v[axis] for axis in back) if isinstance(v, tuple) else v for n, v in values.items()}
    return None


def sink_transpose(draft: Draft, layer: Layer) -> Layer | None:
    """What treats axes alike computes before the transpose that it reads."""
    sources = [draft.layers[name] for name in layer.inputs]
    moved = [source for source in sources if source.kind == "transpose"]
    orders = {source["order"] for source in moved if draft.input_of(source).kind != "constant"}  # that one is folded
    if not orders and any(
        source.shape != layer.shape and _is_transposed(draft, source, TO_FIRST) for source in sources
    ):
        orders = {TO_FIRST}  # a picture of one channel, spread over those of another input
    if not orders:
        return None
    # with several orders, the one that only changes the layout: what is left of the others stands where it was put
    order = TO_FIRST if TO_FIRST in orders else min(orders)
    if len(order) != len(layer.shape):
        return None
    values = _hyperparameters(layer, order)
    if values is None or any(not _movable(draft, source, order) for source in sources):
        return None
    names = [_untransposed(draft, source, order) for source in sources]
    back = inverse(order)
    shape = [layer.shape[axis] for axis in back]
    parameters = dict(layer.parameters)
    if layer.kind == "affine" and shape[-1:] != list(layer.shape[-1:]):
        parameters = {
            n: p.with_values(np.full(shape[-1], p.values.flat[0], p.values.dtype)) for n, p in parameters.items()
        }
    native = layer.native.transposed(back)
    early = draft.add(layer.kind, names, shape, values, parameters, native, layer.dtype, layer.details)
    late = layer.native.shown
    placed = _placed([source for source in sources if source.kind == "transpose" and source["order"] == order])
    settings = {"order": order}
    return Layer(layer.id, "transpose", (early.id,), layer.shape, layer.dtype, settings, {}, late, placed)


def _placed(moved: Sequence[Layer], details: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The details of a layer with what the transposes that went into it are called where the file has them."""
    names = [name for source in moved for name in source.names]
    known = dict.fromkeys([*names, *details.get("placed", ())])
    return {**details, "placed": tuple(known)} if known else dict(details)


def _movable(draft: Draft, source: Layer, order: Order) -> bool:
    """Whether an input can be had untransposed at no cost: it is transposed itself, or constant, or nearly scalar."""
    if source.kind in {"transpose", "constant"} or _is_transposed(draft, source, order):
        return True
    return len(source.shape) == len(order) and sum(side != 1 for side in source.shape) <= 1


def _is_transposed(draft: Draft, source: Layer, order: Order) -> bool:
    """Whether a reshape does what the transpose would, which moves only axes of size 1 there."""
    if source.kind != "reshape":
        return False
    shape = draft.input_of(source).shape
    if len(shape) != len(order) or tuple(shape[axis] for axis in order) != source.shape:
        return False
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


def _untransposed(draft: Draft, source: Layer, order: Order) -> str:
    if (source.kind == "transpose" and source["order"] == order) or _is_transposed(draft, source, order):
        return source.inputs[0]
    if int(np.prod(source.shape)) == 1:
        return source.id
    if len(source.shape) < len(order):
        full = (1,) * (len(order) - len(source.shape)) + source.shape
        source = draft.add("reshape", (source.id,), full, dtype=source.dtype)
    back = inverse(order)
    shape = [source.shape[axis] for axis in back]
    native = source.native.shown.transposed(back)
    return draft.add("transpose", (source.id,), shape, {"order": back}, native=native, dtype=source.dtype).id


def sink_transpose_through_reduction(draft: Draft, layer: Layer) -> Layer | None:
    """A reduction that drops its axes: the axes that remain keep their order."""
    source = draft.input_of(layer)
    if source.kind != "transpose" or layer["keepdims"]:
        return None
    order = source["order"]
    axes = tuple(sorted(order[axis] for axis in layer["axes"]))
    left = [order[axis] for axis in range(len(order)) if axis not in layer["axes"]]
    if left != sorted(left):
        return None
    return replace(layer, inputs=source.inputs, hyperparameters={**layer.hyperparameters, "axes": axes})


def sink_transpose_through_take(draft: Draft, layer: Layer) -> Layer | None:
    """Places picked along one axis: they are picked along the axis that it was before."""
    source, places = draft.input_of(layer), draft.layers[layer.inputs[1]]
    if source.kind != "transpose" or len(places.shape) != 1 or layer["axis"] is None:
        return None
    order = source["order"]
    back = inverse(order)
    shape = [layer.shape[axis] for axis in back]
    native, values = layer.native.transposed(back), {"axis": order[int(layer["axis"]) % len(order)]}
    early = draft.add("take", (source.inputs[0], places.id), shape, values, {}, native, layer.dtype, layer.details)
    late = layer.native.shown
    return Layer(layer.id, "transpose", (early.id,), layer.shape, layer.dtype, {"order": order}, native=late)


def _first_order(draft: Draft, layer: Layer) -> Order | None:
    """The first transpose that follows a model input behind layers that it can go past."""
    pending, seen = list(draft.readers(layer.id)), set()
    while pending:
        reader = draft.layers[pending.pop(0)]
        if reader.kind == "transpose":
            order: Order = reader["order"]
            return order
        goes_past = reader.kind in MOVABLE and len(reader.shape) == len(layer.shape)
        if reader.id not in seen and (goes_past or reader.shape[1:] == layer.shape[1:]):
            seen.add(reader.id)
            pending.extend(draft.readers(reader.id))
    return None


def take_order_into_input(draft: Draft, layer: Layer) -> Layer | None:
    """A picture that comes with channels first and is transposed before its first use comes with channels last."""
    if len(layer.shape) != 4 or "permutation" in layer.hyperparameters or _first_order(draft, layer) != TO_LAST:
        return None
    shape = [layer.shape[axis] for axis in TO_LAST]
    values = {"permutation": TO_LAST}
    early = draft.add("input", (), shape, values, native=Native(layer.native.tensor, TO_LAST), dtype=layer.dtype)
    draft.inputs = [early.id if name == layer.id else name for name in draft.inputs]
    return replace(layer, kind="transpose", inputs=(early.id,), hyperparameters={"order": TO_FIRST})


def take_order_into_output(draft: Draft, layer: Layer) -> str | None:
    """A picture that only leaves the model with channels first leaves with channels last."""
    if layer.id not in draft.outputs or draft.readers(layer.id) or layer["order"] != TO_FIRST:
        return None
    # the output goes by the name of the model's output, whose axes are in that order
    draft.put(replace(layer, native=layer.native.transposed(TO_LAST)))
    return layer.inputs[0]


MOVABLE = (
    kinds.POINTWISE
    | kinds.BINARY
    | kinds.REDUCTIONS
    | {"affine", "where", "concat", "softmax", "log_softmax", "slice", "pad", "normalize", "prelu", "local_response"}
    | {"argmax", "argmin", "cumsum"}
)
RULES = (
    Rule("merge_transposes", frozenset({"transpose"}), merge_transposes),
    Rule("transpose_to_reshape", frozenset({"transpose"}), transpose_to_reshape),
    Rule("take_order_into_input", frozenset({"input"}), take_order_into_input),
    Rule("take_order_into_output", frozenset({"transpose"}), take_order_into_output),
    Rule("sink_transpose", MOVABLE, sink_transpose),
    Rule("sink_transpose_through_take", frozenset({"take"}), sink_transpose_through_take),
    Rule("sink_transpose_through_reduction", kinds.REDUCTIONS, sink_transpose_through_reduction),
)
