"""Operators said by simpler ones answer what they answered, and are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convfault.repairing.simpler_onnx import REWRITINGS, simpler
from tests.repairing.test_plain_onnx import SHAPE, answer, assert_same, kinds, model, one

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RANDOM = np.random.default_rng(7)
PER_CHANNEL = {"scale": RANDOM.uniform(0.5, 2, 3).astype(np.float32), "shift": RANDOM.normal(size=3).astype(np.float32)}
STATISTICS = {**PER_CHANNEL, "mean": np.float32([0.1, -0.2, 0]), "variance": np.float32([0.3, 2, 1])}


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


WIDE = RANDOM.normal(size=(3, 2, 3, 2)).astype(np.float32)
CASES: list[tuple[Any, dict[str, Any]]] = [
    ("BatchNormalization", {"arrays": STATISTICS, "epsilon": 0.01}),
    ("Celu", {"alpha": 0.4}),
    ("Clip", {"arrays": {"low": np.array(-0.3, np.float32)}}),
    ("ConvTranspose", {"arrays": {"kernel": WIDE}, "dilations": [2, 3], "strides": [2, 1], "pads": [1, 0, 0, 2]}),
    ("ConvTranspose", {"arrays": {"kernel": WIDE, "bias": WIDE[:, :, 0, 0].ravel()}, "dilations": [3, 1], "group": 3}),
    ("CumSum", {"arrays": {"axis": np.array(2)}, "exclusive": 1}),
    ("CumSum", {"arrays": {"axis": np.array(-1)}, "reverse": 1}),
    ("Elu", {"alpha": 0.3}),
    ("Gelu", {"opset": 20}),
    ("Gelu", {"opset": 20, "approximate": "tanh"}),
    ("GlobalAveragePool", {}),
    ("GlobalMaxPool", {}),
    ("GlobalMaxPool", {"opset": 17}),
    ("GroupNormalization", {"opset": 21, "num_groups": 3, "arrays": PER_CHANNEL, "epsilon": 0.1}),
    ("HardSigmoid", {"alpha": 0.3}),
    ("HardSwish", {}),
    ("InstanceNormalization", {"arrays": PER_CHANNEL, "epsilon": 0.1}),
    ("LayerNormalization", {"arrays": {"scale": RANDOM.normal(size=8).astype(np.float32)}, "epsilon": 0.1}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("LogSoftmax", {"axis": 2}),
    ("LpNormalization", {"axis": 1}),
    ("LpNormalization", {"axis": 1, "p": 1}),
    ("LpPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("LpPool", {"kernel_shape": [2, 2], "p": 3}),
    ("Max", {"arrays": {"a": np.float32([0.1]), "b": np.float32([-0.2])}}),
    ("Mean", {"arrays": {"a": np.float32([0.1]), "b": np.float32([-0.2])}}),
    ("Min", {"arrays": {"a": np.float32([0.1]), "b": np.float32([0.2])}}),
    ("Mish", {}),
    ("Mod", {"arrays": {"divisor": np.float32([0.7])}, "fmod": 1}),
    ("PRelu", {"arrays": {"slope": np.float32([0.1, -0.2, 0.3]).reshape(3, 1, 1)}}),
    ("Pad", {"arrays": {"pads": whole(0, 0, 2, 1, 0, 0, 0, 3)}, "mode": "reflect"}),
    ("Pad", {"arrays": {"pads": whole(0, 1, 2, 1, 0, 0, 0, 3)}, "mode": "edge"}),
    ("ReduceL1", {"arrays": {"axes": whole(1)}}),
    ("ReduceL2", {"arrays": {"axes": whole(-1, 2)}}),
    ("ReduceLogSumExp", {}),
    ("ReduceSumSquare", {"opset": 17, "axes": [1]}),
    ("Resize", {"arrays": {"": None, "scales": np.float32([1, 1, 1.6, 0.5])}, "mode": "linear", "antialias": 1}),
    ("Resize", {"arrays": {"": None, "scales": np.float32([1, 1, 1.6, 2])}, "mode": "cubic", "exclude_outside": 1}),
    ("Resize", {"arrays": {"": None, "scales": np.float32([1, 1, 2, 1.5])}, "mode": "cubic"}),
    ("Resize", {"arrays": {"": None, "scales": np.float32([1, 1, 1.6, 1.6])}, "nearest_mode": "ceil"}),
    ("Selu", {"alpha": 1.2, "gamma": 0.7}),
    ("Slice", {"arrays": {"start": whole(-1), "end": whole(-100), "axes": whole(2), "steps": whole(-2)}}),
    ("Slice", {"arrays": {"start": whole(1, 0), "end": whole(-1, 9**9), "axes": whole(2, 3), "steps": whole(2, 3)}}),
    ("Softmax", {"axis": 1}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Sum", {"arrays": {"a": np.float32([0.1]), "b": np.float32([-0.2])}}),
    ("ThresholdedRelu", {"alpha": 0.4}),
    ("Tile", {"arrays": {"times": whole(1, 2, 1, 3)}}),
]


def made(kind: str, arrays: dict[str, Any] | None = None, opset: int = 18, **attributes: Any) -> Any:
    given = {name: array for name, array in (arrays or {}).items() if array is not None}
    return one(kind, *(arrays or {}), opset=opset, arrays=given, **attributes)


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_an_operator_said_by_simpler_ones_answers_the_same(kind: str, case: dict[str, Any]) -> None:
    before = made(kind, **case)
    after = simpler(kind, before)
    settings = [node for node in after.graph.node if node.op_type == kind]
    assert after != before
    assert not settings or kind in {"Clip", "ConvTranspose", "Max", "Min"}
    assert np.abs(answer(before) - answer(after)).max() < 1e-5


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space_are_moved_by_transposes(mode: str) -> None:
    blocks = [
        onnx.helper.make_node("Pad", ["x", "more"], ["even"], "pad"),
        onnx.helper.make_node("SpaceToDepth", ["even"], ["deep"], "down", blocksize=2),
        onnx.helper.make_node("DepthToSpace", ["deep"], ["y"], "up", blocksize=2, mode=mode),
    ]
    before = model(blocks, more=whole(0, 0, 0, 0, 0, 0, 1, 0))
    after = simpler("SpaceToDepth", simpler("DepthToSpace", before))
    assert kinds(after) == ["Pad", *["Reshape", "Transpose", "Reshape"] * 2]
    assert_same(before, after)


def test_constants_among_the_nodes_stay_where_they_are() -> None:
    number = onnx.numpy_helper.from_array(np.float32([0.5]))
    nodes = [
        onnx.helper.make_node("Constant", [], ["half"], "half", value=number),
        onnx.helper.make_node("Sum", ["x", "half", "half"], ["y"], "sum"),
    ]
    before = model(nodes)
    after = simpler("Sum", before)
    assert kinds(after) == ["Constant", "Add", "Add"]
    assert_same(before, after)


def test_a_split_becomes_slices() -> None:
    nodes = [
        onnx.helper.make_node("Split", ["x"], ["a", "b"], "split", axis=2, num_outputs=2),
        onnx.helper.make_node("Concat", ["b", "a"], ["y"], "concat", axis=2),
    ]
    before = model(nodes)
    after = simpler("Split", before)
    assert kinds(after) == ["Slice", "Slice", "Concat"]
    assert_same(before, after)


@pytest.mark.parametrize("kind", sorted(REWRITINGS))
def test_every_rewriting_is_tried_here(kind: str) -> None:
    assert kind in {*(kind for kind, _ in CASES), "DepthToSpace", "SpaceToDepth", "Split", "ReduceLogSum"}


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        ("Max", {"arrays": {"a": np.float32([0.1])}}),
        ("Clip", {"arrays": {"low": np.array(-0.3, np.float32), "high": np.array(0.3, np.float32)}}),
        ("Pad", {"arrays": {"pads": whole(0, 0, 2, 1, 0, 0, 0, 3)}}),
        ("Softmax", {"opset": 11}),
        ("LpPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ],
)
def test_what_cannot_be_said_by_simpler_operators_stays_as_it_is(kind: str, case: dict[str, Any]) -> None:
    before = made(kind, **case)
    assert simpler(kind, before) == before


def test_an_operator_on_a_picture_of_open_sides_stays_as_it_is() -> None:
    before = made("DepthToSpace", blocksize=2)
    for side in (2, 3):
        before.graph.input[0].type.tensor_type.shape.dim[side].dim_param = f"side{side}"
    assert len(SHAPE) == 4
    assert simpler("DepthToSpace", before) == before
