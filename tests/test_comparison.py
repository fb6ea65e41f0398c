"""A comparison can be saved, read back and judged again without running anything."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.comparison import AGREE, CRASH, DIFFER, Comparison, OutputComparison, Tolerance, WorstPicture
from convfault.errors import UsageError


def output(error: float | None = 0.0, unmatched: int = 0, tolerance: float = 1e-5, **changes) -> OutputComparison:
    found = OutputComparison(
        "scores", "Identity", (10,), (10,), True, error, error, 1.0, 1.0, unmatched, 0, unmatched, Tolerance(tolerance)
    )
    return replace(found, **changes)


def comparison(*outputs: OutputComparison) -> Comparison:
    return Comparison(verdict=AGREE, images=3, outputs=outputs).judged()


def read_back(found: Comparison) -> Comparison:
    return Comparison.from_record(json.loads(json.dumps(found.to_record(), allow_nan=False)))


def test_an_error_up_to_the_tolerance_agrees_and_a_larger_one_differs():
    assert comparison(output(1e-5)).verdict == AGREE
    differs = comparison(output(1.1e-5))
    assert differs.verdict == DIFFER
    assert "1.1e-05" in differs.reasons[0]
    assert "1e-05" in differs.reasons[0]


def test_every_output_has_to_agree():
    assert comparison(output(0.0), output(1.0)).verdict == DIFFER
    assert comparison(output(0.0), output(1.0, tolerance=1.0)).verdict == AGREE


def test_a_given_tolerance_replaces_the_derived_ones_and_their_reasons():
    found = comparison(output(0.5)).judged(0.6)
    assert (found.verdict, found.reasons) == (AGREE, ())
    assert found.outputs[0].tolerance == Tolerance(0.6, "given")
    again = found.judged(0.4)
    assert (again.verdict, len(again.reasons)) == (DIFFER, 1)


def test_equal_outputs_agree_under_no_tolerance_at_all():
    assert comparison(output(0.0)).judged(0.0).verdict == AGREE
    assert comparison(output(5e-324)).judged(0.0).verdict == DIFFER


def test_other_tolerances_can_be_set_output_by_output():
    found = comparison(output(0.5), output(0.1)).under([Tolerance(0.6), Tolerance(0.2)])
    assert (found.verdict, [o.tolerance.value for o in found.outputs]) == (AGREE, [0.6, 0.2])


@pytest.mark.parametrize("tolerance", [None, 0.0, 1e300])
def test_a_crash_stays_a_crash(tolerance):
    found = Comparison.crash("the converter died").judged(tolerance)
    assert (found.verdict, found.reasons, found.stage) == (CRASH, ("the converter died",), "convert")
    assert read_back(found) == found


def test_a_crash_says_its_stage_and_no_other_verdict_has_one():
    assert read_back(Comparison.crash("killed by SIGSEGV", "run")).stage == "run"
    assert comparison(output(0.5)).judged(0.1).stage == comparison(output(0.5)).judged(1.0).stage == ""


def test_a_comparison_of_before_there_were_stages_reads_back():
    record = Comparison.crash("it died").to_record()
    del record["stage"]
    assert Comparison.from_record(record).verdict == CRASH


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unmatched": 2}, "NaN or infinite"),
        ({"error": None}, "beyond any number"),
        ({"error": math.inf}, "beyond any number"),
        ({"error": math.nan}, "beyond any number"),
        ({"comparable": False, "target_shape": (11,)}, "(11,)"),
        ({"target_name": "", "comparable": False}, "no counterpart in the target"),
        ({"name": "", "comparable": False}, "no counterpart in the source"),
    ],
)
def test_no_tolerance_excuses_what_is_no_number(changes, words):
    found = comparison(output(**changes)).judged(1e300)
    assert found.verdict == DIFFER
    assert words in found.reasons[0]


def test_no_output_at_all_differs():
    assert Comparison(verdict=AGREE).judged().verdict == DIFFER


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_judges_nothing_is_refused(value):
    with pytest.raises(UsageError, match="zero or more"):
        comparison(output()).judged(value)


NUMBER = st.floats(0, 1e30) | st.just(0.0)
MAYBE = st.none() | NUMBER | st.just(math.inf) | st.just(math.nan)
TOPS = st.lists(st.tuples(st.integers(0, 999), st.none() | NUMBER), max_size=5).map(tuple)
TOLERANCES = st.builds(
    Tolerance, NUMBER, st.sampled_from(["derived", "given"]), st.none() | NUMBER, st.none() | NUMBER, st.integers(0, 99)
)
SHAPES = st.lists(st.integers(1, 1000), max_size=3).map(tuple)
OUTPUTS = st.builds(
    OutputComparison,
    *[st.text(max_size=3), st.text(max_size=3), SHAPES, SHAPES, st.booleans(), MAYBE, MAYBE, MAYBE, MAYBE],
    *[st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), TOLERANCES],
)
WORST = st.builds(
    WorstPicture, st.text(max_size=3), st.integers(0, 99), MAYBE, TOPS, TOPS, st.none() | st.integers(0, 9)
)
COMPARISONS = st.builds(
    Comparison,
    verdict=st.just(AGREE),
    images=st.integers(1, 99),
    kendall_tau=st.none() | st.floats(-1, 1),
    max_abs_error=MAYBE,
    accuracy=st.fixed_dictionaries({"source": MAYBE, "target": MAYBE}),
    worst=st.lists(WORST, max_size=2).map(tuple),
    outputs=st.lists(OUTPUTS, max_size=3).map(tuple),
    histogram=st.dictionaries(st.sampled_from(["edges", "counts"]), st.lists(NUMBER, max_size=3).map(tuple)),
)


@given(COMPARISONS, st.none() | NUMBER)
def test_a_saved_comparison_is_judged_as_the_fresh_one_whatever_json_cannot_hold(fresh, tolerance):
    found = fresh.judged()
    saved = read_back(found)
    assert saved.to_record() == found.to_record()
    assert read_back(saved) == saved
    assert saved.judged(tolerance).verdict == found.judged(tolerance).verdict


@given(COMPARISONS)
def test_judging_again_changes_nothing(fresh):
    found = read_back(fresh.judged())
    assert found.judged() == found


@given(COMPARISONS, NUMBER, NUMBER)
def test_a_wider_tolerance_never_turns_agree_into_differ(fresh, one, other):
    narrow, wide = sorted((one, other))
    assert fresh.judged(narrow).verdict == DIFFER or fresh.judged(wide).verdict == AGREE
