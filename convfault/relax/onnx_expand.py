"""Brings an ONNX model nearer to what TVM reads: functions written out, shapes that ONNX cannot infer found by running.

A function is an operator that is defined by a graph of others: those of the file itself, and those of the standard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

STANDARD = ("", "ai.onnx")


def expanded(model: Any, known: Collection[str]) -> Any:
    """The model without the file's own functions, and without those of the standard whose operator is not ``known``."""
    import onnx

    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model, convert_version=True)
        unknown = sorted({n.op_type for n in model.graph.node if n.domain in STANDARD and n.op_type not in known})
        defined = [(domain, name) for name in unknown if _has_body(name, model) for domain in STANDARD]
        if defined:
            model = onnx.inliner.inline_selected_functions(model, defined, inline_schema_functions=True)
        return model
    except Exception:  # a model that cannot be written out so is imported as it is
        return model


def drop_unread_outputs(graph: Any) -> None:
    """Take away trailing outputs of operators that nobody reads, in place: masks, places of maxima."""
    read = {name for node in graph.node for name in _names_in(node)} | {value.name for value in graph.output}
    for node in graph.node:
        while len(node.output) > 1 and node.output[-1] not in read and node.op_type != "Split":
            del node.output[-1]


def _names_in(node: Any) -> list[str]:
    inner = [item for attribute in node.attribute if attribute.HasField("g") for item in attribute.g.node]
    ends = [value.name for attribute in node.attribute if attribute.HasField("g") for value in attribute.g.output]
    return [*node.input, *ends, *(name for item in inner for name in _names_in(item))]


def _has_body(name: str, model: Any) -> bool:
    import onnx

    version = next((int(item.version) for item in model.opset_import if item.domain in STANDARD), 1)
    try:
        schema = onnx.defs.get_schema(name, version)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def seen_values(model: Any, names: Iterable[str]) -> dict[str, Any]:
    """Name → typed value, of values whose shape onnxruntime shows when it runs the model on zeros; none if it cannot.

    The model's inputs must have fixed sizes.
    """
    import onnx

    wanted, copy = list(names), onnx.ModelProto()
    copy.CopyFrom(model)
    present = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in present)
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(wanted, {value.name: _zeros(value) for value in session.get_inputs()})
    except Exception:  # no runtime, or one that does not know the operator either
        return {}
    return {
        name: onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(wanted, found, strict=True)
        if hasattr(value, "dtype")
    }


def _zeros(value: Any) -> Any:
    kinds = {"float": "float32", "double": "float64"}
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return np.zeros(value.shape, kinds.get(kind, kind))
