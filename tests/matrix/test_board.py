"""The board lets cells begin within memory, never makes a thing twice, and always comes to an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from convfault.matrix.board import Board
from convfault.matrix.plan import Step, Task
from tests.matrix import fakes

BUILD = Step("build", "build", 10.0)
FIRST_HOP, SECOND_HOP = Step("convert tf>onnx", "convert", 50.0), Step("convert tf>onnx>torch", "convert", 20.0)
OTHER_HOP = Step("convert tf>tflite", "convert", 20.0)
SOURCE_RUN = Step("run", "run", 5.0)

NEAR = fakes.task("m", "onnx", "near", (BUILD, FIRST_HOP, SOURCE_RUN))
FAR = fakes.task("m", "torch", "far", (BUILD, FIRST_HOP, SECOND_HOP, SOURCE_RUN))
ASIDE = fakes.task("m", "tflite", "aside", (BUILD, OTHER_HOP, SOURCE_RUN))
ELSEWHERE = fakes.task("other", "tflite")


def board(*tasks: Task, jobs: int = 2, megabytes: float = 1000.0) -> Board:
    return Board(tasks, jobs, megabytes)


def test_a_cell_waits_for_what_another_one_is_making() -> None:
    mine = board(NEAR, FAR, ELSEWHERE)
    assert [mine.next(), mine.next(), mine.next()] == [NEAR, ELSEWHERE, None]
    mine.end(NEAR, fakes.outcome(NEAR.cell))
    assert mine.next() == FAR


def test_once_the_shared_work_is_done_its_cells_run_side_by_side() -> None:
    mine = board(NEAR, FAR, ASIDE)
    assert [mine.next(), mine.next()] == [NEAR, None]
    mine.end(NEAR, fakes.outcome(NEAR.cell))
    assert [mine.next(), mine.next()] == [FAR, ASIDE]


def test_a_failed_conversion_is_made_but_the_source_has_not_run() -> None:
    mine = board(NEAR, FAR, ASIDE)
    mine.next()
    mine.end(NEAR, fakes.outcome(NEAR.cell, "crash", stage="convert", hop=0))
    assert [mine.next(), mine.next()] == [FAR, None]


def test_a_hop_that_ran_out_of_memory_is_not_tried_by_the_routes_that_begin_with_it() -> None:
    mine = board(NEAR, FAR, ASIDE)
    mine.next()
    (spared,) = mine.end(NEAR, fakes.outcome(NEAR.cell, "memory", stage="convert", hop=0, tool="tf2onnx"))
    assert (spared.cell, spared.status, spared.hop, spared.tool) == (FAR.cell, "memory", 0, "tf2onnx")
    assert [mine.next(), mine.next()] == [ASIDE, None]


def test_a_hop_that_crashed_is_known_to_the_cache_and_told_by_each_cell_itself() -> None:
    mine = board(NEAR, FAR)
    mine.next()
    assert mine.end(NEAR, fakes.outcome(NEAR.cell, "crash", stage="convert", hop=0)) == ()
    assert mine.next() == FAR


def test_a_source_that_cannot_be_made_in_time_fails_at_its_build() -> None:
    of_tflite = fakes.task("m", "torch", "of tflite", (BUILD, OTHER_HOP, Step("convert x", "convert", 1.0)))
    of_tflite = Task(of_tflite.cell, of_tflite.steps, 1.0, 1, "same")
    mine = board(ASIDE, of_tflite)
    mine.next()
    (spared,) = mine.end(ASIDE, fakes.outcome(ASIDE.cell, "timeout", stage="convert", hop=0))
    assert (spared.stage, spared.hop) == ("build", None)


def test_what_is_made_already_takes_no_memory() -> None:
    mine = board(NEAR, FAR, ELSEWHERE, megabytes=30.0)
    assert [mine.next(), mine.next()] == [NEAR, None]
    mine.end(NEAR, fakes.outcome(NEAR.cell))
    assert [mine.next(), mine.next()] == [FAR, ELSEWHERE]


def test_a_cell_larger_than_the_budget_runs_alone() -> None:
    large = fakes.task("large", megabytes=5000.0)
    mine = board(ELSEWHERE, large)
    assert [mine.next(), mine.next()] == [ELSEWHERE, None]
    mine.end(ELSEWHERE, fakes.outcome(ELSEWHERE.cell))
    assert [mine.next(), mine.next()] == [large, None]


STEPS = [Step(f"step {number}", "convert", 10.0 * number) for number in range(6)]
TASKS = some.lists(
    some.tuples(some.sets(some.sampled_from(STEPS), max_size=4), some.floats(0, 100)), min_size=1, max_size=12
)


@given(TASKS, some.integers(1, 4), some.floats(1, 200), some.data())
def test_every_cell_runs_once_within_the_limits_and_nothing_is_made_twice_at_once(
    drawn: list[tuple[set[Step], float]], jobs: int, megabytes: float, data: some.DataObject
) -> None:
    tasks = [
        fakes.task(f"model{number}", steps=tuple(sorted(steps, key=lambda step: step.name)), megabytes=size)
        for number, (steps, size) in enumerate(drawn)
    ]
    mine, running, made, ended = board(*tasks, jobs=jobs, megabytes=megabytes), list[Task](), set[str](), list[Task]()
    while mine.waiting or running:
        while task := mine.next():
            making = [name for other in running for name in _names(other) - made]
            assert not (_names(task) - made) & set(making)
            running.append(task)
        assert running, "nothing runs, and nothing begins"
        assert len(running) <= jobs
        assert len(running) == 1 or sum(_expected(task, made) for task in running) <= megabytes * 1.001
        done = data.draw(some.sampled_from(running))
        running.remove(done)
        ended.append(done)
        mine.end(done, fakes.outcome(done.cell))
        made |= _names(done)
    assert sorted(task.cell.key for task in ended) == sorted(task.cell.key for task in tasks)


def _names(task: Task) -> set[str]:
    return {step.name for step in task.steps}


def _expected(task: Task, made: set[str]) -> float:
    """At least what it was begun with: less is missing by now, never more."""
    return max([task.megabytes, *(step.megabytes for step in task.steps if step.name not in made)])
