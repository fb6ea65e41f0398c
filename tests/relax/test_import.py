"""What an importer cannot take is left out and named; the rest goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.errors import FormatError, ShapeError, UsageError
from convfault.localization.faults import location, native_names
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.execute import Executable
from convfault.relax.extract import extract
from convfault.relax.import_model import import_model
from tests import tiny


def onnx_file(
    folder: Path, nodes: list[Any], shape: tuple[Any, ...], constants: dict[str, Any] | None = None, opset: int = 17
) -> Model:
    from onnx import TensorProto, helper, numpy_helper, save

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    path = folder / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return Model.from_path(str(path))


def test_an_unknown_operator_is_left_out_and_named(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("LpNormalization", ["a"], ["b"], name="odd"),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    imported = import_model(onnx_file(tmp_path, nodes, (1, 4)))
    (operator,) = imported.unsupported
    assert (operator.operator, operator.node, operator.inputs) == ("LpNormalization", "odd", ("a",))
    graph = canonical(imported)
    assert [layer.kind for layer in graph if layer.kind != "input"] == ["clip", "opaque", "tanh"]
    with pytest.raises(UsageError, match="LpNormalization"):
        Executable(imported).run({"x": np.zeros((1, 4), np.float32)})
    value = np.full((1, 4), 0.5, np.float32)
    found = Executable(imported).run({"x": np.zeros((1, 4), np.float32), "b": value})["y"]
    np.testing.assert_allclose(found, np.tanh(value), rtol=1e-6)


def test_an_open_batch_is_fixed_and_another_open_side_refused(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert import_model(onnx_file(tmp_path, nodes, ("n", 4)), batch=3).inputs[0].shape == (3, 4)
    with pytest.raises(ShapeError, match="'x' has no fixed size in dimension 1"):
        import_model(onnx_file(tmp_path, nodes, (1, "width")))


def test_sizes_that_the_graph_computes_are_known(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["first"], axis=0),
        helper.make_node("Unsqueeze", ["first", "zeros"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    constants = {"zero": np.asarray(0), "zeros": np.asarray([0]), "rest": np.asarray([-1])}
    imported = import_model(onnx_file(tmp_path, nodes, ("n", 4, 5), constants))
    assert imported.unsupported == ()
    assert imported.outputs[0].shape == (1, 20)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07not a model at all")
    with pytest.raises(FormatError, match=r"broken\.onnx"):
        import_model(Model.from_path(str(path)))


def saved(folder: Path, function: Any, *shape: int) -> Model:
    """A SavedModel of one function on a float32 tensor."""
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(function, input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="x")])
    tf.saved_model.save(module, folder / "saved", signatures=module.run)
    return Model.from_path(str(folder / "saved"))


def tensorflow_functions() -> dict[str, Any]:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.standard_normal((3, 3, 4, 8)).astype(np.float32))
    back = tf.constant(rng.standard_normal((3, 3, 6, 4)).astype(np.float32))
    return {
        "strided convolution": lambda x: tf.nn.conv2d(x, kernel, 2, "SAME"),
        "dilated convolution": lambda x: tf.nn.convolution(x, kernel, dilations=2, padding="SAME"),
        "explicit padding": lambda x: tf.nn.conv2d(x, kernel, 1, [[0, 0], [2, 0], [1, 1], [0, 0]]),
        "depthwise": lambda x: tf.nn.depthwise_conv2d(x, kernel[..., :2], [1, 2, 2, 1], "SAME"),
        "transposed": lambda x: tf.nn.conv2d_transpose(x, back, [1, 16, 12, 6], 2, "SAME"),
        "pools": lambda x: tf.concat([tf.nn.max_pool2d(x, 3, 2, "SAME"), tf.nn.avg_pool2d(x, 3, 2, "SAME")], -1),
        "slices": lambda x: tf.concat([x[:, 1:, ::2], *tf.split(x[:, :-1, ::2], 2, axis=-1)], -1),
        "activations": lambda x: tf.nn.elu(x) + tf.nn.selu(x) * tf.nn.softplus(x) - tf.nn.leaky_relu(x, 0.3),
        "gelu": lambda x: tf.nn.gelu(x) + tf.nn.gelu(x, approximate=True) + tf.nn.silu(x),
        "depth": lambda x: tf.nn.space_to_depth(tf.nn.depth_to_space(tf.concat([x, x], -1), 2), 2),
        "bilinear": lambda x: tf.image.resize(x, (5, 9)),
        "nearest": lambda x: tf.image.resize(x, (16, 12), "nearest"),
        "corners": lambda x: tf.compat.v1.image.resize_bilinear(x, (5, 9), align_corners=True),
        "shapes": lambda x: tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (tf.shape(x)[0], -1)),
        "statistics": lambda x: tf.nn.l2_normalize(x, -1) + tf.reduce_max(x, (1, 2), keepdims=True),
        "products": lambda x: tf.matmul(x, x, transpose_b=True),
        "mirror": lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], "REFLECT"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "strided convolution", "dilated convolution", "explicit padding", "depthwise", "transposed", "pools", "slices",
        "activations", "gelu", "depth", "bilinear", "nearest", "corners", "shapes", "statistics", "products", "mirror",
    ],
)  # fmt: skip
def test_tensorflow_operators_mean_the_same_in_relax(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tensorflow")
    function = tensorflow_functions()[name]
    picture = np.random.default_rng(1).standard_normal((1, 8, 6, 4)).astype(np.float32)
    expected = np.asarray(function(picture))
    imported = import_model(saved(tmp_path, function, 8, 6, 4))
    assert imported.unsupported == ()
    feeds = {imported.inputs[0].name: picture}
    found = next(iter(Executable(imported).run(feeds).values()))
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5, err_msg="in TVM")
    for graph in (extract(imported), canonical(imported)):
        result = evaluate.run_native(graph, feeds)[graph.outputs[0]]
        np.testing.assert_allclose(result.reshape(expected.shape), expected, atol=2e-5, rtol=1e-5, err_msg="evaluated")


def test_two_tensors_of_one_name_are_told_apart(tiny_tflite: Path, tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from convfault.flatbuffer import packed

    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_tflite.read_bytes()))
    for tensor in tree.subgraphs[0].tensors:
        tensor.name = b"same"
    path = tmp_path / "same.tflite"
    path.write_bytes(packed(tree))
    imported = import_model(Model.from_path(str(path)))
    pictures = tiny.pictures(1)
    found = next(iter(Executable(imported).run({imported.inputs[0].name: pictures}).values()))
    np.testing.assert_allclose(found, np.asarray(tiny.keras_network()(pictures, training=False)), atol=1e-5)


def test_a_size_that_a_tflite_graph_computes_is_not_the_one_that_it_declares(tmp_path: Path) -> None:
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

    from convfault.flatbuffer import packed

    tf.keras.utils.set_random_seed(0)
    network = tf.keras.Sequential([tf.keras.Input((4, 4, 3)), tf.keras.layers.Conv2DTranspose(2, 3, strides=2)])
    content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    (result,) = tree.subgraphs[0].outputs
    assert list(tree.subgraphs[0].tensors[result].shape) == [1, 9, 9, 2]
    for tensor in tree.subgraphs[0].tensors:
        if tensor.shape is not None and list(tensor.shape) == [1, 9, 9, 2]:
            tensor.shape = [1, 8, 8, 2]
    path = tmp_path / "declared.tflite"
    path.write_bytes(packed(tree))
    imported = import_model(Model.from_path(str(path)))
    picture = np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype(np.float32)
    found = next(iter(Executable(imported).run({imported.inputs[0].name: picture}).values()))
    np.testing.assert_allclose(found, np.asarray(network(picture)), atol=1e-5)


def test_every_node_of_a_keras_model_is_called_by_its_layer(tiny_keras: Path) -> None:
    imported = import_model(Model.from_path(str(tiny_keras)))
    names = {layer.name for layer in tiny.keras_network().layers}
    assert {origin.called for origin in imported.origins.values()} <= names
    graph = canonical(imported)
    stem = next(layer for layer in graph if layer.kind == "convolution")
    assert location(stem) == "stem"
    assert {"stem", "stem_norm"} <= set(native_names(stem))


def test_a_layer_inside_another_owns_its_nodes_and_one_that_runs_twice_owns_both(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1, name="deep")], name="block")
    picture = keras.Input((4, 4, 3))
    keras.Model(picture, keras.layers.ReLU(name="last")(inner(inner(picture)))).save(tmp_path / "nested.keras")
    imported = import_model(Model.from_path(str(tmp_path / "nested.keras")))
    called = [origin.called for origin in imported.origins.values() if origin.operator == "Conv2D"]
    assert set(called) == {"block/deep"}
    graph = canonical(imported)
    assert [location(layer) for layer in graph if layer.kind == "clip"] == ["last"]


def test_a_node_of_a_format_without_layers_keeps_its_name(tiny_onnx: Path) -> None:
    imported = import_model(Model.from_path(str(tiny_onnx)))
    assert all(origin.called == origin.node for origin in imported.origins.values())
