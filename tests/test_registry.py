"""Named things, imported on first use."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from convfault import registry
from convfault.errors import ConvfaultError, UnknownNameError
from convfault.registry import Registry


def test_a_value_is_imported_only_when_asked_for() -> None:
    sys.modules.pop("this", None)
    places: Registry[object] = Registry("thing", {"pi": "math:pi", "zen": "this:c"})
    assert places["pi"] == pytest.approx(3.14159, abs=1e-5)
    assert "this" not in sys.modules


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown tool 'tf2onxx'; did you mean 'tf2onnx'"):
        Registry("tool", {"tf2onnx": "math:pi", "onnx2torch": "math:e"})["tf2onxx"]


def test_names_keep_their_order() -> None:
    assert Registry("thing", {"b": "math:pi", "a": "math:e"}).names() == ("b", "a")


def test_a_value_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ConvfaultError, match="is not a str"):
        Registry("thing", {"pi": "math:pi"}, str)["pi"]


def test_third_parties_add_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("e", "math:e", "convfault.things")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "convfault.things" else [])
    things: Registry[float] = Registry("thing", {"pi": "math:pi"})
    assert things.names() == ("pi", "e")
    assert things["e"] == pytest.approx(2.71828, abs=1e-5)
