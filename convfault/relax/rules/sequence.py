"""Sequences as pictures of one row: reshapes that only add or drop axes of size 1 move towards the outputs.

Frameworks spell a window along a sequence as one of a picture, with a reshape before it and one behind it; between two
windows only what does not mind the row's own axis is left, and the reshapes meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convfault.relax import kinds
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Array, Layer, Native
from convfault.relax.rules.shape import in_place

Places = Mapping[int, int]
"""Axis of the result of a reshape → the axis of what it reads."""
SEQUENCE, PICTURE = 3, 4


def places(source: tuple[int, ...], result: tuple[int, ...]) -> Places | None:
    """Where a reshape's axes come from, those of size 1 left out; None where it does more than add and drop such."""
    if not source or not result or source[0] != result[0]:
        return None
    before, after = ([axis for axis in range(1, len(shape)) if shape[axis] != 1] for shape in (source, result))
    if [source[axis] for axis in before] != [result[axis] for axis in after]:
        return None
    return {0: 0, **dict(zip(after, before, strict=True))}


def _dropping(draft: Draft, layer: Layer) -> tuple[Layer, Places] | None:
    """What a reshape makes a sequence of, for a layer that reads it."""
    if layer.kind != "reshape" or len(layer.shape) != SEQUENCE:
        return None
    source = draft.input_of(layer)
    found = places(source.shape, layer.shape) if len(source.shape) == PICTURE and source.kind != "constant" else None
    return None if found is None else (source, found)


def sink_row(draft: Draft, layer: Layer) -> Layer | None:
    """What treats a sequence along its own axes treats the row alike, before the reshape."""
    rows = [_dropping(draft, draft.layers[name]) for name in layer.inputs]
    if not rows or any(row is None for row in rows) or len(layer.shape) != SEQUENCE:
        return None
    found = [row for row in rows if row is not None]
    sources, known = [source for source, _ in found], found[0][1]
    if any(other != known for _, other in found) or len({len(source.shape) for source in sources}) > 1:
        return None
    values = _of_picture(layer, known)
    if values is None:
        return None
    shape = [1] * PICTURE
    for axis, place in known.items():
        shape[place] = layer.shape[axis]
    if int(np.prod(shape)) != int(np.prod(layer.shape)):
        return None
    names = [source.id for source in sources]
    early = draft.add(layer.kind, names, shape, values, {}, in_place(layer), layer.dtype, layer.details)
    return Layer(layer.id, "reshape", (early.id,), layer.shape, layer.dtype, native=layer.native.shown)


def _of_picture(layer: Layer, known: Places) -> dict[str, Any] | None:
    """The hyperparameters of a layer on rows, None where it minds an axis that they have not got."""
    values = dict(layer.hyperparameters)
    if layer.kind in kinds.REDUCTIONS:
        axes = [axis % SEQUENCE for axis in values["axes"]]
        return {**values, "axes": _mapped(axes, known)} if values["keepdims"] and known.keys() >= set(axes) else None
    if layer.kind in {"concat", "softmax", "log_softmax"}:
        axis = int(values["axis"]) % SEQUENCE
        return {**values, "axis": known[axis]} if axis in known else None
    if layer.kind == "pad":
        pairs = [(0, 0)] * PICTURE
        for axis, pair in enumerate(values["padding"]):
            if axis in known:
                pairs[known[axis]] = pair
            elif any(pair):
                return None
        return {**values, "padding": tuple(pairs)}
    return None


def _mapped(axes: list[int], known: Places) -> tuple[int, ...]:
    return tuple(sorted(known[axis] for axis in axes))


