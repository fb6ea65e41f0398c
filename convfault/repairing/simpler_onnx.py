"""Says operators of ONNX by simpler ones, for converters that do not know them, or not every setting of them.

Each rewriting is the definition of its operator in the ONNX specification; what needs a size that is open, or a value
that is computed, is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from convfault.repairing import simpler_functions as functions
from convfault.repairing import simpler_windows as windows
from convfault.repairing.onnx_draft import Draft
from convfault.repairing.onnx_values import constants_of, kinds_of

SIMPLER = " by simpler operators"
"""What the words for a rewriting end with."""
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


def _number(draft: Draft, name: str, default: float) -> float:
    return float(draft.attributes.get(name, default))


RARE: Mapping[str, Rewriting] = {
    "Celu": lambda draft: functions.elu(draft, _number(draft, "alpha", 1), steep=_number(draft, "alpha", 1)),
    "Clip": functions.clip,
    "ConvTranspose": windows.filled,
    "CumSum": windows.running_sum,
    "DepthToSpace": windows.depth_to_space,
    "Gelu": functions.gelu,
    "GlobalMaxPool": lambda draft: windows.global_pool(draft, "ReduceMax"),
    "GroupNormalization": functions.group_norm,
    "LpNormalization": functions.unit_norm,
    "LpPool": windows.power_pool,
    "Max": lambda draft: functions.chain(draft, "Max"),
    "Mean": lambda draft: functions.chain(draft, "Add"),
    "Min": lambda draft: functions.chain(draft, "Min"),
    "Mish": lambda draft: draft("Mul", draft.x, draft("Tanh", functions.softplus(draft))),
    "Mod": functions.remainder,
    "Selu": lambda draft: functions.elu(
        draft, _number(draft, "alpha", 1.6732632423543772), _number(draft, "gamma", 1.0507009873554805)
    ),
    "SpaceToDepth": windows.space_to_depth,
    "Sum": lambda draft: functions.chain(draft, "Add"),
    "ThresholdedRelu": functions.larger,
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"), functions.reduction
    ),
}
"""Operators that many converters lack, or know in one form only."""

USUAL: Mapping[str, Rewriting] = {
    "BatchNormalization": functions.batch_norm,
    "Elu": lambda draft: functions.elu(draft, _number(draft, "alpha", 1)),
    "GlobalAveragePool": lambda draft: windows.global_pool(draft, "ReduceMean"),
    "HardSigmoid": lambda draft: functions.hard_sigmoid(
        draft, _number(draft, "alpha", 0.2), _number(draft, "beta", 0.5)
    ),
    "HardSwish": lambda draft: draft("Mul", draft.x, functions.hard_sigmoid(draft, 1 / 6, 0.5)),
    "InstanceNormalization": functions.instance_norm,
    "LayerNormalization": functions.layer_norm,
    "LeakyRelu": lambda draft: functions.leaky(draft, _number(draft, "alpha", 0.01)),
    "LogSoftmax": lambda draft: functions.softmax(draft, logarithm=True),
    "PRelu": lambda draft: functions.leaky(draft, draft.node.input[1]),
    "Pad": windows.mirrored,
    "Resize": windows.resized,
    "Slice": windows.stepped,
    "Softmax": lambda draft: functions.softmax(draft, logarithm=False),
    "Softplus": functions.softplus,
    "Softsign": lambda draft: draft("Div", draft.x, draft("Add", draft("Abs", draft.x), 1.0)),
    "Split": windows.sliced,
    "Tile": windows.repeated,
}
"""Operators that most converters know."""

REWRITINGS = {**RARE, **USUAL}

Spellings = Mapping[str, Callable[[Any], Any]]


def spellings(kinds: Mapping[str, Rewriting]) -> Spellings:
    """The words for each of the rewritings, and what does it."""
    return {f"{kind}{SIMPLER}": partial(simpler, kind) for kind in kinds}
