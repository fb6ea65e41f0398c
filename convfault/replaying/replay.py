"""Puts one layer to the vote: the operator cut out of the model's file, and the layer as the graph has it.

Every runtime works in a process of its own; what is not installed, or cannot run the layer, says why and has no vote.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convfault import process
from convfault.localization.activations import largest_difference, watched
from convfault.localization.ballot import LAYER, OPERATOR, Ballot
from convfault.localization.case import Subject
from convfault.localization.kernels import Alone, alone, like
from convfault.process import Job
from convfault.relax import store
from convfault.relax.graph import Array, Graph, Layer
from convfault.replaying.runtimes import FOR_LAYERS, RUNTIMES, Runtime

SECONDS = 120.0
"""For one runtime, its start included."""

AT_ONCE = 2
"""Runtimes that run side by side: each is quick once its library is imported, which takes one core."""

Given = dict[str, Array]
"""Native tensor (or layer, of what is written anew) → its value."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A model of one layer, what it is given, and the runtimes that it is put to."""

    runs: str
    model: dict[str, Any]
    given: Path
    runtimes: tuple[Runtime, ...]


def replay(subject: Subject, layer_id: str) -> tuple[Ballot, ...]:
    """The votes on a layer of the subject's graph; none where its native value or inputs are not known."""
    known = alone(subject, subject.graph[layer_id], watched(subject))
    if known is None:
        return ()
    with tempfile.TemporaryDirectory(prefix="convfault-replay-") as folder:
        trials, failed = list[Trial](), list[Ballot]()
        for make in (_operator, _layer):
            try:
                trials.append(make(subject, known, Path(folder)))
            except _CannotReplayError as error:
                failed.append(error.ballot)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tasks = [(trial, runtime) for trial in trials for runtime in trial.runtimes]
            votes = list(pool.map(lambda task: _vote(task[0], task[1], known, Path(folder)), tasks))
    return (*votes, *failed)


class _CannotReplayError(Exception):
    """Nobody can vote on this reading; the ballot says why."""

    def __init__(self, runs: str, reason: str) -> None:
        super().__init__(reason)
        self.ballot = Ballot("every runtime", runs, reason=reason)


def _operator(subject: Subject, known: Alone, folder: Path) -> Trial:
    """The layer's operators, and those of hidden layers before it, cut out of the model's file."""
    group, entries = _group(subject, known.layer)
    names = [name for layer in group for name in layer.native.names]
    given = {name: values[: len(known.native)] for name, values in entries.items()}
    place = folder / OPERATOR
    place.mkdir()
    arguments = {"model": subject.model.to_record(), "names": names, "folder": str(place)}
    arguments["tensors"] = [str(layer.native.tensor) for layer in group if layer.native.tensor]
    outcome = process.run(Job("convfault.replaying.cutting:run", arguments, "cut the operator out", seconds=SECONDS))
    if outcome.status != "ok":
        raise _CannotReplayError(OPERATOR, outcome.message)
    return Trial(OPERATOR, outcome.value, _kept(given, place), RUNTIMES[outcome.value["format"]])


def _group(subject: Subject, layer: Layer) -> tuple[list[Layer], Given]:
    """The layer with the hidden ones before it, and by native name what enters them, in order."""
    seen, group, entries = watched(subject), list[Layer](), Given()
    pending = [layer]
    while pending:
        current = pending.pop(0)
        group.append(current)
        for name in current.inputs:
            source = subject.graph[name]
            if source.kind == "constant":
                continue
            if seen(name) is None:
                pending.append(source)
            elif source.kind == "input":
                entries[str(source.native.tensor)] = subject.inputs[str(source.native.tensor)]
            else:
                entries[str(source.native.tensor)] = subject.trace.read(str(source.native.tensor))
    return group, entries


def _layer(subject: Subject, known: Alone, folder: Path) -> Trial:
    """The layer as the graph has it, written to an ONNX file of its own."""
    place = folder / LAYER
    place.mkdir()
    store.write(Graph((known.layer,), (), (), subject.graph.layout), place)
    given = _kept({f"input_{number}": known.inputs[name] for number, name in enumerate(known.layer.inputs)}, place)
    arguments = {"folder": str(place), "given": str(given)}
    outcome = process.run(Job("convfault.replaying.writing:run", arguments, "write the layer", seconds=SECONDS))
    if outcome.status != "ok":
        raise _CannotReplayError(LAYER, outcome.message)
    return Trial(LAYER, outcome.value, given, FOR_LAYERS)


def _kept(given: Given, place: Path) -> Path:
    """The values in a file: numbered, since a native name may hold anything, with the names beside them."""
    arrays: dict[str, Any] = {str(number): values for number, values in enumerate(given.values())}
    path = place / "given.npz"
    np.savez(path, names=np.asarray(list(given)), **arrays)
    return path


def _vote(trial: Trial, runtime: Runtime, known: Alone, folder: Path) -> Ballot:
    shares = runtime.shares if trial.runs == OPERATOR else ""
    handle, answer = tempfile.mkstemp(dir=folder, suffix=".npy")
    os.close(handle)
    arguments = {"model": trial.model, "given": str(trial.given), "function": runtime.function, "answer": answer}
    job = Job(
        "convfault.replaying.runtimes:run",
        arguments,
        f"run the layer in {runtime.name}",
        seconds=SECONDS,
        environment=runtime.environment,
    )
    outcome = process.run(job)
    if outcome.status != "ok":
        return Ballot(runtime.name, trial.runs, shares=shares, reason=outcome.message)
    values = _viewed(np.load(answer, allow_pickle=False), trial, known)
    differences = largest_difference(known.native, values), largest_difference(known.expected, values)
    return Ballot(runtime.name, trial.runs, outcome.value["version"], shares, *differences)


def _viewed(values: Array, trial: Trial, known: Alone) -> Array:
    """What a runtime answered in the graph's layout, as far as it has the right size."""
    fits = values.size == known.native.size
    values = known.layer.view(values) if trial.runs == OPERATOR and fits else values
    return like(values, known.native)
