"""What runs in a process of its own: align two views, let every analyzer look, and measure what each suspect causes."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convfault import process
from convfault.batches import Batches
from convfault.comparison import Comparison
from convfault.fault import Fault
from convfault.localization import blame, divergence, effect, faults
from convfault.localization.aligning.align import align
from convfault.localization.blame import Verdict, Vote
from convfault.localization.case import Case, Hop, Subject
from convfault.localization.effect import Effect, Effects
from convfault.localization.graph import analyzer as graph
from convfault.localization.half import as_run
from convfault.localization.hyperparameters import analyzer as hyperparameters
from convfault.localization.illustration import illustrated
from convfault.localization.input import analyzer as input
from convfault.localization.knowledge import about
from convfault.localization.parameters import analyzer as parameters
from convfault.localization.suspect import Suspect
from convfault.localization.tool import analyzer as tool
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.relax import jobs, store
from convfault.relax.graph import Array
from convfault.trace import StoredTrace

SIDES = ("source", "target")

Analyzer = Callable[[Case], list[Suspect]]

ANALYZERS: Mapping[str, Analyzer] = {
    "input": input.examine,
    "tool": tool.examine,
    "parameters": parameters.examine,
    "hyperparameters": hyperparameters.examine,
    "graph": graph.examine,
}
"""In the order in which they look, the cheap ones first."""


class Stages:
    """Tells the parent what is being done and keeps how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        process.report("stage", name=name, total=total)
        begun = time.monotonic()
        yield lambda done: process.report("progress", name=name, done=done)
        self.seconds[name] = time.monotonic() - begun


@dataclass(frozen=True)
class Examination:
    """A case and all that the analyzers found out about it.

    ``suspects`` are those whose effect was measured, ``ordered`` those and the rest of them with their effects, in
    the order of the ``faults``, one each.
    """

    case: Case
    suspects: tuple[Suspect, ...]
    ordered: tuple[tuple[Suspect, Effect], ...]
    faults: tuple[Fault, ...]
    effects: Effects
    steps: tuple[divergence.Step, ...]
    verdict: Verdict

    def to_record(self) -> dict[str, Any]:
        """What a report holds of it."""
        return {
            "faults": [fault.to_record() for fault in self.faults],
            "attribution": self.verdict.to_record(),
            "localization": {
                "alignment": _alignment(self.case),
                "divergence": [item.to_record() for item in self.steps],
                "pictures": list(self.case.pictures),
                "measured_on": self.effects.pictures,
                "max_abs_error_left": _finite(self.effects.left.max_abs_error),
                "top1_disagreement_left": self.effects.left.top1_disagreement,
                "unsupported": _unsupported(self.case),
                "target_nodes": {layer.id: faults.native_names(layer) for layer in self.case.target.graph},
                "causes": about(list(self.faults)),
            },
        }


