"""Says the same in ONNX that onnxruntime's optimizers leave alone, where they change what it means.

Runs in a process of its own, as ``plain_onnx`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convfault.repairing.onnx_values import attributes_of
from convfault.repairing.plain_onnx import said


def run(path: str, out: str, words: list[str]) -> list[str]:
    """Job: write the model at ``path`` to ``out`` round these optimizers; those for which something was changed.

    Raises as ``plain_onnx.run``.
    """
    return said(path, out, {word: UNFUSED[word] for word in words})


def tiny_paddings(model: Any) -> Any:
    """With paddings by next to nothing instead of zero, which onnxruntime does not fuse into what reads them."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    values = {item.name: onnx.numpy_helper.to_array(item) for item in found.graph.initializer}
    poolings = {name for node in found.graph.node if node.op_type == "MaxPool" for name in node.input}
    for node in found.graph.node:
        if node.op_type != "Pad" or attributes_of(node).get("mode", b"constant") != b"constant" or len(node.input) < 2:
            continue
        given = node.input[2] if len(node.input) > 2 else ""
        if not poolings.isdisjoint(node.output) and not np.any(values.get(given, 0)):
            name = f"{node.output[0]}/next_to_zero"
            found.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(TINY, np.float32), name))
            inputs = [*node.input[:2], name, *node.input[3:]]
            del node.input[:]
            node.input.extend(inputs)
    return found


TINY = 1e-30
UNFUSED: Mapping[str, Callable[[Any], Any]] = {"Pad_Fusion": tiny_paddings}
"""By optimizer of onnxruntime: the same in words that it leaves alone."""
