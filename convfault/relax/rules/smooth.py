"""Smooth activations in one form: ELU, SELU, GELU, softplus and their kin, which every frontend spells in its own way.

``mish`` stays x * tanh(softplus(x)), SELU is a scaled ELU.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer
from convfault.relax.rules.affine import is_scalar, times

TOLERANCE = 1e-5
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
LINEAR_FROM = 16.0
"""From here on softplus(x) is x in float32: log(1 + exp(-16)) is 7e-9 of 16, less than half a step."""

INFINITY = float("inf")


def close(value: float, wanted: float) -> bool:
    """Whether a constant of a formula is the one that stands in the books, to what float32 can hold.

    Or as half precision stores it, or its inverse where a formula divides.
    """
    stored = [wanted, float(np.float16(wanted)), 1 / float(np.float16(1 / wanted)) if wanted else wanted]
    return any(abs(value - each) <= TOLERANCE * max(abs(each), 1.0) for each in stored)


def scaled(draft: Draft, name: str) -> tuple[str, float, float]:
    """A layer as scale * x + shift with two numbers: the id of x, scale, shift."""
    layer = draft.layers[name]
    if layer.kind != "affine" or not is_scalar(layer):
        return name, 1.0, 0.0
    scale, shift = (float(layer.parameters[part].values.flat[0]) for part in ("scale", "shift"))
    return layer.inputs[0], scale, shift


def of_kind(draft: Draft, name: str, kind: str) -> Layer | None:
    """The layer, if it is of this kind."""
    layer = draft.layers[name]
    return layer if layer.kind == kind else None


def is_relu(layer: Layer) -> bool:
    """Whether the layer is max(x, 0)."""
    return layer.kind == "clip" and (layer["minimum"], layer["maximum"]) == (0.0, INFINITY)


def is_lower_half(layer: Layer) -> bool:
    """Whether the layer is min(x, 0)."""
    return layer.kind == "clip" and (layer["minimum"], layer["maximum"]) == (-INFINITY, 0.0)


def number(draft: Draft, name: str) -> float | None:
    """The value of a constant that is the same everywhere."""
    layer = draft.layers[name]
    if layer.kind != "constant" or not layer.parameters["values"].values.size:
        return None
    values = layer.parameters["values"].values
    return float(values.flat[0]) if np.all(values == values.flat[0]) else None


def _positive(draft: Draft, name: str) -> str | None:
    """The id of x when the layer is x > 0 or x >= 0."""
    layer = draft.layers[name]
    if layer.kind not in {"greater", "greater_equal"} or number(draft, layer.inputs[1]) != 0.0:
        return None
    return layer.inputs[0]


def _exponential_below(draft: Draft, name: str, value: str) -> float | None:
    """alpha when the layer is alpha * (exp(x) - 1), for x below zero at least."""
    inner, alpha, shift = scaled(draft, name)
    power = of_kind(draft, inner, "exp")
    if power is None or not close(shift, -alpha):
        return None
    source = draft.layers[power.inputs[0]]
    bounded = source.kind == "clip" and source["minimum"] == -INFINITY and source["maximum"] == 0
    return alpha if value in {source.id, *(source.inputs if bounded else ())} else None


def where_positive(draft: Draft, layer: Layer) -> Layer | None:
    """x where x > 0, else alpha * (exp(x) - 1): ELU, perhaps scaled; else slope * x: leaky relu; else 0: relu."""
    condition, above, other = layer.inputs
    value, factor, added = scaled(draft, above)
    if _positive(draft, condition) != value or draft.layers[value].shape != layer.shape or added or factor <= 0:
        return None
    if (alpha := _exponential_below(draft, other, value)) is not None:
        if factor == 1:
            return replace(layer, kind="elu", inputs=(value,), hyperparameters={"alpha": alpha})
        values = {"alpha": alpha / factor}
        bent = draft.add("elu", (value,), layer.shape, values, native=replace(layer.native, tensor=None))
        return times(replace(layer, inputs=(bent.id,)), factor)
    if factor != 1:
        return None
    if number(draft, other) == 0.0:
        bounds = {"minimum": 0.0, "maximum": INFINITY}
        return replace(layer, kind="clip", inputs=(value,), hyperparameters=bounds)
    inner, slope, shift = scaled(draft, other)
    if inner == value and other != value and shift == 0:
        return replace(layer, kind="leaky_relu", inputs=(value,), hyperparameters={"slope": slope})
    return None


def where_large_to_softplus(draft: Draft, layer: Layer) -> Layer | None:
    """x where beta * x is beyond a threshold, else softplus(x): the same in float32."""
    condition, value, other = layer.inputs
    test, soft = draft.layers[condition], draft.layers[other]
    source = other if soft.kind == "softplus" else scaled(draft, other)[0]
    inner = draft.layers[source]
    if inner.kind != "softplus" or test.kind != "greater":
        return None
    limit, (tested, factor, shift) = number(draft, test.inputs[1]), scaled(draft, test.inputs[0])
    if limit is None or tested != value or shift or limit < LINEAR_FROM or factor <= 0:
        return None
    read, inner_factor, inner_shift = scaled(draft, inner.inputs[0])
    back = scaled(draft, other)[1:] if source != other else (1.0, 0.0)
    if read != value or inner_shift or back[1] or not close(inner_factor * back[0], 1.0):
        return None
    return times(replace(layer, inputs=(source,)), back[0])


def sum_to_elu(draft: Draft, layer: Layer) -> Layer | None:
    """relu(x) - alpha * relu(1 - exp(x)), which is TVM's own spelling."""
    for first, second in (layer.inputs, layer.inputs[::-1]):
        relu = draft.layers[first]
        if not is_relu(relu):
            continue
        bent, alpha, shift = scaled(draft, second)
        below = draft.layers[bent]
        if below.kind != "clip" or below["minimum"] != 0 or below["maximum"] < 1 or shift:
            continue
        inner, scale, one = scaled(draft, below.inputs[0])
        power = of_kind(draft, inner, "exp")
        if power is not None and power.inputs == relu.inputs and close(scale, -1) and close(one, 1):
            values = {"alpha": -alpha}
            return replace(layer, kind="elu", inputs=relu.inputs, hyperparameters=values)
    return None


