"""Converters in environments of their own convert the tiny model into one that answers the same.

The smallest environment is made anew each time; the others, of gigabytes each, are made once in the user's cache:
``scripts/test -m environments``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.converters.conversion import Conversion
from convfault.converters.convert import convert
from convfault.converters.route import parse
from convfault.errors import FormatError, TrustError
from convfault.frameworks import FRAMEWORKS
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from tests import tiny
from tests.converters.test_converters import NCHW, SOUND

pytestmark = pytest.mark.e2e


def take(route: str, path: Path, cache: Cache) -> Conversion:
    source = Model.from_path(str(path))
    layout = "NCHW" if source.framework in NCHW else "NHWC"
    preprocessing = Preprocessing(size=(tiny.SIZE, tiny.SIZE), layout=layout)
    return convert(parse(route), source.with_preprocessing(preprocessing), {}, cache)


def answers(model: Model) -> np.ndarray:
    """Softmax outputs (5, classes), one picture at a time where the batch is fixed."""
    assert model.preprocessing is not None
    pictures = tiny.pictures(5, layout=model.preprocessing.layout)
    with FRAMEWORKS[model.framework].open(model) as session:
        (spec,) = session.signature.inputs
        size = spec.shape[0] or len(pictures)
        batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]
        return np.concatenate([np.asarray(session.run({spec.name: batch}).output()) for batch in batches])


def check_sound(conversion: Conversion) -> None:
    assert conversion.message == ""
    assert conversion.target is not None
    np.testing.assert_allclose(answers(conversion.target), answers(conversion.source), atol=SOUND)


def test_tflite2onnx_in_an_environment_made_for_this_test(tiny_tflite: Path, tmp_path: Path) -> None:
    conversion = take("tflite>onnx:tflite2onnx", tiny_tflite, Cache(tmp_path))
    check_sound(conversion)
    (hop,) = conversion.hops
    assert hop.tool_version == "0.4.1"
    assert conversion.models[-1].preprocessing == replace(conversion.source.preprocessing, layout="NCHW")


@pytest.mark.environments
@pytest.mark.parametrize(
    ("route", "fixture"),
    [
        ("onnx>tf:onnx2tf", "tiny_onnx"),
        ("onnx>tflite:onnx2tf", "tiny_onnx"),
        ("tflite>onnx:tf2onnx>tf:onnx2tf", "tiny_tflite"),
        ("onnx>tf:onnx2keras", "tiny_onnx"),
        ("torch>tflite:litert-torch", "tiny_torch"),
        ("torch>tflite:litert-torch[channels_last=true]", "tiny_torch"),
        ("torch>tf:nobuco", "tiny_torch"),
        ("torch>tf:nobuco[channels_last=false]", "tiny_torch"),
        ("tf>onnx:tf2onnx==1.13.0", "tiny_saved_model"),
        ("tf>onnx:tf2onnx==1.16.1", "tiny_saved_model"),
    ],
)
def test_a_converter_in_its_own_environment_is_sound(route: str, fixture: str, request: pytest.FixtureRequest) -> None:
    check_sound(take(route, request.getfixturevalue(fixture), Cache.default()))


@pytest.mark.environments
@pytest.mark.parametrize(
    ("route", "fixture"),
    [
        ("onnx>keras:onnx2keras", "tiny_onnx"),  # Lambda layers over functions that the file does not hold
        ("onnx>keras:onnx2tf", "tiny_onnx"),  # files of Keras 2
        ("torch>keras:nobuco", "tiny_torch"),
    ],
)
def test_what_keras_cannot_read_back_was_converted_all_the_same(
    route: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    conversion = take(route, request.getfixturevalue(fixture), Cache.default())
    assert conversion.message == ""
    assert conversion.target is not None
    with pytest.raises((FormatError, TrustError)):
        answers(conversion.target)
