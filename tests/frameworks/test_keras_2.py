"""Files that Keras 2 wrote are opened by Keras 2, and do all that those of Keras 3 do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from convfault.errors import MissingPackageError, TrustError
from convfault.frameworks.base import Perturbation
from convfault.frameworks.keras import KERAS
from convfault.model import Model
from tests import keras_2, tiny

pytest.importorskip("tf_keras")


@pytest.fixture(scope="module", params=[".keras", ".h5"])
def layered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("keras_2")
    return Model.from_path(str(keras_2.save(keras_2.network(), folder / f"layers{request.param}")))


@pytest.fixture(scope="module")
def functional(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.from_path(
        str(keras_2.save(keras_2.of_functions(), tmp_path_factory.mktemp("keras_2") / "functions.keras"))
    )


def run(model: Model, perturbation: Perturbation | None = None) -> np.ndarray:
    with KERAS.open(model, perturbation) as session:
        return session.run({"picture": tiny.pictures(5)}).output()


def test_a_file_of_keras_2_answers_as_the_same_network_in_keras_3(layered: Model, tiny_keras: Path) -> None:
    np.testing.assert_allclose(run(layered), run(Model.from_path(str(tiny_keras))), atol=1e-6)


def test_its_signature_has_the_names_of_its_layers_and_a_free_batch(layered: Model) -> None:
    signature = KERAS.signature(layered)
    assert [(spec.name, spec.shape, spec.dtype) for spec in signature.inputs] == [
        ("picture", (None, 16, 16, 3), "float32")
    ]
    assert [(spec.name, spec.shape) for spec in signature.outputs] == [("dense", (None, 10))]


def test_the_trace_says_which_keras_ran_it(layered: Model, tiny_keras: Path) -> None:
    import keras
    import tf_keras

    for model, version in (
        (layered, f"tf_keras {tf_keras.__version__}"),
        (Model.from_path(str(tiny_keras)), keras.__version__),
    ):
        with KERAS.open(model) as session:
            assert session.run({"picture": tiny.pictures(1)}).version == version


def test_its_layers_give_what_those_of_keras_3_give(layered: Model, tiny_keras: Path) -> None:
    traces = []
    for model in (layered, Model.from_path(str(tiny_keras))):
        with KERAS.open(model) as session:
            names = [spec.name for spec in session.tensors()]
            traces.append(session.run({"picture": tiny.pictures(3)}, names).tensors)
    assert list(traces[0]) == list(traces[1])
    for name, values in traces[0].items():
        np.testing.assert_allclose(values, traces[1][name], atol=1e-5)


def test_functions_of_tensorflow_are_captured_and_run_afterwards_as_before(functional: Model) -> None:
    with KERAS.open(functional) as session:
        specs = session.tensors()
        assert len(specs) == 6
        trace = session.run({"picture": tiny.pictures(5)}, [spec.name for spec in specs])
        assert all(trace.tensors[spec.name].shape[1:] == spec.shape[1:] for spec in specs)
        np.testing.assert_array_equal(session.run({"picture": tiny.pictures(5)}).output(), trace.output())


def test_perturbation_moves_weights_in_variables_and_in_arguments(layered: Model, functional: Model) -> None:
    for model in (layered, functional):
        first, again, other = (run(model, Perturbation(seed=seed)) for seed in (1, 1, 2))
        assert 1e-7 < np.abs(first - run(model)).max() < 1e-3
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_of_keras_2_needs_trust(tmp_path: Path, suffix: str) -> None:
    import tf_keras

    network = tf_keras.Sequential([tf_keras.Input((3,), name="x"), tf_keras.layers.Lambda(lambda x: x * 2.0)])
    path = keras_2.save(network, tmp_path / f"lambda{suffix}")
    with pytest.raises(TrustError, match=r"Lambda layer.*--trust"):
        KERAS.signature(Model.from_path(str(path)))
    with KERAS.open(Model.from_path(str(path), trusted=True)) as session:
        assert session.run({"x": np.ones((1, 3), np.float32)}).output()[0, 0] == 2


def test_without_tf_keras_it_is_said_how_to_get_it(layered: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(MissingPackageError, match=r'tf_keras is not installed: pip install "convfault\[keras\]"'):
        KERAS.signature(layered)


def test_a_file_of_keras_3_needs_no_tf_keras(tiny_keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    assert KERAS.signature(Model.from_path(str(tiny_keras))).inputs[0].name == "picture"
