"""The result of a repair on the page, and its curve."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from convfault.render import html, junit, repair_plot
from convfault.report import Report
from tests import samples
from tests.render import mended
from tests.render.test_html import Page


def page(report: Report) -> Page:
    return Page(html.page(report))


def test_the_result_stands_above_what_was_found() -> None:
    words = page(mended.labels()).words
    headings = ("REPAIRED", "top-1 disagreement 13.4 % → 0 %", "On pictures held out", "The repaired file path",
                "File size against disagreement", "What was changed", "Edits that were tried",
                "Before the repair: the target as it came", "Why it differed", "Faults")  # fmt: skip
    places = [words.index(heading) for heading in headings]
    assert places == sorted(places)


def test_the_whole_list_of_changes_and_edits_is_folded_away() -> None:
    found = page(mended.whole())
    assert "weights of 94 layers int8, by channel → float32" in found.words
    assert "All 96 changes" in found.words
    assert "All 94 edits" in found.words
    assert found.words.count("inception_v3/conv2d_93/Conv2D") == 2, "once among the changes, once among the edits"


def test_long_names_are_cut_on_the_page_and_whole_in_their_title() -> None:
    name = "restore weights of " + "inception/branch_" * 30
    report = mended.failed()
    text = html.page(replace(report, repairs=({**report.repairs[0], "edit": name},)))
    assert re.search(r"\.cut \{[^}]*line-clamp", text)
    assert f'<span class="edit cut" title="{name}">' in text


def test_the_page_tells_where_the_file_is_and_how_to_repeat_it() -> None:
    words = page(mended.whole()).words
    assert "path repaired.tflite framework tflite · tflite size 96.0 MB" in words
    assert "convfault apply repaired.patch.json TARGET --out repaired.tflite" in words


def test_a_repair_that_fell_short_is_no_success_in_colour_or_words() -> None:
    found = page(mended.improved())
    assert "banner improved" in found.attributes("class")
    assert "card proof fails" in found.attributes("class")
    assert "IMPROVED, NOT REPAIRED" in found.words
    assert "The file that was written" in found.words
    assert "The repaired file path" not in found.words


def test_where_nothing_was_written_the_target_is_shown_as_it_came() -> None:
    found = page(mended.failed())
    assert "banner failed" in found.attributes("class")
    assert "top-1 disagreement 13.4 % 43 of 320" in found.words
    assert "Before the repair" not in found.words
    assert not {"repair-curve-title", "repaired-histogram-title"} & set(found.attributes("id"))


def test_the_curve_names_the_choice_and_the_full_size() -> None:
    drawing = repair_plot.curve(mended.curve())
    ElementTree.fromstring(drawing)
    assert "chosen: 9 layers restored, 32.2 MB" in drawing
    assert "everything restored 95.3 MB" in drawing
    assert "Chosen: with 9 layers restored 32.2 MB, no label flips" in drawing
    assert not re.search(r"(fill|stroke): #", drawing)
    assert repair_plot.curve(mended.curve()) == drawing


def test_models_without_labels_are_drawn_by_their_error() -> None:
    points = [{**point, "top1_disagreement": None} for point in mended.curve()]
    drawing = repair_plot.curve(points)
    assert "max abs error" in drawing
    assert "labels flip" not in drawing


@pytest.mark.parametrize(
    "points",
    [
        [],
        [mended.point(0, 10, 0.5, 0.1)],
        [mended.point(0, 10, None, None), mended.point(1, 20, None, None)],
    ],
)
def test_what_makes_no_line_is_not_drawn(points: list[dict[str, object]]) -> None:
    assert repair_plot.curve(points) == ""


def test_a_full_size_that_was_not_run_is_still_a_line() -> None:
    points = [*mended.curve()[:-1], mended.point(94, 95_260_884, None, None)]
    assert "everything restored 95.3 MB" in repair_plot.curve(points)


def test_files_of_one_size_without_any_flip_can_be_drawn() -> None:
    assert "<svg" in repair_plot.curve([mended.point(0, 10, 0.0, 0.0, True), mended.point(1, 10, 0.0, 0.0)])


def test_names_cannot_become_markup() -> None:
    text = html.page(mended.hostile())
    assert "<script" not in text
    assert not [name for _, attributes in Page(text).elements for name in attributes if name.startswith("on")]
    text.encode()


def case(report: Report) -> ElementTree.Element:
    root = ElementTree.fromstring(junit.document(report).encode())
    return next(item for item in root.iter("testcase") if item.get("name") == "repaired file agrees")


def test_a_case_passes_with_its_figures_and_what_was_left_out() -> None:
    found = case(mended.whole())
    assert found.find("failure") is None
    said = str(found.findtext("system-out"))
    assert "top-1 disagreement: 13.4 % → 0 %" in said
    assert "left out: restore padding of conv_5: Its edit does not fit the target." in said
    assert "changed: weights of 94 layers int8, by channel → float32" in said


@pytest.mark.parametrize("make", [mended.improved, mended.failed, mended.worse])
def test_a_case_fails_where_the_goal_was_not_reached(make: object) -> None:
    failure = case(make()).find("failure")  # type: ignore[operator]
    assert failure is not None
    assert failure.get("type") == "not-repaired"
    assert str(failure.get("message")).startswith("The target gave another top label on 43 of 320 pictures.")


def test_a_comparison_alone_has_no_such_case() -> None:
    assert "repaired file agrees" not in junit.document(samples.differing())
    assert "repaired file agrees" in junit.document(replace(samples.differing(), command="repair"))
