"""The normal form of a ``Graph``: two faithful conversions of one model come out equal, layer by layer.

Batch normalization, scales and biases are folded into weights; paddings are numbers; pictures have their channels
last; no-ops are gone. ``convfault.relax.rules`` lists the rules; each is exact in real numbers. What a layer was
made of stays in ``Layer.native`` and ``Parameter.native``.
"""

from __future__ import annotations

from convfault.relax.draft import Draft, apply
from convfault.relax.extract import extract
from convfault.relax.graph import Graph
from convfault.relax.imported import Imported
from convfault.relax.rounding import as_stored
from convfault.relax.rules import COMBINE, RECOGNIZE, SIMPLIFY


def canonical(imported: Imported) -> Graph:
    """The normal form of an imported model."""
    return normalized(extract(imported))


def normalized(graph: Graph) -> Graph:
    """The normal form of a graph."""
    draft = Draft.of(graph)
    apply(draft, RECOGNIZE)
    apply(draft, SIMPLIFY)
    apply(draft, COMBINE)
    return as_stored(draft.graph(encodings=graph.encodings, unsupported=graph.unsupported))
