"""JUnit XML as CI systems read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from convfault.render import junit
from tests import samples
from tests.render import localized, mended

SAMPLES = [
    *(samples.agreeing, samples.differing, samples.crashing, samples.broken, samples.hostile, samples.repaired),
    *localized.ALL,
    *mended.ALL,
]

GRAMMAR: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": ({"name", "classname", "time"}, {"name"}, {"skipped", "error", "failure", "system-out"}),
    "skipped": ({"message"}, set(), set()),
    "error": ({"message", "type"}, set(), set()),
    "failure": ({"message", "type"}, set(), set()),
    "system-out": (set(), set(), set()),
}
"""Of each element: the attributes allowed, those needed, the children. A part of what Jenkins' junit-10.xsd allows."""


def read(*reports: Any) -> ElementTree.Element:
    return ElementTree.fromstring(junit.document(*reports).encode())


def outcomes(root: ElementTree.Element) -> list[str]:
    kinds = ("failure", "error", "skipped")
    return [next((kind for kind in kinds if case.find(kind) is not None), "passed") for case in root.iter("testcase")]


@pytest.mark.parametrize("make", SAMPLES)
def test_the_document_keeps_to_the_grammar(make: Any) -> None:
    for element in read(make()).iter():
        allowed, needed, children = GRAMMAR[element.tag]
        assert needed <= set(element.attrib) <= allowed
        assert {child.tag for child in element} <= children


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (samples.agreeing, ["passed", "passed"]),
        (samples.differing, ["passed", "failure"]),
        (samples.crashing, ["passed", "error", "skipped"]),
        (samples.repaired, ["passed", "passed", "passed"]),
        (mended.labels, ["passed", "passed", "passed"]),
        (mended.improved, ["passed", "failure", "failure", "failure", "failure"]),
        (mended.failed, ["passed", "failure", "failure", "failure", "failure"]),
        (mended.needless, ["passed", "passed", "skipped"]),
        (mended.rerouted, ["passed", "skipped", "passed", "passed"]),
        (localized.several, ["passed", "failure", "failure", "failure", "failure"]),
        (localized.rounded, ["passed", "failure", "failure"]),
        (localized.harmless, ["passed", "passed"]),
        (localized.unexplained, ["passed", "failure"]),
    ],
)
def test_each_hop_and_the_comparison_has_its_outcome(make: Any, expected: list[str]) -> None:
    assert outcomes(read(make())) == expected


def test_a_target_that_cannot_be_run_is_an_error_of_the_comparison() -> None:
    report = replace(samples.crashing(), route=samples.agreeing().route)
    assert outcomes(read(report)) == ["passed", "error"]


def test_totals_count_the_cases() -> None:
    root = read(samples.crashing())
    for element in (root, root[0]):
        assert [element.get(name) for name in ("tests", "failures", "errors")] == ["3", "0", "1"]
    assert root[0].get("skipped") == "1"
    assert root[0].get("timestamp") == "2026-01-05T10:30:00"


def test_a_failure_carries_the_reasons_and_the_figures() -> None:
    case = read(samples.differing()).findall(".//testcase")[-1]
    failure, output = case.find("failure"), case.find("system-out")
    assert failure is not None
    assert failure.get("message") == "The target gives another top label on 43 of 320 pictures."
    assert "off by up to 0.213" in str(failure.text)
    assert output is not None
    assert "top-1 disagreement: 13.4 % 43 of 320" in str(output.text)


def test_a_crash_carries_the_words_of_the_tool_and_its_log() -> None:
    error = read(samples.crashing()).find(".//error")
    assert error is not None
    assert error.get("message") == "No Adapter to version 17 for ReduceMean"
    assert str(error.text).endswith("RuntimeError: No Adapter to version 17 for ReduceMean")


def test_a_fault_is_a_failing_case_named_by_its_cause_and_place() -> None:
    *_, case = read(localized.several()).findall(".//testcase")
    failure = case.find("failure")
    assert failure is not None
    assert case.get("name") == "graph fault missing_node at relu2"
    assert failure.get("type") == "graph.missing_node"
    assert str(failure.get("message")).startswith("node missing: The source's ReLU 'relu2' is missing in the target")
    assert "causes alone: " in str(failure.text)


def test_alike_faults_are_one_case_with_all_places_whose_name_has_no_figures() -> None:
    *_, case = read(localized.rounded()).findall(".//testcase")
    assert case.get("name") == "parameters fault int8_rounding"
    assert {"conv1", "head"} <= set(str(case.find("failure").text).splitlines())  # type: ignore[union-attr]


def test_the_name_of_a_tools_case_holds_no_release_and_no_file() -> None:
    option = localized.fault(
        kind="tool", cause="option", attribute="optimizations", target_location="/tmp/a1b2/x.tflite"
    )
    *_, case = read(localized.with_faults([option])).findall(".//testcase")
    assert case.get("name") == "tool fault option at optimizations"


def test_names_of_cases_survive_a_new_version_of_the_tool() -> None:
    old = samples.differing()
    new = replace(old, route=({**old.route[0], "tool_version": "9.9"},), dataset={**old.dataset, "name": "/tmp/other"})
    assert _names(read(old)) == _names(read(new))


def test_many_reports_become_one_suite_with_distinct_cases() -> None:
    root = read(samples.agreeing(), samples.crashing())
    assert len(root) == 1
    assert root.get("tests") == "5"
    assert len(set(_names(root))) == 5


def test_a_cached_conversion_took_no_time() -> None:
    report = samples.agreeing()
    cached = replace(report, route=({**report.route[0], "cached": True},))
    assert read(cached).find(".//testcase").get("time") == "0.000"  # type: ignore[union-attr]


def _names(root: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    return [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
