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
from convfault.errors import FormatError
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
        ("onnx>keras:onnx2tf", "tiny_onnx"),
        ("tflite>onnx:tf2onnx>keras:onnx2tf", "tiny_tflite"),
        ("tflite>onnx:tf2onnx>tf:onnx2tf", "tiny_tflite"),
        ("onnx>tf:onnx2keras", "tiny_onnx"),
        ("torch>tflite:litert-torch", "tiny_torch"),
        ("torch>tflite:litert-torch[channels_last=true]", "tiny_torch"),
        ("torch>keras:nobuco", "tiny_torch"),
        ("torch>keras:nobuco[free_batch=true]", "tiny_torch"),
        ("torch>keras:nobuco>tflite:tflite_converter", "tiny_torch"),
        ("torch>tf:nobuco", "tiny_torch"),
        ("torch>tf:nobuco[channels_last=false]", "tiny_torch"),
        ("tf>onnx:tf2onnx==1.13.0", "tiny_saved_model"),
        ("tf>onnx:tf2onnx==1.16.1", "tiny_saved_model"),
    ],
)
def test_a_converter_in_its_own_environment_is_sound(route: str, fixture: str, request: pytest.FixtureRequest) -> None:
    check_sound(take(route, request.getfixturevalue(fixture), Cache.default()))


@pytest.mark.environments
def test_onnx2keras_writes_layers_over_functions_that_the_file_does_not_hold(tiny_onnx: Path) -> None:
    conversion = take("onnx>keras:onnx2keras", tiny_onnx, Cache.default())
    assert conversion.message == ""
    assert conversion.target is not None
    with pytest.raises(FormatError, match="nobody can read it back"):
        answers(conversion.target)


@pytest.fixture(scope="module")
def flattening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torch model that flattens what its last layer takes, as most classifiers do."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5)
    ).eval()
    path = tmp_path_factory.mktemp("flattening") / "flattening.pt2"
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(
        torch.export.export(module, (torch.zeros(2, 3, tiny.SIZE, tiny.SIZE),), dynamic_shapes=shapes), path
    )
    return path


@pytest.mark.environments
def test_nobuco_writes_a_flattening_model_that_keras_reads_back(flattening: Path) -> None:
    check_sound(take("torch>keras:nobuco", flattening, Cache.default()))


@pytest.mark.environments
def test_with_a_free_batch_nobuco_writes_one_that_keras_does_not_read_back(flattening: Path) -> None:
    conversion = take("torch>keras:nobuco[free_batch=true]", flattening, Cache.default())
    assert conversion.message == ""
    assert conversion.target is not None
    with pytest.raises(FormatError, match="last dimension of the inputs to a Dense layer"):
        answers(conversion.target)
