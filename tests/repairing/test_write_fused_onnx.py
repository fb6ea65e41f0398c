"""Edits of files that onnxruntime has optimized: its operators keep what they can say, else they are written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("onnxruntime")

from convfault.relax import evaluate
from convfault.relax.edits import Edit, SetHyperparameters, SetParameters
from convfault.repairing.writers import WRITERS
from tests.relax.fused import drawn, network, optimized
from tests.relax.quantized import answer
from tests.repairing.views import View, view


def operators(path: Path) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]


def first(target: View, kind: str) -> str:
    return next(layer.id for layer in target.graph if layer.kind == kind)


def edit_of(target: View, what: str) -> Edit:
    if what == "slope":
        return SetHyperparameters(first(target, "leaky_relu"), {"slope": 0.5})
    layer = target.graph[first(target, "convolution")]
    if what == "padding":
        return SetHyperparameters(layer.id, {"padding": ((0, 2), (0, 2))})
    return SetParameters(layer.id, {"weights": layer.parameters["weights"].values * 1.5})


@pytest.mark.parametrize("what", ["weights", "padding", "slope"])
@pytest.mark.parametrize("level", ["extended", "all"])
def test_the_file_answers_as_the_edited_graph(what: str, level: str, tmp_path: Path) -> None:
    target = view(optimized(network(tmp_path / "plain.onnx"), level))
    edit, out, values = edit_of(target, what), tmp_path / "out.onnx", drawn(1, 3, 16, 16)
    WRITERS["onnx"](target.model, target.graph, [edit], out)
    edited = edit.apply(target.graph)
    expected = evaluate.run_native(edited, {"x": values})[edited.outputs[0]]
    untouched = evaluate.run_native(target.graph, {"x": values})[target.graph.outputs[0]]
    (found,) = answer(out, values)
    atol = 1e-5 * float(np.abs(expected).max())
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=atol)
    assert np.abs(expected - untouched).max() > 100 * atol, "or the edit changes nothing"
    if level == "extended" and what != "slope":  # a fused convolution has room for both
        assert operators(out) == operators(target.path)