def sink_row_beside_constant(draft: Draft, layer: Layer) -> Layer | None:
    """A constant along the axes of a sequence is combined with the row before the reshape."""
    position = next((index for index, name in enumerate(layer.inputs) if draft.layers[name].kind == "constant"), None)
    if position is None:
        return None
    reshape, constant = draft.layers[layer.inputs[1 - position]], draft.layers[layer.inputs[position]]
    row = _dropping(draft, reshape)
    if row is None or reshape.shape != layer.shape:
        return None
    source, known = row
    parameter = constant.parameters["values"]
    values = _beside(parameter.values, known)
    beside = draft.add("constant", (), values.shape, parameters={"values": parameter.with_values(values)},
                       dtype=constant.dtype)  # fmt: skip
    names = (beside.id, source.id) if position == 0 else (source.id, beside.id)
    early = draft.add(layer.kind, names, source.shape, layer.hyperparameters, {}, in_place(layer), layer.dtype)
    return replace(reshape, id=layer.id, inputs=(early.id,), dtype=layer.dtype, native=layer.native.shown)


def _beside(values: Array, known: Places) -> Array:
    """A constant that broadcasts against a sequence as one that does against the row."""
    full = (1,) * (SEQUENCE - values.ndim) + values.shape
    shape = [1] * PICTURE
    for axis, place in known.items():
        shape[place] = full[axis]
    return values.reshape(shape)


def pad_row(draft: Draft, layer: Layer) -> Layer | None:
    """A sequence that is padded and then made a row is padded as a row, so that its window can pad itself."""
    pad = draft.input_of(layer)
    if pad.kind != "pad" or len(layer.shape) != PICTURE or len(pad.shape) != SEQUENCE or not draft.single(pad.id):
        return None
    known, source = places(layer.shape, pad.shape), draft.input_of(pad)
    values = _of_picture(pad, known) if known is not None else None
    if values is None or source.kind == "reshape":
        return None
    shape = [side - sum(pair) for side, pair in zip(layer.shape, values["padding"], strict=True)]
    native = Native(source.native.tensor if source.native.permutation is None else None, None, layer.native.operators)
    early = draft.add("reshape", (source.id,), shape, native=native, dtype=layer.dtype)
    native = replace(layer.native, operators=pad.native.operators)
    return replace(pad, id=layer.id, inputs=(early.id,), shape=layer.shape, hyperparameters=values, native=native)


def lay_down(draft: Draft, layer: Layer) -> Layer | None:
    """A window down a column of a picture that is one pixel wide goes along a row."""
    source = draft.input_of(layer)
    if len(source.shape) != PICTURE or source.shape[2] != 1 or source.shape[1] == 1 or layer.shape[2] != 1:
        return None
    weights = layer.parameters.get("weights")
    sides = ("size", "strides", "padding", "dilation", "uncounted")
    if (weights is None and layer.kind not in {"max_pool", "average_pool"}) or any(layer["padding"][1]):
        return None
    if weights is not None and weights.values.shape[1] != 1:
        return None
    if weights is None and layer["size"][1] != 1:
        return None
    values = {n: tuple(reversed(v)) if n in sides and v is not None else v for n, v in layer.hyperparameters.items()}
    turned = {} if weights is None else {"weights": weights.with_values(weights.values.transpose(1, 0, 2, 3))}
    count, height, _, depth = source.shape
    row = draft.add("reshape", (source.id,), (count, 1, height, depth), native=Native(), dtype=source.dtype)
    shape = (layer.shape[0], 1, layer.shape[1], layer.shape[3])
    parameters = {**layer.parameters, **turned}
    early = draft.add(layer.kind, (row.id,), shape, values, parameters, in_place(layer), layer.dtype, layer.details)
    return Layer(layer.id, "reshape", (early.id,), layer.shape, layer.dtype, native=layer.native.shown)


RULES = (
    Rule("lay_down", frozenset({"convolution", "max_pool", "average_pool"}), lay_down),
    Rule("sink_row", kinds.REDUCTIONS | {"concat", "softmax", "log_softmax", "pad"}, sink_row),
    Rule("sink_row_beside_constant", kinds.BINARY, sink_row_beside_constant),
    Rule("pad_row", frozenset({"reshape"}), pad_row),
)
