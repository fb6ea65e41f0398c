"""Scales and shifts by channel: arithmetic with constants and batch normalization in one form, folded into weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Array, Layer, Parameter

ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide"})


def is_scalar(layer: Layer) -> bool:
    """Whether an affine layer treats all channels alike."""
    return all(np.all(p.values == p.values.flat[0]) for p in layer.parameters.values())


def times(layer: Layer, scale: float, shift: float = 0.0) -> Layer:
    """An affine layer in the place of ``layer`` with one scale and shift for all channels."""
    size = layer.shape[-1] if layer.shape else 1
    parts = {"scale": scale, "shift": shift}
    parameters = {name: Parameter(np.full(size, value, np.float32)) for name, value in parts.items()}
    return replace(layer, kind="affine", hyperparameters={}, parameters=parameters)


def _by_channel(values: Array, shape: tuple[int, ...]) -> Array | None:
    """A constant as (C) when it broadcasts along the last axis of ``shape`` only; else None."""
    if values.ndim > len(shape) or not shape or any(side != 1 for side in values.shape[:-1]):
        return None
    flat = values.reshape(-1)
    return np.broadcast_to(flat, shape[-1:]).astype(np.float32) if flat.size in {1, shape[-1]} else None


def arithmetic_to_affine(draft: Draft, layer: Layer) -> Layer | None:
    """Adding, subtracting, multiplying or dividing by a constant of one value a channel."""
    sources = [draft.layers[name] for name in layer.inputs]
    position = next((index for index, source in enumerate(sources) if source.kind == "constant"), None)
    if position is None or layer.dtype != "float32" or sources[1 - position].shape != layer.shape:
        return None
    parameter = sources[position].parameters["values"]
    values = _by_channel(parameter.values, layer.shape)
    if values is None or (layer.kind == "divide" and position == 0):
        return None
    one, zero = np.ones_like(values), np.zeros_like(values)
    scale, shift = {
        "add": (one, values),
        "subtract": (one, -values) if position == 1 else (-one, values),
        "multiply": (values, zero),
        "divide": (one / np.where(values == 0, np.nan, values), zero),
    }[layer.kind]
    names = {"scale": (), "shift": ()} | {"shift" if layer.kind in {"add", "subtract"} else "scale": parameter.native}
    parameters = {"scale": Parameter(scale, names["scale"]), "shift": Parameter(shift, names["shift"])}
    return replace(layer, kind="affine", inputs=(sources[1 - position].id,), hyperparameters={}, parameters=parameters)


def batch_norm_to_affine(draft: Draft, layer: Layer) -> Layer | None:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, in float64 until the end."""
    constants = [draft.layers[name] for name in layer.inputs[1:]]
    if any(constant.kind != "constant" for constant in constants):
        return None
    gamma, beta, mean, variance = (constant.parameters["values"] for constant in constants)
    scale = gamma.values.astype(np.float64) / np.sqrt(variance.values.astype(np.float64) + layer["epsilon"])
    shift = beta.values - mean.values * scale
    shape = layer.shape[-1:]
    parameters = {
        "scale": Parameter(np.broadcast_to(scale, shape).astype(np.float32), (*gamma.native, *variance.native)),
        "shift": Parameter(
            np.broadcast_to(shift, shape).astype(np.float32),
            (*beta.native, *mean.native, *gamma.native, *variance.native),
        ),
    }
    details = {
        "batch_norm": {"epsilon": layer["epsilon"], "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    }
    return replace(
        layer, kind="affine", inputs=layer.inputs[:1], hyperparameters={}, parameters=parameters, details=details
    )


def drop_neutral(draft: Draft, layer: Layer) -> str | None:
    """Scaled by one and shifted by nothing."""
    scale, shift = layer.parameters["scale"].values, layer.parameters["shift"].values
    return layer.inputs[0] if np.all(scale == 1) and not np.any(shift) else None


def _names(*parameters: Parameter) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for parameter in parameters for name in parameter.native))


def _details(first: Layer, second: Layer) -> Mapping[str, Any]:
    return {**first.details, **second.details}


def merge_affines(draft: Draft, layer: Layer) -> Layer | None:
    """Two in a row are one."""
    first = draft.input_of(layer)
    if first.kind != "affine" or not draft.single(first.id):
        return None
    a, b = first.parameters["scale"], first.parameters["shift"]
    c, d = layer.parameters["scale"], layer.parameters["shift"]
    scale = a.values.astype(np.float64) * c.values
    shift = b.values.astype(np.float64) * c.values + d.values
    shift_names = _names(b, d, c) if np.any(b.values) else _names(b, d)
    parameters = {
        "scale": Parameter(scale.astype(np.float32), _names(a, c)),
        "shift": Parameter(shift.astype(np.float32), shift_names),
    }
    native = layer.native.after(first.native)
    return replace(layer, inputs=first.inputs, parameters=parameters, native=native, details=_details(first, layer))


def fold_into_linear(draft: Draft, layer: Layer) -> Layer | None:
    """Scale and shift behind a convolution or product go into its weights and bias."""
    linear = draft.input_of(layer)
    if linear.kind not in {"convolution", "transposed_convolution", "dense"} or not draft.single(linear.id):
        return None
    if "weights" not in linear.parameters or layer.shape != linear.shape:
        return None
    weights, bias = linear.parameters["weights"], linear.parameters["bias"]
    scale, shift = layer.parameters["scale"], layer.parameters["shift"]
    values = folded(linear, layer)
    parameters = {
        "weights": Parameter(values["weights"], _names(weights, scale)),
        "bias": Parameter(values["bias"], _names(bias, shift, scale) if np.any(bias.values) else _names(bias, shift)),
    }
    native = layer.native.after(linear.native)
    return replace(linear, id=layer.id, parameters=parameters, native=native, details=_details(linear, layer))


