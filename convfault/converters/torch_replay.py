"""Replays an exported program as a module's code would run: by functions of ``torch`` and modules of ``torch.nn``.

Tools that watch a module run know those; an exported program calls the operators below them (``aten``).
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

NORMS = ("aten::batch_norm", "aten::_native_batch_norm_legit_no_training")
"""Operators that tools know as a module only."""
INDEXING = ("aten::select", "aten::slice")
"""Operators that no function of torch has the name of: they are written in brackets."""
TO_THE_END = 2**63 - 1
CONSTANTS = ("aten::lift_fresh", "aten::lift_fresh_copy", "aten::detach", "aten::detach_")
"""Operators that stand where a module's code makes a tensor of numbers: they hand it on."""


def replayable(program: Any) -> Any:
    """An ``nn.Module`` in evaluation mode that computes what a ``torch.export.ExportedProgram`` computes."""
    import torch

    graph = program.module(check_guards=False)

    class Replay(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norms = torch.nn.ModuleDict(
                {node.name: _norm(graph, node) for node in graph.graph.nodes if _is_norm(node)}
            )

        def forward(self, *inputs: Any) -> Any:
            return _replay(graph, self.norms, inputs)

    return Replay().eval()


def _is_norm(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.name in NORMS


def _norm(graph: Any, node: Any) -> Any:
    """The ``nn.BatchNorm2d`` with the weights and the epsilon of a node."""
    import torch

    given = _arguments(node.target, node.args, node.kwargs)
    keys = ("weight", "bias", "running_mean", "running_var")
    weights = {key: operator.attrgetter(given[key].target)(graph).detach().clone() for key in keys}
    module = torch.nn.BatchNorm2d(len(weights["running_mean"]), eps=given["eps"], momentum=given["momentum"])
    module.load_state_dict(weights, strict=False)
    return module.eval()


def _replay(graph: Any, norms: Any, inputs: tuple[Any, ...]) -> Any:
    """Run the nodes of an ``fx.GraphModule`` one after the other; a single result is given as it is."""
    import torch

    values: dict[Any, Any] = {}
    waiting = list(inputs)
    for node in graph.graph.nodes:
        arguments, named = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "placeholder":
            values[node] = waiting.pop(0)
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(node.target)(graph)
        elif node.name in norms:
            values[node] = norms[node.name](arguments[0])
        elif node.op == "call_function":
            values[node] = _call(node.target, arguments, named)
        elif node.op == "output":
            results = arguments[0]
            return results[0] if isinstance(results, list | tuple) and len(results) == 1 else results
    raise ValueError("the program has no output")


def _arguments(target: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call of an operator, by the names of its schema; sizes are tuples, as a module's code has."""
    names = [argument.name for argument in target._schema.arguments]
    given = {**dict(zip(names, arguments, strict=False)), **named}
    return {name: tuple(value) if _is_size(value) else value for name, value in given.items()}


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(side, int) for side in value)


def _call(target: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Call the function that has an operator's name, with those of the operator's arguments that it has."""
    import torch

    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return target(*arguments, **named)
    given = _arguments(target, arguments, named)
    if target._schema.name in INDEXING:
        return _indexed(**given)
    if target._schema.name in CONSTANTS:
        return given["self"]
    name = target._schema.name.partition("::")[2]
    if name.lstrip("_").startswith("upsample_"):
        return _resized(name, **given)
    function = _function(name.rstrip("_"))
    places = [given.pop("self")] if "self" in given else []
    known = _parameters(function)
    if known is None:  # written in C: takes what the operator takes
        return function(*places, *given.values())
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return function(*places, **given)  # max_pool2d and others choose between two functions by what they are given
    if "training" in known and "train" in given:
        given["training"] = given.pop("train")
    return function(*places, **{name: value for name, value in given.items() if name in known})


MODES = {
    "nearest_exact": "nearest-exact",
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "trilinear": "trilinear",
    "linear": "linear",
}
"""What follows ``upsample_`` in an operator's name → the mode of ``interpolate``, the longer names first."""


def _resized(name: str, **given: Any) -> Any:
    """``interpolate``, as the code was written that became one of the ``upsample`` operators."""
    import torch

    word = name.lstrip("_").removeprefix("upsample_")
    mode = next(mode for start, mode in MODES.items() if word.startswith(start))
    factors = given.get("scale_factors") or [given[key] for key in ("scales_h", "scales_w") if given.get(key)]
    how: dict[str, Any] = {"scale_factor": tuple(factors)} if factors else {"size": given["output_size"]}
    if "nearest" not in mode:
        how["align_corners"] = given["align_corners"]
    if word.endswith("_aa"):
        how["antialias"] = True
    picture = given["input"] if "input" in given else given["self"]
    return torch.nn.functional.interpolate(picture, mode=mode, **how)


def _indexed(
    self: Any,
    dim: int = 0,
    index: int | None = None,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Any:
    """``tensor[:, 0]`` or ``tensor[:, 2:5]``, as the code was written that became a ``select`` or a ``slice``."""
    stop = None if end is None or end == TO_THE_END else end
    if index is None and not start and stop is None and step == 1:
        return self  # the first colon of [:, 0] is an operator of its own
    chosen: Any = slice(start or None, stop, step) if index is None else index
    return self[(*[slice(None)] * (dim % self.dim()), chosen)]


def _function(name: str) -> Callable[..., Any]:
    """What a module's code would call: of ``torch.nn.functional``, of ``torch``, or a tensor's method."""
    import torch

    for place in (torch.nn.functional, torch, torch.Tensor):
        if callable(found := getattr(place, name, None)):
            return found  # type: ignore[no-any-return]
    raise NotImplementedError(f"aten::{name} has no function in torch to be replayed by")


def _parameters(function: Callable[..., Any]) -> Mapping[str, Any] | None:
    """By name, of the function itself where a tool has wrapped it to watch it; None when it does not tell."""
    own = getattr(function, "__undecorated_func__", function)  # nobuco's mark
    try:
        return inspect.signature(own).parameters
    except (ValueError, TypeError):
        return None
