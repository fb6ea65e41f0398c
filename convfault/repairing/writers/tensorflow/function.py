"""One function of a SavedModel with other nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.tensorflow import nodes

SHAPES = "_output_shapes"
"""What a node was found to answer when it was saved; TensorFlow compares it with what it finds now."""


def copied(native: Any) -> Any:
    """A message like another one."""
    found = type(native)()
    found.CopyFrom(native)
    return found


def replace(function: Any, written: Mapping[str, Any], results: Mapping[str, str]) -> None:
    """Put other nodes into a function, without those that nobody needs any more; order is of no matter there."""
    old = {node.name: node for node in function.node_def}
    kept = _kept(function, old, written, results)
    known = {*kept, *(arg.name for arg in function.signature.input_arg)}
    copies = {name: copied(node) for name, node in kept.items()}
    for node in copies.values():
        controls = [name for name in nodes.controls(node) if nodes.base(name[1:]) in known]
        nodes.set_inputs(node, [*nodes.data(node), *controls])
    for name in _reshaped(old, copies):
        copies[name].attr.pop(SHAPES, None)
    del function.node_def[:]
    function.node_def.extend(copies.values())
    for name, reference in results.items():
        function.ret[name] = reference
    for name in [name for name, node in function.control_ret.items() if node not in kept]:
        del function.control_ret[name]
        function.signature.control_output.remove(name)


def forget_shapes(function: Any) -> None:
    """Let TensorFlow find out anew what all nodes of a function answer."""
    for node in function.node_def:
        node.attr.pop(SHAPES, None)


def _kept(
    function: Any, old: Mapping[str, Any], written: Mapping[str, Any], results: Mapping[str, str]
) -> dict[str, Any]:
    """What answers depend on, and what nobody needed before either, if it can still be computed."""
    before, after = _needed(old, list(function.ret.values())), _needed(written, list(results.values()))
    kept = {name: node for name, node in written.items() if name in after or (name in old and name not in before)}
    while True:
        known = {*kept, *(arg.name for arg in function.signature.input_arg)}
        lost = [name for name, node in kept.items() if any(nodes.base(each) not in known for each in nodes.data(node))]
        if not after.isdisjoint(lost):
            raise Refusal(f"'{lost[0]}' would read what is no longer in the function {function.signature.name}")
        if not lost:
            return kept
        kept = {name: node for name, node in kept.items() if name not in lost}


def _reshaped(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """The nodes that changed in more than numbers, and all that depend on them: they may answer with other shapes."""
    found = {name for name, node in new.items() if name not in old or not _same_shape(old[name], node)}
    while True:
        behind = {n for n, node in new.items() if not found.isdisjoint(nodes.base(each) for each in nodes.data(node))}
        if behind <= found:
            return found
        found |= behind


def _same_shape(old: Any, new: Any) -> bool:
    """Whether a node is as it was, or a constant of other real numbers."""
    if old == new:
        return True
    if old.op != "Const" or new.op != "Const":
        return False
    before, after = nodes.values_of(old), nodes.values_of(new)
    return before.dtype.kind == after.dtype.kind == "f" and before.shape == after.shape


def _needed(known: Mapping[str, Any], results: list[str]) -> set[str]:
    """Nodes that answers depend on, and those that are there for what they do."""
    found: set[str] = set()
    waiting = [nodes.base(name) for name in results]
    waiting += [name for name, node in known.items() if _acts(node)]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting.extend(nodes.base(each) for each in nodes.data(known[name]))
    return found


def _acts(node: Any) -> bool:
    """Whether a node does something besides answering."""
    known = nodes.operator(node.op)
    return known is None or node.op == "NoOp" or (known.is_stateful and node.op != "ReadVariableOp")
