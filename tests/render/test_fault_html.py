"""The faults on the page: rows, drawings, evidence, what is known of a cause."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from convfault import report as reports
from convfault.render import html
from convfault.report import Report
from tests import samples
from tests.render import localized
from tests.render.localized import fault, with_faults
from tests.render.test_html import Page


def page(report: Report) -> Page:
    return Page(html.page(report))


def headings(found: Page) -> list[str]:
    return [attributes.get("aria-label") or "" for _, attributes in found.elements if "aria-label" in attributes]


def test_every_fault_is_a_row_that_leads_to_its_details() -> None:
    found = page(localized.several())
    anchors = [f"fault-{number}" for number in (1, 2, 3)]
    assert [link.removeprefix("#") for link in found.attributes("href") if link.startswith("#fault")] == anchors
    assert set(anchors) <= set(found.attributes("id"))
    assert "weights differ without a pattern conv5 1 of 4 labels flip" in found.words


def test_a_fault_has_its_cause_evidence_and_what_is_known_of_it() -> None:
    words = page(localized.several()).words
    for expected in (
        "What it finds A node of the source has no counterpart in the target.",
        "How it arises A converter leaves out an operator that it takes for a no-op or does not know.",
        "Example A ReLU after an addition that was lost in a fusion.",
        "How it is repaired Insert the node at its place in the target.",
        "The source's ReLU 'relu2' is missing in the target",
        "relative error",
        "confidence 100 %",
    ):
        assert expected in words
    assert "channel relative error" in words, "a small table of the worst channels"


def test_faults_are_drawn_along_the_network_in_their_surroundings_and_by_their_weights() -> None:
    ids = page(localized.several()).attributes("id")
    drawn = {"divergence-title", "graph-1-title", "graph-2-title", "graph-3-title", "heat-1-title", "histogram-1-title"}
    assert drawn <= set(ids)
    assert "heat-2-title" not in ids, "only parameters have values to draw"


def test_alike_faults_are_folded_and_listed_once() -> None:
    found = page(localized.rounded())
    assert "6 layers: weights rounded to int8" in found.words
    assert "All 6 layers" in found.words
    assert found.words.count("Convert without optimizations (quantization), or keep these layers") == 2, (
        "and its cause's"
    )
    assert [tag for tag, _ in found.elements].count("article") == 1 + len(samples.PICTURES)


def test_harmless_differences_fold_into_one_line() -> None:
    found = page(localized.harmless())
    assert "6 differences without effect: weights rounded to int8 (6)." in found.words
    assert not [name for name in found.attributes("id") if name.startswith("fault")]
    assert "Layer by layer" in found.words


def test_a_difference_without_a_fault_says_so() -> None:
    assert "no difference was found that explains it" in page(localized.unexplained()).words


@pytest.mark.parametrize("make", [samples.agreeing, samples.differing, samples.crashing, samples.broken])
def test_a_report_without_localization_has_no_such_sections(make: Any) -> None:
    found = page(make())
    assert not {"faults", "plot of the errors along the network"} & set(headings(found))
    assert not {"Faults", "Along the network", "One by one"} & set(found.text.split("\n"))


def test_a_fault_of_an_older_report_is_shown_without_drawings() -> None:
    found = page(samples.repaired())
    assert "fault-2" in found.attributes("id")
    assert "About this cause" not in found.words
    assert not [name for name in found.attributes("id") if name.startswith(("graph", "heat", "divergence"))]


def test_places_and_evidence_cannot_become_markup() -> None:
    text = html.page(localized.hostile())
    found = Page(text)
    assert "<script" not in text
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in found.text


def test_evidence_of_any_shape_can_be_shown() -> None:
    evidence = {"a": None, "b": [], "c": {}, "d": [[1, 2], [3]], "e": {"f": {"g": [1]}}, "h": [{"i": 1}, {"j": [2]}],
                "k": ["x"] * 40, "l": True, "m": [{"n": 1}, 2], "o": "NaN"}  # fmt: skip
    words = page(with_faults([fault(evidence=evidence)])).words
    assert "o NaN" in words
    assert "g 1" in words


def test_what_cannot_be_placed_is_not_drawn() -> None:
    found = localized.several()
    lost = replace(found.faults[0], evidence={**found.faults[0].evidence, "layers": {"source": "nowhere"}})
    assert "graph-1-title" in page(replace(found, faults=(lost, *found.faults[1:]))).attributes("id")


@pytest.mark.parametrize("make", localized.ALL)
def test_a_report_comes_back_from_json_and_looks_the_same(make: Any) -> None:
    found = make()
    record = found.to_record()
    assert reports.invalid(record) is None
    again = replace(Report.from_record(json.loads(json.dumps(record, allow_nan=False))), thumbnails=found.thumbnails)
    assert html.page(again) == html.page(found)
