"""Functions of values, and normalizations, by simpler ONNX operators: each gives the name of its value, or None."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convfault.repairing.onnx_draft import HIGHEST, LOWEST, TINY, Draft


def _negative_part(draft: Draft) -> str:
    """``max(-x, 0)``."""
    return draft("Relu", draft("Neg", draft.x))


def elu(draft: Draft, alpha: float, gamma: float = 1.0, steep: float = 1.0) -> str:
    """``gamma * (max(x, 0) + alpha * (exp(min(x, 0) / steep) - 1))``."""
    below = draft("Sub", draft("Exp", draft("Mul", _negative_part(draft), -1 / steep)), 1.0)
    value = draft("Add", draft("Relu", draft.x), draft("Mul", below, alpha))
    return value if gamma == 1 else draft("Mul", value, gamma)


def leaky(draft: Draft, slope: str | float) -> str:
    return draft("Sub", draft("Relu", draft.x), draft("Mul", _negative_part(draft), slope))


def softplus(draft: Draft) -> str:
    """``max(x, 0) + log(1 + exp(-|x|))``, which does not overflow."""
    small = draft("Exp", draft("Neg", draft("Abs", draft.x)))
    return draft("Add", draft("Relu", draft.x), draft("Log", draft("Add", small, 1.0)))


def gelu(draft: Draft) -> str:
    x = draft.x
    if draft.attributes.get("approximate", b"none") == b"tanh":
        cubic = draft("Mul", draft("Mul", draft("Mul", x, x), x), 0.044715)
        inner = draft("Tanh", draft("Mul", draft("Add", x, cubic), float(np.sqrt(2 / np.pi))))
    else:
        inner = draft("Erf", draft("Mul", x, float(np.sqrt(0.5))))
    return draft("Mul", draft("Mul", x, 0.5), draft("Add", inner, 1.0))


def hard_sigmoid(draft: Draft, alpha: float, beta: float) -> str:
    line = draft("Add", draft("Mul", draft.x, alpha), beta)
    return draft("Clip", line, draft.constant(0.0), draft.constant(1.0))


def softmax(draft: Draft, logarithm: bool) -> str | None:
    if draft.opset < 13:  # over all axes from one on
        return None
    axes = [draft.axis(-1)]
    shifted = draft("Sub", draft.x, draft.reduce("ReduceMax", draft.x, axes))
    powers = draft("Exp", shifted)
    total = draft.reduce("ReduceSum", powers, axes)
    return draft("Sub", shifted, draft("Log", total)) if logarithm else draft("Div", powers, total)


def _normalized(draft: Draft, value: str, axes: Sequence[int], epsilon: float) -> str:
    centred = draft("Sub", value, draft.reduce("ReduceMean", value, axes))
    variance = draft.reduce("ReduceMean", draft("Mul", centred, centred), axes)
    return draft("Div", centred, draft("Sqrt", draft("Add", variance, epsilon)))


def _scaled(draft: Draft, value: str, shape: Sequence[int]) -> str:
    """Times the second input plus the third, each seen as ``shape``."""
    for place, kind in ((1, "Mul"), (2, "Add")):
        name = draft.node.input[place] if len(draft.node.input) > place else ""
        if name:
            value = draft(kind, value, draft("Reshape", name, draft.whole(list(shape))))
    return value


def instance_norm(draft: Draft) -> str | None:
    if not draft.rank:
        return None
    axes = range(2, draft.rank)
    value = _normalized(draft, draft.x, axes, float(draft.attributes.get("epsilon", 1e-5)))
    return _scaled(draft, value, [1, -1, *(1 for _ in axes)])


def group_norm(draft: Draft) -> str | None:
    sides, groups = draft.sides(), int(draft.attributes["num_groups"])
    if sides is None:
        return None
    value = draft("Reshape", draft.x, draft.whole([0, groups, -1]))
    value = _normalized(draft, value, [2], float(draft.attributes.get("epsilon", 1e-5)))
    if draft.opset < 21:  # a scale for each group
        return draft("Reshape", _scaled(draft, value, [1, -1, 1]), draft.whole([0, *sides]))
    value = draft("Reshape", value, draft.whole([0, *sides]))
    return _scaled(draft, value, [1, -1, *(1 for _ in sides[1:])])


def layer_norm(draft: Draft) -> str | None:
    if not draft.rank:
        return None
    axes = range(draft.axis(-1), draft.rank)
    value = _normalized(draft, draft.x, axes, float(draft.attributes.get("epsilon", 1e-5)))
    for place, kind in ((1, "Mul"), (2, "Add")):
        if len(draft.node.input) > place and draft.node.input[place]:
            value = draft(kind, value, draft.node.input[place])
    return value


def batch_norm(draft: Draft) -> str | None:
    scale, shift, mean, variance = (draft.given(place) for place in (1, 2, 3, 4))
    if scale is None or shift is None or mean is None or variance is None:
        return None
    if not draft.rank or draft.attributes.get("training_mode"):
        return None
    factor = scale / np.sqrt(variance + draft.attributes.get("epsilon", 1e-5))
    shape = [1, -1, *(1 for _ in range(2, draft.rank))]
    scaled = draft("Mul", draft.x, draft.constant(factor.reshape(shape)))
    return draft("Add", scaled, draft.constant((shift - mean * factor).reshape(shape)))


def chain(draft: Draft, kind: str) -> str | None:
    names = list(draft.node.input)
    if len(names) < 2 or (len(names) == 2 and draft.node.op_type == kind):
        return None
    value = names[0]
    for name in names[1:]:
        value = draft(kind, value, name)
    return draft("Mul", value, 1 / len(names)) if draft.node.op_type == "Mean" else value


def clip(draft: Draft) -> str | None:
    """Both bounds in numbers: some tools know only such."""
    if draft.opset < 11:
        return None
    names = [*draft.node.input[1:], "", ""][:2]
    if all(names):
        return None
    bounds = [name or draft.constant(bound) for name, bound in zip(names, (LOWEST, HIGHEST), strict=True)]
    return draft("Clip", draft.x, *bounds)


def _reduced(draft: Draft) -> tuple[int, ...] | None:
    """The axes of a reduction that keeps them; None where they are not known."""
    axes = draft.attributes.get("axes", draft.given(1))
    if axes is None and (len(draft.node.input) > 1 or draft.attributes.get("noop_with_empty_axes")):
        return None
    if not draft.rank or not draft.attributes.get("keepdims", 1):
        return None
    return tuple(range(draft.rank)) if axes is None else tuple(int(axis) % draft.rank for axis in np.ravel(axes))


def reduction(draft: Draft) -> str | None:
    axes, kind = _reduced(draft), draft.node.op_type
    if axes is None:
        return None
    if kind == "ReduceLogSumExp":
        most = draft.reduce("ReduceMax", draft.x, axes)
        powers = draft("Exp", draft("Sub", draft.x, most))
        return draft("Add", draft("Log", draft.reduce("ReduceSum", powers, axes)), most)
    before = {"ReduceL1": ("Abs", draft.x), "ReduceLogSum": None}.get(kind, ("Mul", draft.x, draft.x))
    total = draft.reduce("ReduceSum", draft(*before) if before else draft.x, axes)
    after = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log"}.get(kind)
    return draft(after, total) if after else total


def unit_norm(draft: Draft) -> str | None:
    if not draft.rank:
        return None
    size = draft("Abs", draft.x) if draft.attributes.get("p", 2) == 1 else draft("Mul", draft.x, draft.x)
    total = draft.reduce("ReduceSum", size, [draft.axis(-1)])
    norm = total if draft.attributes.get("p", 2) == 1 else draft("Sqrt", total)
    return draft("Div", draft.x, draft("Max", norm, TINY))  # zeros stay zeros


def remainder(draft: Draft) -> str:
    """What is left after so many whole times the divisor, towards zero (``fmod``) or down."""
    divisor = draft.node.input[1]
    quotient = draft("Div", draft.x, divisor)
    if draft.attributes.get("fmod"):
        whole = draft("Mul", draft("Sign", quotient), draft("Floor", draft("Abs", quotient)))
    else:
        whole = draft("Floor", quotient)
    return draft("Sub", draft.x, draft("Mul", whole, divisor))


def larger(draft: Draft) -> str:
    """What is larger than alpha; the rest is zero."""
    larger = draft("Cast", draft("Greater", draft.x, float(draft.attributes.get("alpha", 1.0))), to=1)
    return draft("Mul", draft.x, larger)
