"""Outputs that a file has in another order are compared by name and shape; edits find the file's order again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as some

from convfault.localization.case import Case
from convfault.localization.graph import analyzer
from convfault.relax.edits import Insert, SetOutputs, Together, in_file
from convfault.relax.graph import Graph
from tests.localization.pairs import case_of
from tests.relax.drafts import Sketch


def detector() -> Graph:
    """A picture with outputs of three shapes."""
    sketch = Sketch(1, 6, 6, 4)
    heads = [sketch.convolution(sketch.source, filters=filters) for filters in (2, 3, 5)]
    return sketch.graph_of(*heads)


def compared(places: tuple[int, ...]) -> Case:
    """The detector against one whose file has its outputs at ``places``."""
    case = case_of(detector(), detector())
    return replace(case, target=replace(case.target, places=places))


@given(some.permutations(range(3)))
def test_the_file_has_the_outputs_in_its_own_order(places: list[int]) -> None:
    subject = compared(tuple(places)).target
    assert [subject.graph.outputs[k] for k in range(3)] == [subject.in_file.outputs[place] for place in places]


@given(some.permutations(range(3)))
def test_outputs_that_are_set_as_they_are_stay_where_the_file_has_them(places: list[int]) -> None:
    subject = compared(tuple(places)).target
    edit = Together((SetOutputs(subject.graph.outputs),))
    assert in_file(edit, subject.places).apply(subject.in_file).outputs == subject.in_file.outputs


@given(some.permutations(range(3)), some.integers(0, 2))
def test_an_output_that_goes_leaves_the_others_in_the_files_order(places: list[int], gone: int) -> None:
    subject = compared(tuple(places)).target
    left = [name for name in subject.graph.outputs if name != subject.graph.outputs[gone]]
    edited = in_file(SetOutputs(tuple(left)), [place for k, place in enumerate(places) if k != gone])
    assert edited.apply(subject.in_file).outputs == tuple(name for name in subject.in_file.outputs if name in left)


def test_other_edits_are_what_they_were() -> None:
    graph = detector()
    edit = Insert(replace(graph["convolution_1"], id="another"))
    assert in_file(edit, (2, 0, 1)) is edit


def test_another_order_is_told_though_it_causes_nothing() -> None:
    (found,) = analyzer.examine(compared((1, 0, 2)))
    assert found.cause == "reordered_outputs"
    assert found.actual == [found.expected[1], found.expected[0], found.expected[2]]
    assert not analyzer.examine(compared((0, 1, 2)))
    assert not analyzer.examine(compared(()))
