"""TFLite → ONNX by tf2onnx (``tf2onnx --tflite``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.converters.by_tf2onnx import OPTIONS, arguments, facts
from convfault.model import Model

CONVERTER = Converter(
    tool="tf2onnx",
    source="tflite",
    target="onnx",
    formats=("tflite",),
    target_format="onnx",
    filename="model.onnx",
    package="tf2onnx",
    convert="convfault.converters.onnx_from_tflite:convert",
    extra="tensorflow,tflite,onnx",
    companions=("tensorflow", "onnx", "numpy"),
    options={
        **OPTIONS,
        "dequantize": Option("turn quantized tensors into floating point ones", False, kind="flag"),
    },
    memory_factor=70.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the flat buffer operator by operator; the names of its tensors stay."""
    from tf2onnx import convert as tf2onnx

    inputs, outputs = _ends(source.path)
    tf2onnx._convert_common(
        None,
        name=source.path,
        tflite_path=source.path,
        input_names=None,
        output_names=None,
        dequantize=options["dequantize"],
        output_path=target,
        **arguments(options, inputs, outputs),
    )
    return facts(options)


def _ends(path: str) -> tuple[list[str], list[str]]:
    """Names of the input and output tensors of the main subgraph."""
    from tflite.Model import Model as FlatModel

    with open(path, "rb") as file:
        graph = FlatModel.GetRootAsModel(file.read(), 0).Subgraphs(0)
    inputs = [graph.Tensors(graph.Inputs(index)).Name().decode() for index in range(graph.InputsLength())]
    outputs = [graph.Tensors(graph.Outputs(index)).Name().decode() for index in range(graph.OutputsLength())]
    return inputs, outputs
