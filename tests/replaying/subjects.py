"""Subjects of cases from real tiny files, with all that their own runtimes show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from convfault.frameworks import FRAMEWORKS
from convfault.localization.case import Subject
from convfault.model import Model
from convfault.relax.canonical import canonical
from convfault.relax.import_model import import_model
from tests import tiny


class Recorded:
    """A trace in memory."""

    def __init__(self, tensors: dict[str, np.ndarray], outputs: tuple[str, ...]) -> None:
        self.tensors, self.outputs, self.names = tensors, outputs, tuple(tensors)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.tensors[name][start:stop]

    def off(self, name: str, error: float) -> Recorded:
        """With one tensor that the runtime got wrong."""
        return Recorded({**self.tensors, name: self.tensors[name] + np.float32(error)}, self.outputs)


BUILDERS = {
    "onnx": tiny.onnx_model,
    "tflite": tiny.tflite_model,
    "pt2": tiny.torch_model,
    "keras": tiny.keras_model,
    "saved_model": tiny.saved_model,
}


def subject(folder: Path, kind: str = "onnx") -> Subject:
    """The tiny network in a format, as its runtime computes it and as its graph reads it."""
    model = Model(str(BUILDERS[kind](folder)), kind)
    graph = canonical(import_model(model))
    pictures = tiny.pictures(2, layout=graph.layout)
    with FRAMEWORKS[model.framework].open(model) as session:
        shown = [spec.name for spec in session.tensors()]
        wanted = [layer.native.tensor for layer in graph if layer.native.tensor in shown]
        outputs = {spec.name for spec in session.signature.outputs}
        trace = session.run({session.signature.inputs[0].name: pictures}, [n for n in wanted if n not in outputs])
        name = session.signature.inputs[0].name
    recorded: Any = Recorded(dict(trace.tensors), trace.outputs)
    return Subject(model, graph, {name: pictures}, recorded)
