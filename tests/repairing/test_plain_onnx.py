"""An ONNX model said in plainer words means what it meant, and has none of the words that converters fail on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.errors import UsageError
from convfault.repairing import plain_onnx, unfused_onnx
from convfault.repairing.plain_onnx import (
    SPELLINGS,
    even_pools,
    even_windows,
    explicit_paddings,
    folded,
    of_one_picture,
    of_opset,
    trimmed,
)
from tests.localization.test_optimizing import PICTURES, expected, pooled

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHAPE = (1, 3, 9, 8)


def model(nodes: list[Any], opset: int = 18, **arrays: np.ndarray) -> Any:
    values = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [values("x", onnx.TensorProto.FLOAT, SHAPE)],
        [values("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def one(kind: str, *more: str, opset: int = 18, arrays: dict[str, np.ndarray] | None = None, **attributes: Any) -> Any:
    return model([onnx.helper.make_node(kind, ["x", *more], ["y"], "node", **attributes)], opset, **(arrays or {}))


def answer(made: Any) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    return np.asarray(session.run(None, {"x": picture})[0])


def kinds(made: Any) -> list[str]:
    return [node.op_type for node in made.graph.node]


def assert_same(made: Any, other: Any) -> None:
    np.testing.assert_allclose(answer(made), answer(other), rtol=1e-5, atol=1e-6)


WINDOW = {
    "kernel_shape": some.tuples(some.integers(1, 4), some.integers(1, 4)).map(list),
    "strides": some.tuples(some.integers(1, 3), some.integers(1, 3)).map(list),
}


@given(mode=some.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), kind=some.sampled_from(["Conv", "MaxPool"]),
       **WINDOW)  # fmt: skip
def test_paddings_in_numbers_are_what_the_mode_amounts_to(
    mode: str, kind: str, kernel_shape: list[int], strides: list[int]
) -> None:
    strides = [min(pair) for pair in zip(strides, kernel_shape, strict=True)]  # onnxruntime fails on gaps at SAME
    weights = np.random.default_rng(2).standard_normal((2, 3, *kernel_shape)).astype(np.float32)
    more, arrays = (("w",), {"w": weights}) if kind == "Conv" else ((), {})
    made = one(kind, *more, arrays=arrays, auto_pad=mode, kernel_shape=kernel_shape, strides=strides)
    plain = explicit_paddings(made)
    assert "auto_pad" not in {item.name for item in plain.graph.node[0].attribute}
    assert_same(made, plain)


@pytest.mark.parametrize(("axes", "widths"), [([2], [1, 3]), ([-1, 2], [1, 0, 2, 3])])
def test_paddings_of_chosen_axes_are_those_of_all(axes: list[int], widths: list[int]) -> None:
    arrays = {"widths": np.asarray(widths), "value": np.asarray(0.5, np.float32), "axes": np.asarray(axes)}
    made = one("Pad", *arrays, arrays=arrays, opset=18)
    plain = explicit_paddings(made)
    assert len(plain.graph.node[0].input) == 3
    assert_same(made, plain)
    assert_same(made, of_opset(13)(plain))


@given(pads=some.tuples(*[some.integers(0, 1)] * 4).map(list), counted=some.integers(0, 1), **WINDOW)
def test_pools_that_pad_one_edge_more_are_padded_by_an_operator_of_their_own(
    pads: list[int], counted: int, kernel_shape: list[int], strides: list[int]
) -> None:
    kernel_shape = [side + 1 for side in kernel_shape]  # onnxruntime wants less padding than kernel
    made = one("AveragePool", kernel_shape=kernel_shape, strides=strides, pads=pads, count_include_pad=counted)
    plain = even_pools(made)
    even = pads[:2] == pads[2:]
    assert kinds(plain) == (["AveragePool"] if even else ["Pad", "AveragePool"] + ["Mul"] * (not counted))
    assert_same(made, plain)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 3], "pads": [0, 1, 1, 0]}),
        ("Conv", {"pads": [0, 1, 1, 0], "strides": [2, 1]}),
        ("ConvTranspose", {"pads": [0, 1, 1, 0], "strides": [2, 1]}),
    ],
)
def test_windows_that_pad_one_edge_more_are_padded_by_an_operator_of_their_own(
    kind: str, attributes: dict[str, Any]
) -> None:
    weights = np.random.default_rng(2).standard_normal((3, 3, 3, 3)).astype(np.float32)
    made = one(kind, *([] if kind == "MaxPool" else ["w"]), arrays={"w": weights}, **attributes)
    plain = even_windows(made)
    assert "pads" not in {item.name for node in plain.graph.node if node.op_type == kind for item in node.attribute}
    assert_same(made, plain)


def test_constants_and_identities_are_folded() -> None:
    node = onnx.helper.make_node
    made = model(
        [
            node("Identity", ["w"], ["same"]),
            node("Add", ["same", "w"], ["sum"]),
            node("Mul", ["x", "sum"], ["y"], "kept"),
        ],
        w=np.full((3, 1, 1), 0.5, np.float32),
    )
    plain = folded(made)
    assert "Identity" not in kinds(plain)
    assert "Add" not in kinds(plain)
    assert_same(made, plain)


def test_axes_become_an_attribute_in_older_words() -> None:
    made = one("ReduceMean", "axes", arrays={"axes": np.array([2, 3], np.int64)}, keepdims=0)
    plain = of_opset(17)(made)
    assert len(plain.graph.node[0].input) == 1
    assert_same(made, plain)


@given(pads=some.tuples(*[some.integers(0, 1)] * 4).map(list), more=some.tuples(*[some.integers(0, 1)] * 2).map(list))
def test_output_padding_becomes_less_padding_where_there_is_as_much(pads: list[int], more: list[int]) -> None:
    weights = np.random.default_rng(2).standard_normal((3, 2, 3, 3)).astype(np.float32)
    made = one("ConvTranspose", "w", arrays={"w": weights}, strides=[2, 2], pads=pads, output_padding=more)
    plain = trimmed(made)
    fits = any(more) and all(end >= extra for end, extra in zip(pads[2:], more, strict=True))
    assert ("output_padding" not in {item.name for item in plain.graph.node[0].attribute}) == fits
    assert_same(made, plain)


def test_an_open_batch_becomes_one_and_what_depends_on_it_a_number() -> None:
    made = one("Relu")
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    plain = of_one_picture(made)
    assert [side.dim_value for side in plain.graph.output[0].type.tensor_type.shape.dim] == list(SHAPE)
    assert of_one_picture(plain) is plain


def test_what_has_no_older_words_is_refused() -> None:
    made = one("Pad", "pads", "", "axes", arrays={"pads": np.ones(4, np.int64), "axes": np.array([2, 3], np.int64)})
    with pytest.raises(UsageError, match="Pad 'node' says what opset 17 has no words for"):
        of_opset(17)(made)


def test_operators_that_only_gained_types_are_taken_over() -> None:
    made = one("Relu", opset=20)
    plain = of_opset(13)(made)
    assert plain.opset_import[0].version == 13
    assert_same(made, plain)


def test_plain_words_stay_as_they_are() -> None:
    made = one("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1], opset=13)
    for rewrite in (explicit_paddings, even_pools, even_windows, of_opset(17)):
        assert rewrite(made) == made


def test_the_job_says_what_it_did_and_leaves_the_original(tmp_path: Path) -> None:
    made = one("ReduceMean", "axes", arrays={"axes": np.array([2, 3], np.int64)}, keepdims=0)
    onnx.save(made, tmp_path / "model.onnx")
    words = plain_onnx.run(str(tmp_path / "model.onnx"), str(tmp_path / "plain.onnx"), list(SPELLINGS))
    assert "opset 17" in words
    assert_same(made, onnx.load(tmp_path / "plain.onnx"))
    assert onnx.load(tmp_path / "model.onnx") == made


def test_a_model_that_is_too_large_for_one_message_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(one("Relu"), tmp_path / "model.onnx")
    monkeypatch.setattr(plain_onnx, "LARGEST", 10)
    with pytest.raises(UsageError, match="not rewritten"):
        plain_onnx.run(str(tmp_path / "model.onnx"), str(tmp_path / "plain.onnx"), [])


@pytest.mark.parametrize(("value", "operator", "fused"), [(0.0, "MaxPool", True), (0.0, "AveragePool", False)])
def test_zeros_round_a_maximum_pooling_are_said_so_that_onnxruntime_does_not_fuse_them(
    tmp_path: Path, value: float, operator: str, fused: bool
) -> None:
    model = pooled(tmp_path / "model.onnx", value, operator)
    words = unfused_onnx.run(model.path, str(tmp_path / "plain.onnx"), ["Pad_Fusion"])
    assert words == (["Pad_Fusion"] if fused else [])
    answers = [optimized(str(tmp_path / name)) for name in ("model.onnx", "plain.onnx")]
    reference = expected(model)
    np.testing.assert_allclose(answers[1], reference, atol=1e-6)
    assert np.allclose(answers[0], reference, atol=1e-6) is not fused


def optimized(path: str) -> np.ndarray:
    import onnxruntime

    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"x": PICTURES[:1]})[0])