def folded(linear: Layer, affine: Layer) -> dict[str, Array]:
    """The weights and the bias, float32, of a linear layer into which the scale and shift behind it are folded."""
    scale, shift = affine.parameters["scale"].values, affine.parameters["shift"].values
    weights, bias = linear.parameters["weights"].values, linear.parameters["bias"].values
    moved = bias.astype(np.float64) * scale + shift
    by_filter = _weights_scale(linear, scale)
    return {"weights": np.asarray(weights * by_filter, np.float32), "bias": moved.astype(np.float32)}


def _weights_scale(linear: Layer, scale: Array) -> Array:
    """The scale of each filter, shaped to multiply the weights."""
    if linear.kind != "transposed_convolution":
        return scale
    groups, weights = linear["groups"], linear.parameters["weights"].values
    per_group = scale.reshape(groups, weights.shape[2]).T  # (filters / groups, groups)
    return np.repeat(per_group, weights.shape[3] // groups, axis=1)[None, None]


def fold_from_before(draft: Draft, layer: Layer) -> Layer | None:
    """Scale and shift before a convolution or product go into it, unless the shift would also have to be padded."""
    affine = draft.input_of(layer)
    if affine.kind != "affine" or not draft.single(affine.id) or "weights" not in layer.parameters:
        return None
    scale, shift = affine.parameters["scale"], affine.parameters["shift"]
    if shift.values.any() and any(width for pair in layer.hyperparameters.get("padding", ()) for width in pair):
        return None
    weights, bias = layer.parameters["weights"], layer.parameters["bias"]
    values = weights.values.astype(np.float64)
    added = (values * _by_input(layer, shift.values)).sum(axis=tuple(range(values.ndim - 1)))
    parameters = {
        "weights": Parameter((values * _by_input(layer, scale.values)).astype(np.float32), _names(weights, scale)),
        "bias": Parameter(
            (bias.values + added).astype(np.float32), _names(bias, shift) if shift.values.any() else bias.native
        ),
    }
    native, details = layer.native.after(affine.native), _details(affine, layer)
    return replace(layer, inputs=affine.inputs, parameters=parameters, native=native, details=details)


def _by_input(linear: Layer, values: Array) -> Array:
    """One value an input channel, shaped to multiply the weights of a convolution or product."""
    if linear.kind == "dense":
        return values[:, None]
    groups, filters = linear["groups"], linear.parameters["weights"].values.shape[3]
    per_group = values.reshape(groups, -1).T  # (C / groups, groups)
    return np.repeat(per_group, filters // groups, axis=1)


def move_before_clip(draft: Draft, layer: Layer) -> Layer | None:
    """One scale for all behind a clip with two bounds goes before it: relu6(x + 3) / 6 is clip(x / 6 + 1 / 2, 0, 1)."""
    clip = draft.input_of(layer)
    if clip.kind != "clip" or not draft.single(clip.id) or not is_scalar(layer):
        return None
    scale, shift = (float(layer.parameters[name].values.flat[0]) for name in ("scale", "shift"))
    bounds = [clip["minimum"] * scale + shift, clip["maximum"] * scale + shift]
    if scale <= 0 or not np.isfinite(bounds).all():
        return None
    early = draft.add("affine", clip.inputs, layer.shape, {}, layer.parameters, dtype=layer.dtype)
    rounded = [round(bound, 6) for bound in bounds]
    values = {"minimum": rounded[0], "maximum": rounded[1]}
    native = layer.native.after(clip.native)
    return replace(clip, id=layer.id, inputs=(early.id,), hyperparameters=values, native=native)


def move_into_factor(draft: Draft, layer: Layer) -> Layer | None:
    """One scale for all behind a product with a clip goes to the clip: x * relu6(x + 3) / 6."""
    product = draft.input_of(layer)
    if product.kind != "multiply" or not draft.single(product.id) or not is_scalar(layer):
        return None
    if layer.parameters["shift"].values.any():
        return None
    for position, name in enumerate(product.inputs):
        factor = draft.layers[name]
        if factor.kind == "clip" and draft.single(name) and np.isfinite(factor["maximum"]):
            size = factor.shape[-1]
            parameters = {n: p.with_values(np.full(size, p.values.flat[0])) for n, p in layer.parameters.items()}
            scaled = draft.add("affine", (name,), factor.shape, {}, parameters, dtype=layer.dtype)
            inputs = (*product.inputs[:position], scaled.id, *product.inputs[position + 1 :])
            return replace(product, id=layer.id, inputs=inputs, native=layer.native.after(product.native))
    return None


RULES = (
    Rule("batch_norm_to_affine", frozenset({"batch_norm"}), batch_norm_to_affine),
    Rule("arithmetic_to_affine", ARITHMETIC, arithmetic_to_affine),
    Rule("drop_neutral", frozenset({"affine"}), drop_neutral),
    Rule("merge_affines", frozenset({"affine"}), merge_affines),
    Rule("move_into_factor", frozenset({"affine"}), move_into_factor),
    Rule("move_before_clip", frozenset({"affine"}), move_before_clip),
    Rule("fold_into_linear", frozenset({"affine"}), fold_into_linear),
    Rule("fold_from_before", frozenset({"convolution", "dense"}), fold_from_before),
)
