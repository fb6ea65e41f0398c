"""TFLite → ONNX by tflite2onnx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.model import Model

CONVERTER = Converter(
    tool="tflite2onnx",
    source="tflite",
    target="onnx",
    formats=("tflite",),
    target_format="onnx",
    filename="model.onnx",
    package="tflite2onnx",
    convert="convfault.converters.onnx_from_tflite_by_tflite2onnx:convert",
    companions=("tflite", "onnx", "numpy"),
    environment="tflite2onnx",
    memory_factor=10.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the operators; convolutional networks become NCHW throughout, their input too."""
    import onnx
    import tflite2onnx

    tflite2onnx.convert(source.path, target)
    graph = onnx.load(target).graph
    weights = {tensor.name for tensor in graph.initializer}
    shapes = {
        entry.name: [side.dim_value for side in entry.type.tensor_type.shape.dim]
        for entry in graph.input
        if entry.name not in weights
    }
    before = _shapes(source.path)
    changed = [name for name, shape in shapes.items() if len(shape) == 4 and before.get(name, shape) != shape]
    return {"layout": "NCHW"} if changed else {}


def _shapes(path: str) -> dict[str, list[int]]:
    """Name → shape of the inputs of a TFLite file."""
    from tflite.Model import Model as FlatModel

    with open(path, "rb") as file:
        graph = FlatModel.GetRootAsModel(file.read(), 0).Subgraphs(0)
    tensors = [graph.Tensors(graph.Inputs(index)) for index in range(graph.InputsLength())]
    return {tensor.Name().decode(): [int(side) for side in tensor.ShapeAsNumpy()] for tensor in tensors}
