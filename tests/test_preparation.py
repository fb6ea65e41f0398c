"""What is told while a request becomes two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convfault import preparation
from convfault.cache import Cache
from convfault.converters.conversion import Conversion
from convfault.converters.route import Route
from convfault.dataset import Dataset
from convfault.model import Model
from convfault.process import OnEvent
from convfault.request import Context, Request

ROUTE = "onnx>tf:onnx2tf"


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def start(self, phase: str, total: int | None) -> None:
        self.told.append(("start", phase, total))

    def update(self, phase: str, done: int) -> None:
        self.told.append(("update", phase, done))

    def finish(self, phase: str) -> None:
        self.told.append(("finish", phase))


def test_an_environment_that_a_conversion_needs_is_seen_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(route: Route, source: Model, *_: Any, on_event: OnEvent, **__: Any) -> Conversion:
        on_event({"event": "hop", "index": 0})
        for step, done, total in (("Collecting x", 1, 7), ("made", 0, None)):
            on_event({"event": "environment", "name": "onnx2tf", "step": step, "done": done, "total": total})
        on_event({"event": "hop_done", "index": 0})
        return Conversion(route, (), (source,))

    monkeypatch.setattr(preparation, "convert", convert)
    path = tmp_path / "source.onnx"
    path.write_bytes(b"\x08\x07 a model")
    progress, request = Recorder(), Request(source=str(path), route=ROUTE)
    context = Context(cache=Cache(tmp_path / "cache"), progress=progress)
    preparation.convert_source(request, Model.from_path(str(path)), Dataset.open(None, limit=1), context)
    making = "make environment onnx2tf"
    assert progress.told == [
        ("start", f"convert {ROUTE}", 1),
        ("start", making, 7),
        ("update", making, 1),
        ("finish", making),
        ("update", f"convert {ROUTE}", 1),
        ("finish", f"convert {ROUTE}"),
    ]
