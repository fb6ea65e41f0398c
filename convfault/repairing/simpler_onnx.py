"""Says operators of ONNX by simpler ones, for converters that do not know them, or not every setting of them.

Each rewriting is the definition of its operator in the ONNX specification; what needs a size that is open, or a value
that is computed, is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.relax.known_onnx import known
from convfault.relax.resize import matrices
from convfault.repairing.onnx_values import attributes_of, constants_of, kinds_of

Array = npt.NDArray[Any]
LOWEST, HIGHEST, TINY = (float(getattr(np.finfo(np.float32), name)) for name in ("min", "max", "tiny"))
SIMPLER = " by simpler operators"
"""What the words for a rewriting end with."""
AXES_AS_INPUT = {"ReduceSum": 13}
"""From which version on a reduction takes its axes as an input; 18 for the others."""


class Draft:
    """What is to stand for one node: ``draft("Mul", a, b)`` adds an operator and gives the name of its value."""

    def __init__(self, node: Any, opset: int, constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]):
        self.node, self.opset, self.constants, self.shapes = node, opset, constants, shapes
        self.attributes = attributes_of(node)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.x = node.input[0]

    def __call__(self, kind: str, *inputs: str | float, **attributes: Any) -> str:
        import onnx

        name = f"{self.node.output[0]}/{len(self.nodes)}"
        names = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        label = f"{self.node.name or self.node.output[0]}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, names, [name], label, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """The name of a constant."""
        import onnx

        name = f"{self.node.output[0]}/constant_{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def whole(self, values: Any) -> str:
        """The name of a constant of whole numbers, such as a shape or axes."""
        return self.constant(values, np.int64)

    def reduce(self, kind: str, value: str, axes: Sequence[int]) -> str:
        """A reduction that keeps its axes."""
        if self.opset >= AXES_AS_INPUT.get(kind, 18):
            return self(kind, value, self.whole(list(axes)), keepdims=1)
        return self(kind, value, axes=list(axes), keepdims=1)

    def given(self, place: int) -> Array | None:
        """The constant that an input is, if it is one."""
        name = self.node.input[place] if len(self.node.input) > place else ""
        return self.constants.get(name)

    def sides(self, name: str | None = None) -> tuple[int, ...] | None:
        """All sizes but the batch's, None where one is open."""
        found = self.shapes.get(name or self.x, ())[1:]
        return found if found and all(found) else None

    @property
    def rank(self) -> int:
        return len(self.shapes.get(self.x, ()))

    def axis(self, default: int) -> int:
        """The attribute ``axis``, counted from the front."""
        axis = int(self.attributes.get("axis", default))
        return axis + self.rank if axis < 0 else axis


Rewriting = Callable[[Draft], str | None]


def simpler(kind: str, model: Any) -> Any:
    """The model with every operator of this kind said by others, where that is possible."""
    import onnx

    if all(node.op_type != kind for node in model.graph.node):
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    constants, values = constants_of(model), kinds_of(model)
    shapes = {name: shape for name, (dtype, shape) in values.items() if dtype == onnx.TensorProto.FLOAT}
    opset = next(int(item.version) for item in model.opset_import if item.domain in {"", "ai.onnx"})
    drafts = (Draft(node, opset, constants, shapes) for node in model.graph.node)
    nodes = [node for draft in drafts for node in _rewritten(kind, draft, found.graph)]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def _rewritten(kind: str, draft: Draft, graph: Any) -> Iterator[Any]:
    node = draft.node
    known = node.op_type == kind and node.domain in {"", "ai.onnx"} and draft.x in draft.shapes
    value = REWRITINGS[kind](draft) if known and (len(node.output) == 1 or kind == "Split") else None
    if value is None:
        yield node
        return
    graph.initializer.extend(draft.initializers)
    for part in draft.nodes:
        if part.output[0] == value and kind != "Split":
            part.output[0] = node.output[0]
        yield part


def _negative_part(draft: Draft) -> str:
    """``max(-x, 0)``."""
    return draft("Relu", draft("Neg", draft.x))


def _elu(draft: Draft, alpha: float, gamma: float = 1.0, steep: float = 1.0) -> str:
    """``gamma * (max(x, 0) + alpha * (exp(min(x, 0) / steep) - 1))``."""
    below = draft("Sub", draft("Exp", draft("Mul", _negative_part(draft), -1 / steep)), 1.0)
    value = draft("Add", draft("Relu", draft.x), draft("Mul", below, alpha))
    return value if gamma == 1 else draft("Mul", value, gamma)


def _leaky(draft: Draft, slope: str | float) -> str:
    return draft("Sub", draft("Relu", draft.x), draft("Mul", _negative_part(draft), slope))


