"""Writes edits into a TFLite flatbuffer.

Where only numbers change the file differs in their bytes alone. Otherwise the flatbuffer is packed anew: everything
that no edit touches has the values, names and numbers that it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convfault.model import Model
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change
from convfault.repairing.writers.tflite.document import TFLiteDocument
from convfault.repairing.writers.writing import written


def write(model: Model, graph: Graph, edits: Sequence[Edit], out: Path) -> tuple[Change, ...]:
    """See ``convfault.repairing.writers``."""
    return written(model, graph, edits, out, lambda given: TFLiteDocument(Path(given.path)))
