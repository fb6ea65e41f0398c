"""Operators that TVM would misread are in the canonical graph as what they are, and answer as their runtimes do."""

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
from convfault.relax.import_model import import_model
from tests.relax.test_import import onnx_file

PICTURE = np.random.default_rng(2).standard_normal((1, 3, 9, 8)).astype(np.float32)


def pooled(x: Any) -> Any:
    import torch

    return torch.nn.functional.avg_pool2d(x, (3, 2), stride=2, padding=1, ceil_mode=True, divisor_override=5)


def pooled_over_its_area(x: Any) -> Any:
    import torch

    return torch.nn.functional.avg_pool2d(x, 2, divisor_override=4)


def resized(**settings: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        import torch

        return torch.nn.functional.interpolate(x, **settings)

    return run


FUNCTIONS: list[tuple[Callable[[Any], Any], str, str | None]] = [
    (pooled, "average_pool", "divisor"),
    (pooled_over_its_area, "average_pool", None),
    (resized(scale_factor=1.7), "resize", "scales"),
    (resized(scale_factor=0.6), "resize", "scales"),
    (resized(scale_factor=1.7, mode="bilinear"), "resize", "scales"),
    (resized(scale_factor=1.7, mode="bilinear", align_corners=True), "resize", None),
    (resized(scale_factor=1.7, mode="bicubic"), "resize", "scales"),
    (resized(size=(5, 11), mode="bilinear", antialias=True), "resize", "antialias"),
    (resized(size=(5, 3), mode="bicubic", antialias=True), "resize", "antialias"),
]


@pytest.mark.parametrize(("function", "kind", "attribute"), FUNCTIONS)
def test_operators_of_torch_answer_as_torch_does(
    function: Callable[[Any], Any], kind: str, attribute: str | None, tmp_path: Path
) -> None:
    import torch

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.relu(function(torch.tanh(x)))

    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Module().eval(), (torch.from_numpy(PICTURE),)), path)
    graph = canonical(import_model(Model.from_path(str(path))))
    (layer,) = [layer for layer in graph if layer.kind == kind]
    assert graph.unsupported == ()
    assert attribute is None or attribute in layer.hyperparameters
    wanted = Module()(torch.from_numpy(PICTURE)).numpy()
    _same(graph, wanted)


RESIZES: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({"mode": "nearest"}, (0.6, 0.7)),
    ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, (0.6, 1.7)),
    ({"mode": "linear"}, (1.7, 0.6)),
    ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, (1.7, 1.3)),
    ({"mode": "cubic", "cubic_coeff_a": -0.5}, (1.7, 1.3)),
]


@pytest.mark.parametrize(("attributes", "scales"), RESIZES)
def test_resizing_by_broken_scales_answers_as_onnxruntime_does(
    attributes: dict[str, Any], scales: tuple[float, float], tmp_path: Path
) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Tanh", ["x"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["y"], **attributes),
    ]
    model = onnx_file(tmp_path, nodes, PICTURE.shape, {"scales": np.asarray([1, 1, *scales], np.float32)})
    imported = import_model(model)
    assert imported.unsupported[0].layer is not None
    _same(canonical(imported), _onnxruntime(model))


def test_the_upsample_that_tvm_cannot_read_is_a_resize(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    nodes = [helper.make_node("Upsample", ["x", "scales"], ["y"], mode="nearest")]
    model = onnx_file(tmp_path, nodes, PICTURE.shape, {"scales": np.asarray([1, 1, 2, 3], np.float32)})
    proto = onnx.load(model.path)
    proto.opset_import[0].version = 9
    onnx.save(proto, model.path)
    graph = canonical(import_model(model))
    assert [layer.kind for layer in graph] == ["input", "resize"]
    assert "scales" not in graph["resize_1"].hyperparameters
    _same(graph, _onnxruntime(model))


def _onnxruntime(model: Model) -> np.ndarray:
    import onnxruntime

    return np.asarray(onnxruntime.InferenceSession(model.path).run(None, {"x": PICTURE})[0])


def _same(graph: Any, wanted: np.ndarray) -> None:
    name = str(graph[graph.inputs[0]].native.tensor)
    found = evaluate.run_native(graph, {name: PICTURE})[graph.outputs[0]]
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), wanted, rtol=1e-5, atol=2e-6)


def test_a_constant_is_cut_along_its_first_axis(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Slice", ["numbers", "begin", "end"], ["row"]),
        helper.make_node("Add", ["x", "row"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    weights = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)
    model = onnx_file(tmp_path, nodes, PICTURE.shape, {"numbers": weights, "begin": [1], "end": [2]})
    graph = canonical(import_model(model))
    assert "slice" not in {layer.kind for layer in graph}
    (row,) = [layer.parameters["values"].values for layer in graph if layer.kind == "constant"]
    np.testing.assert_array_equal(row.reshape(-1), weights[1].reshape(-1))
