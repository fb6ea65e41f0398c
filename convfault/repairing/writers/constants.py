"""Other numbers for a constant that layers read: a grid, anchors, a mask, codes of positions."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.document import Document

MOST_AXES = 5
"""Constants of more axes are not tried in every order."""


def put_constant(document: Document, graph: Graph, old: Layer, new: Layer) -> bool:
    """Change it where the file stores it, or for its readers only if others read it, too.

    False, and nothing done, where the file computes it, or where it does not show how the numbers are laid out there.
    """
    parameter = old.parameters["values"]
    slots, tensors = [], set[str]()
    for reader in graph.readers[old.id]:
        found = [
            (node, slot)
            for node in document.of(graph[reader])
            for slot, name in enumerate(node.inputs)
            if name in parameter.native
        ]
        if not found:
            return False
        slots += [item for item in found if item not in slots]
        tensors |= {node.inputs[slot] for node, slot in found}
    stored = document.constant(tensors.pop()) if len(tensors) == 1 else None
    values = None if stored is None else _laid_out(stored, parameter.values, new.parameters["values"].values)
    if values is None:
        return False
    for node, slot in slots:
        document.put(node, slot, values)
    return True


def _laid_out(stored: Array, before: Array, after: Array) -> Array | None:
    """``after`` as ``stored`` has ``before``; None where that is another tensor, or where several orders fit."""
    if stored.size != before.size or after.shape != before.shape or stored.ndim > MOST_AXES:
        return None
    found: Array | None = None
    for order in permutations(range(stored.ndim)):
        moved = stored.transpose(order)
        if np.array_equal(moved.reshape(before.shape), before):
            candidate = after.reshape(moved.shape).transpose(np.argsort(order))
            if found is not None and not np.array_equal(found, candidate):
                return None
            found = candidate
    return found
