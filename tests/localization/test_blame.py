"""Which of the runs is to blame when native answers differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convfault.localization import blame, divergence
from convfault.localization.blame import Vote, verdict
from convfault.localization.case import Case, Subject
from convfault.localization.effect import measured
from convfault.relax import evaluate
from convfault.relax.graph import Graph
from tests.localization.pairs import case_of, network


class Answers:
    """A trace that holds one output."""

    outputs = ("answer",)
    names = ("answer",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop]


def computed(subject: Subject) -> np.ndarray:
    return evaluate.run(subject.graph, dict(subject.start))[subject.graph.outputs[0]]


def told(source: Graph, target: Graph, off: float = 0.0, source_off: float = 0.0) -> Case:
    """A case whose native runs are those of the graphs, plus an error."""
    case = case_of(source, target)
    sides = {}
    for name, error in (("source", source_off), ("target", off)):
        subject = getattr(case, name)
        trace: Any = Answers(computed(subject) + np.float32(error))
        sides[name] = replace(subject, trace=trace)
    return replace(case, **sides)


def voted(case: Case, tvm_off: float = 0.0) -> blame.Verdict:
    votes = [
        Vote(subject.outputs, (computed(subject) + np.float32(tvm_off),)) for subject in (case.source, case.target)
    ]
    return verdict(case, measured(case, []), *votes)


def changed(graph: Graph) -> Graph:
    return graph.with_parameters("convolution_2", bias=graph["convolution_2"].parameters["bias"].values + 1)


def test_nobody_is_to_blame_where_the_answers_agree() -> None:
    found = voted(told(network(), network()))
    assert (found.blame, found.suspects, found.notes) == (None, (), ())
    assert found.errors["native_vs_native"] == 0


def test_graphs_that_answer_differently_blame_the_conversion() -> None:
    found = voted(told(network(), changed(network())))
    assert found.blame == "conversion"
    assert found.errors["tvm_vs_tvm"] == pytest.approx(1.0, abs=1e-4)


def test_a_native_run_that_its_graph_does_not_reproduce_blames_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5))
    assert found.blame == "runtime"
    (suspect,) = found.suspects
    assert (suspect.kind, suspect.target) == ("runtime", "clip_1")
    assert "0.25" in suspect.explanation


def test_a_graph_that_tvm_and_the_runtime_contradict_is_an_import_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5), tvm_off=0.5)
    assert found.blame == "import"
    assert found.suspects == ()
    assert "canonical graph" in found.notes[0]


def test_a_model_that_tvm_cannot_run_has_one_vote_less() -> None:
    case = told(network(), changed(network()))
    found = verdict(case, measured(case, []), Vote(case.source.outputs, ()), Vote(case.target.outputs, ()))
    assert found.blame == "conversion"
    assert found.errors["tvm_vs_tvm"] is None
    assert found.to_record()["tvm_vs_tvm"] is None
