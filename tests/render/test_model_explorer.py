"""Node data as Model Explorer reads it: ``GraphNodeData`` of its ``node_data_builder.py``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from convfault.render import model_explorer
from convfault.report import Report
from tests import samples
from tests.render import localized

COLOUR = re.compile(r"#[0-9a-f]{6}")


def read(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(model_explorer.document(report))
    return found


@pytest.mark.parametrize("make", [*localized.ALL, samples.differing, samples.crashing])
def test_the_shape_is_that_of_graph_node_data(make: Any) -> None:
    found = read(make())
    assert set(found) == {"results", "thresholds"}
    for name, result in found["results"].items():
        assert isinstance(name, str)
        assert set(result) <= {"value", "bgColor", "textColor"}
        assert isinstance(result["value"], int | float)
    values = [threshold["value"] for threshold in found["thresholds"]]
    assert values == sorted(values)
    for item in (*found["thresholds"], *found["results"].values()):
        assert all(COLOUR.fullmatch(item[name]) for name in ("bgColor", "textColor") if name in item)


def test_a_layer_has_its_error_under_every_name_and_a_faulty_one_its_colour() -> None:
    found = read(localized.several())["results"]
    assert found["pool"]["value"] == pytest.approx(0.546, abs=1e-3)
    assert found["pool"]["bgColor"] == found["conv5"]["bgColor"] == model_explorer.FAULT["bgColor"]
    assert "bgColor" not in found["conv1"]


def test_a_fused_operator_has_the_larger_error_of_its_layers() -> None:
    report = localized.several()
    steps = [
        {"target": name, "target_name": "fused", "error": error, "local": None}
        for name, error in zip("ab", (0.5, 0.1), strict=True)
    ]
    known = {"divergence": steps, "target_nodes": {"a": ["fused"], "b": ["fused", "out"]}}
    found = read(replace(report, localization=known, faults=()))["results"]
    assert found == {"fused": {"value": 0.5}, "out": {"value": 0.1}}


def test_values_that_cannot_be_compared_are_beyond_every_threshold_but_one() -> None:
    steps = [{"target": "a", "target_name": "a", "error": None, "local": None, "problem": "shape"}]
    found = read(replace(localized.several(), localization={"divergence": steps}, faults=()))
    assert found["results"]["a"]["value"] == found["thresholds"][-1]["value"]


def test_models_that_were_not_compared_layer_by_layer_have_no_results() -> None:
    assert read(samples.differing())["results"] == {}
