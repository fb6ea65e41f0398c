"""Writes through a view, ``x[:, 1:] = y``, as what the whole tensor is thereafter; torch's graph only has the write.

``torch.export`` keeps a write as an operator whose result nobody reads: a slice, then ``copy_`` or ``fill_`` of it.
Whoever later reads the tensor, or another view of it, means what was written, too. Such a read is led to a node that
puts the written part and the rest together; the operators and names of all other nodes stay.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

ENDLESS = 1 << 31
"""torch's end of a slice that goes on to the last element is larger."""

RESHAPES = frozenset({"view", "_unsafe_view", "squeeze", "unsqueeze", "alias", "detach"})
"""Views of all elements in their order."""

RESHAPES_IN_PLACE = frozenset({"reshape", "flatten", "contiguous"})
"""The same where the tensor's elements lie in their order; else they copy."""

PERMUTED = frozenset({"permute", "transpose", "t"})
PARTS = frozenset({"split", "split_with_sizes", "chunk", "unbind"})


@dataclass
class _Value:
    """What a node's tensor holds at the moment: the node that has it, and after how many writes to its root."""

    node: Any
    writes: int


class _Writes:
    """Walks over a graph once and leads every read to what was written last."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        viewed = {node: _viewed(node) for node in graph.nodes}  # as exported: later they may read what is made here
        self.parents = {node: parent for node, parent in viewed.items() if parent is not None}
        self.values: dict[Any, _Value] = {}
        self.writes: dict[Any, int] = {}
        self.made: list[Any] = []

    def lead(self) -> None:
        for node in list(self.graph.nodes):
            node.args = self._read(node.args, node)
            node.kwargs = self._read(node.kwargs, node)
            self.values[node] = _Value(node, self.writes.get(self._root(node), 0))
            if node in self.parents and writes(node):
                self._written(node)
        for node in reversed(self.made):
            if not node.users:
                self.graph.erase_node(node)

    def _root(self, node: Any) -> Any:
        while node in self.parents:
            node = self.parents[node]
        return node

    def _read(self, arguments: Any, reader: Any) -> Any:
        from torch.fx.node import map_arg

        if any(self.writes.get(self._root(node)) for node in reader.all_input_nodes):
            with self.graph.inserting_before(reader):
                return map_arg(arguments, self._current)
        return arguments

    def _current(self, node: Any) -> Any:
        """The node that has what the tensor of this one holds now."""
        value = self.values[node]
        writes = self.writes.get(self._root(node), 0)
        if value.writes < writes:  # a view of what was written elsewhere: the root's own value is always up to date
            whole = self._current(self.parents[node])
            self.values[node] = value = _Value(self._again(node, whole), writes)
        return value.node

    def _again(self, node: Any, whole: Any) -> Any:
        """The view that a node is of its parent's tensor, of what that holds now."""
        if writes(node):
            return whole
        if _kind(node) == "getitem":
            parts = node.args[0]
            whole = self._call(parts.target, (whole, *parts.args[1:]), parts.kwargs)
        return self._call(node.target, (whole, *node.args[1:]), node.kwargs)

    def _written(self, node: Any) -> None:
        """After a write: what the tensor and all that it is a view of hold now, up to the root."""
        root, found, place = self._root(node), [(node, node)], node
        with self.graph.inserting_before(node.next):
            while place in self.parents:
                parent = self.parents[place]
                new = found[-1][1] if writes(place) else self._put(place, self._current(parent), found[-1][1])
                found.append((parent, new))
                place = parent
        self.writes[root] = self.writes.get(root, 0) + 1
        for place, new in found:
            self.values[place] = _Value(new, self.writes[root])

    def _put(self, view: Any, whole: Any, part: Any) -> Any:
        """The whole tensor with one of its views replaced by ``part``."""
        import torch

        aten, kind = torch.ops.aten, _kind(view)
        if kind == "slice":
            axis, start, end, step = _slice(view, whole)
            return self._replaced(whole, part, axis, start, end, step)
        if kind == "select":
            axis, index = view.args[1] % whole.meta["val"].dim(), view.args[2]
            side = whole.meta["val"].shape[axis]
            start = index + side if index < 0 else index
            return self._replaced(whole, self._call(aten.unsqueeze.default, (part, axis)), axis, start, start + 1)
        if kind == "getitem":
            axis, start, end = _part(view)
            inner = self._call(aten.unsqueeze.default, (part, axis)) if _kind(view.args[0]) == "unbind" else part
            return self._replaced(whole, inner, axis, start, end)
        if kind in PERMUTED:
            rank = whole.meta["val"].dim()
            order = list(view.args[1]) if kind == "permute" else _swapped(rank, *(view.args[1:] or (0, rank - 1)))
            back = sorted(range(rank), key=lambda axis: order[axis] % rank)
            return self._call(aten.permute.default, (part, back))
        sides = [side if isinstance(side, int) else -1 for side in whole.meta["val"].shape]
        return self._call(aten.reshape.default, (part, sides))

    def _replaced(self, whole: Any, part: Any, axis: int, start: Any, end: Any, step: int = 1) -> Any:
        """The whole tensor with a slice of it replaced, as what lies before it, the part, and what lies behind."""
        import torch

        aten, side = torch.ops.aten, whole.meta["val"].shape[axis]
        stop = side if end is None else end
        if not isinstance(start, int) or not (isinstance(stop, int) or (end is None and step == 1)):
            return self._call(aten.slice_scatter.default, (whole, part, axis, start, end, step))
        blocks = [(start, stop, part)]
        if step != 1:
            places = enumerate(range(start, stop, step))
            blocks = [(at, at + 1, self._cut(part, axis, number, number + 1)) for number, at in places]
        pieces, behind = list[Any](), 0
        for first, last, block in blocks:
            pieces += [self._cut(whole, axis, behind, first)] if first > behind else []
            pieces.append(block)
            behind = last
        pieces += [self._cut(whole, axis, behind, side)] if isinstance(side, int) and behind < side else []
        return self._call(aten.cat.default, (pieces, axis)) if len(pieces) > 1 else part

    def _cut(self, whole: Any, axis: int, start: int, end: int) -> Any:
        import torch

        return self._call(torch.ops.aten.slice.Tensor, (whole, axis, start, end))

    def _call(self, target: Any, arguments: tuple[Any, ...], keywords: Any = None) -> Any:
        from torch.fx.node import map_arg

        node = self.graph.call_function(target, arguments, dict(keywords or {}))
        given, named = map_arg((node.args, node.kwargs), lambda one: one.meta["val"])
        node.meta["val"] = target(*given, **named)
        self.made.append(node)
        return node


