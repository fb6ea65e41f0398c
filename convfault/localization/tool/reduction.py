"""Makes a model that a converter fails on small, in a process of its own where the converter is installed.

Delta debugging (Zeller and Hildebrandt 2002, "Simplifying and isolating failure-inducing input") over the model's
nodes, which stand in order of computation: what the tool's message points at is tried first, then the shortest
beginning and the shortest end are found by bisection, then single nodes are left out. A trial is a conversion of the
nodes that are kept; it counts as failing only when it fails in the same way.

This file runs in the environments of converters, too: standard library only at the top, Python 3.10 up.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from convfault import process
from convfault.localization.tool.bench import Bench, job
from convfault.model import Model

RESULT = "smallest.json"
CUTTERS: Mapping[str, str] = {
    "onnx": "convfault.localization.tool.cut_onnx:Cutter",
    "keras": "convfault.localization.tool.cut_keras:Cutter",
    "keras_h5": "convfault.localization.tool.cut_keras:Cutter",
    "pt2": "convfault.localization.tool.cut_torch:Cutter",
    "torch_function": "convfault.localization.tool.cut_torch:Cutter",
    "saved_model": "convfault.localization.tool.cut_tensorflow:Cutter",
    "frozen_graph": "convfault.localization.tool.cut_tensorflow:Cutter",
    "tflite": "convfault.localization.tool.cut_tflite:Cutter",
}
"""By format of the source: what takes a model apart."""

OURS = ("convfault/child.py", "convfault/converters/base.py")
READERS = "flatbuffers"
"""The package by which TFLite files are read."""

SINGLE = 24
"""Up to so many nodes are left out one by one."""

Places = tuple[int, ...]
Fails = Callable[[Places], bool]


class Piece(NamedTuple):
    """A model cut out of another: which of its nodes it ``held``, and for each input which native tensor that was."""

    model: Model
    held: Places
    origins: tuple[str, ...]


class Cut(Protocol):
    """A model taken apart: ``nodes`` are (operator, name) in order of computation.

    For each node ``tensors`` are the native names of what it computes, ``reads`` the nodes that it reads from.
    """

    nodes: Sequence[tuple[str, str]]
    tensors: Sequence[tuple[str, ...]]
    reads: Sequence[Places]

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """A model of these nodes and those that they need; None: there is none."""
        ...


def cutter(model: Model) -> Cut:
    """The model taken apart; its format is one of ``CUTTERS``."""
    module, _, name = CUTTERS[model.format].partition(":")
    cut: Cut = getattr(importlib.import_module(module), name)(model)
    return cut


def run(
    convert: str, source: Mapping[str, Any], options: Mapping[str, Any], plan: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Job: the smallest model that still fails, as a record; None where the whole model does not fail here.

    ``plan``: ``folder`` to write to, ``hints``: names and operators from the tool's message, ``seconds`` and ``trials``
    in all, ``isolated``: each trial in a process of its own, for tools that die rather than raise, ``filename`` and
    ``format`` of the target, ``runtime``: the framework that cannot open it (empty: the conversion itself fails), and
    the ``python`` and ``environment`` variables of that one, which may not be the converter's.
    """
    model, place = Model.from_record(source), Path(plan["folder"])
    with Trial(convert, options, place, plan) as trial:
        whole = trial.failure(model)
        if whole is None:
            return None
        cut = cutter(model)
        search = Search(cut, trial, whole, place)
        if search.fails(tuple(range(len(cut.nodes)))):
            smallest(len(cut.nodes), search.fails, _guesses(cut.nodes, plan["hints"]))
        return search.best


def opening(runtime: str, format: str) -> Callable[[str], str]:
    """Work of a ``Bench``: open what stands at a path with its runtime; the signature of the failure, "" for none."""
    from convfault.frameworks import FRAMEWORKS

    def opened(target: str) -> str:
        try:
            FRAMEWORKS[runtime].open(Model(target, format)).close()
        except Exception as error:
            return signature(error)
        return ""

    return opened


class Trial:
    """Converts a model and tells how that fails; a context manager, whose end ends the runtime that opens targets."""

    def __init__(self, convert: str, options: Mapping[str, Any], folder: Path, plan: Mapping[str, Any]) -> None:
        self.convert, self.options, self.folder, self.plan = convert, options, folder, plan
        self.left = int(plan["trials"])
        self.until = time.monotonic() + float(plan["seconds"])
        work = job("convfault.localization.tool.reduction:opening", _runtime(plan), folder / "opening")
        work = replace(work, python=plan["python"], environment=plan["environment"])
        self._opener = Bench(work, self.until)

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *error: object) -> None:
        self._opener.close()

    @property
    def spent(self) -> bool:
        return self.left <= 0 or time.monotonic() > self.until

    def failure(self, model: Model) -> str | None:
        """The signature of the failure; None when it does not fail."""
        self.left -= 1
        place = self.folder / f"converted_{self.left}"
        place.mkdir()
        target = place / self.plan["filename"]
        found = self._isolated(model, target) if self.plan["isolated"] else self._here(model, target)
        shutil.rmtree(place, ignore_errors=True)
        return found

    def _here(self, model: Model, target: Path) -> str | None:
        module, _, name = self.convert.partition(":")
        try:
            getattr(importlib.import_module(module), name)(model, str(target), dict(self.options))
        except Exception as error:
            return signature(error)
        if not self.plan["runtime"]:
            return None
        found = self._opener.ask(target=str(target))
        return "the runtime ended" if found is None else found or None

    def _isolated(self, model: Model, target: Path) -> str | None:
        work = process.Job(
            "convfault.converters.base:run",
            {
                "convert": self.convert,
                "source": model.to_record(),
                "target": str(target),
                "options": dict(self.options),
            },
            seconds=max(self.until - time.monotonic(), 1.0),
        )
        outcome = process.run(work)
        return None if outcome.status == "ok" else f"{outcome.status} {plain(outcome.message)}"


