"""A value that an ONNX file stores as integers can be kept in float, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from convfault.relax.onnx_dequantize import dequantize
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.onnx.document import OnnxDocument
from tests.relax import quantized
from tests.relax.quantized import answer, model, pictures
from tests.relax.test_import_onnx_quantized import pair, rounded_at_run_time, steps

WAYS = ("pairs", "channels", "operators")
ROUNDING = {"QuantizeLinear", "DequantizeLinear"}


def rounded_values(path: Path) -> list[str]:
    import onnx

    found = dequantize(onnx.load(path)).values()
    return [encoding.tensor for encoding in found if not encoding.constant]


def kept(path: Path, tensors: list[str]) -> Path:
    document = OnnxDocument(path)
    for tensor in tensors:
        document.keep_float(tensor)
    assert {change.place for change in document.changes} >= set(tensors)
    out = path.with_name("kept.onnx")
    document.save(out)
    return out


def kinds(path: Path) -> list[str]:
    import onnx

    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    return [node.op_type for node in proto.graph.node]


def off(path: Path, name: str = "y") -> float:
    """How far the answers are from those of the float model beside it."""
    (found,), (wanted,) = answer(path, pictures()), answer(path.with_name("float.onnx"), pictures())
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("way", WAYS)
def test_a_model_kept_in_float_everywhere_rounds_its_weights_only(way: str, tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, way)
    import onnx

    stored = onnx.load(path)
    dequantize(stored)
    (expected,) = answer(stored, pictures())
    for order in (1, -1):
        out = kept(path, rounded_values(path)[::order])
        assert "QuantizeLinear" not in kinds(out)
        assert set(rounded_values(out)) == set()
        assert kinds(out).count("Relu") == 1
        np.testing.assert_allclose(answer(out, pictures())[0], expected, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_each_value_alone_can_be_kept_in_float(way: str, tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, way)
    before = rounded_values(path)
    for tensor in before:
        out = kept(path, [tensor])
        kinds(out)
        assert tensor not in rounded_values(out)
        assert len(rounded_values(out)) >= len(before) - 1
        assert off(out) < 2 * off(path) + 0.01


@pytest.mark.parametrize("way", WAYS)
def test_values_in_a_row_have_no_rounding_between_them(way: str, tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, way)
    wanted = [name for name in rounded_values(path) if name.startswith(("r1", "c1", "c2", "sum"))]
    assert len(wanted) == 3
    out = kept(path, wanted)
    import onnx

    nodes = list(onnx.load(out).graph.node)
    makers = {name: node for node in nodes for name in node.output}
    (add,) = [node for node in nodes if node.op_type == "Add"]
    assert sorted(makers[name].op_type for name in add.input) == ["Conv", "Relu"]


@pytest.mark.parametrize("way", WAYS)
def test_kept_in_float_with_its_own_weights_a_model_is_the_float_one(way: str, tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, way)
    document = OnnxDocument(path)
    for tensor in rounded_values(path):
        document.keep_float(tensor)
    arrays = quantized.arrays()
    names = {"Conv": iter([("first", "first_bias"), ("second", "second_bias")]), "Gemm": iter([("head", "head_bias")])}
    for node in [node for node in document.nodes if node.type in names]:
        weights, bias = (arrays[name] for name in next(names[node.type]))
        turned = node.type == "Gemm" and document.shape(node.inputs[1]) == weights.T.shape
        document.put(node, 1, np.ascontiguousarray(weights.T) if turned else weights)
        document.put(node, 2, bias)
    document.save(tmp_path / "mended.onnx")
    assert off(tmp_path / "mended.onnx") < 1e-5


def test_what_is_float_already_is_refused(tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, "pairs")
    for tensor in ("c2", "first_bias", "nothing"):
        with pytest.raises(Refusal):
            OnnxDocument(path).keep_float(tensor)


def save(folder: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> Path:
    import onnx

    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model(nodes, constants)), path)
    return path


def test_integers_that_somebody_else_reads_are_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [
        *pair("x", "rounded", "s"),
        helper.make_node("Cast", ["rounded_q"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["rounded", "codes"], ["y"]),
    ]
    with pytest.raises(Refusal, match="Cast"):
        OnnxDocument(save(tmp_path, nodes, steps("s", 0.01, 3))).keep_float("rounded")


def test_a_value_that_is_also_read_unrounded_is_read_by_all(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Neg", ["x"], ["a"]), *pair("a", "b", "s"), helper.make_node("Add", ["a", "b"], ["y"])]
    out = kept(save(tmp_path, nodes, steps("s", 0.01, 3)), ["b"])
    assert kinds(out) == ["Neg", "Add"]
    np.testing.assert_allclose(answer(out, pictures())[0], -2 * pictures())


def test_pairs_for_each_reader_go_together(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Neg", ["x"], ["a"]), *pair("a", "b", "s"), *pair("a", "c", "s")]
    nodes.append(helper.make_node("Add", ["b", "c"], ["y"]))
    out = kept(save(tmp_path, nodes, steps("s", 0.01, 3)), ["b"])
    assert kinds(out) == ["Neg", "Add"]
    np.testing.assert_allclose(answer(out, pictures())[0], -2 * pictures())


def test_padding_of_integers_pads_with_what_they_stand_for(tmp_path: Path) -> None:
    from onnx import helper

    constants = steps("s", 0.01, 3) | {
        "widths": np.asarray([0, 0, 1, 1, 0, 0, 1, 1]),
        "fill": np.asarray(103, np.int8),
    }
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        pair("a", "unread", "s")[0],
        helper.make_node("Pad", ["unread_q", "widths", "fill"], ["padded"], name="pad"),
        helper.make_node("DequantizeLinear", ["padded", "s_scale", "s_zero"], ["y"]),
    ]
    path = save(tmp_path, nodes, constants)
    out = kept(path, rounded_values(path))
    assert "QuantizeLinear" not in kinds(out)
    (found,) = answer(out, pictures())
    wanted = np.pad(-pictures(), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("way", [*WAYS, "dynamic"])
def test_edits_of_a_graph_are_written_with_all_else_as_it_was(way: str, tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    from convfault.model import Model
    from convfault.relax.canonical import canonical
    from convfault.relax.edits import KeepFloat, SetParameters
    from convfault.relax.import_model import import_model
    from convfault.repairing.writers.onnx.write import write

    path = quantized.quantized_file(tmp_path, way)
    source, target = Model.from_path(str(tmp_path / "float.onnx")), Model.from_path(str(path))
    wanted, graph = (canonical(import_model(each, len(pictures()))) for each in (source, target))
    edits: list[Any] = []
    for right, wrong in zip(wanted, graph, strict=True):
        if wrong.rounding is not None:
            edits.append(KeepFloat((wrong.id,)))
        if right.parameters:
            edits.append(SetParameters(wrong.id, {name: p.values for name, p in right.parameters.items()}))
    write(target, graph, edits, tmp_path / "mended.onnx")
    kinds(tmp_path / "mended.onnx")
    assert off(tmp_path / "mended.onnx") < (1e-5 if way == "dynamic" else 0.02)  # the input is rounded still
    some = [edit for edit in edits if isinstance(edit, SetParameters)][:1]
    write(target, graph, some, tmp_path / "partly.onnx")
    assert off(tmp_path / "partly.onnx") < 2 * off(path) + 0.01
    if way != "dynamic":
        assert len(rounded_values(tmp_path / "partly.onnx")) == len(rounded_values(path))


def test_a_value_rounded_in_steps_found_at_run_time_is_kept_in_float(tmp_path: Path) -> None:
    from onnx import helper

    made = [helper.make_node("Tanh", ["x"], ["h"]), *rounded_at_run_time("h", "real")]
    made.append(helper.make_node("Neg", ["real"], ["y"]))
    path = save(tmp_path, made, {})
    assert rounded_values(path) == ["real"]
    out = kept(path, ["real"])
    assert kinds(out) == ["Tanh", "Neg"]
    np.testing.assert_allclose(answer(out, pictures())[0], -np.tanh(pictures()), atol=1e-6)
