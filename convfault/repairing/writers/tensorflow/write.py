"""Writes edits into frozen TensorFlow graphs and SavedModels: what no edit touches keeps its values and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convfault.model import Model
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tensorflow.frozen import FrozenDocument
from convfault.repairing.writers.tensorflow.saved_model import SavedModelDocument
from convfault.repairing.writers.writing import written


def write_frozen(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """See ``convfault.repairing.writers``."""
    return _written(model, graph, edits, out, FrozenDocument(Path(model.path)))


def write_saved_model(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """See ``convfault.repairing.writers``."""
    return _written(model, graph, edits, out, SavedModelDocument(Path(model.path)))


def _written(
    model: Model, graph: Graph, edits: Sequence[Edit], out: Path, document: TensorFlowDocument
) -> tuple[Change, ...]:
    return written(model, _rooted(graph, document), edits, out, lambda given: document)


def _rooted(graph: Graph, document: TensorFlowDocument) -> Graph:
    """The graph with the tensors named that aliases pass on, as the document has them."""
    layers = []
    for layer in graph:
        tensor = layer.native.tensor
        root = None if tensor is None else document.root(tensor)
        layers.append(layer if root == tensor else replace(layer, native=replace(layer.native, tensor=root)))
    return replace(graph, layers=tuple(layers))
