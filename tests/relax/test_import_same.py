"""Operators mean the same in the graph as in their framework, and have one form whatever a converter made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.fingerprint import paired
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from tests.relax.test_import import onnx_file
from tests.relax.test_opaque import exported

RNG = np.random.default_rng(4)
PICTURE = RNG.standard_normal((1, 8, 12, 10)).astype(np.float32)
LAST = np.ascontiguousarray(PICTURE.transpose(0, 2, 3, 1))
Function = Callable[[Any], Any]


def assert_answers_like(graph: Graph, feed: np.ndarray, wanted: np.ndarray) -> None:
    assert graph.unsupported == ()
    end = graph[graph.outputs[0]]
    found = evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): feed})[end.id]
    if end.native.permutation is not None:
        found = found.transpose(np.argsort(end.native.permutation))
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)


def torch_functions() -> dict[str, Function]:
    import torch
    from torch.nn import functional

    def attended(x: Any) -> Any:
        rows = x.flatten(2).transpose(1, 2).reshape(1, 120, 2, 4).transpose(1, 2)
        return functional.scaled_dot_product_attention(rows, rows * 2, rows - 1)

    return {
        "spread": lambda x: x.std((2, 3)) + x.var((2, 3), unbiased=False),
        "spread and mean": lambda x: torch.cat([*torch.var_mean(x, 1), *torch.std_mean(x, 1, correction=0)], 1),
        "other sizes": lambda x: torch.cat([part * n for n, part in enumerate(torch.tensor_split(x, 3, 1))], 1),
        "extremes": lambda x: x.max(1)[0] + x.min(1, keepdim=True)[0].squeeze(1) + x.max(1)[1],
        "largest": lambda x: x.flatten(1).topk(5, 1)[0] * 2,
        "response": lambda x: functional.local_response_norm(x, 4),
        "product by letters": lambda x: torch.einsum("nchw,nc->nchw", x, x.mean((2, 3))),
        "summed by letters": lambda x: torch.einsum("nij,nkj->nik", x.flatten(2), x.flatten(2)),
        "attention": attended,
        "nearest by centres": lambda x: functional.interpolate(x, scale_factor=2, mode="nearest-exact"),
        "circle": lambda x: functional.pad(x, (1, 2, 2, 1), mode="circular"),
        "turned": lambda x: x.flip(3) + torch.cumsum(x, 1),
        "summed from behind": lambda x: x.flip(2).cumsum(2).flip(2) + torch.cat([x, x * 2], 1).flip(1)[:, :8],
        "unequal parts": lambda x: functional.adaptive_avg_pool2d(x, (7, 7)),
        "one row of many": lambda x: x.permute(2, 0, 1, 3)[3] + x.permute(2, 0, 1, 3)[5],
        "filled": lambda x: x * torch.full((8, 1, 1), 0.3) + torch.arange(10.0),
        "moved axis": lambda x: torch.movedim(x, 1, 3) * 2,
        "normalized each": lambda x: functional.instance_norm(x, weight=torch.arange(8.0), eps=0.3),
        "normalized by statistics": lambda x: functional.instance_norm(
            x, torch.arange(8.0), torch.arange(1.0, 9.0), use_input_stats=False, eps=0.3
        ),
        "less than no padding": lambda x: functional.pad(x, (-1, 2, -2, -3), value=0.5),
        "logarithm of a sum": lambda x: x - torch.logsumexp(x, 1, keepdim=True) + torch.logsumexp(x, (2, 3)).mean(),
        "remainders": lambda x: torch.fmod(x, 0.3) + torch.remainder(x, 0.7) + torch.trunc(x * 3),
    }


@pytest.mark.parametrize(
    "name",
    [
        "spread", "spread and mean", "other sizes", "extremes", "largest", "response", "product by letters",
        "summed by letters", "attention", "nearest by centres", "circle", "turned", "unequal parts", "one row of many",
        "filled", "moved axis", "normalized each", "normalized by statistics", "less than no padding", "remainders",
        "logarithm of a sum", "summed from behind",
    ],
)  # fmt: skip
def test_torch_operators_mean_the_same(name: str, tmp_path: Path) -> None:
    import torch

    function = torch_functions()[name]
    graph = canonical(exported(tmp_path, function, PICTURE))
    assert_answers_like(graph, PICTURE, function(torch.from_numpy(PICTURE)).numpy())


def tensorflow_functions() -> dict[str, Function]:
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

    kernel = tf.constant(RNG.standard_normal((3, 3, 8, 4)).astype(np.float32))
    grouped = tf.constant(RNG.standard_normal((3, 3, 2, 8)).astype(np.float32))
    back = tf.constant(RNG.standard_normal((3, 3, 6, 8)).astype(np.float32))
    weights = tf.constant(RNG.standard_normal((8, 6)).astype(np.float32))
    slopes = tf.constant(RNG.uniform(0.1, 0.9, (12, 10, 8)).astype(np.float32))

    @tf.function(jit_compile=True)
    def apart(x: Any) -> Any:
        return tf.nn.conv2d(x, grouped, 1, "SAME")

    return {
        "dilated": lambda x: tf.nn.relu(tf.nn.convolution(x, kernel, dilations=2, padding="SAME") + 1.0),
        "dilated within": lambda x: tf.nn.convolution(x, kernel, dilations=(3, 2), padding="VALID"),
        "transposed": lambda x: tf.nn.conv2d_transpose(x, back, [1, 24, 20, 6], 2, "SAME"),
        "transposed within": lambda x: tf.nn.conv2d_transpose(x, back, [1, 25, 21, 6], 2, "VALID"),
        "called": apart,
        "product of a picture": lambda x: tf.tensordot(x, weights, 1) + 1.0,
        "rough gelu": lambda x: tf.nn.gelu(x, approximate=True),
        "repeated": lambda x: tf.repeat(tf.repeat(x, 2, 1), 2, 2),
        "unit length": lambda x: tf.nn.l2_normalize(x, -1),
        "response": lambda x: tf.nn.local_response_normalization(x, 2, 1.0, 0.1, 0.75),
        "sloped": lambda x: tf.nn.relu(x) - slopes * tf.nn.relu(-x),
        "best class": lambda x: tf.cast(tf.argmax(x, -1), tf.float32),
        "turned": lambda x: x[:, :, ::-1],
        "along the height": lambda x: tf.nn.softmax(x, 1),
        "depth": lambda x: tf.nn.depth_to_space(x, 2),
        "block": lambda x: dynamic_update_slice(x, tf.nn.relu(x[:, 2:5, 1:4]), [0, 11, 1, 0]),
        "made of parts": lambda x: tf.scatter_nd([[0, 3], [0, 4]], x[0, 5:7], [1, 12, 10, 8]) + x,
        "added up": lambda x: tf.scatter_nd([[0, 3], [0, 3]], x[0, 5:7], [1, 12, 10, 8]) + x,
        "mirrored": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 1], [0, 0]], "SYMMETRIC"),
        "reflected": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 1], [0, 0]], "REFLECT"),
        "repeated edge": lambda x: tf.gather(tf.gather(x, [0, 0, 0, *range(12), 11], axis=1), [*range(10), 9], axis=2),
        "summed": lambda x: tf.cumsum(x, 2, exclusive=True) + tf.cumsum(x, 1, reverse=True),
    }


NAMES = [
    "dilated", "dilated within", "transposed", "transposed within", "called", "product of a picture", "rough gelu",
    "repeated", "unit length", "response", "sloped", "best class", "turned", "along the height", "depth",
    "block", "made of parts", "added up", "summed", "mirrored", "reflected", "repeated edge",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_and_tflite_have_one_form_and_answer_alike(name: str, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    function = tensorflow_functions()[name]
    module = tf.Module()
    module.run = tf.function(
        lambda x: function(tf.tanh(x)), input_signature=[tf.TensorSpec((1, 12, 10, 8), tf.float32, name="x")]
    )
    tf.saved_model.save(module, tmp_path / "saved", signatures=module.run)
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    wanted = np.asarray(module.run(LAST))
    graphs = [canonical(import_model(Model.from_path(str(place)))) for place in (tmp_path / "saved", path)]
    for graph in graphs:
        assert_answers_like(graph, LAST, wanted)
    pairs = paired(*graphs)
    assert len(pairs) == len(graphs[0]) == len(graphs[1])
    assert max(pair.distance for pair in pairs) < 1e-5


@pytest.mark.parametrize("name", ["update", "add", "sub", "max", "min"])
@pytest.mark.parametrize("rows", [[3, 4], [7, 2]])
def test_tensorflow_writes_to_places_as_it_says(name: str, rows: list[int], tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    places = [[0, row] for row in rows]
    function = getattr(tf, f"tensor_scatter_nd_{name}")
    module = tf.Module()
    module.run = tf.function(
        lambda x: function(x, places, tf.tanh(x[0, 5:7])) * 2 + tf.gather_nd(x, [[0, 1]])[:, None, ..., 1, None],
        input_signature=[tf.TensorSpec((1, 12, 10, 8), tf.float32, name="x")],
    )
    tf.saved_model.save(module, tmp_path / "saved", signatures=module.run)
    graph = canonical(import_model(Model.from_path(str(tmp_path / "saved"))))
    assert_answers_like(graph, LAST, np.asarray(module.run(LAST)))


def test_a_dilated_convolution_is_one_convolution_and_that_of_blocks_left_alone_is_not(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    kernel = tf.constant(RNG.standard_normal((3, 3, 8, 4)).astype(np.float32))

    def kinds(function: Function, name: str) -> list[str]:
        module = tf.Module()
        module.run = tf.function(function, input_signature=[tf.TensorSpec((1, 12, 10, 8), tf.float32, name="x")])
        tf.saved_model.save(module, tmp_path / name, signatures=module.run)
        return [layer.kind for layer in canonical(import_model(Model.from_path(str(tmp_path / name))))]

    def by_blocks(x: Any) -> Any:
        return tf.nn.conv2d(tf.space_to_batch(x, [2, 2], [[0, 0], [0, 0]]), kernel, 1, "SAME")

    assert kinds(lambda x: tf.nn.convolution(x, kernel, dilations=2, padding="SAME"), "a") == ["input", "convolution"]
    assert len(kinds(by_blocks, "b")) > 2


def test_scales_that_make_whole_sides_are_read_as_runtimes_read_them(tmp_path: Path) -> None:
    """12 * 1.4166666 is 17 in float32, though ONNX infers 16."""
    import onnxruntime
    from onnx import helper

    scales = np.asarray([1, 1, 17 / 12, 1.5], np.float32)
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")]
    model = onnx_file(tmp_path, nodes, PICTURE.shape, {"scales": scales})
    wanted = onnxruntime.InferenceSession(model.path).run(None, {"x": PICTURE})[0]
    assert wanted.shape[2:] == (17, 15)
    assert_answers_like(canonical(import_model(model)), PICTURE, wanted)


def assert_answers_like_onnxruntime(folder: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> Graph:
    import onnxruntime

    model = onnx_file(folder, nodes, PICTURE.shape, constants, opset=18)
    graph = canonical(import_model(model))
    assert_answers_like(graph, PICTURE, onnxruntime.InferenceSession(model.path).run(None, {"x": PICTURE})[0])
    return graph


@pytest.mark.parametrize("given", [{"output_shape": [25, 19]}, {"output_shape": [24, 20], "auto_pad": "SAME_UPPER"}])
def test_a_transposed_convolution_is_cut_to_the_shape_that_it_asks_for(tmp_path: Path, given: dict[str, Any]) -> None:
    from onnx import helper

    kernel = RNG.standard_normal((8, 4, 4, 3)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], **given)
    graph = assert_answers_like_onnxruntime(tmp_path, [node], {"w": kernel})
    assert graph.layers[-1].shape[1:3] == tuple(given["output_shape"])


def test_paddings_of_some_axes_and_below_zero_are_paddings_and_cuts(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"])]
    constants = {"pads": np.asarray([1, 2, -1, 3], np.int64), "axes": np.asarray([-1, 2], np.int64)}
    assert [layer.kind for layer in assert_answers_like_onnxruntime(tmp_path, nodes, constants)] == [
        "input",
        "slice",
        "pad",
    ]


@pytest.mark.parametrize("excluded", [0, 1])
@pytest.mark.parametrize(
    "given", [{"mode": "linear", "antialias": 1}, {"mode": "cubic", "antialias": 1}, {"mode": "cubic"}]
)
def test_a_resize_reads_the_edge_again_or_leaves_out_what_lies_beyond(
    tmp_path: Path, excluded: int, given: dict[str, Any]
) -> None:
    from onnx import helper

    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], exclude_outside=excluded, **given)]
    scales = np.asarray([1, 1, 0.5, 0.7], np.float32)
    layer = assert_answers_like_onnxruntime(tmp_path, nodes, {"scales": scales}).layers[-1]
    usual = bool(given.get("antialias")) == bool(excluded)
    assert layer.hyperparameters.get("exclude_outside") == (None if usual else bool(excluded))


def test_paddings_as_a_word_are_numbers(tmp_path: Path) -> None:
    import onnxruntime
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], auto_pad="SAME_LOWER", strides=[2, 2]),
        helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    ]
    weights = RNG.standard_normal((4, 8, 4, 3)).astype(np.float32)
    model = onnx_file(tmp_path, nodes, PICTURE.shape, {"w": weights})
    graph = canonical(import_model(model))
    assert [layer.kind for layer in graph] == ["input", "convolution", "max_pool"]
    assert_answers_like(graph, PICTURE, onnxruntime.InferenceSession(model.path).run(None, {"x": PICTURE})[0])


@pytest.mark.parametrize("window", [(2, 2, 0, 1), (2, 3, 1, 2), (3, 3, 1, 1), (3, 2, 0, 1), (3, 3, 0, 2)])
def test_a_power_pool_whose_last_window_lies_beyond_the_edge_sums_what_is_there(
    tmp_path: Path, window: tuple[int, int, int, int]
) -> None:
    import onnx
    import onnxruntime
    from onnx import helper

    size, stride, pad, dilation = window
    settings = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [dilation] * 2}
    values = RNG.standard_normal((1, 4, 9, 10)).astype(np.float32)
    model = onnx_file(tmp_path, [helper.make_node("LpPool", ["x"], ["y"], ceil_mode=1, **settings)], values.shape, {})
    proto = onnx.load(model.path)
    proto.opset_import[0].version = 18  # since then it has ceil_mode
    onnx.save(proto, model.path)
    wanted = onnxruntime.InferenceSession(model.path).run(None, {"x": values})[0]
    assert_answers_like(canonical(import_model(model)), values, wanted)


def test_the_branch_that_runs_is_imported_and_one_that_the_picture_chooses_is_a_hole(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    def branch(operator: str, name: str) -> Any:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [value])

    branches = {"then_branch": branch("Tanh", "one"), "else_branch": branch("Relu", "other")}
    sizes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "place"], ["depth"]),
        helper.make_node("Equal", ["depth", "eight"], ["known"]),
        helper.make_node("If", ["known"], ["y"], **branches),
    ]
    numbers = {"place": np.asarray(1), "eight": np.asarray(8)}
    graph = canonical(import_model(onnx_file(tmp_path, sizes, PICTURE.shape, numbers)))
    assert [layer.kind for layer in graph] == ["input", "tanh"]
    by_picture = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["y"], **branches),
    ]
    (tmp_path / "b").mkdir()
    model = onnx_file(tmp_path / "b", by_picture, PICTURE.shape, {"limit": np.asarray(1, np.float32)})
    graph = canonical(import_model(model))
    assert "opaque" in {layer.kind for layer in graph}
    assert graph.unsupported[0].operator == "If"
