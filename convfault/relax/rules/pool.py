"""Windows in one form: explicit padding, padding layers merged in, pooling over everything as a mean."""

from __future__ import annotations

from dataclasses import replace
from math import isclose, prod

import numpy as np

from convfault.relax import kinds
from convfault.relax.draft import Draft, Rule
from convfault.relax.evaluate_window import window_of
from convfault.relax.extract_window import effective_padding
from convfault.relax.graph import Layer
from convfault.relax.rules.affine import is_scalar, times

NO_PADDING = ((0, 0), (0, 0))
LOWEST = -1e30
"""Converters pad for a maximum with the lowest float or with minus infinity."""


def use_effective_padding(draft: Draft, layer: Layer) -> Layer | None:
    """Padding is what the windows touch: asymmetric padding that no window reaches is left out.

    What was asked for stays in the details: at another size of the picture it says which rule pads.
    """
    if layer.kind == "convolution" and "weights" not in layer.parameters:
        return None
    source = draft.input_of(layer)
    window = window_of(layer)
    padding = effective_padding((source.shape[1], source.shape[2]), (layer.shape[1], layer.shape[2]), window)
    values = {**layer.hyperparameters, "padding": padding}
    if layer.kind == "average_pool" and padding == NO_PADDING:
        values["count_padding"] = False
    if values == layer.hyperparameters:
        return None
    details = {"padding": layer["padding"], **layer.details}
    return replace(layer, hyperparameters=values, details=details)


def _merges(layer: Layer, value: float) -> bool:
    if layer.kind == "max_pool":
        return value <= LOWEST
    if layer.kind == "average_pool":
        return value == 0 and ("divisor" not in layer.hyperparameters or layer["count_padding"])
    return value == 0


def merge_padding(draft: Draft, layer: Layer) -> Layer | None:
    """A padding layer whose value is what the window would pad with."""
    pad = draft.input_of(layer)
    if pad.kind != "pad" or pad["mode"] != "constant" or not _merges(layer, pad["value"]):
        return None
    if any(pad["padding"][0]) or any(pad["padding"][3]) or any(w < 0 for pair in pad["padding"] for w in pair):
        return None
    pairs = zip(pad["padding"][1:3], layer["padding"], strict=True)
    padding = tuple((outer[0] + inner[0], outer[1] + inner[1]) for outer, inner in pairs)
    values = {**layer.hyperparameters, "padding": padding}
    if layer.kind == "average_pool":
        if not layer["count_padding"] and layer["padding"] != NO_PADDING:
            values["uncounted"] = layer["padding"]
        values["count_padding"] = True
    return replace(
        layer, inputs=(pad.inputs[0], *layer.inputs[1:]), hyperparameters=values, native=layer.native.after(pad.native)
    )


def merge_pads(draft: Draft, layer: Layer) -> Layer | None:
    """Two paddings of the same mode are one if they are constant and of one value, or of different axes."""
    source = draft.input_of(layer)
    mode = _common_mode(source, layer) if source.kind == "pad" else None
    if mode is None:
        return None
    pairs = list(zip(source["padding"], layer["padding"], strict=True))
    apart = not any(any(one) and any(other) for one, other in pairs)
    if not (layer["value"] == source["value"] if mode == "constant" else apart):
        return None
    padding = tuple((first[0] + second[0], first[1] + second[1]) for first, second in pairs)
    values = {**layer.hyperparameters, "padding": padding, "mode": mode}
    return replace(layer, inputs=source.inputs, hyperparameters=values, native=layer.native.after(source.native))


def _common_mode(*layers: Layer) -> str | None:
    """Of borders one wide it is all the same whether they repeat the edge or mirror it."""
    modes = {str(layer["mode"]) for layer in layers}
    if modes == {"replicate", "symmetric"}:
        thin = next(layer for layer in layers if layer["mode"] == "replicate")
        return "symmetric" if max(max(pair) for pair in thin["padding"]) <= 1 else None
    return modes.pop() if len(modes) == 1 else None


