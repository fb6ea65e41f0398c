"""What undoing a fault, and leaving it alone, does to the answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convfault.localization import effect
from convfault.localization.answers import Answer, Deviation, deviation
from convfault.localization.case import Case
from convfault.localization.effect import measured
from convfault.localization.faults import ranked
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Remove, SetHyperparameters, SetParameters
from convfault.relax.graph import Graph
from tests.localization.pairs import case_of, network, weights


def suspect(layer: str, name: str, graph: Graph) -> Suspect:
    """A wrong parameter, with the edit that gives it the source's value."""
    edit = SetParameters(layer, {name: graph[layer].parameters[name].values})
    return Suspect("parameters", "noise", "It is wrong.", "Restore it.", layer, layer, name, edit=edit)


def spoilt(source: Graph, **scales: float) -> Case:
    """The bias of some layers, multiplied."""
    target = source
    for layer, scale in scales.items():
        target = target.with_parameters(layer, bias=source[layer].parameters["bias"].values * np.float32(scale))
    return case_of(source, target)


def test_undoing_the_only_fault_leaves_no_error() -> None:
    source = network()
    found = measured(spoilt(source, convolution_2=3.0), [suspect("convolution_2", "bias", source)])
    assert found.before.max_abs_error > 0.1
    assert found.each[0].after == Deviation(0.0, None)
    assert found.each[0].caused is not None
    assert found.each[0].caused.max_abs_error == pytest.approx(found.before.max_abs_error, rel=1e-5)
    assert found.left.max_abs_error == 0


def test_every_suspect_is_counted_once_it_is_done() -> None:
    source = network()
    first, second = (suspect(name, "bias", source) for name in ("convolution_1", "convolution_2"))
    steps: list[int] = []
    measured(spoilt(source, convolution_2=3.0), [first, second, replace(first, edit=None)], steps.append)
    assert steps == sorted(steps)
    assert steps[-1] == 3


def test_a_suspect_that_is_none_causes_nothing() -> None:
    source = network()
    case = spoilt(source, convolution_2=3.0)
    innocent = suspect("convolution_1", "bias", source)
    found = measured(case, [innocent, suspect("convolution_2", "bias", source)])
    assert found.each[0].caused == Deviation(0.0, None)
    assert found.each[0].after == found.before
    faults = ranked(case, [innocent, suspect("convolution_2", "bias", source)], found)
    assert [fault.harmless for fault in faults] == [False, True]


def test_faults_that_mask_each_other_are_both_found() -> None:
    """Two opposite shifts in a row: undoing either alone makes it worse, and yet each of them is a fault."""
    source = network()
    bias = source["convolution_2"].parameters["bias"].values
    doubled = source.with_parameters("convolution_2", weights=-weights(source), bias=-bias)
    target = doubled.with_parameters("convolution_1", weights=-weights(source, layer="convolution_1"))
    wrong = [suspect("convolution_2", "weights", source), suspect("convolution_1", "weights", source)]
    wrong.append(suspect("convolution_2", "bias", source))
    case = case_of(source, target)
    found = measured(case, wrong)
    assert found.left.max_abs_error == 0
    assert not any(fault.harmless for fault in ranked(case, wrong, found))


@pytest.mark.parametrize(("back", "harmless"), [(0.5, True), (0.4, False)])
def test_differences_that_make_up_for_each_other_are_harmless_together(back: float, harmless: bool) -> None:
    """Twice as much before a clip at zero, and half as much behind it: another way to say the same."""
    source = network()
    half = source.with_parameters("convolution_2", weights=weights(source) * np.float32(back))
    bias = source["convolution_1"].parameters["bias"].values
    twice = {"weights": 2 * weights(source, layer="convolution_1"), "bias": 2 * bias}
    case = case_of(source, half.with_parameters("convolution_1", **twice))
    differing = [("convolution_1", "weights"), ("convolution_1", "bias"), ("convolution_2", "weights")]
    suspects = [suspect(layer, name, source) for layer, name in differing]
    suspects.append(replace(suspects[0], edit=None))
    found = ranked(case, suspects, measured(case, suspects))
    assert [fault.harmless for fault in found] == [harmless] * 4


def test_the_worse_fault_ranks_first() -> None:
    source = network()
    case = spoilt(source, convolution_1=1.01, convolution_2=9.0)
    suspects = [suspect("convolution_1", "bias", source), suspect("convolution_2", "bias", source)]
    assert [fault.target_location for fault in ranked(case, suspects, measured(case, suspects))] == ["bias", "bias"]
    assert ranked(case, suspects, measured(case, suspects))[0].effect["max_abs_error_caused"] > 1


def test_a_suspect_that_no_edit_undoes_is_listed_without_an_effect() -> None:
    source = network()
    case = spoilt(source, convolution_2=3.0)
    told = Suspect("tool", "option", "An option changes values.", "Leave it out.")
    found = measured(case, [told])
    assert found.each[0].after is None
    fault = ranked(case, [told], found)[0]
    assert fault.effect["max_abs_error_after"] is None
    assert not fault.harmless


def test_an_edit_that_does_not_fit_is_no_edit() -> None:
    source = network()
    assert effect.usable(Remove("nowhere", ()), source) is None
    assert effect.usable(Remove("clip_1", ("convolution_2",)), source) is not None


def test_an_edit_that_breaks_what_is_behind_it_explains_nothing() -> None:
    source = network()
    case = spoilt(source, convolution_2=3.0)
    broken = Suspect(
        "hyperparameters", "strides", "", "", edit=SetHyperparameters("convolution_2", {"strides": (2, 2)})
    )
    assert measured(case, [broken]).each[0].after == Deviation(float("inf"), None)


def test_with_a_small_budget_the_worst_picture_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    source = network()
    case = spoilt(source, convolution_2=3.0)
    whole = measured(case, [suspect("convolution_2", "bias", source)])
    monkeypatch.setattr(effect, "BUDGET", 0.0)
    quick = measured(case, [suspect("convolution_2", "bias", source)])
    assert (whole.pictures, quick.pictures) == (2, 1)
    assert quick.before == whole.before


def test_other_top_labels_are_counted_and_nan_is_beyond_any_number() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
    turned, plain = scores[:, ::-1].copy(), Answer(scores)
    assert deviation([Answer(turned)], [plain]).top1_disagreement == 1.0
    assert deviation([plain], [plain]) == Deviation(0.0, 0.0)
    turned[0, 0] = np.nan
    assert deviation([Answer(turned)], [plain]).max_abs_error == np.inf
    assert deviation([plain], [plain, plain]).max_abs_error == np.inf
    assert deviation([plain, plain], [plain]).max_abs_error == np.inf
