"""The functions of a SavedModel as its serving signature calls them, one inside the other.

Freezing puts a called function's nodes into the graph of the caller, named behind the name of the call. ``Scope`` is
one such call; inside it tensors are ``node:output:0`` or the name of an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from convfault.repairing.writers.tensorflow import nodes

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
PASSING = nodes.ALIASES | {"ReadVariableOp"}
"""Operators that freezing leaves as aliases."""


@dataclass(eq=False)
class Scope:
    """A function's ``FunctionDef`` where it is called: by the node ``call`` of ``parent``, None for the outermost."""

    prefix: str
    function: Any
    parent: Scope | None = None
    call: Any = None
    children: dict[str, Scope] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self.function.node_def}

    @cached_property
    def arguments(self) -> list[str]:
        return [arg.name for arg in self.function.signature.input_arg]

    @property
    def results(self) -> list[str]:
        """What the function answers with, in order, as names of its own tensors."""
        return [self.function.ret[arg.name] for arg in self.function.signature.output_arg]

    def place(self, reference: str) -> tuple[str, int]:
        """The node and the number of its output that a tensor is; of an argument its name and 0."""
        node, _, rest = reference.partition(":")
        if not rest:
            return node, 0
        name, _, number = rest.partition(":")
        return node, self._first(node, name) + int(number or 0)

    def _first(self, node: str, output: str) -> int:
        """The number of the first tensor of an output, which may be a list."""
        if node in self.children:
            names = [arg.name for arg in self.children[node].function.signature.output_arg]
            return names.index(output) if output in names else 0
        found = 0
        for arg in nodes.operator(self.nodes[node].op).output_arg:
            if arg.name == output:
                return found
            found += counted(self.nodes[node], arg)
        return 0


def counted(node: Any, arg: Any) -> int:
    """How many tensors an output is."""
    if arg.number_attr:
        return int(node.attr[arg.number_attr].i)
    return len(node.attr[arg.type_list_attr].list.type) if arg.type_list_attr else 1


def named(node: Any, name: str, number: int) -> str:
    """Output ``number`` of a node called ``name`` as a function refers to it."""
    for arg in nodes.operator(node.op).output_arg:
        count = counted(node, arg)
        if number < count:
            return f"{name}:{arg.name}:{number}"
        number -= count
    raise ValueError(f"{node.op} has no output {number}")


class Functions:
    """All scopes below the function ``name`` of a graph's library."""

    def __init__(self, definition: Any, name: str) -> None:
        self.library = {function.signature.name: function for function in definition.library.function}
        self.scopes: list[Scope] = []
        self.outer = self._open(Scope("", self.library[name]))
        self.expressed: dict[str, dict[str, str]] = {}

    def _open(self, scope: Scope) -> Scope:
        self.scopes.append(scope)
        for node in scope.function.node_def:
            called = node.attr["f"].func.name if node.op in CALLS else node.op
            if called in self.library:
                inner = Scope(f"{scope.prefix}{node.name}/", self.library[called], scope, node)
                scope.children[node.name] = self._open(inner)
        return scope

    def scope_of(self, name: str) -> Scope | None:
        """The innermost scope that has a node of this name in the frozen graph."""
        fitting = [s for s in self.scopes if name.startswith(s.prefix) and name[len(s.prefix) :] in s.nodes]
        return max(fitting, key=lambda scope: len(scope.prefix), default=None)

    def shared(self, scope: Scope) -> bool:
        """Whether the signature calls the function from several places."""
        return sum(other.function is scope.function for other in self.scopes) > 1

    def root(self, scope: Scope, reference: str) -> str:
        """The tensor of the frozen graph that a tensor of a function is, aliases seen through."""
        node, number = scope.place(reference)
        if node in scope.arguments:
            if scope.parent is None:
                return f"{node}:0"
            return self.root(scope.parent, nodes.data(scope.call)[scope.arguments.index(node)])
        if node in scope.children:
            inner = scope.children[node]
            return self.root(inner, inner.results[number])
        native = scope.nodes[node]
        if native.op in PASSING:
            return self.root(scope, nodes.data(native)[number])
        return f"{scope.prefix}{node}:{number}"

    def express(self, scope: Scope, tensor: str) -> str | None:
        """What a tensor of the frozen graph is called in a function, None where it is not known there."""
        if scope.prefix not in self.expressed:
            self.expressed[scope.prefix] = self._names(scope)
        return self.expressed[scope.prefix].get(tensor)

    def _names(self, scope: Scope) -> dict[str, str]:
        found: dict[str, str] = {}
        later: dict[str, str] = {}
        for name in scope.arguments:
            later.setdefault(self.root(scope, name), name)
        for name, native in scope.nodes.items():
            if name in scope.children:
                outputs = scope.children[name].function.signature.output_arg
                single = native.op in CALLS
                for number, arg in enumerate(outputs):
                    own = f"{name}:output:{number}" if single else f"{name}:{arg.name}:0"
                    later.setdefault(self.root(scope, own), own)
                continue
            for arg in nodes.operator(native.op).output_arg:
                for number in range(counted(native, arg)):
                    own = f"{name}:{arg.name}:{number}"
                    target = later if native.op in PASSING else found
                    target.setdefault(self.root(scope, own), own)
        return {**later, **found}
