"""The faults on a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convfault.render import terminal
from convfault.report import Report
from tests import samples
from tests.render import localized
from tests.render.localized import fault, with_faults
from tests.render.terminals import printed, squeezed


def shown(report: Report, width: int = 110) -> str:
    text = printed(lambda console: terminal.show(report, console), width)
    return text[text.find("\nfaults") + 1 or text.find("\nlayer by layer") + 1 or len(text) :]


def test_a_fault_is_a_row_with_kind_cause_place_and_effects() -> None:
    lines = shown(localized.several()).splitlines()
    assert lines[1].split() == ["what", "and", "where", "causes", "alone", "left", "when", "undone"]
    assert squeezed(lines[2]).startswith("1 parameters weights differ without a pattern 1 of 4 labels flip")
    assert squeezed(lines[3]).startswith("conv5 off by ")


def test_explanation_and_advice_follow_once_for_each_row() -> None:
    text = squeezed(shown(localized.rounded()))
    assert "1 parameters 6 layers: weights rounded to int8" in text
    assert text.count("Convert without optimizations (quantization)") == 1
    assert text.count("and 3 more") == 1


def test_what_is_true_of_all_follows() -> None:
    text = squeezed(shown(localized.several()))
    for words in ("With all of them undone the target answers as the source does", "The conversion is to blame",
                  "18 layers aligned", "The first layer that diverges is pool"):  # fmt: skip
        assert words in text


def test_harmless_differences_are_one_line_without_a_table() -> None:
    text = shown(localized.harmless())
    assert "6 differences without effect: weights rounded to int8 (6)." in text
    assert text.startswith("layer by layer")
    assert "causes alone" not in text


def test_models_that_differ_without_a_fault_get_advice() -> None:
    assert "no difference was found that explains it" in squeezed(shown(localized.unexplained()))


@pytest.mark.parametrize("make", [samples.agreeing, samples.differing, samples.crashing, samples.broken])
def test_a_report_without_localization_has_no_such_section(make: Any) -> None:
    assert shown(make()) == ""


def test_a_narrow_terminal_leaves_out_what_is_left() -> None:
    text = shown(localized.several(), 60)
    assert "left when undone" not in text
    assert "causes alone" in text
    assert max(map(len, text.splitlines())) <= 60


def test_very_many_rows_are_cut_and_said_to_be() -> None:
    found = [fault(cause=f"cause_{number}") for number in range(20)]
    text = squeezed(shown(with_faults(found)))
    assert "and 8 more: see --html or --json" in text
    assert "cause 11" in text
    assert "cause 12" not in text


def test_a_crash_is_told_with_its_fault() -> None:
    found = fault(kind="tool", cause="unsupported_operator", effect={}, explanation="It does not know ReduceMean.")
    text = squeezed(shown(replace(samples.crashing(), faults=(found,))))
    assert "tool unsupported operator" in text
    assert "It does not know ReduceMean." in text
