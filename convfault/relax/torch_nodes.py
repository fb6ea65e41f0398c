"""What a node of an exported program says: its arguments, and its shape when the batch is fixed."""

from __future__ import annotations

from typing import Any


def static_number(node: Any, batch: int) -> int | None:
    """The number that a node of the graph stands for when the batch is fixed: a size, or what is computed of sizes."""
    value = node.meta.get("val")
    if not hasattr(value, "node") and not (isinstance(value, int) and not isinstance(value, bool)):
        return None
    return static_side(value, batch)


def static_side(side: Any, batch: int) -> int:
    """One side of a torch shape, which may be an expression of the batch."""
    if isinstance(side, int):
        return side
    expression = side.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, batch)))


def static_shape(value: Any, batch: int) -> tuple[int, ...]:
    """The shape of a traced torch tensor when the batch is fixed."""
    return tuple(static_side(side, batch) for side in value.shape)


def value_of(importer: Any, node: Any) -> Any:
    """The Relax expression of a node's first argument."""
    return importer.env[node.args[0]]


def arguments_of(node: Any) -> dict[str, Any]:
    """All arguments of a call by name, defaults included."""
    found = {}
    for position, argument in enumerate(node.target._schema.arguments):
        given = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
        found[argument.name] = argument.default_value if given is None else given
    return found
