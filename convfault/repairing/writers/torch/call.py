"""One call in a program's graph: its operator, and its arguments by name, with a ``Slot`` where a tensor stands.

The schema of an operator tells which arguments are tensors, so that input 2 of a convolution is its bias whether one
is given or not. Calls without a schema, such as ``getitem``, have their arguments by place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slot:
    """The place of input ``index`` among a call's arguments."""

    index: int


class Call:
    """A call as plain values; ``node`` is the graph's own node, None for a new call.

    ``given`` are the tensors of the slots as they were read: nodes of the graph, numbers, or None.
    """

    def __init__(self, op: str, target: Any, node: Any = None) -> None:
        self.op, self.target, self.node = op, target, node
        self.arguments: dict[str, Any] = {}
        self.given: list[Any] = []
        self.changed = node is None

    @property
    def kind(self) -> str:
        """``conv2d.default`` and the like; a sum with a factor is another kind of operator than a plain one."""
        if self.op != "call_function":
            return self.op
        if getattr(self.target, "namespace", "") == "aten":
            name = str(self.target).removeprefix("aten.")
            return name if self.arguments.get("alpha", 1) == 1 else f"{name} with alpha"
        return str(getattr(self.target, "__name__", self.target))

    @property
    def schema(self) -> Sequence[Any]:
        """The operator's declared arguments, none where it has no schema."""
        found = getattr(self.target, "_schema", None)
        return found.arguments if found is not None else ()

    def argument(self, name: str) -> Any:
        """An argument that is no tensor, the default where it is left out."""
        if name in self.arguments:
            return self.arguments[name]
        return next((each.default_value for each in self.schema if each.name == name), None)

    def set(self, name: str, value: Any) -> None:
        self.arguments[name] = value
        self.changed = True

    def retarget(self, target: Any) -> None:
        """Let it call another operator, whose arguments have the same names."""
        self.target, self.changed = target, True

    def native(self, tensor: Callable[[int], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments for the graph, by place and by name; ``tensor`` gives what stands in a slot."""
        found = {name: _filled(value, tensor) for name, value in self.arguments.items()}
        if not self.schema:
            placed = sorted((name for name in found if name.isdigit()), key=int)
            named = {name: value for name, value in found.items() if not name.isdigit()}
            return tuple(found[name] for name in placed), named
        placed_schema = [each for each in self.schema if not each.kwarg_only]
        values = [found.get(each.name, each.default_value) for each in placed_schema]
        while values and _is_default(placed_schema[len(values) - 1], values[-1]):
            values.pop()
        named = {
            each.name: found[each.name]
            for each in self.schema
            if each.kwarg_only and each.name in found and not _is_default(each, found[each.name])
        }
        return tuple(values), named


def _is_default(argument: Any, value: Any) -> bool:
    if not argument.has_default_value() or hasattr(value, "users"):
        return False
    return value is argument.default_value or (
        type(value) is type(argument.default_value) and bool(value == argument.default_value)
    )


def _filled(value: Any, tensor: Callable[[int], Any]) -> Any:
    if isinstance(value, Slot):
        return tensor(value.index)
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, tensor) for each in value)
    return {key: _filled(each, tensor) for key, each in value.items()} if isinstance(value, dict) else value


def read_call(node: Any) -> Call:
    """A node of the graph as a call."""
    call = Call(node.op, node.target, node)
    names = [argument.name for argument in call.schema]
    if not names:
        given = {**{str(place): value for place, value in enumerate(node.args)}, **node.kwargs}
        call.arguments = {name: _slotted(call, value) for name, value in given.items()}
        return call
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    for argument in call.schema:
        if _is_tensor(argument):
            call.arguments[argument.name] = _slot(call, given.get(argument.name))
        elif argument.name in given:
            call.arguments[argument.name] = _slotted(call, given[argument.name])
    return call


def new_call(kind: str, inputs: Sequence[str], attributes: dict[str, Any]) -> tuple[Call, list[str]]:
    """A call of an ATen operator, and its inputs with "" for every tensor that is left out."""
    call, rest = Call("call_function", operator(kind)), list(inputs)
    found: list[str] = []
    for argument in call.schema:
        if _is_tensor(argument):
            found.append(rest.pop(0) if rest else "")
            call.arguments[argument.name] = Slot(len(found) - 1)
        elif _is_tensors(argument):
            call.arguments[argument.name] = [Slot(len(found) + place) for place in range(len(rest))]
            found, rest = [*found, *rest], []
        elif argument.name in attributes:
            call.arguments[argument.name] = attributes[argument.name]
    return call, found


def operator(kind: str) -> Any:
    """``conv2d.default`` of the ATen operators."""
    import torch

    name, _, overload = kind.partition(".")
    return getattr(getattr(torch.ops.aten, name), overload or "default")


def functional(target: Any) -> Any | None:
    """The operator that computes the same without writing over its input; None for what does not, or has none."""
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable or getattr(target, "namespace", "") != "aten":
        return None
    name, _, overload = str(target).removeprefix("aten.").partition(".")
    if not name.endswith("_") or name.startswith("_"):
        return None
    try:
        return operator(f"{name.removesuffix('_')}.{overload}")
    except AttributeError:
        return None


def _is_tensor(argument: Any) -> bool:
    return str(argument.type) in {"Tensor", "Optional[Tensor]"}


def _is_tensors(argument: Any) -> bool:
    return str(argument.type) in {"List[Tensor]", "List[Optional[Tensor]]"}


def _slot(call: Call, value: Any) -> Slot:
    call.given.append(value)
    return Slot(len(call.given) - 1)


def _slotted(call: Call, value: Any) -> Any:
    """The value with a slot in place of every node in it."""
    if hasattr(value, "users"):
        return _slot(call, value)
    if isinstance(value, list | tuple):
        return (
            [_slotted(call, each) for each in value]
            if isinstance(value, list)
            else tuple(_slotted(call, each) for each in value)
        )
    return {key: _slotted(call, each) for key, each in value.items()} if isinstance(value, dict) else value
