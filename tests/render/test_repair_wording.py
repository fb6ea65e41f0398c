"""What a repair came to, in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from convfault import report as reports
from convfault.render import repair_groups, repair_wording
from convfault.report import Report
from tests import samples
from tests.render import mended


@pytest.mark.parametrize(
    ("make", "word", "code", "ending"),
    [
        (mended.whole, "REPAIRED", 0, "The repaired file answers as the source does."),
        (mended.labels, "REPAIRED", 0, "is still quantized and gives the source's top label on every picture."),
        (mended.rerouted, "REPAIRED", 0, "could not convert onnx to torch. The repaired file answers as the source"),
        (mended.improved, "IMPROVED, NOT REPAIRED", 1, "nearer to the source, but it gives another top label on 3"),
        (mended.failed, "NOT REPAIRED", 1, "Of 3 edits tried none helps: nothing was written."),
        (mended.worse, "NOT REPAIRED", 1, "The file that was written is no better: it cannot be run."),
        (mended.needless, "AGREE", 0, "There is nothing to repair."),
    ],
)  # fmt: skip
def test_each_outcome_has_its_words_and_its_exit_code(make: Any, word: str, code: int, ending: str) -> None:
    banner = repair_wording.banner(make())
    assert banner.word == word
    assert ending in banner.headline
    assert make().exit_code == code


@pytest.mark.parametrize("make", [samples.agreeing, samples.differing, samples.crashing, samples.broken])
def test_without_a_repair_the_verdict_stands_at_the_top(make: Any) -> None:
    report = make()
    assert not repair_wording.tried(report)
    assert repair_wording.banner(report).state == report.comparison.verdict


def test_a_repair_that_tried_nothing_says_so() -> None:
    report = replace(samples.differing(), command="repair")
    assert repair_wording.headline(report).endswith("There was no edit to try: nothing was written.")


def test_edits_that_did_not_hold_up_are_not_said_to_help() -> None:
    report = replace(mended.whole(), repaired=None)
    assert repair_wording.headline(report).endswith(
        "No edit held up in a file that was written and run: nothing was kept."
    )


@pytest.mark.parametrize("rate", [43 / 320, 60 / 320])
def test_a_file_that_is_no_nearer_is_no_improvement(rate: float) -> None:
    comparison = replace(samples.differing().comparison, top1_disagreement=rate)
    report = mended.with_repaired(mended.improved(), comparison=comparison.to_record())
    assert repair_wording.banner(report).word == "NOT REPAIRED"


def test_without_labels_nearer_values_are_an_improvement() -> None:
    def unlabelled(error: float | None) -> Any:
        return replace(samples.differing().comparison, top1_disagreement=None, max_abs_error=error)

    report = replace(mended.improved(), comparison=unlabelled(None))
    report = mended.with_repaired(report, comparison=unlabelled(0.02).to_record())
    banner = repair_wording.banner(report)
    assert banner.word == "IMPROVED, NOT REPAIRED"
    assert "its values are off by up to 0.02 over 320 pictures" in banner.headline


def test_the_proof_on_pictures_held_out_is_a_sentence_and_its_twin_a_warning() -> None:
    sound, broken = mended.whole(), mended.unproven()
    assert repair_wording.held_out(sound) == (
        "On 160 pictures that the repair did not look at, the repaired file gives the source's top label on every one "
        "and is off by 2.4e-07 at most."
    )
    assert repair_wording.held_out(broken).endswith(
        "gives another top label on 1 and is off by 0.024 at most: the repair does not hold for other pictures."
    )
    assert (repair_wording.holds(sound), repair_wording.holds(broken)) == (True, False)
    assert repair_wording.headline(broken).endswith("on every picture. On pictures held out it does not.")


def test_nothing_is_claimed_where_no_picture_was_held_out() -> None:
    report = mended.with_repaired(mended.whole(), held_out=None)
    assert repair_wording.held_out(report) == ""
    assert repair_wording.held_out(mended.failed()) == ""


def test_the_line_that_repeats_the_repair_can_be_copied_into_a_shell() -> None:
    report = mended.with_repaired(mended.whole(), patch="a patch.json", path="out/it's.tflite")
    own = replace(report, target={**report.target, "path": "model.tflite"}, route=())
    line = repair_wording.replay(own)
    assert line == """convfault apply 'a patch.json' model.tflite --out 'out/it'"'"'s.tflite'"""
    assert " TARGET " in repair_wording.replay(replace(own, route=mended.rerouted().route)), "what is in the cache"
    assert repair_wording.replay(mended.rerouted()) == ""


def test_figures_before_and_after_stand_side_by_side() -> None:
    rows = {row.name: row for row in repair_groups.rows(mended.labels())}
    labels, accuracy, size = rows["top-1 disagreement"], rows["top-1 accuracy"], rows["file size"]
    assert (labels.before, labels.after, labels.note, labels.state) == ("13.4 %", "0 %", "43 of 320 → 0 of 320", "good")
    assert (accuracy.before, accuracy.after, accuracy.note) == ("80 %", "93.4 %", "the source has 93.4 %")
    assert (size.before, size.after, size.note) == ("24.1 MB", "32.2 MB", "+33.6 %, everything restored: 95.3 MB")
    assert rows["max abs error"].state == "", "values may be off where only labels are asked for"


def test_what_is_still_off_is_marked() -> None:
    states = {row.name: row.state for row in repair_groups.rows(mended.improved())}
    assert states["top-1 disagreement"] == "bad"
    assert states["top-1 accuracy"] == "bad"
    assert states["max abs error"] == states["top-5 disagreement"] == "", "only the labels were to be mended"


@pytest.mark.parametrize("make", [mended.failed, mended.needless])
def test_there_is_no_after_where_nothing_was_mended(make: Any) -> None:
    assert repair_groups.rows(make()) == ()


def test_alike_changes_are_one_row() -> None:
    weights, padding, operator = repair_groups.changes(mended.whole())
    assert (weights.title, weights.values) == ("weights of 94 layers", "int8, by channel → float32")
    assert weights.places.endswith("and 91 more")
    assert (padding.title, padding.values, padding.places) == ("padding", "[0, 1, 0, 1] → [1, 0, 1, 0]", "pool_2")
    assert operator.values == "added: RELU"


def test_alike_changes_with_values_of_their_own_name_the_first() -> None:
    changes = [{"place": f"conv_{n}", "attribute": "stride", "before": n, "after": 1} for n in range(3)]
    (found,) = repair_groups.changes(mended.with_repaired(mended.whole(), changes=changes))
    assert (found.title, found.values) == ("stride of 3 layers", "such as 0 → 1")


def test_edits_are_one_row_where_strategy_reason_and_round_are_alike() -> None:
    (kept,) = repair_groups.edits(mended.labels(), accepted=True)
    (left_out,) = repair_groups.edits(mended.labels(), accepted=False)
    assert kept.title == "9 edits, such as: restore weights of inception_v3/conv2d_0/Conv2D"
    assert (kept.cost, left_out.cost) == ("adds 180.0 kB", "would add 17.7 MB")
    assert left_out.faults == "F10, F11, F12 and 82 more"
    first, second, other = repair_groups.edits(mended.failed(), accepted=False)
    assert first.reason == second.reason != other.reason


@pytest.mark.parametrize(
    ("error", "rate", "words"),
    [
        (0.5, 0.0, "no label flips; off by 0.5"),
        (0.5, None, "off by 0.5"),
        (None, 0.25, "25 % of labels flip; NaN or infinite"),
        (None, None, ""),
    ],
)
def test_what_an_edit_leaves_is_said_as_far_as_it_is_known(error: float | None, rate: float | None, words: str) -> None:
    assert repair_wording.left(error, rate) == words


def test_a_long_curve_is_shown_by_its_ends_the_choice_and_some_between() -> None:
    points = [mended.point(number, number, 0.0, 0.0, number == 31) for number in range(60)]
    shown = [point["restored"] for point in repair_groups.some(points, 8)]
    assert shown == sorted(shown)
    assert {0, 31, 59} <= set(shown)
    assert len(shown) <= 8


@pytest.mark.parametrize("make", mended.ALL)
def test_a_report_of_a_repair_fits_the_schema_and_reads_back(make: Any) -> None:
    record = json.loads(json.dumps(make().to_record(), allow_nan=False))
    assert reports.invalid(record) is None
    again = Report.from_record(record)
    assert again.to_record() == make().to_record()
    assert again.verified == make().verified


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("goal", "perfect"),
        ("reached", None),
        ("curve", [{}]),
        ("changes", ["weights"]),
        ("held_out", {}),
        ("notes", ""),
    ],
)
def test_a_damaged_result_does_not_fit_the_schema(key: str, value: Any) -> None:
    assert key in str(reports.invalid(mended.with_repaired(mended.labels(), **{key: value}).to_record()))
