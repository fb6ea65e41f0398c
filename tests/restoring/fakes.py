"""Converters that copy what lies elsewhere, or fall: ways to a target whose end is known."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convfault.converters import CONVERTERS
from convfault.converters.base import Converter, Option

FORMATS = {"onnx": ("onnx", "NCHW"), "tflite": ("tflite", "NHWC"), "keras": ("keras", "NHWC")}
"""Framework → its format, which is its files' suffix, too, and the layout of the tiny model in it."""


def copies(source: Any, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the file that the option names."""
    shutil.copy(options["file"], target)
    return {"layout": FORMATS[Path(target).suffix[1:]][1]}


def carries_on(source: Any, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the sound file for a sound source, and another one for any other."""
    sound = Path(source.path).read_bytes() == Path(options["sound"]).read_bytes()
    return copies(source, target, {"file": options["file" if sound else "other"]})


def knows_old_words(source: Any, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the file for a model of opset 17 or older, and fail on any other."""
    import onnx

    version = onnx.load(source.path).opset_import[0].version
    if version > 17:
        raise NotImplementedError(f"opset {version}")
    return copies(source, target, options)


def mistakes_new_words(source: Any, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write another file for a model of an opset above 17."""
    import onnx

    version = onnx.load(source.path).opset_import[0].version
    return copies(source, target, {"file": options["other" if version > 17 else "file"]})


def falls(source: Any, target: str, options: Mapping[str, Any]) -> None:
    os.abort()


def converter(tool: str, source: str, target: str, does: str = "copies", **options: Path) -> Converter:
    return Converter(
        tool, source, target, (source,), FORMATS[target][0], f"model.{target}", "numpy",
        f"tests.restoring.fakes:{does}", extra="all",
        options={name: Option("which file", str(path)) for name, path in options.items()},
    )  # fmt: skip


def install(monkeypatch: pytest.MonkeyPatch, *converters: Converter) -> None:
    """Let these be the only converters, the first of a pair its preferred one."""
    found = {f"{item.tool}/{item.target}": item for item in converters}
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(CONVERTERS, "_builtin", dict.fromkeys(found, ""))
    monkeypatch.setattr(CONVERTERS, "_loaded", found)
    monkeypatch.setitem(CONVERTERS.__dict__, "_places", dict.fromkeys(found, ""))
