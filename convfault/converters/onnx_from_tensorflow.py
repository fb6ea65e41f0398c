"""TensorFlow (SavedModel or frozen graph) → ONNX by tf2onnx, the way its command line does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter
from convfault.converters.by_tf2onnx import OPTIONS, arguments, facts
from convfault.model import Model

CONVERTER = Converter(
    tool="tf2onnx",
    source="tf",
    target="onnx",
    formats=("saved_model", "frozen_graph"),
    target_format="onnx",
    filename="model.onnx",
    package="tf2onnx",
    convert="convfault.converters.onnx_from_tensorflow:convert",
    extra="tensorflow,onnx",
    companions=("tensorflow", "onnx", "numpy"),
    options=OPTIONS,
    memory_factor=70.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Freeze, optimize and translate; names of inputs and outputs are those of the signature."""
    if source.format == "frozen_graph":
        _convert_frozen(source, target, options)
    else:
        _convert_saved(source, target, options)
    return facts(options)


def _convert_frozen(source: Model, target: str, options: Mapping[str, Any]) -> None:
    from tf2onnx import convert as tf2onnx
    from tf2onnx import tf_loader

    from convfault.converters.tensorflow_source import frozen_graph

    _, inputs, outputs = frozen_graph(source)
    graph, inputs, outputs = tf_loader.from_graphdef(source.path, inputs, outputs)
    tf2onnx._convert_common(
        graph,
        name=source.path,
        input_names=inputs,
        output_names=outputs,
        output_path=target,
        **arguments(options, inputs, outputs),
    )


def _convert_saved(source: Model, target: str, options: Mapping[str, Any]) -> None:
    from tf2onnx import convert as tf2onnx
    from tf2onnx import tf_loader

    from convfault.converters.tensorflow_source import signature_key

    graph, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
        source.path,
        None,
        None,
        "serve",
        [signature_key(source.path)],
        return_initialized_tables=True,
        return_tensors_to_rename=True,
    )
    tf2onnx._convert_common(
        graph,
        name=source.path,
        input_names=inputs,
        output_names=outputs,
        tensors_to_rename=renamed,
        initialized_tables=tables,
        output_path=target,
        **arguments(options, inputs, outputs),
    )