def _softplus(draft: Draft) -> str:
    """``max(x, 0) + log(1 + exp(-|x|))``, which does not overflow."""
    small = draft("Exp", draft("Neg", draft("Abs", draft.x)))
    return draft("Add", draft("Relu", draft.x), draft("Log", draft("Add", small, 1.0)))


def _gelu(draft: Draft) -> str:
    x = draft.x
    if draft.attributes.get("approximate", b"none") == b"tanh":
        cubic = draft("Mul", draft("Mul", draft("Mul", x, x), x), 0.044715)
        inner = draft("Tanh", draft("Mul", draft("Add", x, cubic), float(np.sqrt(2 / np.pi))))
    else:
        inner = draft("Erf", draft("Mul", x, float(np.sqrt(0.5))))
    return draft("Mul", draft("Mul", x, 0.5), draft("Add", inner, 1.0))


def _hard_sigmoid(draft: Draft, alpha: float, beta: float) -> str:
    line = draft("Add", draft("Mul", draft.x, alpha), beta)
    return draft("Clip", line, draft.constant(0.0), draft.constant(1.0))


def _softmax(draft: Draft, logarithm: bool) -> str | None:
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


def _instance_norm(draft: Draft) -> str:
    axes = range(2, draft.rank)
    value = _normalized(draft, draft.x, axes, float(draft.attributes.get("epsilon", 1e-5)))
    return _scaled(draft, value, [1, -1, *(1 for _ in axes)])


def _group_norm(draft: Draft) -> str | None:
    sides, groups = draft.sides(), int(draft.attributes["num_groups"])
    if sides is None:
        return None
    value = draft("Reshape", draft.x, draft.whole([0, groups, -1]))
    value = _normalized(draft, value, [2], float(draft.attributes.get("epsilon", 1e-5)))
    if draft.opset < 21:  # a scale for each group
        return draft("Reshape", _scaled(draft, value, [1, -1, 1]), draft.whole([0, *sides]))
    value = draft("Reshape", value, draft.whole([0, *sides]))
    return _scaled(draft, value, [1, -1, *(1 for _ in sides[1:])])


def _layer_norm(draft: Draft) -> str | None:
    if not draft.rank:
        return None
    axes = range(draft.axis(-1), draft.rank)
    value = _normalized(draft, draft.x, axes, float(draft.attributes.get("epsilon", 1e-5)))
    for place, kind in ((1, "Mul"), (2, "Add")):
        if len(draft.node.input) > place and draft.node.input[place]:
            value = draft(kind, value, draft.node.input[place])
    return value


def _batch_norm(draft: Draft) -> str | None:
    scale, shift, mean, variance = (draft.given(place) for place in (1, 2, 3, 4))
    if scale is None or shift is None or mean is None or variance is None or draft.attributes.get("training_mode"):
        return None
    factor = scale / np.sqrt(variance + draft.attributes.get("epsilon", 1e-5))
    shape = [1, -1, *(1 for _ in range(2, draft.rank))]
    scaled = draft("Mul", draft.x, draft.constant(factor.reshape(shape)))
    return draft("Add", scaled, draft.constant((shift - mean * factor).reshape(shape)))


def _chain(draft: Draft, kind: str) -> str | None:
    names = list(draft.node.input)
    if len(names) < 2 or (len(names) == 2 and draft.node.op_type == kind):
        return None
    value = names[0]
    for name in names[1:]:
        value = draft(kind, value, name)
    return draft("Mul", value, 1 / len(names)) if draft.node.op_type == "Mean" else value


def _clip(draft: Draft) -> str | None:
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


def _reduction(draft: Draft) -> str | None:
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


def _unit_norm(draft: Draft) -> str | None:
    if not draft.rank:
        return None
    size = draft("Abs", draft.x) if draft.attributes.get("p", 2) == 1 else draft("Mul", draft.x, draft.x)
    total = draft.reduce("ReduceSum", size, [draft.axis(-1)])
    norm = total if draft.attributes.get("p", 2) == 1 else draft("Sqrt", total)
    return draft("Div", draft.x, draft("Max", norm, TINY))  # zeros stay zeros


def _global_pool(draft: Draft, kind: str) -> str | None:
    return draft.reduce(kind, draft.x, range(2, draft.rank)) if draft.rank else None


def _power_pool(draft: Draft) -> str | None:
    """The p-th root of the sum of powers, by an average that counts its padding."""
    power, kernel = float(draft.attributes.get("p", 2)), draft.attributes["kernel_shape"]
    if draft.attributes.get("ceil_mode") or any(step != 1 for step in draft.attributes.get("dilations", ())):
        return None
    kept = {name: value for name, value in draft.attributes.items() if name in {"strides", "pads", "auto_pad"}}
    size = draft("Abs", draft.x) if power == 1 else draft("Pow", draft("Abs", draft.x), power)
    total = draft("AveragePool", size, kernel_shape=kernel, count_include_pad=1, **kept)
    total = draft("Mul", total, float(np.prod(kernel)))
    return total if power == 1 else draft("Pow", total, 1 / power)


