from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError, TrustError
from convfault.frameworks.keras import KERAS
from convfault.model import Model
from tests import tiny


def saved(network: Any, path: Path, trusted: bool = False) -> Model:
    network.save(path)
    return Model.from_path(str(path), trusted=trusted)


def test_layers_give_what_a_sub_model_gives(tiny_keras: Path) -> None:
    import keras

    network = keras.saving.load_model(tiny_keras)
    layers = [layer for layer in network.layers if layer.name != "picture"]
    values = keras.Model(network.inputs, [layer.output for layer in layers])(tiny.pictures(3))
    with KERAS.open(Model.from_path(str(tiny_keras))) as session:
        assert [spec.name for spec in session.tensors()] == [layer.name for layer in layers]
        trace = session.run({"picture": tiny.pictures(3)}, [layer.name for layer in layers])
    for layer, value in zip(layers, values, strict=True):
        np.testing.assert_allclose(trace.tensors[layer.name], value, atol=1e-6)


def test_legacy_h5_answers_like_keras(tmp_path: Path, tiny_keras: Path) -> None:
    feeds = {"picture": tiny.pictures(3)}
    outputs = []
    for path in (tiny_keras, tiny.keras_model(tmp_path, ".h5")):
        with KERAS.open(Model.from_path(str(path))) as session:
            outputs.append(session.run(feeds).output())
    np.testing.assert_array_equal(*outputs)


def test_inner_models_and_shared_layers_are_captured(tmp_path: Path) -> None:
    import keras
    from keras import layers

    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="first"), layers.ReLU(name="cut")], name="block")
    vector = keras.Input((4,), name="vector")
    shared = layers.Dense(4, name="shared")
    network = keras.Model(vector, layers.Add(name="sum")([shared(inner(vector)), shared(vector)]))
    with KERAS.open(saved(network, tmp_path / "nested.keras")) as session:
        names = {spec.name for spec in session.tensors()}
        assert names == {"block", "block/first", "block/cut", "shared", "shared@1", "sum"}
        values = session.run({"vector": np.eye(4, dtype=np.float32)}, sorted(names)).tensors
    np.testing.assert_allclose(values["shared"] + values["shared@1"], values["sum"], rtol=1e-6)
    np.testing.assert_array_equal(np.maximum(values["block/first"], 0), values["block/cut"])
    np.testing.assert_array_equal(values["block/cut"], values["block"])


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    import keras
    from keras import layers

    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    network = keras.Model(
        [left, right], [layers.Add(name="plus")([left, right]), layers.Subtract(name="less")([left, right])]
    )
    with KERAS.open(saved(network, tmp_path / "two.keras")) as session:
        assert [spec.name for spec in session.signature.outputs] == ["plus", "less"]
        trace = session.run({"right": np.ones((3, 2), np.float32), "left": np.full((3, 2), 5, np.float32)})
    assert trace.tensors["plus"][0, 0] == 6
    assert trace.tensors["less"][0, 0] == 4


def test_dropout_is_off(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5)])
    with KERAS.open(saved(network, tmp_path / "dropout.keras")) as session:
        ones = np.ones((2, 50), np.float32)
        np.testing.assert_array_equal(session.run({session.signature.inputs[0].name: ones}).output(), ones)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layer_needs_trust(tmp_path: Path, suffix: str) -> None:
    import keras

    layer = keras.layers.Lambda(lambda x: x * 2.0, output_shape=(3,))
    network = keras.Sequential([keras.Input((3,), name="x"), layer])
    path = tmp_path / f"lambda{suffix}"
    with pytest.raises(TrustError, match=r"Lambda layer.*--trust"):
        KERAS.signature(saved(network, path))
    with KERAS.open(Model.from_path(str(path), trusted=True)) as session:
        name = session.signature.inputs[0].name
        assert session.run({name: np.ones((1, 3), np.float32)}).output()[0, 0] == 2


def test_lambda_hidden_in_an_inner_model_needs_trust_too(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2.0, output_shape=(3,))])
    network = keras.Sequential([keras.Input((3,)), inner])
    with pytest.raises(TrustError):
        KERAS.signature(saved(network, tmp_path / "hidden.keras"))


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    tiny.keras_network().save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "only.weights.h5").rename(tmp_path / "only.h5")
    with pytest.raises(FormatError, match="weights without a model"):
        KERAS.signature(Model.from_path(str(tmp_path / "only.h5")))


def test_class_that_keras_does_not_know_is_one_sentence(tmp_path: Path) -> None:
    import keras

    class Strange(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    model = saved(keras.Sequential([keras.Input((3,)), Strange()]), tmp_path / "strange.keras")
    with pytest.raises(FormatError, match="Strange"):
        KERAS.signature(model)


def test_archive_without_weights_is_one_sentence(tmp_path: Path, tiny_keras: Path) -> None:
    import zipfile

    path = tmp_path / "empty.keras"
    with zipfile.ZipFile(tiny_keras) as source, zipfile.ZipFile(path, "w") as copy:
        for name in ("config.json", "metadata.json"):
            copy.writestr(name, source.read(name))
    with pytest.raises(FormatError, match=r"empty\.keras"):
        KERAS.signature(Model.from_path(str(path)))
