"""The votes on a layer and the other ways to convert, as small tables on a terminal and on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convfault.localization.ballot import LAYER, OPERATOR, Ballot
from convfault.render import fault_tables, html, terminal
from convfault.report import Report
from tests.render import localized
from tests.render.terminals import printed, squeezed

VOTES = [
    Ballot("onnxruntime", OPERATOR, "1.31", "kernel", 0.0, 0.5).to_record(),
    Ballot("onnx.reference", LAYER, "1.23", "", 0.5, 0.0).to_record(),
    Ballot("TVM", OPERATOR, reason="apache-tvm is not installed").to_record(),
]
TRIALS = [
    {"way": "tf>tflite:onnx2tf", "outcome": "avoids it", "reason": "", "max_abs_error": 1e-6},
    {"way": "tf>onnx:tf2onnx", "outcome": "not tried", "reason": "its environment is not installed"},
]


def with_evidence(**evidence: Any) -> Report:
    report = localized.several()
    first, *rest = report.faults
    return replace(report, faults=(replace(first, evidence={**first.evidence, **evidence}), *rest))


def replayed(outcome: str) -> Report:
    report = localized.several()
    doubt = {"side": "target", "place": "pool", "outcome": outcome, "votes": VOTES}
    return replace(report, attribution={**(report.attribution or {}), "replays": [doubt]})


def on_terminal(report: Report) -> str:
    return squeezed(printed(lambda console: terminal.show(report, console), 140))


def test_votes_are_a_table_of_runtimes_with_their_deviations() -> None:
    for text in (on_terminal(with_evidence(votes=VOTES)), squeezed(html.page(with_evidence(votes=VOTES)))):
        for words in ("The layer alone, on the same input", "onnxruntime 1.31", "the operator", "native run",
                      "the layer as read", "cannot run it: apache-tvm is not installed"):  # fmt: skip
            assert words in text


def test_trials_are_a_table_of_other_ways() -> None:
    for text in (on_terminal(with_evidence(trials=TRIALS)), squeezed(html.page(with_evidence(trials=TRIALS)))):
        for words in ("Other ways to convert", "onnx2tf", "avoids it", "not tried: its environment is not installed"):
            assert words in text


def test_where_no_way_was_tried_for_one_reason_the_advice_says_so_and_there_is_no_table() -> None:
    assert fault_tables.trials([TRIALS[1], TRIALS[1]]) is None
    assert fault_tables.trials([TRIALS[1], {**TRIALS[1], "reason": "another"}]) is not None


def test_a_fault_without_such_evidence_has_no_table() -> None:
    assert all(fault_tables.of_fault(fault) == () for fault in localized.several().faults)
    assert "on the same input" not in on_terminal(localized.several())


def test_votes_on_a_layer_that_no_fault_tells_of_stand_by_themselves() -> None:
    assert "'pool' alone, on the same input" in on_terminal(replayed("import"))
    assert "pool&#39; alone, on the same input" in html.page(replayed("import"))
    assert "alone, on the same input" not in on_terminal(replayed("runtime"))
