"""Sizes and factors that a model computes or holds as weights do not stop a conversion, nor fix its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from convfault.converters import CONVERTERS
from convfault.model import Model

PICTURES = np.random.default_rng(0).standard_normal((3, 4, 6, 6)).astype(np.float32)


def test_a_reshape_by_the_batch_keeps_it_free_when_traced(tmp_path: Path) -> None:
    import onnxruntime
    import torch

    from convfault.converters.onnx_from_torch_by_torchscript import convert

    class Shuffle(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            batch, channels, height, width = x.shape
            x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
            return torch.relu(x)

    free = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(Shuffle().eval(), (torch.zeros(2, 4, 6, 6),), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "model.pt2")
    source = Model.from_path(str(tmp_path / "model.pt2"))
    convert(source, str(tmp_path / "model.onnx"), CONVERTERS["torch_onnx_torchscript"].with_defaults({}))
    found = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"x": PICTURES})[0]
    np.testing.assert_array_equal(found, Shuffle()(torch.from_numpy(PICTURES)).numpy())


def test_a_resize_by_factors_goes_from_onnx_to_torch(tmp_path: Path) -> None:
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper

    from convfault.converters.torch_from_onnx import convert

    scales = numpy_helper.from_array(np.asarray([1, 1, 1.5, 1.5], np.float32), "scales")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 9, 9])],
        [scales],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    options = CONVERTERS["onnx2torch"].with_defaults({})
    convert(Model.from_path(str(path)), str(tmp_path / "model.pt2"), options)
    found = torch.export.load(tmp_path / "model.pt2").module()(torch.from_numpy(PICTURES))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(PICTURES), scale_factor=1.5, mode="bilinear")
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
