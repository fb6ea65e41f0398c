"""How much memory cells may expect together, and how much each one does."""

from __future__ import annotations

import pytest

from convfault import zoo
from convfault.converters import route
from convfault.matrix import memory
from convfault.matrix.board import Board
from convfault.matrix.plan import Task, in_order, plan
from convfault.matrix.selection import Selection
from convfault.matrix.subjects import named
from tests.matrix import fakes

PEAKS = {
    "tf>onnx:tf2onnx": (1300, 6600, 12700),
    "keras>onnx:tf2onnx": (1300, 5600, 12700),
    "tflite>onnx:tf2onnx": (1260, 4700, 9500),
    "tf>tflite:tflite_converter": (900, 1700, 2600),
    "keras>tflite:tflite_converter": (1170, 1910, 2920),
    "keras>tf:keras_export": (850, 930, 1150),
    "onnx>torch:onnx2torch": (400, 590, 780),
    "onnx>tf:onnx2tf": (1290, 5800, None),
    "onnx>keras:onnx2tf": (1280, 6600, None),
    "torch>onnx:torch_onnx": (490, 880, 1230),
    "torch>tflite:litert-torch": (750, 1250, None),
}
"""Hop → megabytes that it was seen to take at most for MobileNetV2, InceptionV3 and ResNet101; None: not measured."""
NAMES = ("mobilenetv2", "inceptionv3", "resnet101")


def test_two_workers_expect_at_most_twelve_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1e6)
    assert memory.budget(2) == 12 * 1024


def test_on_a_small_machine_a_fifth_of_what_is_free_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000.0)
    assert memory.budget(2) == 800


def test_a_container_counts_where_it_allows_less_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 9000.0)
    monkeypatch.setattr(memory, "_container", lambda: 500.0)
    assert memory.available() == 500


def test_this_machine_has_some_memory() -> None:
    assert memory.available() > 100


def test_a_session_takes_more_for_a_larger_model() -> None:
    assert memory.session("tf", 200.0) > memory.session("tf", 10.0) > 0
    assert memory.session("unheard_of", 10.0) > 0


def test_the_size_of_every_named_model_is_known() -> None:
    assert set(memory.MODELS) == set(zoo.names()) == set(NAMES)


@pytest.mark.parametrize("hop", PEAKS)
def test_a_conversion_is_expected_to_take_what_it_was_seen_to_take(hop: str) -> None:
    converter = route.parse(hop).hops[0].converter
    for name, peak in zip(NAMES, PEAKS[hop], strict=True):
        expected = converter.expected_megabytes(int(memory.MODELS[name] * 1e6))
        assert peak is None or 0.95 * peak <= expected <= 1.5 * peak + 1000


@pytest.mark.parametrize(("name", "peak"), zip(NAMES, (900, 2600, 4300), strict=True))
def test_a_session_is_expected_to_take_what_it_was_seen_to_take(name: str, peak: float) -> None:
    assert peak <= memory.session("tf", memory.MODELS[name]) <= 1.5 * peak


def whole_matrix() -> tuple[Task, ...]:
    selection = Selection(models=NAMES)
    return in_order([task for task in plan(selection, named(selection), "") if not task.refusal])


def side_by_side(tasks: tuple[Task, ...], jobs: int, megabytes: float) -> list[list[tuple[Task, float]]]:
    """Which cells run together, with what each is expected to take as it begins, when the first begun ends first."""
    board, running, moments = Board(tasks, jobs, megabytes), list[tuple[Task, float]](), []
    made = set[str]()
    while board.waiting or running:
        while task := board.next():
            missing = [step.megabytes for step in task.steps if step.name not in made]
            running.append((task, max([task.megabytes, *missing])))
        moments.append(list(running))
        done, _ = running.pop(0)
        board.end(done, fakes.outcome(done.cell))
        made |= {step.name for step in done.steps}
    return moments


def test_two_workers_stay_under_twelve_gigabytes_but_for_a_cell_that_alone_takes_more() -> None:
    moments = side_by_side(whole_matrix(), 2, 2 * memory.WORKER_MEGABYTES)
    assert any(len(moment) == 2 for moment in moments)
    for moment in moments:
        assert len(moment) == 1 or sum(expected for _, expected in moment) <= 12 * 1024
    alone = {task.cell.model for moment in moments for task, expected in moment if expected > 12 * 1024}
    assert alone == {"resnet101"}


def test_two_conversions_of_resnet101_by_tf2onnx_never_run_together_in_24_gigabytes() -> None:
    moments = side_by_side(whole_matrix(), 2, memory.SHARE * 24 * 1024)
    large = [[task for task, expected in moment if expected > 10 * 1024] for moment in moments]
    assert max(map(len, large)) == 1


def test_small_models_do_run_together_in_24_gigabytes() -> None:
    moments = side_by_side(whole_matrix(), 2, memory.SHARE * 24 * 1024)
    assert any({task.cell.model for task, _ in moment} == {"mobilenetv2"} and len(moment) == 2 for moment in moments)
