"""Plainer TensorFlow computes the same, and TFLite's converter knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.repairing import plain_tensorflow
from convfault.repairing.plain_tensorflow import SINGLE, SPELLINGS

Function = Callable[[Any], Any]


def saved(function: Function, folder: Path) -> Path:
    """A SavedModel of one picture input ``picture`` (any, 8, 6, 4) and the output ``answer``."""
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = tf.Variable(tf.constant([0.1, -0.1, 0.2, 0.0]))

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 6, 4), tf.float32, name="picture")])
        def serve(self, picture: Any) -> Any:
            return {"answer": function(picture * 0.1 + self.shift)}

    network = Network()
    tf.saved_model.save(network, str(folder), signatures=network.serve)
    return folder


def answers(folder: Path, pictures: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(tf.saved_model.load(str(folder)).signatures["serving_default"](picture=pictures)["answer"])


def functions() -> dict[str, tuple[str, Function]]:
    import tensorflow as tf

    _, resizes, patches, plain = SPELLINGS
    image, math = tf.image, tf.math
    return {
        "bicubic": (resizes, lambda x: image.resize(x, (12, 10), "bicubic")),
        "area": (resizes, lambda x: image.resize(x, (4, 4), "area")),
        "lanczos": (resizes, lambda x: image.resize(x, (5, 9), "lanczos3")),
        "antialiased": (resizes, lambda x: image.resize(x, (3, 3), "bilinear", antialias=True)),
        "patches": (patches, lambda x: image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 1, 2, 1], "SAME")),
        "inverse": (plain, lambda x: math.asin(x) + math.acos(x) + math.atan(x)),
        "hyperbolic": (plain, lambda x: math.sinh(x) + math.cosh(x) * math.tan(x)),
        "inverse hyperbolic": (plain, lambda x: math.asinh(x) + math.atanh(x) + math.acosh(x + 3)),
        "error function": (plain, lambda x: math.erf(x) * math.erfc(2 * x)),
    }


NAMES = [
    "bicubic", "area", "lanczos", "antialiased", "patches", "inverse", "hyperbolic", "inverse hyperbolic",
    "error function",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_tflite_lacks_is_said_by_what_it_has(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    word, function = functions()[name]
    source, out = saved(function, tmp_path / "source"), tmp_path / "plain"
    assert plain_tensorflow.run(str(source), str(out), list(SPELLINGS)) == [word]
    pictures = np.random.default_rng(1).standard_normal((3, 8, 6, 4)).astype(np.float32)
    expected = answers(source, pictures)
    np.testing.assert_allclose(answers(out, pictures), expected, atol=2e-6 * np.abs(expected).max())
    with pytest.raises(Exception, match=r"op is neither|ops:|MLIR"):
        tf.lite.TFLiteConverter.from_saved_model(str(source)).convert()
    assert tf.lite.TFLiteConverter.from_saved_model(str(out)).convert()


def test_a_model_that_says_nothing_unusual_is_not_written(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(tf.nn.relu, tmp_path / "source")
    assert plain_tensorflow.run(str(source), str(tmp_path / "plain"), list(SPELLINGS)) == []
    assert not (tmp_path / "plain").exists()


def test_an_operator_whose_settings_are_computed_from_the_pictures_is_left_alone(tmp_path: Path) -> None:
    import tensorflow as tf

    def by_content(x: Any) -> Any:
        side = tf.cast(tf.reduce_max(x), tf.int32) + 4
        return tf.reduce_mean(tf.image.resize(x, tf.stack([side, side]), "bicubic"), (1, 2))

    source = saved(by_content, tmp_path / "source")
    assert plain_tensorflow.run(str(source), str(tmp_path / "plain"), list(SPELLINGS)) == []


def test_words_not_asked_for_are_not_said(tmp_path: Path) -> None:
    import tensorflow as tf

    source = saved(lambda x: tf.math.erf(tf.image.resize(x, (12, 10), "bicubic")), tmp_path / "source")
    _, word, *_ = SPELLINGS
    assert plain_tensorflow.run(str(source), str(tmp_path / "plain"), [word]) == [word]
    graph = tf.saved_model.load(str(tmp_path / "plain")).signatures["serving_default"].graph
    kinds = {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    kinds |= {node.op for node in graph.as_graph_def().node}
    assert "Erf" in kinds
    assert "ResizeBicubic" not in kinds


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec((None, 4), tf.float32, name=name) for name in ("z_my_left", "a_right")]
        )
        def serve(self, left: Any, right: Any) -> Any:
            return {"y_out": tf.math.asinh(left) - 2 * right, "b": tf.math.sinh(right)}

    network = Network()
    tf.saved_model.save(network, str(tmp_path / "source"), signatures=network.serve)
    assert plain_tensorflow.run(str(tmp_path / "source"), str(tmp_path / "plain"), list(SPELLINGS))
    left, right = np.random.default_rng(3).standard_normal((2, 3, 4)).astype(np.float32)
    found, expected = (
        tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"](z_my_left=left, a_right=right)
        for name in ("plain", "source")
    )
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_said_in_single_with_the_same_inputs_and_outputs(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    kernel = tf.Variable(tf.random.stateless_normal((3, 3, 4, 8), (0, 1)))

    def half(x: Any) -> Any:
        small = tf.nn.relu(tf.nn.conv2d(tf.cast(x, kind), tf.cast(kernel, kind), 1, "SAME"))
        return tf.cast(small, tf.float32)

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = kernel

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 6, 4), kind, name="picture")])
        def serve(self, picture: Any) -> Any:
            return {"answer": half(picture)}

    network, source, out = Network(), tmp_path / "source", tmp_path / "plain"
    tf.saved_model.save(network, str(source), signatures=network.serve)
    assert plain_tensorflow.run(str(source), str(out), [SINGLE]) == [SINGLE]
    pictures = tf.cast(tf.random.stateless_normal((3, 8, 6, 4), (2, 3)), kind)
    expected, found = answers(source, pictures), answers(out, pictures)
    assert found.dtype == expected.dtype
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[kind]
    assert 0 < np.abs(found - expected).max() < 4 * unit * np.abs(expected).max()
    assert tf.lite.TFLiteConverter.from_saved_model(str(out)).convert()


def test_single_precision_needs_no_other_words(tmp_path: Path) -> None:
    import tensorflow as tf

    assert plain_tensorflow.run(str(saved(tf.nn.relu, tmp_path / "s")), str(tmp_path / "plain"), [SINGLE]) == []
