"""Writes edits into a Keras model, ``.keras`` or ``.h5``, of Keras 3 or 2.

What no edit touches keeps its values, names and settings, and the file its metadata. An edit that adds, removes or
connects layers differently opens up models inside of the model: their layers become layers of the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convfault.model import Model
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change
from convfault.repairing.writers.keras.document import KerasDocument
from convfault.repairing.writers.writing import written


def write(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """See ``convfault.repairing.writers``; besides raises what opening the model raises (``TrustError``)."""
    document = KerasDocument(model, graph[graph.inputs[0]].shape[0])
    return written(model, document.named(graph), edits, out, lambda given: document)
