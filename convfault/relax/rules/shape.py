"""Reshapes merged and moved behind what does not mind them; joins and cuts in one form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax import kinds
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer, Native
from convfault.relax.rules.affine import is_scalar


def merge_reshapes(draft: Draft, layer: Layer) -> Layer | None:
    """Of two reshapes in a row only the last counts."""
    source = draft.input_of(layer)
    return replace(layer, inputs=source.inputs) if source.kind == "reshape" else None


def sink_reshape(draft: Draft, layer: Layer) -> Layer | None:
    """An elementwise layer behind a reshape computes before it."""
    reshape = draft.input_of(layer)
    if reshape.kind != "reshape" or reshape.inputs[0] == layer.id:
        return None
    source = draft.input_of(reshape)
    if layer.kind not in kinds.POINTWISE and not _last_axis_kept(layer, reshape, source):
        return None
    parameters = layer.parameters
    if layer.kind == "affine" and source.shape[-1:] != layer.shape[-1:]:
        size = source.shape[-1] if source.shape else 1
        parameters = {n: p.with_values(np.full(size, p.values.flat[0], p.values.dtype)) for n, p in parameters.items()}
    hyperparameters = layer.hyperparameters
    if "axis" in hyperparameters:
        hyperparameters = {**hyperparameters, "axis": len(source.shape) - 1}
    early = draft.add(
        layer.kind,
        (source.id,),
        source.shape,
        hyperparameters,
        parameters,
        in_place(layer),
        layer.dtype,
        layer.details,
    )
    return replace(reshape, id=layer.id, inputs=(early.id,), dtype=layer.dtype, native=layer.native.shown)


def in_place(layer: Layer) -> Native:
    """Of a layer that has the same values in the same order in another shape, which no transposed tensor shows."""
    return layer.native if layer.native.permutation is None else replace(layer.native, tensor=None, permutation=None)


def _last_axis_kept(layer: Layer, reshape: Layer, source: Layer) -> bool:
    kept = bool(source.shape) and source.shape[-1] == reshape.shape[-1]
    if layer.kind == "affine":
        return kept or is_scalar(layer)
    return layer.kind in {"softmax", "log_softmax"} and kept and bool(layer["axis"] == len(reshape.shape) - 1)


def sink_reshapes_of_two(draft: Draft, layer: Layer) -> Layer | None:
    """Two layers reshaped alike are combined before it."""
    reshapes = [draft.layers[name] for name in layer.inputs]
    if any(reshape.kind != "reshape" or reshape.shape != layer.shape for reshape in reshapes):
        return None
    sources = [draft.input_of(reshape) for reshape in reshapes]
    if any(source.shape != sources[0].shape or source.kind == "constant" for source in sources):
        return None
    names = [source.id for source in sources]
    early = draft.add(layer.kind, names, sources[0].shape, layer.hyperparameters, {}, in_place(layer), layer.dtype)
    return replace(reshapes[0], id=layer.id, inputs=(early.id,), dtype=layer.dtype, native=layer.native.shown)


def sink_reshape_beside_constant(draft: Draft, layer: Layer) -> Layer | None:
    """A reshaped value is combined with a number, or a row with a constant reshaped back, before the reshape."""
    position = next((index for index, name in enumerate(layer.inputs) if draft.layers[name].kind == "constant"), None)
    if position is None:
        return None
    reshape, constant = draft.layers[layer.inputs[1 - position]], draft.layers[layer.inputs[position]]
    parameter = constant.parameters["values"]
    row = sum(side != 1 for side in layer.shape) <= 1
    if reshape.kind != "reshape" or reshape.shape != layer.shape or not (row or parameter.values.size == 1):
        return None
    source = draft.input_of(reshape)
    if source.kind == "constant":
        return None
    if parameter.values.size == 1:
        values = parameter.values.reshape((1,) * len(source.shape))
    else:
        values = np.broadcast_to(parameter.values, layer.shape).reshape(source.shape)
    beside = draft.add(
        "constant", (), values.shape, parameters={"values": parameter.with_values(values)}, dtype=constant.dtype
    )
    names = (beside.id, source.id) if position == 0 else (source.id, beside.id)
    early = draft.add(layer.kind, names, source.shape, layer.hyperparameters, {}, in_place(layer), layer.dtype)
    return replace(reshape, id=layer.id, inputs=(early.id,), dtype=layer.dtype, native=layer.native.shown)


def sink_reshapes_of_product(draft: Draft, layer: Layer) -> Layer | None:
    """Stacks of matrices that were brought into one row for the product, as batched products are often spelled, are
    multiplied as they stood."""
    reshapes = [draft.layers[name] for name in layer.inputs]
    if any(reshape.kind != "reshape" or len(reshape.shape) < 3 for reshape in reshapes):
        return None
    sources = [draft.input_of(reshape) for reshape in reshapes]
    if any(source.shape[-2:] != reshape.shape[-2:] for source, reshape in zip(sources, reshapes, strict=True)):
        return None
    stacks = {shape[:-2] for shape in (source.shape for source in sources)}
    if len(stacks) != 1 or reshapes[0].shape[:-2] != reshapes[1].shape[:-2]:
        return None
    (stack,) = stacks
    shape = (*stack, *layer.shape[-2:])
    names = [source.id for source in sources]
    early = draft.add(layer.kind, names, shape, layer.hyperparameters, {}, in_place(layer), layer.dtype)
    return replace(
        reshapes[0],
        id=layer.id,
        inputs=(early.id,),
        shape=layer.shape,
        dtype=layer.dtype,
        native=layer.native.shown,
    )


def merge_concats(draft: Draft, layer: Layer) -> Layer | None:
    """A join of joins along the same axis joins all at once."""
    names: list[str] = []
    for name in layer.inputs:
        source = draft.layers[name]
        inner = source.kind == "concat" and source["axis"] == layer["axis"]
        names.extend(source.inputs if inner else (name,))
    return replace(layer, inputs=tuple(names)) if len(names) > len(layer.inputs) else None


def merge_slices(draft: Draft, layer: Layer) -> Layer | None:
    """A cut of a cut, both forwards, is one cut."""
    source = draft.input_of(layer)
    if source.kind != "slice" or min(*layer["strides"], *source["strides"]) < 1 or 0 in layer.shape:
        return None
    places = zip(source["begin"], source["strides"], layer["begin"], layer["strides"], layer.shape, strict=True)
    spans = [(start + first * each, each * step, side) for start, each, first, step, side in places]
    begin, strides = tuple(start for start, _, _ in spans), tuple(step for _, step, _ in spans)
    end = tuple(start + (side - 1) * step + 1 for start, step, side in spans)
    values = {**layer.hyperparameters, "begin": begin, "end": end, "strides": strides}
    return replace(layer, inputs=source.inputs, hyperparameters=values)


def slice_of_part(draft: Draft, layer: Layer) -> Layer | None:
    """A cut of a join that lies within one of the joined parts is a cut of that part: a write that is read again."""
    joined = draft.input_of(layer)
    if joined.kind != "concat" or layer["strides"][joined["axis"]] < 0:
        return None
    axis, behind = int(joined["axis"]), 0
    for name in joined.inputs:
        part = draft.layers[name]
        begin, end = layer["begin"][axis] - behind, layer["end"][axis] - behind
        behind += part.shape[axis]
        if begin >= 0 and end <= part.shape[axis]:
            places = {"begin": begin, "end": end}
            values = {n: (*v[:axis], places.get(n, v[axis]), *v[axis + 1 :]) for n, v in layer.hyperparameters.items()}
            return replace(layer, inputs=(name,), hyperparameters=values)
    return None


def sum_from_behind(draft: Draft, layer: Layer) -> Layer | None:
    """A cumulative sum between two turns of its axis runs the other way."""
    total = draft.input_of(layer)
    turned = draft.input_of(total) if total.kind == "cumsum" else total
    if turned.kind != "slice" or turned is total or total["axis"] is None:
        return None
    if not all(_is_turned(one, int(total["axis"])) for one in (layer, turned)):
        return None
    values = {**total.hyperparameters, "reverse": not total["reverse"]}
    return replace(layer, kind="cumsum", inputs=turned.inputs, hyperparameters=values)


def _is_turned(layer: Layer, axis: int) -> bool:
    """Whether a slice only turns around one axis."""
    side = layer.shape[axis]
    whole = {"begin": [0] * len(layer.shape), "end": list(layer.shape), "strides": [1] * len(layer.shape)}
    whole["begin"][axis], whole["end"][axis], whole["strides"][axis] = side - 1, -1, -1
    return all(list(layer[name]) == values for name, values in whole.items())


def take_to_slice(draft: Draft, layer: Layer) -> Layer | None:
    """Taking one element along an axis, or several at equal steps, is a cut, and a reshape where the axis goes."""
    source, indices = (draft.layers[name] for name in layer.inputs)
    if indices.kind != "constant" or source.kind == "constant" or not source.shape:
        return None
    axis = 0 if layer["axis"] is None and len(source.shape) == 1 else layer["axis"]
    places = indices.parameters["values"].values
    if axis is None or places.size == 0 or places.ndim > 1:
        return None
    axis, size = int(axis) % len(source.shape), source.shape[int(axis)]
    if axis == 0 and size != 1 and len(source.shape) > 1:  # no batch: it would be cut as one
        return None
    steps = np.diff(flat := places.reshape(-1).astype(np.int64) % size)
    step = int(steps[0]) if steps.size else 1
    if step < 1 or np.any(steps != step):
        return None
    begin, end, strides = [0] * len(source.shape), list(source.shape), [1] * len(source.shape)
    begin[axis], end[axis], strides[axis] = int(flat[0]), int(flat[-1]) + 1, step
    values = {"begin": tuple(begin), "end": tuple(end), "strides": tuple(strides)}
    shape = [len(flat) if place == axis else side for place, side in enumerate(source.shape)]
    if places.ndim:
        return replace(layer, kind="slice", inputs=(source.id,), hyperparameters=values)
    early = draft.add("slice", (source.id,), shape, values, native=in_place(layer), dtype=layer.dtype)
    late = layer.native.shown
    return replace(layer, kind="reshape", inputs=(early.id,), hyperparameters={}, native=late)


def take_to_pad(draft: Draft, layer: Layer) -> Layer | None:
    """Taking all values along an axis in their order, and some again before and behind them, is a border."""
    source, indices = (draft.layers[name] for name in layer.inputs)
    if indices.kind != "constant" or source.kind == "constant" or not layer["axis"]:  # not along the pictures
        return None
    places, axis = indices.parameters["values"].values, int(layer["axis"]) % len(source.shape)
    side = source.shape[axis]
    if places.ndim != 1 or len(places) <= side:
        return None
    for mode, name in (("replicate", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric")):
        for before in range(len(places) - side + 1):
            widths = (before, len(places) - side - before)
            if np.array_equal(places, np.pad(np.arange(side), widths, mode=name)):  # type: ignore[call-overload]
                padding = tuple(widths if place == axis else (0, 0) for place in range(len(source.shape)))
                values = {"padding": padding, "mode": mode, "value": 0.0}
                return replace(layer, kind="pad", inputs=(source.id,), hyperparameters=values)
    return None


def gathering_to_take(draft: Draft, layer: Layer) -> Layer | None:
    """A gathering by known places of the first axis picks these."""
    places = draft.layers[layer.inputs[1]]
    if places.kind != "constant" or places.shape[-1:] != (1,) or layer.hyperparameters.get("batch_dims"):
        return None
    parameter = places.parameters["values"]
    flat = {"values": replace(parameter, values=parameter.values[..., 0])}
    known = draft.add("constant", (), places.shape[:-1], {}, flat, places.native, places.dtype)
    return replace(layer, kind="take", inputs=(layer.inputs[0], known.id), hyperparameters={"axis": 0})


def take_everything(draft: Draft, layer: Layer) -> Layer | None:
    """Taking every value of a row in its order is a reshape: torch's exporter spells a strided view so."""
    source, indices = (draft.layers[name] for name in layer.inputs)
    if indices.kind != "constant" or len(source.shape) != 1 or source.kind == "constant":
        return None
    places = indices.parameters["values"].values.reshape(-1)
    if not np.array_equal(places, np.arange(source.shape[0])):
        return None
    return replace(layer, kind="reshape", inputs=(source.id,), hyperparameters={})


RULES = (
    Rule("gathering_to_take", frozenset({"gather_nd"}), gathering_to_take),
    Rule("take_everything", frozenset({"take"}), take_everything),
    Rule("take_to_slice", frozenset({"take"}), take_to_slice),
    Rule("take_to_pad", frozenset({"take"}), take_to_pad),
    Rule("merge_reshapes", frozenset({"reshape"}), merge_reshapes),
    Rule("sink_reshape", kinds.POINTWISE | {"affine", "softmax", "log_softmax"}, sink_reshape),
    Rule("sink_reshapes_of_two", kinds.BINARY, sink_reshapes_of_two),
    Rule("sink_reshape_beside_constant", kinds.BINARY, sink_reshape_beside_constant),
    Rule("sink_reshapes_of_product", frozenset({"matmul"}), sink_reshapes_of_product),
    Rule("slice_of_part", frozenset({"slice"}), slice_of_part),
    Rule("merge_concats", frozenset({"concat"}), merge_concats),
    Rule("merge_slices", frozenset({"slice"}), merge_slices),
    Rule("sum_from_behind", frozenset({"slice"}), sum_from_behind),
)
