"""Carries what was done to a frozen graph over to the functions that it was made of.

An operator goes back to the function that it came from; new ones go to the function that has most of the operators.
What several functions would have to pass among them anew is refused.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node, unused
from convfault.repairing.writers.tensorflow import nodes
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tensorflow.function import copied, forget_shapes, replace
from convfault.repairing.writers.tensorflow.functions import PASSING, Functions, Scope, named


def home(functions: Functions, names: list[str]) -> Scope:
    """The scope that most of the frozen graph's nodes are in."""
    found = [scope for name in names if (scope := functions.scope_of(name)) is not None]
    return Counter(found).most_common(1)[0][0] if found else functions.outer


class Carriage:
    """Changes the ``FunctionDef``s of ``functions`` so that they compute what the document does."""

    def __init__(self, document: TensorFlowDocument, functions: Functions, terminals: list[str]) -> None:
        self.document, self.functions, self.terminals = document, functions, terminals
        self.home = home(functions, [name for name, _ in document.origins.values()])
        self.scopes: dict[int, Scope] = {}
        """Identity of a document's node → where it is."""
        self.names: dict[int, str] = {}
        """Identity of a document's node → its name there."""
        self.holders: dict[str, tuple[Node, int]] = {}
        """Tensor → the document's node that answers it, and as which output."""
        self.edited: dict[str, dict[str, Any]] = {scope.prefix: {} for scope in functions.scopes}
        """Scope → new and changed nodes by name."""
        self.results: dict[str, dict[str, str]] = {scope.prefix: {} for scope in functions.scopes}
        self.uses = {scope.prefix: _uses(scope) for scope in functions.scopes}
        self.touched: set[str] = set()

    def perform(self) -> None:
        self._place()
        for tensor in sorted(self.document.changed):
            self._set_constant(tensor)
        gone = {name for name, _ in self.document.origins.values()}
        gone -= {
            self.document.origins[id(node)][0] for node in self.document.nodes if id(node) in self.document.origins
        }
        written = {scope.prefix: self._written(scope, gone) for scope in self.functions.scopes}
        answered = {s.prefix: [self.functions.root(s, name) for name in s.results] for s in self.functions.scopes}
        for scope in self.functions.scopes:
            if scope.prefix in self.touched:
                if self.functions.shared(scope):
                    raise Refusal(f"the function {scope.function.signature.name} is called from several places")
                replace(scope.function, written[scope.prefix], self.results[scope.prefix])
                self._tell(scope, answered[scope.prefix])

    def _tell(self, scope: Scope, answered: list[str]) -> None:
        """Let those who call a function forget the shapes of its answers where these changed."""
        while scope.parent is not None and any(name in self.document.stale for name in answered):
            scope = scope.parent
            forget_shapes(scope.function)

    # where everything is

    def _place(self) -> None:
        taken = {scope.prefix: {*scope.nodes, *scope.arguments} for scope in self.functions.scopes}
        for node in self.document.nodes:
            self.holders |= {tensor: (node, number) for number, tensor in enumerate(node.outputs)}
            if id(node) in self.document.origins:
                name = self.document.origins[id(node)][0]
                scope = self.functions.scope_of(name)
                if scope is None:
                    raise Refusal(f"'{name}' is in no function of the signature")
                self.scopes[id(node)] = scope
                taken[scope.prefix].discard(name[len(scope.prefix) :])
        for node in sorted(self.document.nodes, key=self._renamed):
            scope = self.scopes.setdefault(id(node), self.home)
            wanted = nodes.base(node.outputs[0]).removeprefix(scope.prefix)
            self.names[id(node)] = unused(wanted, taken[scope.prefix])
            taken[scope.prefix].add(self.names[id(node)])
        self.taken = taken

    def _renamed(self, node: Node) -> bool:
        """Whether a node is not, or no longer, what the file calls by its tensor's name; these choose names last."""
        return self.document.origins.get(id(node), ("", ()))[0] != nodes.base(node.outputs[0])

    def _set_constant(self, tensor: str) -> None:
        scope = self.functions.scope_of(nodes.base(tensor))
        if scope is None:
            raise Refusal(f"the constant '{nodes.base(tensor)}' is in no function of the signature")
        name = nodes.base(tensor)[len(scope.prefix) :]
        native = copied(scope.nodes[name])
        nodes.set_values(native, self.document.numbers[tensor])
        self._edit(scope, native)

    def _edit(self, scope: Scope, native: Any) -> None:
        self.edited[scope.prefix][native.name] = native
        self.touched.add(scope.prefix)

    # references

    def _refer(self, scope: Scope, tensor: str) -> str:
        """What a tensor of the document is called in a scope; raises ``Refusal`` where it is not known there."""
        if tensor in self.document.fresh:
            return self._constant(scope, tensor)
        if tensor in self.holders:
            node, number = self.holders[tensor]
            if self.scopes[id(node)] is scope:
                return named(node.native, self.names[id(node)], number)
            known = self._is_old(node, tensor) and self.functions.express(scope, tensor)
        else:
            known = self.functions.express(scope, tensor)
        if not known:
            place = scope.function.signature.name
            raise Refusal(f"'{tensor}' would have to be handed to the function {place}, which takes no such argument")
        return str(known)

    def _is_old(self, node: Node, tensor: str) -> bool:
        """Whether a tensor is answered by the operator that answered it before."""
        return self.document.origins.get(id(node), ("", ()))[0] == nodes.base(tensor)

    def _constant(self, scope: Scope, tensor: str) -> str:
        name = nodes.base(tensor).removeprefix(scope.prefix)
        if name not in self.edited[scope.prefix]:
            self._edit(scope, nodes.constant_node(name, self.document.numbers[tensor]))
        return f"{name}:output:0"

    def _kept(self, scope: Scope, reference: str) -> str:
        """A reference of the file as it is written now: another operator may answer the tensor."""
        node, number = scope.place(reference)
        if node in scope.arguments or node in scope.children:
            return reference
        tensor = f"{scope.prefix}{node}:{number}"
        return self._refer(scope, tensor) if tensor in self.holders else reference

    # nodes

    def _written(self, scope: Scope, gone: set[str]) -> dict[str, Any]:
        """All nodes of a scope by name."""
        known = {self.document.origins[key][0]: key for key in self.document.origins}
        own = {id(node): node for node in self.document.nodes if self.scopes[id(node)] is scope}
        found: dict[str, Any] = {}
        for name, native in scope.nodes.items():
            key = known.get(f"{scope.prefix}{name}")
            if f"{scope.prefix}{name}" in gone:
                self.touched.add(scope.prefix)
            elif key in own:
                made = self._existing(scope, own.pop(key), native)
                found[made.name] = made
            else:
                found[name] = self._hidden(scope, native)
        for node in own.values():
            made = copied(node.native)
            made.name = self.names[id(node)]
            nodes.set_inputs(made, [self._refer(scope, tensor) for tensor in node.inputs])
            found[made.name] = made
            self.touched.add(scope.prefix)
        for name, reference in scope.function.ret.items():
            self.results[scope.prefix].setdefault(name, self._kept(scope, reference))
        for name, reference in self.results[scope.prefix].items():
            if reference != scope.function.ret[name]:
                self.touched.add(scope.prefix)
        return {**found, **self.edited[scope.prefix]}

    def _hidden(self, scope: Scope, native: Any) -> Any:
        """A node that is no operator of the document."""
        before = nodes.data(native)
        native = self.edited[scope.prefix].pop(native.name, native)
        pairs = zip(nodes.data(native), before, strict=True)
        inputs = [self._kept_or_gone(scope, was) if name == was else name for name, was in pairs]
        return self._with_inputs(scope, native, inputs)

    def _kept_or_gone(self, scope: Scope, reference: str) -> str:
        try:
            return self._kept(scope, reference)
        except Refusal:
            return reference  # of a node that goes with what it reads

    def _with_inputs(self, scope: Scope, native: Any, inputs: list[str]) -> Any:
        if inputs == nodes.data(native):
            return native
        made = copied(native)
        nodes.set_inputs(made, [*inputs, *nodes.controls(native)])
        self.touched.add(scope.prefix)
        return made

    def _existing(self, scope: Scope, node: Node, native: Any) -> Any:
        """An operator of the file, with what the document changed of it."""
        before, read = nodes.data(native), self.document.origins[id(node)][1]
        if len(before) != len(node.inputs):
            raise Refusal(f"{native.op} '{native.name}' reads something else in its function than in the frozen graph")
        inputs = []
        for slot, tensor in enumerate(node.inputs):
            if read[slot] == tensor:
                inputs.append(self._kept(scope, before[slot]))
            elif node.outputs[0] in self.terminals:
                inputs.append(self._redirected(scope, before[slot], tensor))
            else:
                inputs.append(self._refer(scope, tensor))
        made = self._with_inputs(scope, native, inputs)
        if made.name == self.names[id(node)] and id(node) not in self.document.edited:
            return made
        self.touched.add(scope.prefix)
        made = copied(made)
        made.name = self.names[id(node)]
        was = self.document.raw[self.document.origins[id(node)][0]]
        for name, value in node.native.attr.items():
            if value != was.attr[name]:
                made.attr[name].CopyFrom(value)
        return made

    def _redirected(self, scope: Scope, reference: str, tensor: str) -> str:
        """What a function's answer is read as when another tensor is to be the answer: changed as far inside as can
        be, so that all who call the inner function get the new one."""
        node, number = scope.place(reference)
        if node in scope.children:
            inner = scope.children[node]
            name = inner.function.signature.output_arg[number].name
            was = self.results[inner.prefix].get(name, inner.function.ret[name])
            try:
                self.results[inner.prefix][name] = self._redirected(inner, was, tensor)
            except Refusal:
                return self._refer(scope, tensor)
            return reference
        native = scope.nodes.get(node)
        if native is not None and native.op in PASSING and self.uses[scope.prefix][reference] == 1:
            made = copied(self.edited[scope.prefix].get(node, native))
            made.input[number] = self._redirected(scope, nodes.data(native)[number], tensor)
            self._edit(scope, made)
            return reference
        return self._refer(scope, tensor)


def _uses(scope: Scope) -> Counter[str]:
    """How often each tensor of a function is read, by nodes or as an answer."""
    read = [name for node in scope.function.node_def for name in nodes.data(node)]
    return Counter([*read, *scope.function.ret.values()])
