"""The search takes the edits that are needed and no others, and says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convfault.localization.case import Case
from convfault.localization.effect import measured
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit, SetParameters
from convfault.relax.graph import Graph, Layer
from convfault.repairing.search import Search
from convfault.repairing.search import search as searched
from tests.localization.pairs import case_of, network


def search(case: Case, suspects: list[Suspect]) -> Search:
    return searched(case, list(zip(suspects, measured(case, suspects).each, strict=True)))


def suspect(edit: Edit | None) -> Suspect:
    return Suspect("parameters", "noise", "It differs.", "Restore it.", edit=edit)


def restoring(graph: Graph, layer: str, *names: str) -> Edit:
    return SetParameters(layer, {name: graph[layer].parameters[name].values for name in names})


def test_only_the_edits_that_matter_are_chosen() -> None:
    sound = network()
    faulty = sound.with_parameters("convolution_2", bias=sound["convolution_2"].parameters["bias"].values + 1)
    harmless = restoring(sound, "convolution_1", "weights")
    found = search(case_of(sound, faulty), [suspect(harmless), suspect(restoring(sound, "convolution_2", "bias"))])
    assert found.solved
    assert found.before.max_abs_error > 0.9
    assert [attempt.accepted for attempt in found.attempts] == [False, True]
    assert found.attempts[0].reason == "the answers agree without it"
    assert len(found.chosen) == 1


def test_faults_that_mask_each_other_are_undone_together() -> None:
    sound = network()
    bias = sound["convolution_1"].parameters["bias"].values
    weights = sound["convolution_1"].parameters["weights"].values
    twice = {"weights": weights * 2, "bias": bias * 2}
    half = sound["convolution_2"].parameters["weights"].values / 2
    both = sound.with_parameters("convolution_1", **twice).with_parameters("convolution_2", weights=half * 1.01)
    edits = [restoring(sound, "convolution_1", "weights", "bias"), restoring(sound, "convolution_2", "weights")]
    found = search(case_of(sound, both), [suspect(edit) for edit in edits])
    assert found.solved
    assert all(attempt.accepted for attempt in found.attempts)


def test_what_cannot_be_undone_is_told() -> None:
    sound = network()
    faulty = sound.with_parameters("convolution_2", bias=np.zeros(8, np.float32))
    found = search(case_of(sound, faulty), [suspect(None), suspect(SetParameters("nobody", {}))])
    assert not found.solved
    assert [attempt.reason for attempt in found.attempts] == [
        "no edit of the graph undoes it",
        "its edit does not fit the target",
    ]


def test_a_target_that_agrees_needs_nothing() -> None:
    sound = network()
    found = search(case_of(sound, sound), [suspect(restoring(sound, "convolution_1", "bias"))])
    assert found.solved
    assert found.chosen == ()


@pytest.mark.parametrize(("share", "kept"), [(0.6, True), (0.1, False)])
def test_an_edit_is_left_out_only_where_that_uses_little_of_the_tolerance(share: float, kept: bool) -> None:
    sound = network()
    bias = sound["convolution_2"].parameters["bias"].values
    large, little = np.zeros_like(bias), np.zeros_like(bias)
    large[0], little[1] = 1.0, share * case_of(sound, sound).tolerances[0]
    faulty = sound.with_parameters("convolution_2", bias=bias + large + little)
    without = sound.with_parameters("convolution_2", bias=bias + little)
    edits = [restoring(without, "convolution_2", "bias"), restoring(sound, "convolution_2", "bias")]
    found = search(case_of(sound, faulty), [suspect(edit) for edit in edits])
    assert found.solved
    assert found.attempts[1].accepted is kept


def test_an_edit_whose_lack_a_sure_softmax_hides_is_needed_all_the_same() -> None:
    plain = network()
    flat = Layer("flat", "reshape", plain.outputs, (1, plain[plain.outputs[0]].shape[1] ** 2 * 8))
    scores = Layer("scores", "softmax", ("flat",), flat.shape, hyperparameters={"axis": 1})
    sound = replace(plain, layers=(*plain.layers, flat, scores), outputs=("scores",))
    weights, bias = (sound["convolution_2"].parameters[name].values for name in ("weights", "bias"))
    sure = sound.with_parameters("convolution_2", weights=weights * 100)
    faulty = sure.with_parameters("convolution_2", bias=bias + np.linspace(0, 1, 8, dtype=np.float32))
    wrong = faulty.with_parameters("convolution_1", weights=-sure["convolution_1"].parameters["weights"].values)
    edits = [restoring(sure, "convolution_1", "weights"), restoring(sure, "convolution_2", "bias")]
    found = search(case_of(sure, wrong), [suspect(edit) for edit in edits])
    assert [attempt.accepted for attempt in found.attempts] == [True, True]
    assert search(case_of(sure, faulty), [suspect(edits[1])]).before.max_abs_error < 1e-5  # not seen in the answers