def run(
    material: Mapping[str, Any], comparison: Mapping[str, Any], hops: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Job: the faults that make the target differ, in order of what they cause, with all that was learnt on the way.

    ``material`` is the record of a ``Material``, with the pictures' ``names`` and, under ``replay``, what puts a layer
    to the vote (absent: nothing does); ``hops`` hold a ``record`` of the route and a ``comparison`` or None.
    """
    stages = Stages()
    return {**examine(material, comparison, hops, stages).to_record(), "seconds": stages.seconds}


def examine(
    material: Mapping[str, Any],
    comparison: Mapping[str, Any],
    hops: Sequence[Mapping[str, Any]],
    stages: Stages,
) -> Examination:
    """Align the two models, let every analyzer look, and measure what each suspect causes; arguments as in ``run``."""
    with stages.stage("align"):
        names = [str(name) for name in material["names"]]
        case = assembled(material, Comparison.from_record(comparison), [_hop(item) for item in hops], names)
    suspects: list[Suspect] = []
    for name, analyze in ANALYZERS.items():
        with stages.stage(f"examine {name}"):
            suspects += analyze(case)
    with stages.stage("compare layers"):
        steps = divergence.divergence(case)
    with stages.stage("measure effects", len(suspects)) as step:
        effects = effect.measured(case, suspects, step)
    with stages.stage("blame"):
        votes = [_vote(material[side], material["rows"]) for side in SIDES]
        replay = replayer(material.get("replay"))
        verdict = blame.verdict(case, effects, votes[0], votes[1], replay)
        verdict, suspects, effects = blame.acquitted(case, verdict, suspects, effects)
    everyone = [*suspects, *verdict.suspects]
    with stages.stage("draw"):
        order = faults.ordered(case, everyone, effects)
        found = illustrated(case, [suspect for suspect, _ in order], faults.ranked(case, everyone, effects))
    return Examination(case, tuple(suspects), tuple(order), tuple(found), effects, tuple(steps), verdict)


def assembled(material: Mapping[str, Any], comparison: Comparison, hops: Sequence[Hop], names: Sequence[str]) -> Case:
    """The case, from where everything lies."""
    source, target = (_subject(material[side], material["rows"]) for side in SIDES)
    target = _as_compared(target, comparison)
    alignment = align(source.graph, target.graph, source.values, target.values)
    limits = tuple(output.tolerance.value for output in comparison.outputs)[: len(source.graph.outputs)]
    first = limits[0] if limits else 0.0
    return Case(source, target, alignment, comparison, tuple(names), first, tuple(hops), limits)


def _subject(record: Mapping[str, Any], rows: Sequence[int]) -> Subject:
    model, preprocessing = Model.from_record(record["model"]), Preprocessing.from_record(record["preprocessing"])
    batches = Batches.from_record(record["batches"])
    assert model.signature is not None
    pieces = [batches.inputs(row, row + 1, model.signature, preprocessing) for row in rows]
    inputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    found = Subject(model, store.read(Path(record["view"])), inputs, StoredTrace(Path(record["trace"])))
    return as_run(found, found.arranged(_unwatched(record, rows)))


def _as_compared(target: Subject, comparison: Comparison) -> Subject:
    """The target with its outputs in the order of those of the source that they are compared with."""
    names, found = list(target.trace.outputs), [output.target_name for output in comparison.outputs if output.name]
    if len(set(found)) < len(found) or not set(found) <= set(names) or len(names) != len(target.graph.outputs):
        return target
    places = tuple(names.index(name) for name in [*found, *(name for name in names if name not in found)])
    if places == tuple(range(len(names))):
        return target
    outputs = tuple(target.graph.outputs[place] for place in places)
    return replace(target, graph=replace(target.graph, outputs=outputs), places=places)


def _hop(record: Mapping[str, Any]) -> Hop:
    found = record["comparison"]
    return Hop(record["record"], None if found is None else Comparison.from_record(found))


def _vote(record: Mapping[str, Any], chosen: Sequence[int]) -> Vote:
    """What the native runtime and TVM answer to the pictures that TVM ran, and the former to the ``chosen`` ones."""
    rows, answers = jobs.answers(Path(record["view"]))
    return Vote(_unwatched(record, rows), answers, _unwatched(record, chosen))


def _unwatched(record: Mapping[str, Any], rows: Sequence[int]) -> tuple[Array, ...]:
    """What the native runtime answers to some pictures while nobody looks at its layers."""
    whole = StoredTrace(Path(record["answers"]))
    return tuple(np.concatenate([whole.read(name, row, row + 1) for row in rows]) for name in whole.outputs)


def replayer(name: str | None) -> blame.Replay | None:
    """The function of that name, ``module:function``; it stands above this package, hence its caller names it."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    found: blame.Replay = getattr(importlib.import_module(module), function)
    return found


def _alignment(case: Case) -> dict[str, Any]:
    alignment = case.alignment
    return {
        "matched": len(alignment.matches),
        "source_layers": len(case.source.graph),
        "target_layers": len(case.target.graph),
        "confidence": round(alignment.confidence, 4),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _unsupported(case: Case) -> list[dict[str, str]]:
    """Operators that could not be imported, and were left out of the comparison of layers."""
    return [
        {"side": side, "node": operator.node, "operator": operator.operator, "reason": operator.reason}
        for side, subject in (("source", case.source), ("target", case.target))
        for operator in subject.graph.unsupported
    ]
