"""torch → ONNX by ``torch.onnx.export``, the exporter built on ``torch.export`` (torch's default since 2.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.model import Model

CONVERTER = Converter(
    tool="torch_onnx",
    source="torch",
    target="onnx",
    formats=("pt2", "torch_function"),
    target_format="onnx",
    filename="model.onnx",
    package="torch",
    convert="convfault.converters.onnx_from_torch:convert",
    extra="torch,onnx",
    companions=("onnxscript", "onnx"),
    options={
        "opset": Option("version of the ONNX operator set; it stays at 18 where that is too low", kind="integer"),
        "optimize": Option("simplify the graph after translating it", True, kind="flag"),
        "keep_initializers_as_inputs": Option("list the weights among the graph's inputs", False, kind="flag"),
    },
    memory_factor=6.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Export the program as it is: its dynamic dimensions stay dynamic, its input stays NCHW."""
    import torch

    from convfault.converters.torch_source import exported_program

    program = exported_program(source)
    torch.onnx.export(
        program,
        (),
        target,
        dynamo=True,
        opset_version=options["opset"],
        optimize=options["optimize"],
        keep_initializers_as_inputs=options["keep_initializers_as_inputs"],
        external_data=False,
    )
