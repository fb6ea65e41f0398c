"""A matrix and a regression as CI systems read them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from convfault.matrix.cells import DEFECT
from convfault.matrix.regress import compare
from convfault.render import matrix_junit
from tests import matrix_samples
from tests.render.test_junit import GRAMMAR, outcomes

DOCUMENTS = [
    lambda: matrix_junit.document(matrix_samples.full()),
    lambda: matrix_junit.document(matrix_samples.own()),
    lambda: matrix_junit.document(matrix_samples.empty()),
    lambda: matrix_junit.document(matrix_samples.hostile()),
    lambda: matrix_junit.document(matrix_samples.namesakes()),
    lambda: matrix_junit.regression_document(matrix_samples.regressed()),
]


def read(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


@pytest.mark.parametrize("make", DOCUMENTS)
def test_the_document_keeps_to_the_grammar(make: Any) -> None:
    for element in read(make()).iter():
        allowed, needed, children = GRAMMAR[element.tag]
        assert needed <= set(element.attrib) <= allowed
        assert {child.tag for child in element} <= children


@pytest.mark.parametrize("make", DOCUMENTS)
def test_no_two_cases_have_one_name(make: Any) -> None:
    cases = [(case.get("classname"), case.get("name")) for case in read(make()).iter("testcase")]
    assert len(set(cases)) == len(cases)


def test_each_cell_has_its_outcome() -> None:
    root = read(matrix_junit.document(matrix_samples.full()))
    assert Counter(outcomes(root)) == {"passed": 31, "failure": 9, "error": 20, "skipped": 3}
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["63", "9", "20"]
    assert {error.get("type") for error in root.iter("error")} == {"crash", "timeout", "memory", "defect"}


def test_an_error_carries_the_message_the_cause_and_the_log() -> None:
    error = read(matrix_junit.document(matrix_samples.full())).find(".//error")
    assert error is not None
    assert str(error.get("message")).startswith("Requested the deserialization of a `Lambda` layer")
    assert str(error.text).startswith("onnx2keras: Lambda layer cannot be read back (load)\nTraceback")


def test_a_failure_says_what_differs() -> None:
    root = read(matrix_junit.document(matrix_samples.full()))
    case = next(case for case in root.iter("testcase") if case.find("failure") is not None)
    assert str(case.find("failure").get("message")).startswith("output 'predictions' is off by")  # type: ignore[union-attr]
    assert "48 % of the top labels differ" in str(case.findtext("system-out"))


def test_a_cell_that_was_there_already_took_no_time() -> None:
    matrix = matrix_samples.agreeing()
    times = [
        float(read(matrix_junit.document(matrix.with_outcomes([replace(outcome, cached=cached)]))).get("time", "nan"))
        for outcome in matrix.outcomes
        for cached in (False, True)
    ]
    assert times == [18.0, 0.0]


def test_a_regression_fails_only_for_alarms() -> None:
    root = read(matrix_junit.regression_document(matrix_samples.regressed()))
    kinds = sorted(str(failure.get("type")) for failure in root.iter("failure"))
    assert kinds == ["missing", "newly_crashing", "worse"]
    skipped = [
        case.find("skipped").get("message") for case in root.iter("testcase") if case.find("skipped") is not None
    ]  # type: ignore[union-attr]
    assert len(skipped) == 2
    assert "the baseline has no such cell" in skipped


def test_crashes_that_were_there_before_do_not_fail_a_regression_but_defects_do() -> None:
    full = matrix_samples.full()
    root = read(matrix_junit.regression_document(compare(full, full)))
    assert Counter(outcomes(root)) == {"passed": 62, "error": 1}
    sound = full.with_outcomes(outcome for outcome in full.outcomes if outcome.status != DEFECT)
    root = read(matrix_junit.regression_document(compare(sound, sound)))
    assert set(outcomes(root)) == {"passed"}


def test_names_of_cases_survive_a_new_version_of_the_tool() -> None:
    full = matrix_samples.full()
    newer = full.with_outcomes(replace(outcome, versions={}, tool_version="9") for outcome in full.outcomes)
    names = [
        [case.get("name") for case in read(matrix_junit.document(matrix)).iter("testcase")] for matrix in (full, newer)
    ]
    assert names[0] == names[1]
