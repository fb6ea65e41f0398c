"""Models that onnxruntime has optimized and saved are read as those that they were made from."""

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
from convfault.relax.onnx_fused import BLOCKED_DOMAIN, DOMAIN
from tests.relax.fused import drawn, network, optimized, saved
from tests.relax.quantized import answer


def domains(path: Path) -> set[str]:
    import onnx

    return {node.domain for node in onnx.load(path).graph.node}


def graph_of(path: Path, batch: int) -> Graph:
    return canonical(import_model(Model.from_path(str(path)), batch))


def assert_read(path: Path, values: np.ndarray) -> Graph:
    """That nothing is unknown, and that the graph answers as the file does."""
    graph = graph_of(path, len(values))
    assert graph.unsupported == ()
    (expected,) = answer(path, values)
    found = evaluate.run_native(graph, {"x": values})[graph.outputs[0]]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    return graph


@pytest.mark.parametrize(("level", "domain"), [("extended", DOMAIN), ("all", BLOCKED_DOMAIN)])
def test_an_optimized_model_has_the_layers_and_weights_of_its_source(level: str, domain: str, tmp_path: Path) -> None:
    path, values = network(tmp_path / "plain.onnx"), drawn(2, 3, 16, 16)
    other = optimized(path, level)
    assert domain in domains(other), "or nothing is tried"
    wanted, found = graph_of(path, 2), assert_read(other, values)
    assert sorted(layer.kind for layer in found) == sorted(layer.kind for layer in wanted)
    filters = [[layer.parameters["weights"].values for layer in graph if layer.kind == "convolution"]
               for graph in (wanted, found)]  # fmt: skip
    for one in filters[0]:
        assert any(np.array_equal(one, other) for other in filters[1])


def test_values_in_blocks_are_not_taken_for_pictures(tmp_path: Path) -> None:
    import onnx

    path = optimized(network(tmp_path / "plain.onnx"), "all")
    blocked = {name for node in onnx.load(path).graph.node if node.domain == BLOCKED_DOMAIN and node.op_type == "Conv"
               for name in node.output}  # fmt: skip
    assert blocked, "or nothing is tried"
    assert blocked.isdisjoint(str(layer.native.tensor) for layer in graph_of(path, 1))


@pytest.mark.parametrize(
    ("activation", "values", "kind"),
    [
        ("Relu", [], "clip"),
        ("Clip", [-0.5, 0.5], "clip"),
        ("Sigmoid", [], "sigmoid"),
        ("Tanh", [], "tanh"),
        ("LeakyRelu", [0.3], "leaky_relu"),
        ("HardSigmoid", [0.2, 0.5], "clip"),
    ],
)
def test_a_convolution_with_its_activation(activation: str, values: list[float], kind: str, tmp_path: Path) -> None:
    from onnx import helper

    settings = {"activation": activation, "kernel_shape": [3, 3], "domain": DOMAIN}
    settings |= {"activation_params": values} if values else {}
    nodes = [
        helper.make_node("FusedConv", ["x", "w", "b"], ["c"], name="both", **settings),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    constants = {"w": drawn(4, 3, 3, 3) / 4, "b": drawn(4)}
    path = saved(tmp_path / "fused.onnx", nodes, constants, ("n", 3, 8, 8))
    graph = assert_read(path, drawn(2, 3, 8, 8))
    assert kind in [layer.kind for layer in graph]
    assert "FusedConv" in {origin.operator for layer in graph for origin in layer.native.operators}


ROWS = {"w": drawn(8, 6), "b": drawn(6), "g": drawn(8), "s": drawn(8), "k": drawn(8)}


@pytest.mark.parametrize(
    ("kind", "inputs", "settings"),
    [
        ("FusedGemm", ["x", "w", "b"], {"activation": "LeakyRelu", "activation_alpha": 0.3}),
        ("FusedGemm", ["x", "w", "b"], {"activation": "Relu"}),
        ("FusedMatMul", ["x", "w"], {"alpha": 0.25}),
        ("FusedMatMul", ["x", "t"], {"transB": 1}),
        ("QuickGelu", ["x"], {"alpha": 1.702}),
        ("QuickGelu", ["x"], {"alpha": 1.0}),
        ("BiasGelu", ["x", "g"], {}),
        ("FastGelu", ["x", "g"], {}),
        ("FastGelu", ["x"], {}),
        ("SkipLayerNormalization", ["x", "x", "g", "s"], {"epsilon": 1e-3}),
        ("SkipLayerNormalization", ["x", "x", "g", "s", "k"], {"epsilon": 1e-3}),
    ],
)
def test_an_operator_of_rows(kind: str, inputs: list[str], settings: dict[str, Any], tmp_path: Path) -> None:
    from onnx import helper

    constants = {**ROWS, "t": np.ascontiguousarray(ROWS["w"].T)}
    node = helper.make_node(kind, inputs, ["y"], name="fused", domain=DOMAIN, **settings)
    shape: tuple[Any, ...] = ("n", 5, 8) if kind.startswith("Skip") else ("n", 8)
    read = {name: values for name, values in constants.items() if name in inputs}
    path = saved(tmp_path / "fused.onnx", [node], read, shape)
    assert_read(path, drawn(3, *(side for side in shape[1:])))


def test_an_operator_that_nobody_knows_stays_unknown(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("QuickGelu", ["x"], ["g"], domain=DOMAIN, name="known"),
        helper.make_node("CDist", ["g", "w"], ["y"], domain=DOMAIN, name="unknown", metric="euclidean"),
    ]
    path = saved(tmp_path / "fused.onnx", nodes, {"w": drawn(5, 8)}, (2, 8))
    assert [each.operator for each in graph_of(path, 2).unsupported] == ["CDist"]


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("depth", [48, 40])
def test_a_product_in_four_bits_has_a_scale_for_each_block(zeros: bool, depth: int, tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    filters, size = 6, 16
    constants = {
        "stored": rng.integers(0, 256, (filters, 3, size // 2), np.uint8),
        "scales": rng.uniform(0.01, 0.1, (filters, 3)).astype(np.float32),
        **({"zeros": rng.integers(0, 256, (filters, 2), np.uint8)} if zeros else {}),
    }
    node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain=DOMAIN,
                            K=depth, N=filters, bits=4, block_size=size)  # fmt: skip
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, side]) for name, side in
            (("x", depth), ("y", filters))]  # fmt: skip
    held = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph([node], "blocks", ends[:1], ends[1:], held)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    path = tmp_path / "blocks.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    found = assert_read(path, drawn(2, depth))
    assert [layer.kind for layer in found if layer.kind != "input"] == ["dense"]
    (encoding,) = found.encodings.values()
    assert (encoding.dtype, encoding.blocks) == ("uint4", (size, 1))
