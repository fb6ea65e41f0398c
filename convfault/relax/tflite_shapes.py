"""Shapes that a TFLite file leaves to its runtime: computed sizes hold a 1 there, which an importer would believe."""

from __future__ import annotations

from typing import Any

import numpy as np


def leaves_open(graph: Any) -> bool:
    """Whether a tensor of this flatbuffer graph has an open side besides the batch."""
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        if tensor.ShapeSignatureLength() and any(int(side) < 0 for side in tensor.ShapeSignatureAsNumpy()[1:]):
            return True
    return False


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
