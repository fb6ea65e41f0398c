"""A TVM session answers and names its tensors as the native session of the same file does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.errors import UsageError
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Perturbation
from convfault.frameworks.tvm import TVM
from convfault.model import Model
from tests import tiny

FORMATS = ("torch", "keras", "saved_model", "frozen_graph", "tflite", "onnx")


@pytest.mark.parametrize("name", FORMATS)
def test_a_session_agrees_with_the_native_one_in_every_common_tensor(request: pytest.FixtureRequest, name: str) -> None:
    model = Model.from_path(str(request.getfixturevalue(f"tiny_{name}")))
    framework = FRAMEWORKS[model.framework]
    pictures = tiny.pictures(1, layout=framework.layout)
    with framework.open(model) as native, TVM.open(model) as session:
        assert [spec.name for spec in session.signature.inputs] == [spec.name for spec in native.signature.inputs]
        assert [spec.name for spec in session.signature.outputs] == [spec.name for spec in native.signature.outputs]
        here = {spec.name for spec in session.tensors()}
        common = [spec.name for spec in native.tensors() if spec.name in here]
        assert len(common) >= 6
        feeds = {native.signature.inputs[0].name: pictures}
        expected, found = native.run(feeds, common), session.run(feeds, common)
    for tensor in expected.tensors:
        np.testing.assert_allclose(found.tensors[tensor], expected.tensors[tensor], atol=2e-5, err_msg=tensor)


def test_more_pictures_than_the_batch_run_one_by_one(tiny_onnx: Path) -> None:
    with TVM.open(Model.from_path(str(tiny_onnx))) as session:
        pictures = tiny.pictures(3, layout="NCHW")
        name = session.signature.inputs[0].name
        together = session.run({name: pictures}).output()
        apart = [session.run({name: picture[None]}).output() for picture in pictures]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_weights_are_not_perturbed_in_tvm(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match="perturb"):
        TVM.open(Model.from_path(str(tiny_onnx)), Perturbation())
