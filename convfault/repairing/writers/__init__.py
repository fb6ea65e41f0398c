"""Writers: edits of a canonical ``Graph`` carried out in the native file, one writer a format.

``WRITERS[model.format](model, graph, edits, out)`` writes an edited copy of the model to ``out`` and returns what it
changed, in native names. What no edit touches stays as it was. Raises ``EditRefusedError`` where the format cannot
hold an edit, ``UsageError`` where ``out`` is the model itself, ``StorageError`` where it cannot be written; then
nothing is written. ``graph`` is the model's own canonical graph; a format without a writer is not in the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from convfault.model import Model
from convfault.registry import Registry
from convfault.relax.edits import Edit
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import Change

Writer = Callable[[Model, Graph, Sequence[Edit], Path], tuple[Change, ...]]

WRITERS: Registry[Writer] = Registry(
    "writer",
    {
        "tflite": "convfault.repairing.writers.tflite.write:write",
        "onnx": "convfault.repairing.writers.onnx.write:write",
        "keras": "convfault.repairing.writers.keras.write:write",
        "keras_h5": "convfault.repairing.writers.keras.write:write",
        "frozen_graph": "convfault.repairing.writers.tensorflow.write:write_frozen",
        "saved_model": "convfault.repairing.writers.tensorflow.write:write_saved_model",
        "pt2": "convfault.repairing.writers.torch.write:write",
        "torch_function": "convfault.repairing.writers.torch.write:write_function",
    },
)
"""Model format → writer."""