def lead_writes(program: Any) -> None:
    """Lead, in an ``ExportedProgram``'s graph in place, every read of a tensor that was written to, to what it holds.

    A graph without writes stays as it is.
    """
    if any(writes(node) for node in program.graph.nodes):
        _Writes(program.graph).lead()


def _kind(node: Any) -> str:
    """The operator without its overload; empty for what is none."""
    if node.op != "call_function":
        return ""
    return "getitem" if node.target is operator.getitem else str(node.target.__name__).split(".")[0]


def writes(node: Any) -> bool:
    """Whether a node of an exported graph changes its first argument and gives it back."""
    from torch.fx import Node

    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.arguments or not node.args or not isinstance(node.args[0], Node):
        return False
    alias = schema.arguments[0].alias_info
    return alias is not None and bool(alias.is_write)


def _viewed(node: Any) -> Any:
    """The node whose elements this one's result shares, None for a tensor of its own."""
    from torch.fx import Node

    kind = _kind(node)
    given = node.args[0] if node.op == "call_function" and node.args else None
    if not isinstance(given, Node):
        return None
    if kind == "getitem":
        return given.args[0] if _kind(given) in PARTS else None
    shares = kind in RESHAPES | PERMUTED | {"slice", "select"} or writes(node)
    if shares or (kind in RESHAPES_IN_PLACE and given.meta["val"].is_contiguous()):
        return given
    return None


def _slice(view: Any, whole: Any) -> tuple[int, Any, Any, int]:
    """Axis, start, end (None: all that is left) and step of a slice, counted from the front."""
    given = {place: view.args[place] if place < len(view.args) else None for place in range(1, 5)}
    axis, start, end = int(given[1] or 0) % whole.meta["val"].dim(), given[2] or 0, given[3]
    side = whole.meta["val"].shape[axis]
    ends = (start, side if end is None else end)
    if not all(isinstance(number, int) for number in (side, *ends)):  # computed of the number of pictures
        return axis, start, None if isinstance(end, int) and end >= ENDLESS else end, int(given[4] or 1)
    start, end = (min(number + side if number < 0 else number, side) for number in ends)
    return axis, start, None if end == side else end, int(given[4] or 1)


def _part(view: Any) -> tuple[int, int, int]:
    """Axis, start and end of one of the parts that a tensor was cut into."""
    whole, number = view.args[0], view.args[1]
    if _kind(whole) == "unbind":
        axis = whole.args[1] if len(whole.args) > 1 else 0
        return axis % whole.args[0].meta["val"].dim(), number, number + 1
    axis = (whole.args[2] if len(whole.args) > 2 else whole.kwargs.get("dim", 0)) % view.meta["val"].dim()
    sides = [int(part.shape[axis]) for part in whole.meta["val"]]
    return axis, sum(sides[:number]), sum(sides[: number + 1])


def _swapped(rank: int, one: int, other: int) -> list[int]:
    order = list(range(rank))
    order[one], order[other] = order[other], order[one]
    return order
