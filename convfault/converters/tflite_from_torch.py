"""torch → TFLite by litert-torch (formerly ai-edge-torch), without passing through ONNX or TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.model import Model

CONVERTER = Converter(
    tool="litert-torch",
    source="torch",
    target="tflite",
    formats=("pt2", "torch_function"),
    target_format="tflite",
    filename="model.tflite",
    package="litert-torch",
    convert="convfault.converters.tflite_from_torch:convert",
    companions=("torch", "litert-converter", "ai-edge-litert"),
    options={"channels_last": Option("give inputs and outputs of four sides the layout NHWC", False, kind="flag")},
    environment="litert_torch",
    memory_factor=8.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Lower the program with a batch of one; the input stays NCHW unless the option says otherwise."""
    import litert_torch

    from convfault.converters.torch_source import example, example_of, exported_program, module

    if source.format == "torch_function":
        chosen, inputs = module(source), tuple(tensor[:1] for tensor in example(source))
    else:
        program = exported_program(source)
        chosen, inputs = program.module(), example_of(program, batch=1)
    notes = ["the batch is fixed at one"]
    if not options["channels_last"]:
        litert_torch.convert(chosen, inputs).export(target)
        return {"notes": notes}
    pictures = [index for index, tensor in enumerate(inputs) if tensor.ndim == 4]
    inputs = tuple(tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in inputs)
    litert_torch.convert(litert_torch.to_channel_last_io(chosen, args=pictures), inputs).export(target)
    return {"layout": "NHWC", "notes": notes}
