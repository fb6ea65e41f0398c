"""One layer alone in every runtime that has it: a wrong kernel, a wrong import, and what nobody can run."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from convfault.errors import UsageError
from convfault.investigation import REPLAY
from convfault.localization import examine
from convfault.localization.ballot import IMPORT, LAYER, OPERATOR, RUNTIME, Ballot, decided
from convfault.localization.case import Subject
from convfault.model import TensorSpec
from convfault.replaying.replay import replay
from convfault.replaying.runtimes import fitted
from tests.replaying.subjects import subject


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    for name in ("tvm", "onnxruntime", "onnx2torch"):
        if importlib.util.find_spec(name) is None:  # runtimes have processes of their own
            pytest.skip(f"{name} is not installed")
    return subject(tmp_path_factory.mktemp("replay"))


def sides(ballots: tuple[Ballot, ...], runs: str) -> dict[str, str | None]:
    return {ballot.runtime: ballot.side for ballot in ballots if ballot.runs == runs}


WRITTEN = {"onnxruntime", "onnx.reference", "TVM"}
EVERYONE = {*WRITTEN, "PyTorch (by onnx2torch)"}


def test_a_wrong_kernel_stands_against_all_runtimes(sound: Subject) -> None:
    wrong = replace(sound, trace=sound.trace.off("stem_relu", 0.5))  # type: ignore[attr-defined]
    ballots = replay(wrong, "clip_1")
    assert sides(ballots, OPERATOR) == dict.fromkeys(EVERYONE, "graph")
    assert sides(ballots, LAYER) == dict.fromkeys(WRITTEN, "graph")
    assert decided(ballots) == RUNTIME
    assert all(ballot.version for ballot in ballots)


def test_an_attribute_that_was_misread_stands_against_all_who_read_the_file(sound: Subject) -> None:
    misread = replace(sound, graph=sound.graph.with_hyperparameters("clip_1", maximum=1.0))
    ballots = replay(misread, "clip_1")
    assert sides(ballots, OPERATOR) == dict.fromkeys(EVERYONE, "native")
    assert sides(ballots, LAYER) == dict.fromkeys(WRITTEN, "graph")  # they repeat the error
    assert decided(ballots) == IMPORT


def test_a_layer_of_several_operators_is_cut_out_whole(sound: Subject) -> None:
    wrong = replace(sound, trace=sound.trace.off("stem_norm", 0.5))  # type: ignore[attr-defined]
    assert sides(replay(wrong, "convolution_1"), OPERATOR) == dict.fromkeys(EVERYONE, "graph")


def test_what_the_runtime_does_not_show_is_not_replayed(sound: Subject) -> None:
    trace = sound.trace
    hidden = {name: values for name, values in trace.tensors.items() if name != "stem_relu"}  # type: ignore[attr-defined]
    unseen = replace(sound, trace=type(trace)(hidden, trace.outputs))  # type: ignore[arg-type, call-arg]
    assert replay(unseen, "clip_1") == ()


def test_an_operator_that_the_file_does_not_name_has_no_votes_and_says_why(sound: Subject) -> None:
    layer = sound.graph["clip_1"]
    nameless = replace(layer, native=replace(layer.native, operators=()))
    ballots = replay(replace(sound, graph=sound.graph.with_layer(nameless)), "clip_1")
    (refused,) = [ballot for ballot in ballots if ballot.runs == OPERATOR]
    assert refused.side is None
    assert "no model by themselves" in refused.reason


def test_values_go_to_inputs_by_name_then_by_shape() -> None:
    a, b = np.zeros((2, 3)), np.zeros((2, 4))
    named = [TensorSpec("b", (None, 4), "float32"), TensorSpec("a", (None, 3), "float32")]
    assert list(fitted(named, {"a": a, "b": b})) == ["b", "a"]
    renamed = [TensorSpec("x", (None, 3), "float32"), TensorSpec("y", (None, 4), "float32")]
    assert fitted(renamed, {"a": a, "b": b})["y"] is b
    with pytest.raises(UsageError, match="does not show"):
        fitted(renamed, {"b": b, "a": a})
    with pytest.raises(UsageError, match="does not show"):
        fitted(renamed[:1], {"a": a, "b": b})


def test_it_is_what_an_investigation_has_layers_replayed_by() -> None:
    assert examine.replayer(REPLAY) is replay
    assert examine.replayer(None) is None
