"""Alike faults become one row, the others stay alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from convfault.fault import Fault
from convfault.localization.graph import causes as graph_causes
from convfault.localization.hyperparameters import causes as hyperparameter_causes
from convfault.localization.input import analyzer as input
from convfault.localization.parameters import causes as parameter_causes
from convfault.localization.tool import analyzer as tool
from convfault.localization.tool import crash
from convfault.render.cause_titles import title
from convfault.render.fault_groups import groups, harmless, without_effect
from tests.render.localized import fault, with_faults


def rounded(many: int, group: str | None = "int8_rounding", **more: object) -> list[Fault]:
    evidence = {} if group is None else {"group": group}
    return [fault(evidence=evidence, target_location=f"layer_{number}", **more) for number in range(many)]


def test_three_alike_faults_are_one_row() -> None:
    (row,) = groups(with_faults(rounded(3)))
    assert row.title == "3 layers: weights rounded to int8"
    assert [item.target_location for item in row.faults] == ["layer_0", "layer_1", "layer_2"]


def test_two_alike_faults_are_two_rows() -> None:
    assert [row.title for row in groups(with_faults(rounded(2)))] == ["weights rounded to int8"] * 2


def test_another_cause_kind_or_group_is_another_row() -> None:
    found = [*rounded(3), *rounded(3, "other"), *rounded(3, cause="noise"), *rounded(3, kind="hyperparameters")]
    assert [len(row.faults) for row in groups(with_faults(found))] == [3, 3, 3, 3]


def test_a_row_names_only_what_all_of_its_faults_are_about() -> None:
    found = rounded(3)
    mixed = [
        fault(evidence=dict(found[0].evidence), attribute=name) for name in ("weights, bias", "weights", "weights")
    ]
    (row,) = groups(with_faults(mixed))
    assert row.title == "3 layers: weights rounded to int8"


def test_harmless_differences_are_counted_not_listed() -> None:
    report = with_faults([*rounded(1), *rounded(2, harmless=True), *rounded(1, cause="noise", harmless=True)])
    assert len(groups(report)) == 1
    assert len(harmless(report)) == 3
    words = "3 differences without effect: weights rounded to int8 (2), weights differ without a pattern (1)."
    assert without_effect(report) == words


def test_without_harmless_differences_nothing_is_said_of_them() -> None:
    assert without_effect(with_faults(rounded(4))) == ""


@given(st.lists(st.sampled_from(["int8_rounding", "noise", "zeroed"]), max_size=12))
def test_every_fault_is_in_one_row_and_rows_are_ordered_by_their_worst(causes: list[str]) -> None:
    report = with_faults([fault(cause=cause) for cause in causes])
    rows = groups(report)
    assert sorted(item.rank for row in rows for item in row.faults) == list(range(1, len(causes) + 1))
    assert [row.first.rank for row in rows] == sorted(row.first.rank for row in rows)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


def test_every_cause_that_an_analyzer_names_has_a_title_in_words() -> None:
    tables = {
        "parameters": parameter_causes.CAUSES, "hyperparameters": hyperparameter_causes.CAUSES, "input": input.CAUSES,
        "graph": graph_causes.CAUSES, "tool": {**tool.CAUSES, **crash.CAUSES},
    }  # fmt: skip
    for kind, causes in tables.items():
        for cause in causes:
            words = title(fault(kind=kind, cause=cause))
            assert words
            assert not set("_{}") & set(words)
            assert len(words) <= 60
