"""The rows of a product whose picture was flattened in another order than the canonical one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax.graph import Array, Graph, Layer


def flattened_rows(graph: Graph, layer: Layer) -> Array | None:
    """Canonical row ``i`` is native row ``rows[i]``; None where the order is the canonical one, or cannot be told."""
    order = layer.details.get("flattening_order")
    if order is None:
        return None
    flat = graph[layer.inputs[0]]
    source = graph[flat.inputs[0]] if flat.inputs else flat
    if len(source.shape) != len(order) or int(np.prod(source.shape[1:])) != layer.parameters["weights"].values.shape[0]:
        return None
    turned = tuple(source.shape[axis] for axis in order)
    rows = np.arange(int(np.prod(turned[1:]))).reshape(turned[1:])
    back = tuple(order.index(axis) - 1 for axis in range(1, len(order)))
    return rows.transpose(back).reshape(-1)


def in_canonical_rows(values: Array, rows: Array | None) -> Array:
    """A native matrix (in, out) with its rows in the canonical order."""
    return values if rows is None else values[rows]


def in_native_rows(values: Array, rows: Array | None) -> Array:
    """A canonical matrix (in, out) with its rows in the native order."""
    if rows is None:
        return values
    found = values.copy()
    found[rows] = values
    return found


def keeps_rows(graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
    """Whether the order of a layer's rows is the same before and after an edit."""
    old, new = _both(graph, after_graph, before, after)
    return old is new if old is None or new is None else np.array_equal(old, new)


def as_flattened_before(graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> Layer | None:
    """The layer with its rows ordered for the shape that was flattened before; None where there is no such order."""
    if "flattening_order" not in before.details:
        return after
    old, new = _both(graph, after_graph, before, after)
    if old is None or new is None:
        return after if old is new else None
    weights = after.parameters["weights"]
    turned = weights.with_values(in_canonical_rows(in_native_rows(weights.values, new), old))
    return replace(after, parameters={**after.parameters, "weights": turned})


def _both(graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> tuple[Array | None, Array | None]:
    return flattened_rows(graph, before), flattened_rows(after_graph, replace(after, details=before.details))
