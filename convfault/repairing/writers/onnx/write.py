"""Writes edits into an ONNX model: everything that no edit touches keeps its values, names and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convfault.model import Model
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.writing import written


def write(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """See ``convfault.repairing.writers``."""
    return written(model, graph, edits, out, lambda given: OnnxDocument(Path(given.path)))