def _moved(draft: Draft, before: Sequence[int], order: Sequence[int], after: Sequence[int]) -> str:
    """Seen as ``before``, with its axes in another order, seen as ``after``."""
    turned = draft("Transpose", draft("Reshape", draft.x, draft.whole([0, *before])), perm=list(order))
    return draft("Reshape", turned, draft.whole([0, *after]))


def _depth_to_space(draft: Draft) -> str | None:
    sides, block = draft.sides(), int(draft.attributes["blocksize"])
    if sides is None:
        return None
    depth, height, width = sides[0] // block**2, sides[1], sides[2]
    after = [depth, height * block, width * block]
    if draft.attributes.get("mode", b"DCR") == b"DCR":
        return _moved(draft, [block, block, depth, height, width], [0, 3, 4, 1, 5, 2], after)
    return _moved(draft, [depth, block, block, height, width], [0, 1, 4, 2, 5, 3], after)


def _space_to_depth(draft: Draft) -> str | None:
    sides, block = draft.sides(), int(draft.attributes["blocksize"])
    if sides is None:
        return None
    depth, height, width = sides[0], sides[1] // block, sides[2] // block
    after = [depth * block**2, height, width]
    return _moved(draft, [depth, height, block, width, block], [0, 3, 5, 1, 2, 4], after)


def _remainder(draft: Draft) -> str:
    """What is left after so many whole times the divisor, towards zero (``fmod``) or down."""
    divisor = draft.node.input[1]
    quotient = draft("Div", draft.x, divisor)
    if draft.attributes.get("fmod"):
        whole = draft("Mul", draft("Sign", quotient), draft("Floor", draft("Abs", quotient)))
    else:
        whole = draft("Floor", quotient)
    return draft("Sub", draft.x, draft("Mul", whole, divisor))


def _running_sum(draft: Draft) -> str | None:
    """A product with a triangle of ones."""
    place = draft.given(1)
    if place is None or not draft.rank:
        return None
    axis, last = int(place.reshape(-1)[0]) % draft.rank, draft.rank - 1
    side = draft.shapes[draft.x][axis]
    if not side:
        return None
    triangle = np.triu(np.ones((side, side)), 1 if draft.attributes.get("exclusive") else 0)
    if draft.attributes.get("reverse"):
        triangle = triangle.T
    if axis == last:
        return draft("MatMul", draft.x, draft.constant(triangle))
    order = list(range(draft.rank))
    order[axis], order[last] = last, axis
    product = draft("MatMul", draft("Transpose", draft.x, perm=order), draft.constant(triangle))
    return draft("Transpose", product, perm=order)


def _gathered(draft: Draft, indices: Mapping[int, Array]) -> str | None:
    """Picks these pixels along each axis; None where that would be all of them as they are."""
    value = draft.x
    for axis, places in indices.items():
        if not np.array_equal(places, np.arange(draft.shapes[draft.x][axis])):
            value = draft("Gather", value, draft.whole(places), axis=axis)
    return value if draft.nodes else None


def _mirrored(draft: Draft) -> str | None:
    """A padding with pixels of the picture picks those."""
    mode, amounts, sides = draft.attributes.get("mode", b"constant").decode(), draft.given(1), draft.sides()
    mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(mode, "")
    if not mode or amounts is None or sides is None or len(draft.node.input) > 3 or amounts.min() < 0:
        return None
    pairs = amounts.reshape(2, -1).T
    if pairs[0].any() or len(pairs) != len(sides) + 1:
        return None
    found = {
        axis: np.pad(np.arange(side), tuple(pairs[axis]), mode)  # type: ignore[call-overload]
        for axis, side in enumerate(sides, 1)
    }
    return _gathered(draft, found)


def _stepped(draft: Draft) -> str | None:
    """A slice with steps picks pixels."""
    starts, ends, axes, steps = (draft.given(place) for place in (1, 2, 3, 4))
    if starts is None or ends is None or steps is None or (axes is None and len(draft.node.input) > 3):
        return None
    places = np.arange(starts.size) if axes is None else axes
    shape, found = draft.shapes.get(draft.x, ()), {}
    for start, end, axis, step in zip(starts, ends, places, steps, strict=True):
        axis = int(axis) % max(len(shape), 1)
        if not shape or not shape[axis]:
            return None
        least = -(2**31)  # an end before the first pixel, for which Python has no number but None
        stop = None if end < least or (step < 0 and end < -shape[axis]) else int(end)
        found[axis] = np.arange(shape[axis])[int(start) : stop : int(step)]
    return _gathered(draft, found)


