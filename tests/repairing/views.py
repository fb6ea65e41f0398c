"""A model file with its canonical graph, and the edits that turn a faulty one's graph into a sound one's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from convfault.localization.aligning.align import align
from convfault.localization.case import Case, Subject
from convfault.localization.effect import usable
from convfault.localization.graph import analyzer as graph_analyzer
from convfault.localization.hyperparameters import analyzer as hyperparameters
from convfault.localization.input import analyzer as input_analyzer
from convfault.localization.parameters import analyzer as parameters
from convfault.model import Model
from convfault.relax.canonical import canonical
from convfault.relax.edits import Edit, SetParameters
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model


@dataclass(frozen=True)
class View:
    """A file and its graph."""

    path: Path
    graph: Graph

    @property
    def model(self) -> Model:
        return Model.from_path(str(self.path))

    def run(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return run(self.path, pictures)


def view(path: Path) -> View:
    return View(path, canonical(import_model(Model.from_path(str(path)))))


def run(path: Path, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The answers of the native runtime."""
    from planting.runtimes import run as native

    return list(native(path, pictures))


def pictures(path: Path) -> NDArray[np.float32]:
    from planting.runtimes import samples

    return np.asarray(samples(path, 1))


def cure(source: View, target: View) -> list[Edit]:
    """What the analyzers would change in the target."""
    values = pictures(source.path)
    trace = SimpleNamespace(names=(), outputs=())
    subjects = [
        Subject(each.model, each.graph, {str(each.graph[n].native.tensor): values for n in each.graph.inputs}, trace)  # type: ignore[arg-type]
        for each in (source, target)
    ]
    alignment = align(source.graph, target.graph, subjects[0].values, subjects[1].values)
    case = Case(subjects[0], subjects[1], alignment, None, ("one",), 1e-5)  # type: ignore[arg-type]
    edits: list[Edit] = []
    current = target.graph
    for analyzer in (input_analyzer, parameters, hyperparameters, graph_analyzer):
        for suspect in analyzer.examine(case):
            if suspect.edit is not None and usable(suspect.edit, current) is not None:
                edits.append(suspect.edit)
                current = suspect.edit.apply(current)
    return edits


def restoring(source: Graph, target: Graph) -> list[Edit]:
    """All parameters of the source, layer by layer in order."""
    pairs = zip(
        (layer for layer in source if layer.parameters), (layer for layer in target if layer.parameters), strict=True
    )
    return [
        SetParameters(theirs.id, {name: each.values for name, each in ours.parameters.items()})
        for ours, theirs in pairs
    ]


def difference(found: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> float:
    """The largest difference relative to the largest value of each output."""
    assert [each.shape for each in found] == [each.shape for each in wanted]
    pairs = zip(found, wanted, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
