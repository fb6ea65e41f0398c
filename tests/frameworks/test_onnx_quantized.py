"""What onnxruntime stores as integers or in half precision is shown as real numbers in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from convfault.frameworks.onnx import ONNX
from convfault.model import Model
from tests.relax import quantized
from tests.relax.quantized import pictures


def test_integers_between_operators_come_back_as_real_numbers(tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, "operators")
    with ONNX.open(Model.from_path(str(path))) as session:
        specs = {spec.name: spec for spec in session.tensors()}
        trace = session.run({"x": pictures()}, list(specs))
    assert {spec.dtype for spec in specs.values()} == {"float32"}
    assert {values.dtype.name for values in trace.tensors.values()} == {"float32"}
    with ONNX.open(Model.from_path(str(tmp_path / "float.onnx"))) as session:
        wanted = session.run({"x": pictures()}, ["r1", "sum", "pooled"])
    for name in ("sum", "pooled"):
        expected = wanted.tensors[name]
        np.testing.assert_allclose(
            trace.tensors[f"{name}_quantized"], expected, atol=0.03 * float(np.abs(expected).max())
        )


def test_integers_in_front_of_a_dequantization_are_what_it_makes_of_them(tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, "channels")
    names = ["sum_QuantizeLinear_Output", "sum_DequantizeLinear_Output"]
    with ONNX.open(Model.from_path(str(path))) as session:
        trace = session.run({"x": pictures()}, names)
    np.testing.assert_allclose(trace.tensors[names[0]], trace.tensors[names[1]], rtol=1e-6)


def test_integers_whose_scale_is_found_at_run_time_stay_integers(tmp_path: Path) -> None:
    path = quantized.quantized_file(tmp_path, "dynamic")
    with ONNX.open(Model.from_path(str(path))) as session:
        specs = {spec.name: spec.dtype for spec in session.tensors()}
        trace = session.run({"x": pictures()}, ["x_quantized"])
    assert specs["x_quantized"] == "uint8"
    assert trace.tensors["x_quantized"].dtype == np.uint8


@pytest.mark.parametrize("ends", [True, False])
def test_half_precision_comes_back_in_single_precision(ends: bool, tmp_path: Path) -> None:
    path = quantized.half_file(tmp_path, ends=ends)
    with ONNX.open(Model.from_path(str(path))) as session:
        assert [spec.dtype for spec in (*session.signature.inputs, *session.signature.outputs)] == ["float32"] * 2
        trace = session.run({"x": pictures()}, ["sum"])
    assert {values.dtype.name for values in trace.tensors.values()} == {"float32"}