def selu_to_elu(draft: Draft, layer: Layer) -> Layer:
    """SELU is an ELU with a known alpha, scaled."""
    values = {"alpha": SELU_ALPHA}
    bent = draft.add("elu", layer.inputs, layer.shape, values, native=replace(layer.native, tensor=None))
    return times(replace(layer, inputs=(bent.id,)), SELU_SCALE)


def log_to_softplus(draft: Draft, layer: Layer) -> Layer | None:
    """log(1 + exp(x)) is softplus(x); log(sigmoid(x)) is -softplus(-x)."""
    source = draft.input_of(layer)
    values = {"beta": 1.0, "threshold": INFINITY}
    if source.kind == "sigmoid":
        turned = draft.layers[source.inputs[0]]
        minus = draft.add("negative", (turned.id,), layer.shape)
        soft = draft.add("softplus", (minus.id,), layer.shape, values, native=replace(layer.native, tensor=None))
        return times(replace(layer, inputs=(soft.id,)), -1.0)
    inner, scale, shift = scaled(draft, source.id)
    power = of_kind(draft, inner, "exp")
    if power is None or scale != 1 or shift != 1:
        return None
    return replace(layer, kind="softplus", inputs=power.inputs, hyperparameters=values)


def sum_to_softplus(draft: Draft, layer: Layer) -> Layer | None:
    """relu(x) + softplus(-|x|), which cannot overflow, is softplus(x)."""
    for first, second in (layer.inputs, layer.inputs[::-1]):
        relu, soft = draft.layers[first], draft.layers[second]
        if not is_relu(relu) or soft.kind != "softplus" or soft["beta"] != 1:
            continue
        inner, scale, shift = scaled(draft, soft.inputs[0])
        size = of_kind(draft, inner, "abs")
        if size is not None and (scale, shift) == (-1, 0) and size.inputs == relu.inputs:
            return replace(soft, id=layer.id, inputs=relu.inputs, native=layer.native)
    return None


def plain_softplus(draft: Draft, layer: Layer) -> Layer | None:
    """One beta, scaled before and behind; and no threshold where it makes no difference in float32."""
    beta, threshold = layer["beta"], layer["threshold"]
    values = {"beta": 1.0, "threshold": INFINITY if threshold >= LINEAR_FROM else threshold}
    if beta == 1:
        return None if values == layer.hyperparameters else replace(layer, hyperparameters=values)
    source = draft.input_of(layer)
    before = times(draft.add("affine", (source.id,), layer.shape), beta)
    draft.put(before)
    bent = draft.add("softplus", (before.id,), layer.shape, values, native=replace(layer.native, tensor=None))
    return times(replace(layer, inputs=(bent.id,)), 1 / beta)


