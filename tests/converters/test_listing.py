"""``convfault list`` names every converter with its version and options, and every route."""

from __future__ import annotations

from importlib import metadata

import pytest

from convfault.converters import CONVERTERS, listing
from convfault.converters.base import Converter


def test_every_converter_is_listed_with_its_version_and_options() -> None:
    rows = listing.converters()
    assert [row["tool"] for row in rows] == [converter.tool for converter in CONVERTERS.values()]
    (tflite,) = [row for row in rows if (row["from"], row["to"]) == ("tf", "tflite")]
    assert tflite["version"] == metadata.version("tensorflow")
    assert "optimizations" in tflite["options"].split(", ")


def test_a_tool_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", absent)
    (row, *_) = listing.converters()
    assert row["version"] == 'not installed: pip install "convfault[torch,onnx]"'


def test_every_option_is_listed_once_with_what_it_does() -> None:
    rows = {row["option"]: row for row in listing.options()}
    assert rows["tf2onnx.opset"]["default"] == "the tool's own"
    assert "DEFAULT" in rows["tflite_converter.optimizations"]["values"]
    assert all(row["description"] for row in rows.values())
    assert len(rows) == len(listing.options())


def test_every_pair_has_one_default_route() -> None:
    rows = listing.routes()
    defaults = [(row["from"], row["to"]) for row in rows if row["default"]]
    assert len(defaults) == len(set(defaults)) == len({(row["from"], row["to"]) for row in rows})
    assert {"from": "tf", "to": "tflite", "route": "tf>tflite:tflite_converter", "default": "yes"} in rows


def test_a_larger_model_is_expected_to_take_more_memory() -> None:
    for converter in CONVERTERS.values():
        assert isinstance(converter, Converter)
        assert converter.expected_megabytes(200_000_000) > converter.expected_megabytes(10_000_000) > 500
