"""A model in the middle of the route is mended and converted on, where that helps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.measurement import Measurement, measure
from convfault.model import Model
from convfault.request import Context, Request
from convfault.restoring.upstream import Mend, passages
from convfault.restoring.way import Way
from tests.restoring import fakes
from tests.restoring.fakes import converter

Faulty = Callable[..., Path]
ROUTE = "onnx>tflite:first>keras:second"


@pytest.fixture
def wrong(faulty: Faulty) -> Path:
    return faulty("tflite", "weights_scaled")


@pytest.fixture
def other_keras(tiny_keras: Path, tmp_path: Path) -> Path:
    """The network with another head."""
    import keras

    network = keras.saving.load_model(tiny_keras)
    bias = np.asarray(network.weights[-1])
    network.weights[-1].assign(bias + 1.5 * (bias > 0))
    network.save(tmp_path / "other.keras")
    return tmp_path / "other.keras"


@pytest.fixture
def tried(store: Cache, data: Path, tmp_path: Path, tiny_onnx: Path) -> Callable[[Mend], list[Way]]:
    """The passages of the route over this kind of mending."""

    def run(mend: Mend) -> list[Way]:
        request = Request(str(tiny_onnx), route=ROUTE, data=str(data), limit=12)
        context = Context(store)
        found = measure(request, context)
        assert found.comparison.verdict == "differ", found.comparison.reasons
        return list(passages(found, mend, Path(tempfile.mkdtemp(dir=tmp_path)), request, context))

    return run


def by_copying(path: Path) -> Mend:
    def mend(found: Measurement, out: Path) -> Model:
        assert found.comparison.verdict == "differ"
        return Model.from_path(str(shutil.copy(path, out)))

    return mend


def in_vain(found: Measurement, out: Path) -> None:
    return None


def test_what_is_converted_from_the_mended_model_takes_the_targets_place(
    tried: Callable[[Mend], list[Way]], wrong: Path, tiny_tflite: Path, tiny_keras: Path, other_keras: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    second = converter("second", "tflite", "keras", "carries_on", sound=tiny_tflite, file=tiny_keras, other=other_keras)
    fakes.install(monkeypatch, converter("first", "onnx", "tflite", file=wrong), second)
    (passage,) = tried(by_copying(tiny_tflite))
    assert passage.accepted
    assert passage.found is not None
    assert passage.found.comparison.verdict == "agree"
    record = passage.to_record()
    assert (record["strategy"], record["edit"]) == ("tool", "mend what hop 1 (first) wrote, and convert on from there")
    (again,) = tried(in_vain)
    assert (again.accepted, again.reason) == (False, "it cannot be mended either")


def test_a_last_hop_that_is_wrong_itself_is_not_helped(
    tried: Callable[[Mend], list[Way]], wrong: Path, tiny_tflite: Path, other_keras: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    second = converter("second", "tflite", "keras", file=other_keras)
    fakes.install(monkeypatch, converter("first", "onnx", "tflite", file=wrong), second)
    (passage,) = tried(by_copying(tiny_tflite))
    assert not passage.accepted
    assert passage.reason.startswith("it was mended, but then: ")


def test_a_sound_model_in_the_middle_is_left_alone(
    tried: Callable[[Mend], list[Way]], tiny_tflite: Path, other_keras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = converter("second", "tflite", "keras", file=other_keras)
    fakes.install(monkeypatch, converter("first", "onnx", "tflite", file=tiny_tflite), second)
    (passage,) = tried(in_vain)
    assert "nothing to mend in it" in passage.reason
