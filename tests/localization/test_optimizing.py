"""An optimization of onnxruntime that changes what a model computes is told by its name and its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.localization.case import Subject
from convfault.localization.optimizing import guilty
from convfault.model import Model
from convfault.relax.graph import Graph

PICTURES = -1 - np.random.default_rng(0).random((2, 1, 6, 6), dtype=np.float32)
"""All negative: the zeros round them are the largest."""


def pooled(path: Path, value: float = 0.0, operator: str = "MaxPool") -> Model:
    """A padding with one value, then a pooling."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["padded"], name="border"),
        helper.make_node(operator, ["padded"], ["y"], name="pool", kernel_shape=[3, 3], strides=[2, 2]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads"),
        numpy_helper.from_array(np.asarray(value, np.float32), "value"),
    ]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, side, side])
        for name, side in (("x", 6), ("y", 3))
    ]
    graph = helper.make_graph(nodes, "pooled", sides[:1], sides[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return Model(str(path), "onnx")


def expected(model: Model) -> np.ndarray:
    """What the model says, by onnx's own reference."""
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(model.path).run(None, {"x": PICTURES[:1]})[0])


def subject(model: Model) -> Subject:
    trace: Any = None
    return Subject(model, Graph((), (), ()), {"x": PICTURES}, trace)


def test_the_guilty_optimizer_is_named_with_the_node_that_it_does_away_with(tmp_path: Path) -> None:
    model = pooled(tmp_path / "model.onnx")
    found = guilty(subject(model), 0, [expected(model)], 1e-5)
    assert found is not None
    assert (found.name, found.nodes) == ("Pad_Fusion", ("border",))


@pytest.mark.parametrize(("value", "operator"), [(1e-30, "MaxPool"), (0.0, "AveragePool")])
def test_what_is_optimized_soundly_has_no_guilty_optimizer(tmp_path: Path, value: float, operator: str) -> None:
    model = pooled(tmp_path / "model.onnx", value, operator)
    assert guilty(subject(model), 0, [expected(model)], 1e-5) is None


def test_a_model_that_is_wrong_without_optimizations_has_none(tmp_path: Path) -> None:
    model = pooled(tmp_path / "model.onnx")
    assert guilty(subject(model), 0, [expected(model) + 1], 1e-5) is None


def test_models_of_other_formats_are_not_tried() -> None:
    assert guilty(subject(Model("m.tflite", "tflite")), 0, [], 1e-5) is None
