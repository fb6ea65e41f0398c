"""A run that goes wrong says where: while the file was opened, or while the model ran."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from convfault.cache import Cache
from convfault.frameworks import runs
from convfault.frameworks.runs import Side
from convfault.preparation import prepare, sides
from convfault.progress import Silent
from convfault.request import Context, Request


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def side(tiny_tflite: Path, cache: Cache, tmp_path: Path) -> Side:
    copy = shutil.copy(tiny_tflite, tmp_path / "copy.tflite")
    request, context = Request(source=str(tiny_tflite), target=str(copy), limit=4), Context(cache)
    return sides(prepare(request, context), request, context)[1]


def test_a_sound_model_has_no_stage_to_name(side: Side, cache: Cache) -> None:
    (done,) = runs.run([side], cache, Silent())
    assert (done.outcome, done.stage) == (None, "")
    assert len(done.traces) == 1


def test_a_file_that_cannot_be_opened_fails_at_loading(side: Side, cache: Cache) -> None:
    Path(side.model.path).write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
    (done,) = runs.run([side], cache, Silent())
    assert done.outcome is not None
    assert done.stage == "load"


def test_a_model_that_opens_and_cannot_answer_fails_at_running(side: Side, cache: Cache) -> None:
    turned = replace(side, preprocessing=replace(side.preprocessing, layout="NCHW"))
    (done,) = runs.run([turned], cache, Silent())
    assert done.outcome is not None
    assert done.stage == "run"
