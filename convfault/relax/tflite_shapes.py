"""Shapes that a TFLite file leaves to its runtime: for a computed size it holds a 1, or what its writer thought."""

from __future__ import annotations

from typing import Any

import numpy as np


def leaves_open(flat: Any) -> bool:
    """Whether the first graph of this flatbuffer has an open side besides the batch, or computes with a shape."""
    from ai_edge_litert import schema_py_generated as schema

    graph = flat.Subgraphs(0)
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        if tensor.ShapeSignatureLength() and any(int(side) < 0 for side in tensor.ShapeSignatureAsNumpy()[1:]):
            return True
    codes = (flat.OperatorCodes(graph.Operators(index).OpcodeIndex()) for index in range(graph.OperatorsLength()))
    return any(schema.BuiltinOperator.SHAPE in (code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes)


def settle_shapes(tree: Any, content: bytes) -> None:
    """Write the shapes that the runtime finds, on zeros, into a model tree (``ModelT``) in place; none if it fails."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        for item in interpreter.get_input_details():
            interpreter.set_tensor(item["index"], np.zeros(item["shape"], item["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError):  # what the runtime cannot run keeps the shapes that the file has
        return
    tensors = tree.subgraphs[0].tensors
    for item in interpreter.get_tensor_details():
        if item["index"] < len(tensors) and tensors[item["index"]].shape is not None:
            tensors[item["index"]].shape = [int(side) for side in item["shape"]]
