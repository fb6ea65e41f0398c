"""Files of Keras 2 are imported to Relax under the names of their layers and variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("tf_keras")

from convfault.model import Model
from convfault.relax.execute import Executable
from convfault.relax.import_model import import_model
from tests import keras_2, tiny


def imported(network: Any, path: Path) -> Any:
    return import_model(Model.from_path(str(keras_2.save(network, path))))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_import_answers_as_the_network(tmp_path: Path, suffix: str) -> None:
    made = imported(keras_2.network(), tmp_path / f"tiny{suffix}")
    pictures = tiny.pictures(1)
    found = Executable(made).run({"picture": pictures})["dense"]
    np.testing.assert_allclose(found, np.asarray(tiny.keras_network()(pictures, training=False)), atol=1e-5)
    assert made.unsupported == ()
    assert {"stem", "pool", "stem/kernel", "dense/bias"} <= set(made.names)


def test_weights_that_are_arguments_are_imported_as_well(tmp_path: Path) -> None:
    network = keras_2.of_functions()
    made = imported(network, tmp_path / "functions.keras")
    pictures = tiny.pictures(1)
    (found,) = Executable(made).run({"picture": pictures}).values()
    np.testing.assert_allclose(found, np.asarray(network(pictures)), atol=1e-5)
