"""Every pair and route that was chosen is a cell, and says what it shares with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfault.errors import UnknownNameError, UsageError
from convfault.matrix.plan import Subject, Task, in_order, plan
from convfault.matrix.selection import Selection
from convfault.matrix.subjects import named

TF = Subject("mobilenetv2", "tf", "tf", "saved_model", 14.0)
TFLITE = Subject("mobilenetv2", "tflite", "tf", "tflite", 14.0)


def planned(selection: Selection, *subjects: Subject) -> tuple[Task, ...]:
    return plan(selection, subjects or (TF,), "content")


def routes(tasks: tuple[Task, ...]) -> list[str]:
    return [task.cell.route for task in tasks]


def test_three_models_have_thirty_six_pairs() -> None:
    selection = Selection()
    tasks = plan(selection, named(selection), "content")
    pairs = {(task.cell.model, task.cell.source, task.cell.target) for task in tasks}
    assert len(pairs) == 36
    assert all(task.cell.source != task.cell.target for task in tasks)
    assert len({task.cell.key for task in tasks}) == len(tasks)


def test_every_route_of_a_pair_is_a_cell() -> None:
    found = routes(planned(Selection(targets=("torch",))))
    assert "tf>onnx:tf2onnx>torch:onnx2torch" in found
    assert "tf>tflite:tflite_converter>onnx:tf2onnx>torch:onnx2torch" in found


def test_a_pair_without_a_route_is_a_cell_that_says_so() -> None:
    (task,) = planned(Selection(targets=("keras",), max_hops=1))
    assert task.cell.route == ""
    assert task.refusal


def test_a_chosen_tool_leaves_the_routes_through_it() -> None:
    found = planned(Selection(targets=("torch", "keras"), tools=("tflite_converter",)))
    assert routes(found)
    assert all("tflite_converter" in task.cell.route for task in found)


def test_releases_of_a_tool_stand_beside_each_other() -> None:
    found = routes(
        planned(Selection(targets=("tflite",), tools=("tflite_converter==2.15.0,tflite_converter",), max_hops=1))
    )
    assert found == ["tf>tflite:tflite_converter==2.15.0", "tf>tflite:tflite_converter"]


def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tf2onnx'"):
        planned(Selection(tools=("tf2onx",)))


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="caffe"):
        Selection(targets=("caffe",))


def test_names_may_be_given_in_one_word_or_another_spelling() -> None:
    assert Selection(sources=("tensorflow,pytorch",), targets=("lite", "keras")).sources == ("tf", "torch")


def test_a_file_says_its_model_itself() -> None:
    with pytest.raises(UsageError, match="drop --models"):
        Selection(source="x.keras", models=("mobilenetv2",))


def test_options_of_a_tool_apply_where_it_is_used_and_nowhere_else() -> None:
    found = routes(
        planned(Selection(targets=("tflite", "torch"), tool_options=("tflite_converter.optimizations=DEFAULT",)))
    )
    through = [route for route in found if "tflite_converter" in route]
    assert through
    assert all("optimizations" in route for route in through)
    assert not any("optimizations" in route for route in found if route not in through)


def test_a_given_route_stands_beside_those_that_are_found() -> None:
    extra = "tf>onnx:tf2onnx[opset=13]>torch:onnx2torch"
    found = routes(planned(Selection(targets=("torch",), routes=(extra,))))
    assert {extra, "tf>onnx:tf2onnx>torch:onnx2torch"} <= set(found)


def test_a_given_route_that_fits_nothing_chosen_is_refused() -> None:
    with pytest.raises(UsageError, match="fits none of the chosen"):
        planned(Selection(targets=("tflite",), routes=("tf>onnx:tf2onnx>torch:onnx2torch",)))


def test_two_names_of_one_model_are_one_model() -> None:
    subjects = list(named(Selection(models=("mobilenetv2", "MobileNetV2"), sources=("tf",))))
    assert [subject.model for subject in subjects] == ["mobilenetv2"]


def test_files_are_found_from_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.keras").touch()
    monkeypatch.chdir(tmp_path)
    request = Selection(source="m.keras", data="fractals").absolute().request("m.keras", "keras", "tf", "keras>tf")
    assert (request.source, request.data) == (str(tmp_path / "m.keras"), "fractals")


def test_only_routes_whose_first_tool_reads_the_file_are_planned() -> None:
    frozen = Subject("graph.pb", "tf", "tf", "no_format_at_all", 1.0)
    assert all(task.refusal for task in planned(Selection(), frozen))


def test_routes_that_begin_alike_share_what_they_begin_with() -> None:
    tasks = planned(Selection(targets=("torch", "onnx")))
    by_route = {task.cell.route: task for task in tasks}
    near, far = by_route["tf>onnx:tf2onnx"], by_route["tf>onnx:tf2onnx>torch:onnx2torch"]
    assert {step.name for step in near.steps} < {step.name for step in far.steps}
    assert len(far.hops) == 2
    assert far.hops[0] == near.hops[0]


def test_a_named_tflite_model_shares_the_conversion_that_makes_it() -> None:
    from_tf, from_tflite = (
        planned(Selection(targets=("tflite", "torch")), TF),
        planned(Selection(targets=("torch",)), TFLITE),
    )
    direct = next(task for task in from_tf if task.cell.target == "tflite")
    assert direct.hops[-1].name in {step.name for step in from_tflite[0].steps}
    assert direct.hops[-1] not in from_tflite[0].hops


def test_a_larger_model_is_expected_to_take_more() -> None:
    small, large = (
        planned(Selection(targets=("tflite",)), Subject("m", "tf", "tf", "saved_model", size)) for size in (1.0, 500.0)
    )
    assert max(step.megabytes for step in small[0].steps) < max(step.megabytes for step in large[0].steps)


def test_the_fingerprint_is_of_the_content_and_the_tools() -> None:
    selection = Selection(targets=("tflite",))
    one, again, other = (plan(selection, [TF], content)[0].fingerprint for content in ("a", "a", "b"))
    assert one == again != other


def test_short_routes_begin_first_and_sources_stay_together() -> None:
    selection = Selection(models=("mobilenetv2",))
    ordered = in_order(plan(selection, named(selection), ""))
    sources = [task.cell.source for task in ordered]
    assert sources == sorted(sources, key=sources.index)
    keras = [task.length for task in ordered if task.cell.source == "keras"]
    assert keras == sorted(keras)


def test_a_selection_reads_back_what_it_wrote() -> None:
    chosen = Selection(models=("a", "b"), targets=("tf",), limit=5, tolerance=0.1)
    assert Selection.from_record(chosen.to_record()) == chosen