def _gate(draft: Draft, name: str, kind: str) -> tuple[Layer, float] | None:
    """The layer of ``kind`` and s when this one is s * (1 + layer)."""
    inner, scale, shift = scaled(draft, name)
    found = of_kind(draft, inner, kind)
    return None if found is None or not close(shift, scale) else (found, scale)


def _erf_of(draft: Draft, gate: Layer) -> str | None:
    inner, scale, shift = scaled(draft, gate.inputs[0])
    return inner if close(scale, math.sqrt(0.5)) and shift == 0 else None


def _tanh_of(draft: Draft, gate: Layer) -> str | None:
    """x when the tanh is of sqrt(2 / pi) * (x + 0.044715 x³), its scales wherever they stand."""
    inner, outer, shift = scaled(draft, gate.inputs[0])
    total = of_kind(draft, inner, "add")
    if total is None or shift:
        return None
    for first, second in (total.inputs, total.inputs[::-1]):
        value, linear, _ = scaled(draft, first)
        cube, cubic, _ = scaled(draft, second)
        if _is_cube(draft, cube, value) and close(outer * linear, math.sqrt(2 / math.pi)):
            return value if close(cubic / linear, 0.044715) else None
    return None


def _is_cube(draft: Draft, name: str, value: str) -> bool:
    product = draft.layers[name]
    if product.kind != "multiply" or value not in product.inputs:
        return False
    other = draft.layers[product.inputs[1 - product.inputs.index(value)]]
    return other.kind == "square" and other.inputs == (value,)


def product_to_gelu(draft: Draft, layer: Layer) -> Layer | None:
    """x * (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh; factors may stand anywhere."""
    for first, second in (layer.inputs, layer.inputs[::-1]):
        for kind, inner, function in (("gelu", "erf", _erf_of), ("gelu_tanh", "tanh", _tanh_of)):
            gate = _gate(draft, second, inner)
            source = None if gate is None else function(draft, gate[0])
            if gate is None or source is None:
                continue
            value, factor, shift = (first, 1.0, 0.0) if first == source else scaled(draft, first)
            if value != source or shift:
                continue
            whole = 2 * factor * gate[1]
            if close(whole, 1.0):
                return replace(layer, kind=kind, inputs=(source,))
            bent = draft.add(kind, (source,), layer.shape, native=replace(layer.native, tensor=None))
            return times(replace(layer, inputs=(bent.id,)), whole)
    return None


def sign_out_of_odd(draft: Draft, layer: Layer) -> Layer | None:
    """f(-x) is -f(x) for functions that turn with their argument's sign."""
    inner, scale, shift = scaled(draft, layer.inputs[0])
    if inner == layer.inputs[0] or shift or scale >= 0:
        return None
    source = draft.input_of(layer)
    turned = times(draft.add("affine", (inner,), source.shape), -scale)
    draft.put(turned)
    plain = draft.add(layer.kind, (turned.id,), layer.shape, native=replace(layer.native, tensor=None))
    return times(replace(layer, inputs=(plain.id,)), -1.0)


def negative_to_affine(draft: Draft, layer: Layer) -> Layer | None:
    """-x is x scaled by -1."""
    return times(layer, -1.0) if layer.dtype == "float32" else None


RULES = (
    Rule("negative_to_affine", frozenset({"negative"}), negative_to_affine),
    Rule("sign_out_of_odd", frozenset({"erf", "tanh"}), sign_out_of_odd),
    Rule("where_positive", frozenset({"where"}), where_positive),
    Rule("where_large_to_softplus", frozenset({"where"}), where_large_to_softplus),
    Rule("sum_to_elu", frozenset({"add"}), sum_to_elu),
    Rule("sum_to_softplus", frozenset({"add"}), sum_to_softplus),
    Rule("selu_to_elu", frozenset({"selu"}), selu_to_elu),
    Rule("log_to_softplus", frozenset({"log"}), log_to_softplus),
    Rule("plain_softplus", frozenset({"softplus"}), plain_softplus),
    Rule("product_to_gelu", frozenset({"multiply"}), product_to_gelu),
)
