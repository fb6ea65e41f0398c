"""torch → ONNX by the older exporter, which traces the module (``torch.onnx.export(dynamo=False)``)."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.model import Model

CONVERTER = Converter(
    tool="torch_onnx_torchscript",
    source="torch",
    target="onnx",
    formats=("pt2", "torch_function"),
    target_format="onnx",
    filename="model.onnx",
    package="torch",
    convert="convfault.converters.onnx_from_torch_by_torchscript:convert",
    extra="torch,onnx",
    companions=("onnx",),
    options={
        "opset": Option("version of the ONNX operator set", kind="integer"),
        "do_constant_folding": Option("compute what depends on weights only", True, kind="flag"),
        "keep_initializers_as_inputs": Option("list the weights among the graph's inputs", False, kind="flag"),
    },
    memory_factor=8.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> None:
    """Trace and export; the batch is dynamic where the program's is, the input stays NCHW."""
    import torch

    module, inputs, names, dynamic = _traceable(source)
    axes = {name: {0: "batch"} for name in (*names, "output")} if dynamic else None
    torch.onnx.export(
        module,
        inputs,
        target,
        dynamo=False,
        input_names=names,
        output_names=["output"],
        dynamic_axes=axes,
        opset_version=options["opset"],
        do_constant_folding=options["do_constant_folding"],
        keep_initializers_as_inputs=options["keep_initializers_as_inputs"],
    )


def _traceable(source: Model) -> tuple[Any, tuple[Any, ...], list[str], bool]:
    """Module, example inputs, input names, and whether the batch is dynamic."""
    from convfault.converters.torch_source import example, example_of, exported_program, has_dynamic_batch, module

    if source.format == "torch_function":
        inputs = example(source)
        specs = source.signature.inputs if source.signature else ()
        names = [spec.name for spec in specs] or [f"input_{index}" for index in range(len(inputs))]
        return module(source), inputs, names, True
    program = exported_program(source)
    traceable = program.module()
    _ask_for_sizes(traceable)
    # The exporter calls train(False), which the module of an exported program refuses; it is in that mode already.
    traceable.train = types.MethodType(lambda self, mode=True: self, traceable)
    names = list(program.graph_signature.user_inputs)
    return traceable, example_of(program), names, has_dynamic_batch(program)


METHODS = ("expand", "reshape", "view")
"""Operators that take sizes and are methods of a tensor, too."""


def _ask_for_sizes(module: Any) -> None:
    """Let an ``fx.GraphModule`` ask for sizes, and use them, by the methods that tracing follows, in place.

    An exported program does so by operators, for which sizes are plain numbers: the example's batch would be written
    into the file wherever a picture is reshaped.
    """
    import torch

    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        schema = getattr(node.target, "_schema", None)
        name = "" if schema is None else schema.name.removeprefix("aten::")
        if node.target is torch.ops.aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif name in METHODS and not node.kwargs:
            node.op, node.target = "call_method", name
    module.recompile()
