"""The drawings of localization: the errors along the network, the layers round a fault, the weights that differ."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from convfault.render import divergence_plot, graph_plot, weights_plot
from convfault.report import Report
from tests import samples
from tests.render import localized


def element(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def classes(svg: str, name: str) -> list[ElementTree.Element]:
    return [item for item in element(svg).iter() if name in item.get("class", "").split()]


def titles(svg: str) -> list[str]:
    return [str(item.text) for item in element(svg).iter("title")]


def evidence(name: str, rank: int = 0) -> Any:
    return localized.several().faults[rank].evidence[name]


def with_steps(steps: list[dict[str, Any]]) -> Report:
    return replace(localized.several(), localization={"divergence": steps})


def step(**more: Any) -> dict[str, Any]:
    known = {"source": "a", "target": "a", "source_name": "a", "target_name": "b", "kind": "add", "error": 1e-3}
    return {**known, "local": None, "noise": 1e-5, "divergent": True, "erring": False, "problem": None, **more}


def test_every_layer_has_its_point_with_words() -> None:
    report = localized.several()
    svg = divergence_plot.plot(report)
    assert len(classes(svg, "error")) == len(report.localization["divergence"])  # type: ignore[index]
    assert any(title.startswith("pool (average_pool)\n→ pool\nerror 0.546") for title in titles(svg))


def test_faults_stand_at_their_layers_a_missing_one_before_the_next() -> None:
    svg = divergence_plot.plot(localized.several())
    assert sorted(str(item.text) for item in classes(svg, "fault-digit")) == ["1", "2", "3"]
    places = {str(item.text): float(item.get("x", 0)) for item in classes(svg, "fault-digit")}
    assert places["2"] < places["3"] < places["1"], "pool, relu2, conv5"


def test_alike_faults_have_a_line_each_and_one_number() -> None:
    svg = divergence_plot.plot(localized.rounded())
    assert len(classes(svg, "fault-line")) == 6
    assert len(classes(svg, "fault-digit")) == 1


def test_faults_at_one_layer_do_not_hide_each_others_numbers() -> None:
    first, *_ = localized.several().faults
    both = replace(localized.several(), faults=(first, replace(first, id="F2", rank=2, cause="zeroed")))
    places = [float(item.get("x", 0)) for item in classes(divergence_plot.plot(both), "fault-digit")]
    assert abs(places[0] - places[1]) >= 20


def test_values_that_cannot_be_compared_are_marked() -> None:
    svg = divergence_plot.plot(with_steps([step(), step(error=None, problem="nonfinite")]))
    assert len(classes(svg, "problem")) == 1
    assert any("NaN or infinite values on one side" in title for title in titles(svg))
    assert not classes(divergence_plot.plot(with_steps([step()])), "problem")


@pytest.mark.parametrize("figures", [{"error": 0.0}, {"error": 1e-30}, {"error": 1e30}, {"noise": 0.0}, {"local": 0.0}])
def test_any_figure_has_a_place_inside(figures: dict[str, float]) -> None:
    for point in element(divergence_plot.plot(with_steps([step(**figures, erring=True)]))).iter("circle"):
        assert 0 <= float(point.get("cy", -1)) <= divergence_plot.HEIGHT


@pytest.mark.parametrize("report", [samples.differing(), with_steps([]), with_steps([step(error=None)])])
def test_without_figures_nothing_is_drawn(report: Report) -> None:
    assert divergence_plot.plot(report) == ""


def test_matched_layers_stand_in_one_row_and_a_lone_one_is_marked() -> None:
    record = evidence("neighbourhood", 2)
    plan = graph_plot.Plan(record)
    for source, target in record["matches"]:
        assert plan.boxes["source", source].y == plan.boxes["target", target].y
    svg = graph_plot.plot(record, "graph")
    assert len(classes(svg, "alone")) == 1


def test_every_layer_stands_below_what_it_reads_and_none_on_another() -> None:
    for rank in range(3):
        record = evidence("neighbourhood", rank)
        plan = graph_plot.Plan(record)
        for side in ("source", "target"):
            for one, other in record[side]["edges"]:
                assert plan.boxes[side, one].y < plan.boxes[side, other].y
        boxes = list(plan.boxes.values())
        for number, box in enumerate(boxes):
            for other in boxes[number + 1 :]:
                assert box.y != other.y or box.x + box.width <= other.x or other.x + other.width <= box.x


def test_differing_attributes_are_written_out_and_equal_ones_are_not() -> None:
    svg = graph_plot.plot(evidence("neighbourhood", 1), "graph")
    assert [str(item.text) for item in classes(svg, "differs") if item.tag == "text"] == [
        "count_padding False",
        "count_padding True",
    ]


def test_layers_in_a_circle_of_matches_are_drawn_all_the_same() -> None:
    """Two layers whose order was exchanged."""
    layers = [
        {"id": n, "name": n, "kind": "add", "shape": [1], "attributes": {}, "differs": [], "fault": False} for n in "ab"
    ]
    record = {
        "source": {"layers": layers, "edges": [["a", "b"]]},
        "target": {"layers": layers, "edges": [["b", "a"]]},
        "matches": [["a", "a"], ["b", "b"]],
    }
    assert len(classes(graph_plot.plot(record, "graph"), "layer")) == 4


def test_a_neighbourhood_without_layers_is_not_drawn() -> None:
    empty: dict[str, Any] = {"layers": [], "edges": []}
    assert graph_plot.plot({"source": empty, "target": empty, "matches": []}, "graph") == ""


def test_the_darkest_field_is_the_largest_error_and_equal_values_stay_white() -> None:
    fields = classes(weights_plot.heat(evidence("picture"), "heat"), "tint")
    shades = [float(item.get("fill-opacity", -1)) for item in fields]
    assert max(shades) == 1.0
    assert min(shades) == 0.0


def test_errors_that_are_not_finite_are_said() -> None:
    svg = weights_plot.heat({"heat": [[None, 0.0]], "shape": [2], "parameter": "bias"}, "heat")
    assert "NaN or infinite" in titles(svg)


def test_bars_count_all_values() -> None:
    picture = evidence("picture")
    svg = weights_plot.histogram(picture, "histogram")
    counted = [
        int(found.group(1).replace(",", ""))
        for title in titles(svg)
        if (found := re.match(r"([\d,]+) values? off", title))
    ]
    assert sum(counted) == sum(picture["counts"]) == 3 * 3 * 8 * 4


@pytest.mark.parametrize("picture", [{}, {"heat": [], "counts": []}, {"heat": [[]], "counts": [0, 0], "edges": [0, 0]}])
def test_without_values_nothing_is_drawn(picture: dict[str, Any]) -> None:
    assert weights_plot.heat(picture, "heat") == ""
    assert weights_plot.histogram(picture, "histogram") == ""


@pytest.mark.parametrize("name", ["neighbourhood", "picture"])
def test_names_in_drawings_are_escaped(name: str) -> None:
    report = localized.hostile()
    drawn = str(divergence_plot.plot(report)) + str(graph_plot.plot(report.faults[0].evidence["neighbourhood"], name))
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
