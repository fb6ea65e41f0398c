"""Activations in one form, whatever a converter spelled them with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer, Parameter
from convfault.relax.rules.affine import is_scalar
from convfault.relax.rules.smooth import is_lower_half, is_relu, scaled

TOLERANCE = 1e-4


def extreme_to_clip(draft: Draft, layer: Layer) -> Layer | None:
    """The maximum or minimum with one number is a clip with one bound."""
    sources = [draft.layers[name] for name in layer.inputs]
    position = next((index for index, source in enumerate(sources) if source.kind == "constant"), None)
    if position is None or sources[1 - position].shape != layer.shape:
        return None
    values = sources[position].parameters["values"].values
    if values.size == 0 or np.any(values != values.flat[0]):
        return None
    bound = float(values.flat[0])
    low, high = (bound, np.inf) if layer.kind == "maximum" else (-np.inf, bound)
    bounds = {"minimum": low, "maximum": high}
    return replace(layer, kind="clip", inputs=(sources[1 - position].id,), hyperparameters=bounds)


def merge_clips(draft: Draft, layer: Layer) -> Layer | None:
    """A clip of a clip has the narrower bounds."""
    first = draft.input_of(layer)
    if first.kind != "clip" or not draft.single(first.id):
        return None
    low, high = max(first["minimum"], layer["minimum"]), min(first["maximum"], layer["maximum"])
    if low > high:
        return None
    values = {"minimum": low, "maximum": high}
    return replace(layer, inputs=first.inputs, hyperparameters=values, native=layer.native.after(first.native))


def maximum_to_leaky_relu(draft: Draft, layer: Layer) -> Layer | None:
    """max(x, slope * x) with a slope between 0 and 1."""
    for value, sloped in (layer.inputs, layer.inputs[::-1]):
        other = draft.layers[sloped]
        if other.kind != "affine" or other.inputs != (value,) or not is_scalar(other):
            continue
        slope, shift = (float(other.parameters[name].values.flat[0]) for name in ("scale", "shift"))
        if shift == 0 and 0 < slope < 1:
            native = layer.native.after(other.native)
            return replace(layer, kind="leaky_relu", inputs=(value,), hyperparameters={"slope": slope}, native=native)
    return None


def product_to_swish(draft: Draft, layer: Layer) -> Layer | None:
    """x * sigmoid(x)."""
    for value, gate in (layer.inputs, layer.inputs[::-1]):
        other = draft.layers[gate]
        if other.kind == "sigmoid" and other.inputs == (value,) and draft.single(gate):
            return replace(layer, kind="swish", inputs=(value,), native=layer.native.after(other.native))
    return None


def product_to_hard_swish(draft: Draft, layer: Layer) -> Layer | None:
    """x * clip(x / 6 + 1 / 2, 0, 1)."""
    for value, gate in (layer.inputs, layer.inputs[::-1]):
        clip = draft.layers[gate]
        if clip.kind != "clip" or (clip["minimum"], clip["maximum"]) != (0, 1) or not draft.single(gate):
            continue
        inner = draft.input_of(clip)
        if inner.kind != "affine" or inner.inputs != (value,) or not is_scalar(inner):
            continue
        scale, shift = (float(inner.parameters[name].values.flat[0]) for name in ("scale", "shift"))
        if abs(scale - 1 / 6) < TOLERANCE and abs(shift - 0.5) < TOLERANCE:
            native = layer.native.after(clip.native.after(inner.native))
            return replace(layer, kind="hard_swish", inputs=(value,), native=native)
    return None


def _factor(draft: Draft, name: str) -> tuple[str, Parameter] | None:
    """x and the constant when the layer is their product; of a constant of several axes those of one picture."""
    layer = draft.layers[name]
    if layer.kind == "affine":
        return None if np.any(layer.parameters["shift"].values) else (layer.inputs[0], layer.parameters["scale"])
    if layer.kind != "multiply":
        return None
    for first, second in (layer.inputs, layer.inputs[::-1]):
        other = draft.layers[second]
        if other.kind == "constant" and draft.layers[first].shape == layer.shape:
            values = other.parameters["values"].values
            lead = values.ndim == len(layer.shape) and values.shape[0] == 1
            return first, other.parameters["values"].with_values(values[0] if lead else values)
    return None


def sum_to_prelu(draft: Draft, layer: Layer) -> Layer | None:
    """relu(x) + slopes * min(x, 0), or relu(x) - slopes * relu(-x): PReLU, leaky relu with one slope for all."""
    less = layer.kind == "subtract"
    for first, second in (layer.inputs,) if less else (layer.inputs, layer.inputs[::-1]):
        relu, factor = draft.layers[first], _factor(draft, second)
        if not is_relu(relu) or factor is None:
            continue
        below, sign = draft.layers[factor[0]], -1.0 if less else 1.0
        if is_relu(below):
            read, scale, shift = scaled(draft, below.inputs[0])
            if scale >= 0 or shift or read != relu.inputs[0]:
                continue
            sign *= scale
        elif not is_lower_half(below) or below.inputs != relu.inputs:
            continue
        slopes = factor[1].with_values(factor[1].values * np.float32(sign))
        if np.all(slopes.values == slopes.values.flat[0]):
            values = {"slope": float(slopes.values.flat[0])}
            return replace(layer, kind="leaky_relu", inputs=relu.inputs, hyperparameters=values)
        return replace(layer, kind="prelu", inputs=relu.inputs, parameters={"slopes": slopes})
    return None


RULES = (
    Rule("extreme_to_clip", frozenset({"maximum", "minimum"}), extreme_to_clip),
    Rule("merge_clips", frozenset({"clip"}), merge_clips),
    Rule("maximum_to_leaky_relu", frozenset({"maximum"}), maximum_to_leaky_relu),
    Rule("sum_to_prelu", frozenset({"add", "subtract"}), sum_to_prelu),
    Rule("product_to_swish", frozenset({"multiply"}), product_to_swish),
    Rule("product_to_hard_swish", frozenset({"multiply"}), product_to_hard_swish),
)