def pool_to_mean(draft: Draft, layer: Layer) -> Layer | None:
    """An average over the whole picture is a mean; with a divisor of its own it is a scaled one."""
    source = draft.input_of(layer)
    if layer["size"] != source.shape[1:3] or layer["padding"] != NO_PADDING or layer.shape[1:3] != (1, 1):
        return None
    values = {"axes": (1, 2), "keepdims": True}
    divisor = layer.hyperparameters.get("divisor")
    if divisor is None:
        return replace(layer, kind="mean", hyperparameters=values)
    plain = draft.add("mean", layer.inputs, layer.shape, values, native=replace(layer.native, tensor=None))
    return times(replace(layer, inputs=(plain.id,)), prod(layer["size"]) / divisor)


def scale_to_divisor(draft: Draft, layer: Layer) -> Layer | None:
    """An average times what makes it a sum over another whole number: a divisor, which ONNX has no word for."""
    pool, factor = draft.input_of(layer), layer.parameters["scale"].values
    if pool.kind != "average_pool" or not draft.single(pool.id) or np.any(layer.parameters["shift"].values):
        return None
    counts_all = pool["count_padding"] or pool["padding"] == NO_PADDING
    if not counts_all or not {"divisor", "uncounted"}.isdisjoint(pool.hyperparameters):
        return None
    if not is_scalar(layer) or factor.flat[0] <= 0:
        return None
    divisor = prod(pool["size"]) / float(factor.flat[0])
    if round(divisor) < 1 or not isclose(divisor, round(divisor), rel_tol=1e-6):
        return None
    values = {**pool.hyperparameters, "divisor": round(divisor)}
    return replace(pool, id=layer.id, hyperparameters=values, native=layer.native.after(pool.native))


def max_pool_to_max(draft: Draft, layer: Layer) -> Layer | None:
    """The maximum of a window over the whole picture."""
    source = draft.input_of(layer)
    if layer["size"] != source.shape[1:3] or layer["padding"] != NO_PADDING or layer.shape[1:3] != (1, 1):
        return None
    return replace(layer, kind="max", hyperparameters={"axes": (1, 2), "keepdims": True})


def keep_reduced_axes(draft: Draft, layer: Layer) -> Layer | None:
    """A reduction that drops its axes keeps them, and a reshape drops them."""
    if layer["keepdims"]:
        return None
    source = draft.input_of(layer)
    shape = [1 if axis in layer["axes"] else side for axis, side in enumerate(source.shape)]
    values = {**layer.hyperparameters, "keepdims": True}
    early = draft.add(layer.kind, layer.inputs, shape, values, {}, layer.native, layer.dtype)
    return replace(
        layer, kind="reshape", inputs=(early.id,), hyperparameters={}, native=replace(layer.native, operators=())
    )


def keep_searched_axis(draft: Draft, layer: Layer) -> Layer | None:
    """The place of an extreme along an axis: the axis is kept, and a reshape drops it."""
    if layer["keepdims"] or layer["axis"] is None:
        return None
    shape = [1 if axis == layer["axis"] else side for axis, side in enumerate(draft.input_of(layer).shape)]
    values = {**layer.hyperparameters, "keepdims": True}
    early = draft.add(layer.kind, layer.inputs, shape, values, {}, layer.native, layer.dtype)
    native = replace(layer.native, operators=())
    return replace(layer, kind="reshape", inputs=(early.id,), hyperparameters={}, native=native)


def drop_reduction_of_one(draft: Draft, layer: Layer) -> str | None:
    """A mean, sum or extreme over axes of size 1 is the value itself."""
    source = draft.input_of(layer)
    alone = layer["keepdims"] and all(source.shape[axis] == 1 for axis in layer["axes"])
    return layer.inputs[0] if alone else None


WINDOWS = frozenset({"convolution", "max_pool", "average_pool"})
SAME_OF_ONE = kinds.REDUCTIONS - {"variance"}
RULES = (
    Rule("merge_pads", frozenset({"pad"}), merge_pads),
    Rule("merge_padding", WINDOWS, merge_padding),
    Rule("use_effective_padding", WINDOWS, use_effective_padding),
    Rule("pool_to_mean", frozenset({"average_pool"}), pool_to_mean),
    Rule("scale_to_divisor", frozenset({"affine"}), scale_to_divisor),
    Rule("max_pool_to_max", frozenset({"max_pool"}), max_pool_to_max),
    Rule("keep_reduced_axes", kinds.REDUCTIONS, keep_reduced_axes),
    Rule("keep_searched_axis", frozenset({"argmax", "argmin"}), keep_searched_axis),
    Rule("drop_reduction_of_one", SAME_OF_ONE, drop_reduction_of_one),
)
