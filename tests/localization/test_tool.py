"""The tool analyzer: which hop of the route made the models differ, and what avoids it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convfault.comparison import AGREE, DIFFER, Comparison
from convfault.converters import CONVERTERS
from convfault.converters import route as routes
from convfault.localization.case import Hop
from convfault.localization.tool import analyzer as tool
from tests.localization.inputs import case, network


def hop(source: str, target: str, name: str, verdict: str | None, error: float = 0.0, **options: Any) -> Hop:
    record = {"from": source, "to": target, "tool": name, "tool_version": "1.0", "options": options}
    comparison = None if verdict is None else Comparison(verdict, 10, top1_disagreement=0.3, max_abs_error=error)
    return Hop(record, comparison)


def examined(folder: Path, *hops: Hop) -> list[Any]:
    graph = network()
    return tool.examine(case(folder, graph, graph, hops=hops))


def test_two_files_without_a_route_and_a_route_that_agrees_have_no_suspect(tmp_path: Path) -> None:
    assert examined(tmp_path / "a") == []
    assert examined(tmp_path / "b", hop("tf", "tflite", "tflite_converter", AGREE)) == []
    assert examined(tmp_path / "c", hop("tf", "tflite", "tflite_converter", None)) == []


def test_the_first_hop_that_differs_is_named_with_its_quantizing_option(tmp_path: Path) -> None:
    (suspect,) = examined(
        tmp_path,
        hop("tf", "tflite", "tflite_converter", DIFFER, 0.1, optimizations=["DEFAULT"]),
        hop("tflite", "onnx", "tf2onnx", DIFFER, 0.1),
    )
    assert (suspect.kind, suspect.cause, suspect.attribute) == ("tool", "option", "optimizations")
    assert suspect.evidence["hop"] == 0
    assert "tflite_converter.optimizations=[DEFAULT]" in suspect.explanation
    assert suspect.evidence["alternatives"][0] == "tf>tflite:tflite_converter>onnx:tf2onnx"
    assert suspect.edit is None


def test_a_later_hop_without_options_is_named_alone(tmp_path: Path) -> None:
    (suspect,) = examined(
        tmp_path, hop("tf", "onnx", "tf2onnx", AGREE, 1e-7), hop("onnx", "torch", "onnx2torch", DIFFER, 0.2)
    )
    assert (suspect.cause, suspect.evidence["hop"], suspect.evidence["tool"]) == ("hop", 1, "onnx2torch")
    assert "hop 2 of 2" in suspect.explanation


def test_a_hop_that_makes_an_error_much_larger_is_a_suspect_of_its_own(tmp_path: Path) -> None:
    one, other = examined(
        tmp_path, hop("tf", "onnx", "tf2onnx", DIFFER, 0.01), hop("onnx", "torch", "onnx2torch", DIFFER, 0.2)
    )
    assert (one.cause, other.cause) == ("hop", "worse_hop")


@pytest.mark.parametrize(
    ("option", "value", "changes"),
    [
        ("optimizations", ["DEFAULT"], True),
        ("optimizations", [], False),
        ("supported_types", ["float16"], True),
        ("supported_types", ["float32"], False),
        ("supported_ops", ["TFLITE_BUILTINS_INT8"], True),
        ("supported_ops", ["TFLITE_BUILTINS", "SELECT_TF_OPS"], False),
        ("allow_custom_ops", True, False),
    ],
)
def test_options_that_change_values_are_known(option: str, value: Any, changes: bool) -> None:
    record = {"tool": "tflite_converter", "options": {option: value}}
    assert bool(tool.value_options(record)) is changes


def test_every_option_of_the_tables_exists() -> None:
    known = {f"{item.tool}.{name}" for item in CONVERTERS.values() for name in item.options}
    assert set(tool.VALUE_OPTIONS) <= known
    named = {f"{name}.{option}" for name, remedies in tool.REMEDIES.items() for values in remedies for option in values}
    assert named <= known


def test_alternatives_avoid_the_guilty_hop_and_can_be_taken() -> None:
    route = routes.parse("tf>onnx:tf2onnx>torch:onnx2torch")
    found = tool.alternatives(route, 0, "saved_model")
    assert found
    for item in found:
        assert str(item.route) != str(route)
        assert routes.parse(str(item.route)).target == "torch"
        by = [(hop.converter.tool, hop.converter.source) for hop in item.route.hops]
        assert ("tf2onnx", "tf") not in by or item.reason.startswith("with ")


def test_alternatives_of_a_route_with_a_quantizing_option_start_without_it() -> None:
    route = routes.parse("tf>tflite:tflite_converter[optimizations=DEFAULT]")
    assert str(tool.alternatives(route)[0]) == "tf>tflite:tflite_converter"


def test_a_guilty_hop_may_be_fed_otherwise() -> None:
    route = routes.parse("torch>onnx:torch_onnx>torch:onnx2torch")
    found = [str(item.route) for item in tool.alternatives(route, 1, "pt2")]
    assert "torch>onnx:torch_onnx_torchscript[opset=17]>torch:onnx2torch" in found
    assert str(route) not in found
