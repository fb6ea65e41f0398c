"""What votes on a layer decide."""

from __future__ import annotations

from convfault.localization.ballot import IMPORT, KERNEL, LAYER, OPERATOR, READING, RUNTIME, Ballot, decided, sure, told


def vote(side: str, runs: str = OPERATOR, shares: str = "", runtime: str = "TVM") -> Ballot:
    near, far = 0.001, 1.0
    return Ballot(runtime, runs, "1", shares, near if side == "native" else far, near if side == "graph" else far)


def test_a_vote_is_for_the_answer_that_it_is_clearly_nearer_to() -> None:
    assert [vote(side).side for side in ("native", "graph", "neither")] == ["native", "graph", "neither"]
    assert Ballot("TVM", OPERATOR, "1", "", float("inf"), 0.1).side == "graph"
    assert Ballot("TVM", OPERATOR, reason="not installed").side is None


def test_the_majority_over_the_operator_decides() -> None:
    assert decided([vote("graph"), vote("graph"), vote("native")]) == RUNTIME
    assert decided([vote("native"), vote("native"), vote("graph")]) == IMPORT
    assert decided([vote("native"), vote("graph"), vote("neither")]) is None
    assert decided([]) is None


def test_the_runtime_in_question_does_not_vote_for_itself() -> None:
    assert decided([vote("native", shares=KERNEL), vote("graph")]) == RUNTIME
    assert decided([vote("native", shares=KERNEL)]) is None


def test_who_reads_the_file_by_our_importers_does_not_vote_for_the_graph() -> None:
    assert decided([vote("graph", shares=READING), vote("native", shares=KERNEL)]) is None
    assert decided([vote("graph", shares=READING), vote("native")]) == IMPORT
    assert decided([vote("graph", shares=READING), vote("graph")]) == RUNTIME
    assert decided([vote("native", shares=READING)]) == IMPORT


def test_a_runtime_that_answers_otherwise_alone_contradicts_itself() -> None:
    assert decided([vote("graph", shares=KERNEL), vote("neither")]) == RUNTIME


def test_one_vote_alone_is_not_sure() -> None:
    assert not sure([vote("graph"), vote("graph", shares=READING)])
    assert not sure([vote("graph"), vote("graph"), vote("native")])
    assert sure([vote("graph"), vote("graph"), vote("native", shares=KERNEL)])
    assert sure([vote("graph", shares=KERNEL)])


def test_the_layer_as_the_graph_has_it_only_tells_on_the_graph() -> None:
    assert decided([vote("graph", LAYER), vote("graph", LAYER)]) is None
    assert decided([vote("native", LAYER), vote("native", LAYER)]) == IMPORT
    assert decided([vote("native", LAYER), vote("graph", OPERATOR)]) == RUNTIME


def test_the_votes_are_told_in_a_sentence() -> None:
    said = told([vote("graph", runtime="onnxruntime"), vote("graph"), vote("native", runtime="XLA")])
    assert said.endswith("onnxruntime and TVM give what the model says; XLA gives what the runtime gave")
    assert told([vote("graph", LAYER)]) == ""


def test_a_record_has_no_infinite_numbers() -> None:
    record = Ballot("TVM", OPERATOR, "0.27", "", float("inf"), 0.0).to_record()
    assert (record["runtime"], record["from_native"], record["sides_with"]) == ("TVM 0.27", None, "graph")
