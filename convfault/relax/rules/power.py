"""Powers, roots and quotients in one form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax import kinds
from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer

OPPOSITE = {"less_equal": "greater", "less": "greater_equal"}
NAMED = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt"}


def name_power(draft: Draft, layer: Layer) -> Layer | str | None:
    """x to the power of 1, 2, 3, 1/2 or -1/2."""
    exponent = draft.input_of(layer, 1)
    if exponent.kind != "constant" or draft.input_of(layer).shape != layer.shape:
        return None
    values = exponent.parameters["values"].values
    if not values.size or np.any(values != values.flat[0]):
        return None
    number, value = float(values.flat[0]), layer.inputs[0]
    if number == 1:
        return value
    if number == 3:
        square = draft.add("square", (value,), layer.shape, dtype=layer.dtype)
        return replace(layer, kind="multiply", inputs=(square.id, value))
    return replace(layer, kind=NAMED[number], inputs=(value,)) if number in NAMED else None


def product_to_square(draft: Draft, layer: Layer) -> Layer | None:
    """x * x."""
    return replace(layer, kind="square", inputs=layer.inputs[:1]) if layer.inputs[0] == layer.inputs[1] else None


def square_of_size(draft: Draft, layer: Layer) -> Layer | None:
    """The square does not see the sign."""
    source = draft.input_of(layer)
    return replace(layer, inputs=source.inputs) if source.kind in {"abs", "negative"} else None


def quotient_by_root(draft: Draft, layer: Layer) -> Layer | None:
    """x / sqrt(y) is x * rsqrt(y); the native tensor of the root is not used then."""
    root, value = draft.input_of(layer, 1), draft.input_of(layer)
    if root.kind != "sqrt":
        return None
    if value.kind == "constant" and root.shape == layer.shape and np.all(value.parameters["values"].values == 1):
        return replace(layer, kind="rsqrt", inputs=root.inputs, native=layer.native.after(root.native))
    inverse = draft.add("rsqrt", root.inputs, root.shape, dtype=root.dtype, native=replace(root.native, tensor=None))
    return replace(layer, kind="multiply", inputs=(layer.inputs[0], inverse.id))


def clip_before_root(draft: Draft, layer: Layer) -> Layer | None:
    """A root that is kept from being too small is the root of what is kept from being too small."""
    root, low, high = draft.input_of(layer), layer["minimum"], layer["maximum"]
    if root.kind != "sqrt" or low < 0 or not draft.single(root.id):
        return None
    values = {"minimum": low * low, "maximum": high * high}
    early = draft.add("clip", root.inputs, root.shape, values, dtype=root.dtype)
    return replace(root, id=layer.id, inputs=(early.id,), native=layer.native.after(root.native))


def drop_broadcast(draft: Draft, layer: Layer) -> Layer | None:
    """A function of two layers broadcasts by itself what the other is as large as."""
    for position, name in enumerate(layer.inputs):
        source, other = draft.layers[name], draft.layers[layer.inputs[1 - position]]
        if source.kind == "broadcast" and other.shape == layer.shape:
            inner = source.inputs[0]
            if len(draft.layers[inner].shape) != len(layer.shape):
                continue
            return replace(layer, inputs=(inner, other.id) if position == 0 else (other.id, inner))
    return None


def drop_neutral_constant(draft: Draft, layer: Layer) -> str | None:
    """Adding or subtracting zeros, multiplying with or dividing by ones."""
    for position, name in enumerate(layer.inputs):
        constant, other = draft.layers[name], draft.layers[layer.inputs[1 - position]]
        if constant.kind != "constant" or other.shape != layer.shape or other.kind == "constant":
            continue
        if position == 0 and layer.kind in {"subtract", "divide"}:
            continue
        neutral = 1 if layer.kind in {"multiply", "divide"} else 0
        if np.all(constant.parameters["values"].values == neutral):
            return other.id
    return None


def where_greater(draft: Draft, layer: Layer) -> Layer | None:
    """What is chosen where a <= b or a < b is chosen against where a > b or a >= b."""
    test = draft.layers[layer.inputs[0]]
    if test.kind not in OPPOSITE:
        return None
    turned = draft.add(OPPOSITE[test.kind], test.inputs, test.shape, dtype=test.dtype)
    return replace(layer, inputs=(turned.id, layer.inputs[2], layer.inputs[1]))


RULES = (
    Rule("drop_neutral_constant", frozenset({"add", "subtract", "multiply", "divide"}), drop_neutral_constant),
    Rule("where_greater", frozenset({"where"}), where_greater),
    Rule("name_power", frozenset({"power"}), name_power),
    Rule("product_to_square", frozenset({"multiply"}), product_to_square),
    Rule("square_of_size", frozenset({"square"}), square_of_size),
    Rule("quotient_by_root", frozenset({"divide"}), quotient_by_root),
    Rule("clip_before_root", frozenset({"clip"}), clip_before_root),
    Rule("drop_broadcast", kinds.BINARY, drop_broadcast),
)
