"""Which Keras opens a file, and what a file may name without being trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError, TrustError
from convfault.model import Model
from convfault.native import keras_files
from tests import keras_2, tiny

pytest.importorskip("tf_keras")


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keras_2.save(keras_2.network(), tmp_path_factory.mktemp("files") / "layers.keras")


@pytest.fixture(scope="module")
def functional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keras_2.save(keras_2.of_functions(), tmp_path_factory.mktemp("files") / "functions.keras")


def opened(path: Path, trusted: bool = False) -> Any:
    return keras_files.load(Model.from_path(str(path), trusted=trusted))


def layer(configuration: Any, kind: str) -> Any:
    return next(item for item in configuration["config"]["layers"] if item["class_name"] == kind)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_each_file_is_read_by_the_keras_that_wrote_it(tmp_path: Path, suffix: str) -> None:
    old = keras_2.save(keras_2.network(), tmp_path / f"two{suffix}")
    new = tiny.keras_model(tmp_path, suffix)
    names = [keras_files.package(Model.from_path(str(path))).__name__ for path in (old, new)]
    assert names == ["tf_keras", "keras"]


def test_weights_in_the_configuration_are_read_as_arrays_with_the_same_answers(functional: Path) -> None:
    import tf_keras

    own = tf_keras.saving.load_model(functional, compile=False)
    np.testing.assert_array_equal(opened(functional)(tiny.pictures(3)), own(tiny.pictures(3)))


def test_a_change_reaches_every_weight_once(functional: Path, layered: Path) -> None:
    for path, count in ((functional, 3), (layered, 14)):
        seen: list[int] = []

        def note(values: Any, index: int, precision: str, seen: list[int] = seen) -> Any:
            assert precision == "float32"
            seen.append(index)
            return values

        keras_files.load(Model.from_path(str(path)), note)
        assert seen == list(range(count))


def names_a_module(configuration: Any) -> Any:
    layer(configuration, "Dense")["module"] = "subprocess"
    return configuration


def calls_a_function_of_python(configuration: Any) -> Any:
    layer(configuration, "Dense").update(class_name="function", module="builtins", config="eval", registered_name=None)
    return configuration


def calls_a_function_of_keras_that_reads_files(configuration: Any) -> Any:
    layer(configuration, "Dense").update(class_name="load_model", module="keras.models")
    return configuration


def hides_a_function_behind_a_registered_name(configuration: Any) -> Any:
    changes = {"module": "tf_keras.src.utils.data_utils", "registered_name": "get_file"}
    layer(configuration, "Dense").update(changes)
    return configuration


def hides_a_layer_behind_a_number(configuration: Any) -> Any:
    hidden = {"class_name": "Lambda", "config": {}, "module": "keras.layers"}
    layer(configuration, "Dense")["config"]["bias_constraint"] = [1.0, [2.0, hidden]]
    return configuration


@pytest.mark.parametrize(
    "edit",
    [
        names_a_module,
        calls_a_function_of_python,
        calls_a_function_of_keras_that_reads_files,
        hides_a_function_behind_a_registered_name,
        hides_a_layer_behind_a_number,
    ],
)
def test_what_is_none_of_keras_own_layers_needs_trust(
    layered: Path, tmp_path: Path, edit: Callable[[Any], Any]
) -> None:
    path = keras_2.edited(layered, tmp_path / "edited.keras", edit)
    with pytest.raises(TrustError, match="give --trust"):
        opened(path)


@pytest.mark.parametrize("function", ["io.write_file", "load_library", "raw_ops.WriteFile", "py_function", "print"])
def test_a_function_of_tensorflow_that_does_more_than_compute_needs_trust(
    functional: Path, tmp_path: Path, function: str
) -> None:
    def edit(configuration: Any) -> Any:
        layer(configuration, "TFOpLambda")["config"]["function"] = function
        return configuration

    with pytest.raises(TrustError, match=f"TensorFlow's function {function}"):
        opened(keras_2.edited(functional, tmp_path / "edited.keras", edit))


def test_what_a_model_was_trained_with_may_be_anything_because_it_is_not_read(layered: Path, tmp_path: Path) -> None:
    def edit(configuration: Any) -> Any:
        configuration["compile_config"] = {"loss": {"class_name": "function", "module": "mine", "config": "loss"}}
        return configuration

    assert opened(keras_2.edited(layered, tmp_path / "edited.keras", edit)).name == "tiny"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_lambda_over_a_local_function_can_be_read_by_nobody(tmp_path: Path, trusted: bool) -> None:
    import keras

    def local(x: Any) -> Any:
        return x * 2.0

    network = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(local, output_shape=(3,))])
    network.save(tmp_path / "local.keras")
    keras_2.edited(tmp_path / "local.keras", tmp_path / "as_onnx2keras.keras", as_a_name_alone)
    with pytest.raises(FormatError, match=r"Lambda layer .lambda.* nobody can read it back"):
        opened(tmp_path / "as_onnx2keras.keras", trusted)


def as_a_name_alone(configuration: Any) -> Any:
    function = {"module": "builtins", "class_name": "function", "config": "local", "registered_name": "function"}
    layer(configuration, "Lambda")["config"]["function"] = function
    return configuration
