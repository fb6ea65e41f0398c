"""Which of the runs is to blame when native answers differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convfault.comparison import AGREE, DIFFER, Comparison
from convfault.localization import blame, kernels
from convfault.localization.ballot import OPERATOR, Ballot
from convfault.localization.blame import Vote, acquitted, verdict
from convfault.localization.case import Case, Subject
from convfault.localization.effect import measured
from convfault.localization.faults import harmless
from convfault.localization.suspect import Suspect
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


def voted(case: Case, tvm_off: float = 0.0, replay: blame.Replay | None = None) -> blame.Verdict:
    votes = [
        Vote(subject.outputs, (computed(subject) + np.float32(tvm_off),)) for subject in (case.source, case.target)
    ]
    return verdict(case, measured(case, []), *votes, replay=replay)


def for_native(subject: Subject, layer: str) -> list[Ballot]:
    return [Ballot("onnx.reference", OPERATOR, "1", "", 0.0, 0.5), Ballot("TVM", OPERATOR, "1", "", 0.0, 0.5)]


def for_graph(subject: Subject, layer: str) -> list[Ballot]:
    votes = [Ballot(name, OPERATOR, "1", "", 0.5, 0.0) for name in ("onnx.reference", "PyTorch")]
    return [*votes, Ballot("TVM", OPERATOR, reason="not installed")]


def never(subject: Subject, layer: str) -> list[Ballot]:
    raise AssertionError("nothing is to be replayed")


def changed(graph: Graph) -> Graph:
    return graph.with_parameters("convolution_2", bias=graph["convolution_2"].parameters["bias"].values + 1)


def test_a_layer_that_mixes_pictures_is_no_defect_of_the_import() -> None:
    source = network()
    end = source[source.outputs[0]]
    mixing = source.with_inserted(
        replace(end, id="mixing", kind="softmax", inputs=(end.id,), hyperparameters={"axis": 0})
    )
    found = voted(told(source, replace(mixing, outputs=("mixing",)), off=0.5), replay=never)
    assert found.blame == blame.CONVERSION
    assert "depends on which pictures come together" in found.notes[0]


def test_nobody_is_to_blame_where_the_answers_agree() -> None:
    found = voted(told(network(), network()))
    assert (found.blame, found.suspects, found.notes) == (None, (), ())
    assert found.errors["native_vs_native"] == 0


def test_graphs_that_answer_differently_blame_the_conversion() -> None:
    found = voted(told(network(), changed(network())))
    assert found.blame == "conversion"
    assert found.errors["tvm_vs_tvm"] == pytest.approx(1.0, abs=1e-4)


def test_a_native_run_that_its_graph_does_not_reproduce_blames_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5))
    assert found.blame == "runtime"
    (suspect,) = found.suspects
    assert (suspect.kind, suspect.target) == ("runtime", "clip_1")
    assert "0.25" in suspect.explanation


def test_a_graph_that_tvm_and_the_runtime_contradict_is_an_import_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
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


def test_a_vote_against_the_kernel_makes_the_fault_sure_and_is_its_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5), replay=for_graph)
    (suspect,) = found.suspects
    assert (found.blame, suspect.confidence) == ("runtime", 0.95)
    assert [vote["sides_with"] for vote in suspect.evidence["votes"]] == ["graph", "graph", None]
    assert "onnx.reference and PyTorch give what the model says" in suspect.explanation
    assert "the import is" not in suspect.explanation


def test_a_single_vote_against_the_kernel_leaves_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5), replay=lambda *what: for_graph(*what)[1:])
    (suspect,) = found.suspects
    assert suspect.confidence == 0.8
    assert "kernel is wrong, or the import is" in suspect.explanation


def test_a_vote_for_the_kernel_is_an_import_defect_at_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    found = voted(told(network(), network(), off=0.5), replay=for_native)
    assert (found.blame, found.suspects) == ("import", ())
    assert "an import defect" in found.notes[0]
    (record,) = found.to_record()["replays"]
    assert (record["side"], record["outcome"], len(record["votes"])) == ("target", "import", 2)


def test_nothing_is_replayed_where_no_layer_deviates_or_the_models_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert voted(told(network(), network()), replay=never).blame is None
    assert voted(told(network(), changed(network())), replay=never).blame == "conversion"
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)])
    assert voted(told(network(), network(), off=0.5, source_off=0.5), replay=never).blame is None


def test_the_first_layer_that_tells_is_put_to_the_vote_not_one_that_is_only_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [("convolution_1", 1e-6), ("clip_1", 0.25), ("convolution_2", 0.5)]
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: found)
    (doubt,) = voted(told(network(), network(), off=0.5), replay=for_graph).doubts
    assert doubt.layer == "clip_1"


def test_what_analyzers_suspect_of_a_misread_layer_is_no_fault_of_the_conversion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)] if subject is case.target else [])
    case = told(network(), network().with_hyperparameters("clip_1", maximum=0.01), off=0.5)
    misread = Suspect("hyperparameters", "maximum", "", "", source="clip_1", target="clip_1")
    other = Suspect("parameters", "offset", "", "", source="convolution_2", target="convolution_2")
    effects = measured(case, [misread, other])
    votes = [Vote(subject.outputs, ()) for subject in (case.source, case.target)]
    found = verdict(case, effects, *votes, replay=for_native)
    assert found.blame == "conversion"
    kept, left, measured_left = acquitted(case, found, [misread, other], effects)
    assert (kept.blame, left, len(measured_left.each)) == ("conversion", [other], 1)
    assert acquitted(case, found, [misread], measured(case, [misread]))[0].blame == "import"
    undecided = verdict(case, effects, *votes, replay=lambda subject, layer: [])
    assert acquitted(case, undecided, [misread, other], effects)[1] == [misread, other]


@pytest.mark.parametrize("verdict_of_all", [AGREE, DIFFER])
def test_no_difference_of_graphs_is_a_fault_where_the_models_agree_on_every_picture(
    verdict_of_all: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "kernel_errors", lambda subject: [("clip_1", 0.25)] if subject is case.target else [])
    source, target = network(), network().with_hyperparameters("clip_1", maximum=0.01)
    case = replace(told(source, target), comparison=Comparison(verdict_of_all))
    case = replace(case, target=replace(case.target, trace=case.source.trace))
    suspect = Suspect("hyperparameters", "maximum", "", "", source="clip_1", target="clip_1")
    effects = measured(case, [suspect])
    found, left, effects = acquitted(case, voted(case), [suspect], effects)
    assert (found.blame, left) == (None, [suspect])
    assert harmless(case, suspect, effects.each[0]) == (verdict_of_all == AGREE)


def unwatched(case: Case, off: float) -> blame.Verdict:
    """The target's runtime answers otherwise by ``off`` when its layers are not watched."""
    votes = [
        Vote(subject.outputs, (computed(subject),), (subject.outputs[0] + np.float32(error),))
        for subject, error in ((case.source, 0.0), (case.target, off))
    ]
    return verdict(case, measured(case, []), *votes, replay=never)


def test_a_runtime_that_answers_otherwise_when_nobody_watches_optimizes_wrongly() -> None:
    found = unwatched(told(network(), network()), 0.5)
    (suspect,) = found.suspects
    assert (found.blame, suspect.kind, suspect.cause) == (blame.RUNTIME, "runtime", "optimization")
    assert "target's runtime answers otherwise, by up to 0.5" in suspect.explanation
    assert found.notes == (suspect.explanation.removesuffix("."),)


def test_a_runtime_that_answers_alike_when_nobody_watches_is_not_blamed() -> None:
    found = unwatched(told(network(), network()), 1e-9)
    assert (found.blame, found.suspects) == (None, ())


def test_a_graph_that_does_not_say_what_the_watched_layers_give_proves_no_wrong_optimization() -> None:
    found = unwatched(told(network(), network(), off=0.25, source_off=0.25), 0.5)
    assert all(suspect.cause != "optimization" for suspect in found.suspects)