def _repeated(draft: Draft) -> str | None:
    times = draft.given(1)
    if times is None:
        return None
    value = draft.x
    for axis, count in enumerate(times):
        if count > 1:
            value = draft("Concat", *[value] * int(count), axis=axis)
    return value if draft.nodes else None


def _sliced(draft: Draft) -> str | None:
    """The parts of a split, one by one; takes the node's own outputs."""
    sizes = draft.attributes.get("split", draft.given(1))
    axis = draft.axis(0)
    whole = draft.shapes.get(draft.x, ())
    if sizes is None and whole and whole[axis]:
        part = -(-whole[axis] // len(draft.node.output))
        sizes = [min(part, whole[axis] - part * place) for place in range(len(draft.node.output))]
    if sizes is None or draft.opset < 10:
        return None
    begin = 0
    for size, output in zip(sizes, draft.node.output, strict=True):
        ends = [draft.whole([number]) for number in (begin, begin + int(size), axis)]
        name = draft("Slice", draft.x, *ends)
        draft.nodes[-1].output[0] = output
        begin += int(size)
    return name


def _resized(draft: Draft) -> str | None:
    """Two products with matrices, one for each axis of the picture."""
    before, after = draft.sides(), draft.sides(draft.node.output[0])
    if before is None or after is None or len(before) != 3 or before[0] != after[0]:
        return None
    layer = known(
        "Resize", [draft.given(place) for place in range(len(draft.node.input))], draft.attributes, (1, *after)
    )
    if layer is None:
        return None
    rows, columns = matrices(before[1:], layer.hyperparameters)
    wide = draft("MatMul", draft.x, draft.constant(columns.T))
    return draft("MatMul", draft.constant(rows), wide)


def _larger(draft: Draft) -> str:
    """What is larger than alpha; the rest is zero."""
    larger = draft("Cast", draft("Greater", draft.x, float(draft.attributes.get("alpha", 1.0))), to=1)
    return draft("Mul", draft.x, larger)


def _number(draft: Draft, name: str, default: float) -> float:
    return float(draft.attributes.get(name, default))


RARE: Mapping[str, Rewriting] = {
    "Celu": lambda draft: _elu(draft, _number(draft, "alpha", 1), steep=_number(draft, "alpha", 1)),
    "Clip": _clip,
    "CumSum": _running_sum,
    "DepthToSpace": _depth_to_space,
    "Gelu": _gelu,
    "GlobalMaxPool": lambda draft: _global_pool(draft, "ReduceMax"),
    "GroupNormalization": _group_norm,
    "LpNormalization": _unit_norm,
    "LpPool": _power_pool,
    "Max": lambda draft: _chain(draft, "Max"),
    "Mean": lambda draft: _chain(draft, "Add"),
    "Min": lambda draft: _chain(draft, "Min"),
    "Mish": lambda draft: draft("Mul", draft.x, draft("Tanh", _softplus(draft))),
    "Mod": _remainder,
    "Selu": lambda draft: _elu(
        draft, _number(draft, "alpha", 1.6732632423543772), _number(draft, "gamma", 1.0507009873554805)
    ),
    "SpaceToDepth": _space_to_depth,
    "Sum": lambda draft: _chain(draft, "Add"),
    "ThresholdedRelu": _larger,
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"), _reduction),
}
"""Operators that many converters lack, or know in one form only."""

USUAL: Mapping[str, Rewriting] = {
    "BatchNormalization": _batch_norm,
    "Elu": lambda draft: _elu(draft, _number(draft, "alpha", 1)),
    "GlobalAveragePool": lambda draft: _global_pool(draft, "ReduceMean"),
    "HardSigmoid": lambda draft: _hard_sigmoid(draft, _number(draft, "alpha", 0.2), _number(draft, "beta", 0.5)),
    "HardSwish": lambda draft: draft("Mul", draft.x, _hard_sigmoid(draft, 1 / 6, 0.5)),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda draft: _leaky(draft, _number(draft, "alpha", 0.01)),
    "LogSoftmax": lambda draft: _softmax(draft, logarithm=True),
    "PRelu": lambda draft: _leaky(draft, draft.node.input[1]),
    "Pad": _mirrored,
    "Resize": _resized,
    "Slice": _stepped,
    "Softmax": lambda draft: _softmax(draft, logarithm=False),
    "Softplus": _softplus,
    "Softsign": lambda draft: draft("Div", draft.x, draft("Add", draft("Abs", draft.x), 1.0)),
    "Split": _sliced,
    "Tile": _repeated,
}
"""Operators that most converters know."""

REWRITINGS = {**RARE, **USUAL}

Spellings = Mapping[str, Callable[[Any], Any]]


def spellings(kinds: Mapping[str, Rewriting]) -> Spellings:
    """The words for each of the rewritings, and what does it."""
    return {f"{kind}{SIMPLER}": partial(simpler, kind) for kind in kinds}