def _runtime(plan: Mapping[str, Any]) -> dict[str, str]:
    return {name: plan[name] for name in ("runtime", "format")}


class Search:
    """Remembers what was tried and the smallest model that failed as the whole one does."""

    def __init__(self, cut: Cut, trial: Trial, wanted: str, folder: Path) -> None:
        self.cut, self.trial, self.wanted, self.folder = cut, trial, wanted, folder
        self.known: dict[Places, bool] = {}
        self.best: dict[str, Any] | None = None

    def fails(self, kept: Places) -> bool:
        """Whether the model of these nodes fails in the same way; False once the limits are reached."""
        if kept not in self.known:
            if self.trial.spent:
                return False
            self.known[kept] = self._tried(kept)
        return self.known[kept]

    def _tried(self, kept: Places) -> bool:
        place = self.folder / f"trial_{len(self.known)}"
        place.mkdir(parents=True, exist_ok=True)
        try:
            made = self.cut.write(kept, place)
        except Exception:  # the nodes make no model by themselves
            return False
        if made is None:
            return False
        failing = self.trial.failure(made.model) == self.wanted
        if failing and (self.best is None or len(made.held) <= len(self.best["nodes"])):
            self.best = {
                "model": made.model.to_record(),
                "nodes": [list(self.cut.nodes[index]) for index in made.held],
                "of": len(self.cut.nodes),
                "trials": len(self.known) + 1,
                "signature": self.wanted,
            }
            (self.folder / RESULT).write_text(json.dumps(self.best), encoding="utf-8")
        return failing


def smallest(count: int, fails: Fails, guesses: Sequence[Places] = ()) -> Places:
    """The smallest tuple of places below ``count`` that was found to fail; all of them are known to."""
    best = tuple(range(count))
    for guess in guesses:
        if len(guess) < len(best) and fails(guess):
            best = guess
            break
    if len(best) > SINGLE:
        best = _shortest(best, fails, from_start=True)
        best = _shortest(best, fails, from_start=False)
    return without_each(best, fails)


def _shortest(best: Places, fails: Fails, from_start: bool) -> Places:
    """The shortest beginning (or end) that fails, by bisection."""
    low, high = 0, len(best)
    while high - low > 1:
        middle = (low + high) // 2
        part = best[:middle] if from_start else best[len(best) - middle :]
        low, high = (low, middle) if fails(part) else (middle, high)
    return best[:high] if from_start else best[len(best) - high :]


def without_each(best: Places, fails: Fails) -> Places:
    """Leave out ever smaller pieces as long as it goes on failing: no single node can be left out at the end."""
    size = max(len(best) // 2, 1)
    while len(best) > 1:
        for start in range(0, len(best), size):
            rest = best[:start] + best[start + size :]
            if rest and fails(rest):
                best = rest
                break
        else:
            if size == 1:
                break
            size = size // 2
            continue
        size = min(size, max(len(best) // 2, 1))
    return best


def _guesses(nodes: Sequence[tuple[str, str]], hints: Sequence[str]) -> list[Places]:
    """What the message points at: nodes by name, then by operator, each alone and with its neighbours."""
    named = [index for index, (_, name) in enumerate(nodes) if name and name in hints]
    typed = [index for index, (operator, _) in enumerate(nodes) if operator in hints]
    found: list[Places] = []
    for index in [*named[:4], *typed[:4]]:
        found += [(index,), tuple(range(max(index - 1, 0), min(index + 2, len(nodes))))]
    return list(dict.fromkeys(found))


def signature(error: BaseException) -> str:
    """What stays equal when a smaller model fails in the same way: kind, message, and the function that raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith(OURS)]
    if frames and READERS in Path(frames[-1].filename).parts:  # what it finds outside of the file is a matter of chance
        own = [frame for frame in frames if READERS not in Path(frame.filename).parts]
        frame = own[-1] if own else frames[-1]
        return f"reads outside of the file {Path(frame.filename).name}:{frame.name}"
    place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    return f"{type(error).__name__} {plain(_message(error))} {place}"


def _message(error: BaseException) -> str:
    """The innermost cause's message: wrappers repeat the whole model."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


PLAIN = (
    (re.compile(r'In Node, \("[^"]*", (\w+),.*?(Error .*)?$'), r"In Node \1 \2"),  # onnxruntime names every tensor
    (re.compile(r"loc\(.*?\)+\): ?"), ""),  # MLIR's places
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"0x[0-9a-f]+"), "#"),
    (re.compile(r"/[^\s'\"]*/"), ""),  # folders
    (re.compile(r"@__inference\S*"), ""),
    (re.compile(r"%\w+"), "%"),
    (re.compile(r"\d+"), "#"),
)


def plain(message: str) -> str:
    """The line of a message that tells the reason, without numbers, addresses, folders and places."""
    lines = [line for line in message.splitlines() if line.strip()]
    chosen = next((line for line in lines if " error: " in line), lines[0] if lines else "")
    chosen = chosen.rpartition(" error: ")[2]  # before it MLIR says where, which a smaller model changes
    for pattern, replacement in PLAIN:
        chosen = pattern.sub(replacement, chosen)
    return chosen[:300]
