"""Quantized ONNX models are read as the float models that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("onnxruntime")

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from convfault.relax.onnx_dequantize import dequantize
from tests.relax import quantized
from tests.relax.quantized import WAYS, answer, model, pictures


def graph_of(path: Path) -> Graph:
    return canonical(import_model(Model.from_path(str(path)), len(pictures())))


def kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def steps(name: str, scale: float, zero: int, dtype: Any = np.int8) -> dict[str, np.ndarray]:
    return {f"{name}_scale": np.asarray(scale, np.float32), f"{name}_zero": np.asarray(zero, dtype)}


def pair(source: str, output: str, name: str) -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("QuantizeLinear", [source, f"{name}_scale", f"{name}_zero"], [f"{output}_q"]),
        helper.make_node("DequantizeLinear", [f"{output}_q", f"{name}_scale", f"{name}_zero"], [output]),
    ]


def test_an_input_that_is_rounded_only_behind_a_transpose_is_read_rounded(tmp_path: Path) -> None:
    import onnx

    made = [onnx.helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 2]), *pair("turned", "seen", "seen")]
    constants = {**quantized.arrays(), **steps("seen", 0.02, -3)}
    for node in quantized.nodes():
        node.input[:] = ["seen" if name == "x" else name for name in node.input]
        made.append(node)
    path = tmp_path / "turned.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model(made, constants, shape=("n", 8, 8, 3))), path)
    found, values = graph_of(path), pictures().transpose(0, 2, 3, 1)
    rounding = found[found.inputs[0]].rounding
    assert rounding is not None
    assert rounding.scales == pytest.approx((0.02,))
    (expected,) = answer(path, values)
    np.testing.assert_allclose(
        evaluate.run_native(found, {"x": values})[found.outputs[0]], expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_quantized_model_has_the_layers_of_the_float_one_and_answers_as_its_runtime(way: str, tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, way)
    found, wanted = graph_of(path), graph_of(tmp_path / "float.onnx")
    assert found.unsupported == ()
    assert [layer.kind for layer in found] == [layer.kind for layer in wanted]
    stored = {name for name, encoding in found.encodings.items() if encoding.constant}
    for layer in found:
        if "weights" in layer.parameters:
            assert stored.issuperset(layer.parameters["weights"].native)
    assert (way == "dynamic") == all(encoding.constant for encoding in found.encodings.values())
    values = evaluate.run_native(found, {"x": pictures()})[found.outputs[0]]
    (expected,) = answer(path, pictures())
    np.testing.assert_allclose(values, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("way", ["pairs", "channels", "operators"])
def test_every_rounded_activation_is_a_layer_that_the_runtime_shows(way: str, tmp_path: Path) -> None:
    from convfault.frameworks.onnx import ONNX

    path = quantized.quantized_file(tmp_path, way)
    graph = graph_of(path)
    rounded = {name for name, encoding in graph.encodings.items() if not encoding.constant}
    shown = {layer.native.tensor: layer for layer in graph if layer.native.tensor in rounded}
    assert set(shown) == rounded
    with ONNX.open(Model.from_path(str(path))) as session:
        names = [name for name in rounded if name not in {"x", "y"}]
        trace = session.run({"x": pictures()}, names)
    values = evaluate.run_native(graph, {"x": pictures()}, [shown[name].id for name in names])
    for name in names:
        scale = graph.encodings[name].scales[0]
        runtime = shown[name].view(trace.tensors[name])
        np.testing.assert_allclose(values[shown[name].id], runtime, atol=4 * scale)


@pytest.mark.parametrize("ends", [True, False])
def test_a_half_precision_model_is_read_in_single_precision(ends: bool, tmp_path: Path) -> None:
    path = quantized.half_file(tmp_path, ends=ends)
    found, wanted = graph_of(path), graph_of(quantized.float_file(tmp_path))
    assert [layer.kind for layer in found] == [layer.kind for layer in wanted]
    assert {encoding.dtype for encoding in found.encodings.values()} == {"float16"}
    assert {layer.dtype for layer in found} == {"float32"}
    values = evaluate.run_native(found, {"x": pictures()})[found.outputs[0]]
    np.testing.assert_allclose(values, answer(path, pictures())[0], atol=0.02)


def test_a_float_model_stays_as_it_is(tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(quantized.float_file(tmp_path))
    before = proto.SerializeToString()
    assert dequantize(proto) == {}
    assert proto.SerializeToString() == before


def test_integers_that_somebody_else_reads_stay() -> None:
    from onnx import TensorProto, helper

    made = [
        *pair("x", "rounded", "s"),
        helper.make_node("Cast", ["rounded_q"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["rounded", "codes"], ["y"]),
    ]
    proto = model(made, steps("s", 0.01, 3))
    assert dequantize(proto) == {}
    assert kinds(proto) == ["QuantizeLinear", "DequantizeLinear", "Cast", "Add"]


def test_an_operator_on_integers_that_comes_from_one_that_stays_stays_too() -> None:
    from onnx import TensorProto, helper

    made = [
        pair("x", "rounded", "s")[0],
        helper.make_node("Cast", ["rounded_q"], ["codes"], to=TensorProto.INT8),
        helper.make_node("MaxPool", ["codes"], ["pooled"], kernel_shape=[2, 2]),
        helper.make_node("DequantizeLinear", ["pooled", "s_scale", "s_zero"], ["y"]),
    ]
    proto = model(made, steps("s", 0.01, 3))
    (expected,) = answer(proto, pictures())
    dequantize(proto)
    assert kinds(proto) == ["QuantizeLinear", "Cast", "MaxPool", "DequantizeLinear"]
    np.testing.assert_array_equal(answer(proto, pictures())[0], expected)


@pytest.mark.parametrize(
    ("zero", "dtype", "relu"), [(-128, np.int8, True), (-127, np.int8, False), (0, np.uint8, True)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_a_range_that_ends_at_zero_is_a_relu_where_something_can_be_below(
    zero: int, dtype: Any, relu: bool, signed: bool
) -> None:
    from onnx import helper

    made = [helper.make_node("Neg" if signed else "Sigmoid", ["x"], ["a"]), *pair("a", "b", "s")]
    made.append(helper.make_node("MaxPool", ["b"], ["y"], kernel_shape=[2, 2]))
    proto = model(made, steps("s", 0.01, zero, dtype))
    dequantize(proto)
    assert ("Relu" in kinds(proto)) == (relu and signed)


def test_all_that_dequantize_one_value_read_the_same() -> None:
    from onnx import helper

    made = [helper.make_node("Neg", ["x"], ["a"]), *pair("a", "b", "s")]
    made.append(helper.make_node("DequantizeLinear", ["b_q", "s_scale", "s_zero"], ["c"]))
    twin = pair("a", "d", "s")
    made += [*twin, helper.make_node("Sum", ["b", "c", "d"], ["y"])]
    proto = model(made, steps("s", 0.01, 3))
    encodings = dequantize(proto)
    assert [(node.op_type, list(node.input)) for node in proto.graph.node] == [("Neg", ["x"]), ("Sum", ["b", "b", "b"])]
    assert list(encodings) == ["b"]


def test_a_value_that_is_also_read_unrounded_keeps_its_name() -> None:
    from onnx import helper

    made = [helper.make_node("Neg", ["x"], ["a"]), *pair("a", "b", "s"), helper.make_node("Add", ["a", "b"], ["y"])]
    proto = model(made, steps("s", 0.01, 3))
    dequantize(proto)
    assert [list(node.output) for node in proto.graph.node] == [["a"], ["b"], ["y"]]


def test_a_value_read_with_another_scale_than_it_was_stored_with_says_so() -> None:
    from onnx import helper

    made = pair("x", "a", "s")
    made[1] = helper.make_node("DequantizeLinear", ["a_q", "t_scale", "t_zero"], ["a"])
    made.append(helper.make_node("Relu", ["a"], ["y"]))
    proto = model(made, steps("s", 0.01, 3) | steps("t", 0.02, -5))
    (expected,) = answer(proto, pictures())
    dequantize(proto)
    assert kinds(proto) == ["Mul", "Add", "Relu"]
    np.testing.assert_allclose(answer(proto, pictures())[0], expected, atol=0.011)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("each", ["tensor", "channel", "block", "block and rest"])
def test_stored_weights_become_the_numbers_that_the_runtime_makes_of_them(dtype: str, each: str) -> None:
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, dtype.upper())
    codes = np.random.default_rng(0).integers(-7 if dtype.startswith("int") else 0, 8, (4, 3))
    block = {"block": 2, "block and rest": 3}.get(each, 0)
    scales = {"tensor": 0.5, "channel": [0.5, 0.25, 2, 1]}.get(each, [[0.5, 0.25, 2], [1, 4, 0.125]])
    constants = {"scale": np.asarray(scales, np.float32)}
    proto = model(
        [
            helper.make_node(
                "DequantizeLinear", ["w", "scale"], ["real"], axis=0, **({"block_size": block} if block else {})
            ),
            helper.make_node("MatMul", ["x", "real"], ["y"]),
        ],
        constants,
        opset=21,
        shape=(2, 4),
    )
    proto.graph.initializer.append(helper.make_tensor("w", kind, (4, 3), codes.ravel().tolist()))
    values = np.random.default_rng(5).standard_normal((2, 4)).astype(np.float32)
    (expected,) = answer(proto, values)
    (encoding,) = dequantize(proto).values()
    assert (encoding.tensor, encoding.dtype, encoding.constant) == ("real", dtype, True)
    assert (len(encoding.scales), encoding.blocks) == (np.size(scales), (block, 1) if block else ())
    assert kinds(proto) == ["MatMul"]
    np.testing.assert_allclose(answer(proto, values)[0], expected, rtol=1e-5)


def test_float_weights_that_are_rounded_at_run_time_are_stored_weights() -> None:
    from onnx import helper

    made = [*pair("w", "rounded", "s"), helper.make_node("MatMul", ["x", "rounded"], ["y"])]
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    proto = model(made, steps("s", 0.02, 0) | {"w": weights}, shape=(2, 4))
    values = np.random.default_rng(5).standard_normal((2, 4)).astype(np.float32)
    (expected,) = answer(proto, values)
    (encoding,) = dequantize(proto).values()
    assert (encoding.tensor, encoding.constant) == ("rounded", True)
    np.testing.assert_allclose(answer(proto, values)[0], expected, rtol=1e-5)


OPERATORS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("QLinearAdd", ["a_q", "a", "a_q", "a"], {}),
    ("QLinearMul", ["a_q", "a", "a_q", "a"], {}),
    ("QLinearGlobalAveragePool", ["a_q", "a"], {"channels_last": 0}),
    ("QLinearAveragePool", ["a_q", "a"], {"kernel_shape": [2, 2]}),
    ("QLinearLeakyRelu", ["a_q", "a"], {"alpha": 0.25}),
    ("QLinearSigmoid", ["a_q", "a"], {}),
    ("QLinearSoftmax", ["a_q", "a"], {"axis": -1, "opset": 13}),
]


@pytest.mark.parametrize(("operator", "inputs", "settings"), OPERATORS)
@pytest.mark.parametrize("opset", [13, 18])
def test_an_operator_on_integers_becomes_the_float_one(
    operator: str, inputs: list[str], settings: dict[str, Any], opset: int
) -> None:
    from onnx import helper

    constants = steps("a", 0.02, 10, np.uint8) | steps("r", 0.03, 20, np.uint8)
    spread = [part for name in inputs for part in ([name] if name == "a_q" else ["a_scale", "a_zero"])]
    made = [
        pair("x", "unused", "a")[0],
        helper.make_node(
            operator, [*spread, "r_scale", "r_zero"], ["r_q"], domain="com.microsoft", name="n", **settings
        ),
        helper.make_node("DequantizeLinear", ["r_q", "r_scale", "r_zero"], ["y"]),
    ]
    made[0].output[0] = "a_q"
    proto = model(made, constants, opset)
    (expected,) = answer(proto, pictures())
    encodings = dequantize(proto)
    assert set(encodings) == {"x", "y"}
    assert all(node.domain == "" for node in proto.graph.node)
    np.testing.assert_allclose(answer(proto, pictures())[0], expected, atol=0.05)


@pytest.mark.parametrize("opset", [13, 18])
def test_concatenation_and_means_of_integers_become_float(opset: int) -> None:
    from onnx import helper

    constants = steps("a", 0.02, 10, np.uint8) | steps("r", 0.03, 20, np.uint8)
    made = [
        *pair("x", "a", "a"),
        helper.make_node(
            "QLinearConcat",
            ["r_scale", "r_zero", "a_q", "a_scale", "a_zero", "a_q", "a_scale", "a_zero"],
            ["joined"],
            domain="com.microsoft",
            axis=1,
        ),
        helper.make_node(
            "QLinearReduceMean",
            ["joined", "r_scale", "r_zero", "a_scale", "a_zero"],
            ["mean"],
            domain="com.microsoft",
            axes=[2, 3],
            keepdims=0,
        ),
        helper.make_node("DequantizeLinear", ["mean", "a_scale", "a_zero"], ["m"]),
        helper.make_node("Neg", ["m"], ["y"]),
    ]
    proto = model(made[:1] + made[2:], constants, opset)
    assert set(dequantize(proto)) == {"x", "joined", "m"}
    assert kinds(proto) == ["Concat", "ReduceMean", "Neg"]  # onnxruntime has no such mean on the CPU
    twice = np.concatenate([pictures()] * 2, axis=1)
    np.testing.assert_allclose(answer(proto, pictures())[0], -twice.mean((2, 3)), atol=1e-5)


def test_products_fused_with_their_rounding_become_products() -> None:
    from onnx import helper

    codes = np.random.default_rng(0).integers(0, 255, (4, 3)).astype(np.uint8)
    constants = steps("w", 0.01, 120, np.uint8) | {"w": codes, "bias": np.asarray([1, 2, 3], np.float32)}
    made = [
        helper.make_node(
            "DynamicQuantizeMatMul", ["x", "w", "w_scale", "w_zero", "bias"], ["h"], domain="com.microsoft", name="one"
        ),
        helper.make_node("Tanh", ["h"], ["y"]),
    ]
    proto = model(made, constants, shape=(2, 4))
    values = np.random.default_rng(5).standard_normal((2, 4)).astype(np.float32)
    (expected,) = answer(proto, values)
    (encoding,) = dequantize(proto).values()
    assert (encoding.tensor, encoding.dtype, encoding.constant) == ("w", "uint8", True)
    assert kinds(proto) == ["MatMul", "Add", "Tanh"]
    np.testing.assert_allclose(answer(proto, values)[0], expected, atol=0.05)


def rounded_at_run_time(name: str, real: str) -> list[Any]:
    """What is rounded with steps of its own, and made real again."""
    from onnx import helper

    parts = [f"{real}_q", f"{real}_scale", f"{real}_zero"]
    return [
        helper.make_node("DynamicQuantizeLinear", [name], parts, name=f"round {name}"),
        helper.make_node("DequantizeLinear", parts, [real], name=f"real {name}"),
    ]


def test_a_value_rounded_in_steps_found_at_run_time_has_an_encoding_without_scales(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    bias = np.asarray([0.1, -0.2, 0.3], np.float32)
    made = [
        helper.make_node("Tanh", ["x"], ["h"], name="tanh"),
        *rounded_at_run_time("h", "hr"),
        *rounded_at_run_time("b", "br"),
        helper.make_node("MatMul", ["hr", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "br"], ["a"], name="add"),
        helper.make_node("Neg", ["a"], ["y"], name="negative"),
    ]
    proto = model(made, {"w": weights, "b": bias}, shape=(1, 4))
    onnx.save(proto, tmp_path / "m.onnx")
    values = np.random.default_rng(5).standard_normal((1, 4)).astype(np.float32)
    (expected,) = answer(proto, values)
    found = graph_of(tmp_path / "m.onnx")
    assert {(e.tensor, e.constant, len(e.scales)) for e in found.encodings.values()} == {
        ("hr", False, 0),
        ("br", True, 1),
    }
    (tanh,) = [layer for layer in found if layer.kind == "tanh"]
    assert tanh.rounding is not None
    assert tanh.rounding.at_run_time
    answered = evaluate.run(found, {found.inputs[0]: values})[found.outputs[0]]
    np.testing.assert_allclose(answered, expected, rtol=1e-5, atol=1e-6)


def test_a_scale_found_at_run_time_that_others_read_too_stays_as_it_is() -> None:
    from onnx import helper

    made = [*rounded_at_run_time("x", "real"), helper.make_node("Mul", ["real", "real_scale"], ["y"])]
    proto = model(made, {}, shape=(1, 4))
    assert not dequantize(proto)
    assert kinds(proto) == ["DynamicQuantizeLinear", "DequantizeLinear", "Mul"]
