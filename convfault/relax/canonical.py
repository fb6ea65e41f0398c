"""The normal form of a ``Graph``: two faithful conversions of one model come out equal, layer by layer.

Batch normalization, scales and biases are folded into weights; paddings are numbers; pictures have their channels
last; no-ops are gone. ``convfault.relax.rules`` lists the rules; each is exact in real numbers. What a layer was
made of stays in ``Layer.native`` and ``Parameter.native``.
"""

from __future__ import annotations

from collections.abc import Mapping

from convfault.relax.draft import Draft, apply
from convfault.relax.extract import extract
from convfault.relax.graph import Graph
from convfault.relax.imported import Encoding, Imported
from convfault.relax.pictures import kept_apart
from convfault.relax.rounding import as_stored
from convfault.relax.rules import COMBINE, RECOGNIZE, SIMPLIFY, scatter


def canonical(imported: Imported) -> Graph:
    """The normal form of an imported model."""
    return normalized(kept_apart(_blocks_joined(extract(imported))))


def _blocks_joined(graph: Graph) -> Graph:
    """The graph with what is written to known blocks in parts, which can be computed of each picture."""
    if not any(layer.kind in rule.kinds for rule in scatter.RULES for layer in graph):
        return graph
    draft = Draft.of(graph)
    apply(draft, scatter.RULES)
    return draft.graph(encodings=graph.encodings, unsupported=graph.unsupported)


def normalized(graph: Graph) -> Graph:
    """The normal form of a graph."""
    draft = Draft.of(graph)
    apply(draft, RECOGNIZE)
    apply(draft, SIMPLIFY)
    apply(draft, COMBINE)
    return as_stored(draft.graph(encodings=_of_inputs(graph), unsupported=graph.unsupported))


def _of_inputs(graph: Graph) -> Mapping[str, Encoding]:
    """The encodings; that of an input, too, which a file rounds only after it has arranged its values otherwise."""
    found = dict(graph.encodings)
    for name in graph.inputs:
        rounded = _rounded_behind(graph, name)
        if rounded is not None and len(rounded.scales) <= 1:
            found.setdefault(str(graph[name].native.tensor), rounded)
    return found


def _rounded_behind(graph: Graph, name: str) -> Encoding | None:
    """How all who read a layer's values, through what only arranges them, read them rounded."""
    found: Encoding | None = None
    for reader in graph.readers[name]:
        layer = graph[reader]
        if layer.kind not in {"transpose", "reshape"}:
            return None
        encoding = graph.encodings.get(str(layer.native.tensor)) or _rounded_behind(graph, reader)
        if encoding is None or encoding.constant or found not in {None, encoding}:
            return None
        found = encoding
    return found
