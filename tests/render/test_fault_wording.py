"""What localization found, in sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convfault.render import fault_wording
from convfault.render.fault_groups import groups
from convfault.report import Report
from tests import samples
from tests.render import localized
from tests.render.localized import fault, with_faults

NOT_MEASURED = {
    f"{name}_{when}": None for name in ("top1_disagreement", "max_abs_error") for when in ("after", "caused")
}


def effect(*faults: Any, name: str = "caused", **localization: Any) -> tuple[str, ...]:
    report = with_faults(faults, **localization)
    return fault_wording.effect(report, groups(report)[0], name)


def measured(labels: float | None, error: float | None, **more: Any) -> Any:
    figures = {f"top1_disagreement_{when}": labels for when in ("caused", "after")}
    return fault(effect={**figures, **{f"max_abs_error_{when}": error for when in ("caused", "after")}}, **more)


def test_labels_are_counted_where_it_is_known_of_how_many() -> None:
    assert effect(measured(0.25, 0.5)) == ("2 of 8 labels flip", "off by 0.5")
    assert effect(measured(1.0, 0.5), measured_on=1) == ("1 of 1 label flips", "off by 0.5")
    assert effect(measured(0.25, 0.5), measured_on=None) == ("25 % of labels flip", "off by 0.5")


def test_no_flip_is_said_and_models_without_labels_have_none() -> None:
    assert effect(measured(0.0, 0.5)) == ("no label flips", "off by 0.5")
    assert effect(measured(None, 0.5)) == ("off by 0.5",)


def test_alike_faults_have_a_range() -> None:
    found = [measured(rate, error) for rate, error in ((0.5, 0.4), (0.0, 0.1), (0.25, 0.2))]
    assert effect(*found) == ("up to 4 of 8 labels flip", "off by 0.1 to 0.4")
    assert effect(*[measured(0.25, 0.5)] * 3) == ("2 of 8 labels flip", "off by 0.5")


def test_what_was_not_measured_is_no_zero() -> None:
    assert effect(fault(effect=NOT_MEASURED)) == ("not measured",)
    assert effect(fault(effect=NOT_MEASURED), name="after") == ()


def test_an_error_that_is_not_finite_is_told_from_none() -> None:
    assert effect(measured(0.5, None)) == ("4 of 8 labels flip", "NaN or infinite")


@pytest.mark.parametrize(
    ("name", "like", "expected"),
    [
        ("conv5", "", "conv5"),
        ("StatefulPartitionedCall/mobilenet/block_1/convolution", "", "…/block_1/convolution"),
        ("net/bn/add;net/conv_1/Conv2D;net/bn/sub1", "scope/conv_1/Conv2D:0", "net/conv_1/Conv2D …"),
        ("net/bn/add;net/conv_1/Conv2D", "", "net/bn/add …"),
        ("a" * 50, "", "aaaaaaaaaaa…aaaaaaaaaaaa"),
        ("", "", ""),
    ],
)
def test_a_long_name_keeps_what_tells_most(name: str, like: str, expected: str) -> None:
    assert fault_wording.shortened(name, 24, like) == expected


def test_a_place_is_named_on_both_sides_or_on_the_only_one() -> None:
    both = fault(source_location="conv/kernel", target_location="layer4.conv.weight")
    assert fault_wording.place(both) == "conv/kernel → layer4.conv.weight"
    assert fault_wording.place(replace(both, target_location="conv/kernel")) == "conv/kernel"
    assert fault_wording.place(replace(both, target_location=None)) == "conv/kernel (in the source only)"
    assert fault_wording.place(replace(both, source_location=None)) == "layer4.conv.weight (in the target only)"
    assert fault_wording.place(replace(both, source_location=None, target_location=None)) == ""


def test_alike_faults_name_the_worst_three_places() -> None:
    many = [fault(target_location=f"layer_{number}") for number in range(94)]
    assert fault_wording.places(groups(with_faults(many))[0]) == "layer_0, layer_1, layer_2 and 91 more"
    assert fault_wording.places(groups(with_faults(many[:3]))[0]) == "layer_0, layer_1, layer_2"


def test_all_undone_the_target_answers_or_something_is_left() -> None:
    left = {"max_abs_error_left": 1e-9, "top1_disagreement_left": 0.0}
    healed = with_faults([measured(0.5, 1.0)] * 2, **left)
    assert fault_wording.left(healed) == "With all of them undone the target answers as the source does (off by 1e-09)."
    some = with_faults([measured(0.5, 1.0)], max_abs_error_left=0.3, top1_disagreement_left=0.25)
    words = "With it undone the target is still off by 0.3; 2 of 8 labels flip: the faults named are not all."
    assert fault_wording.left(some) == words
    assert "still NaN or infinite" in fault_wording.left(
        with_faults([measured(0.5, 1.0)], max_abs_error_left=None, top1_disagreement_left=0.5)
    )
    assert fault_wording.left(with_faults([fault(effect=NOT_MEASURED)], **left)) == "", "nothing could be undone"


def test_models_that_differ_without_a_fault_are_said_to_with_what_to_try() -> None:
    words = fault_wording.nothing(localized.unexplained())
    assert words.startswith("The models differ, but layer by layer no difference was found that explains it. Try more")
    assert "--dst-runtime tvm" in fault_wording.nothing(localized.unexplained("runtime"))
    unknown = [{"side": "target", "node": "x", "operator": "Foo", "reason": "unknown"}]
    report = localized.unexplained(unsupported=unknown)
    assert "operators below" in fault_wording.nothing(report)
    assert fault_wording.unknown(report) == ("1 operator unknown to convfault, not compared: Foo in the target.",)


@pytest.mark.parametrize("make", [localized.several, localized.harmless, samples.differing, samples.agreeing])
def test_with_a_fault_or_agreement_or_without_localization_nothing_is_to_be_tried(make: Any) -> None:
    assert fault_wording.nothing(make()) == ""


@pytest.mark.parametrize("make", [samples.differing, samples.agreeing])
def test_layers_that_could_not_be_compared_say_why(make: Any) -> None:
    report = replace(make(), localization={"refused": "a Lambda layer needs --trust"})
    assert fault_wording.lines(report) == ("The layers could not be compared: a Lambda layer needs --trust",)


def test_blame_names_who_and_its_figures() -> None:
    assert fault_wording.blame(localized.several()) == (
        "The conversion is to blame: the two models are not the same (run alike by TVM they are 0.4 apart, "
        "the source's runtime and TVM 2e-06, the target's runtime and TVM 3e-06)."
    )
    lone = replace(samples.differing(), attribution={"blame": "runtime", "tvm_vs_tvm": None})
    assert fault_wording.blame(lone).endswith("one is not computed as it says.")
    assert fault_wording.blame(replace(lone, attribution={"blame": None})) == ""
    assert fault_wording.blame(samples.differing()) == ""


def test_alignment_counts_the_layers() -> None:
    assert fault_wording.aligned(localized.rounded()) == "19 of 19 layers aligned."
    assert fault_wording.aligned(localized.several()) == "18 layers aligned, of 19 in the source and 18 in the target."
    assert fault_wording.aligned(samples.differing()) == ""


def test_the_first_layer_that_diverges_is_named_and_a_sound_network_has_none() -> None:
    assert fault_wording.first_divergent(localized.several()).startswith("The first layer that diverges is pool")
    assert fault_wording.first_divergent(localized.unexplained()) == ""


def test_another_shape_is_a_divergence_only_where_the_models_differ() -> None:
    found = localized.unexplained()
    steps = [{**step, "divergent": False, "problem": None} for step in (found.localization or {})["divergence"]]
    found = replace(found, localization={"divergence": [*steps[:-1], {**steps[-1], "problem": "shape"}]})
    assert fault_wording.first_divergent(found).endswith("of another shape.")
    assert fault_wording.first_divergent(replace(found, comparison=samples.agreeing().comparison)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("insert the node", "Insert the node."),
        ("tf2onnx drops it", "tf2onnx drops it."),
        ("Done.", "Done."),
        ("", ""),
    ],
)
def test_advice_is_a_sentence(text: str, expected: str) -> None:
    assert fault_wording.punctuated(text) == expected


@pytest.mark.parametrize("make", [samples.agreeing, samples.differing, samples.crashing, samples.broken])
def test_a_report_without_localization_says_nothing_of_layers(make: Any) -> None:
    report: Report = make()
    assert fault_wording.lines(report) == ()
    assert fault_wording.heading(report) == ""
