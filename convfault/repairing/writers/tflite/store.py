"""Writes what was done to a TFLite document by name into its tree of schema objects, by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from convfault.repairing.writers.tflite.document import TFLiteDocument


def store(document: TFLiteDocument) -> None:
    """Write what was done by name into the tree, by number."""
    _drop_unread(document)
    document.file.restructured = True
    number = {name: index for index, name in enumerate(document.file.tensors)} | {"": -1}
    for node in document.nodes:
        node.native.inputs = np.asarray([number[name] for name in node.inputs], np.int32)
        node.native.outputs = np.asarray([number[name] for name in node.outputs], np.int32)
    graph = document.file.graph
    graph.operators = [node.native for node in document.nodes]
    graph.outputs = np.asarray([number[name] for name in document.outputs], np.int32)
    listed = set(document.outputs) | set(document.inputs)
    for entry, name in document.signature:
        if name in listed:
            entry.tensorIndex = number[name]
    for signature in document.file.tree.signatureDefs or []:
        if signature.subgraphIndex == 0:
            _sign(document, signature, number)


def _sign(document: TFLiteDocument, signature: Any, number: dict[str, int]) -> None:
    """Let a signature list the outputs that the graph has: those gone out, new ones in under their own names."""
    keep = {number[name] for name in document.outputs}
    signature.outputs = [entry for entry in signature.outputs or [] if int(entry.tensorIndex) in keep]
    known = {int(entry.tensorIndex) for entry in signature.outputs}
    for name in dict.fromkeys(document.outputs):
        if number[name] not in known:
            entry = document.file.schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), number[name]
            signature.outputs.append(entry)


def _drop_unread(document: TFLiteDocument) -> None:
    """Take out new tensors that came to nothing; old ones keep their numbers, and lose their buffers."""
    used = {name for node in document.nodes for name in (*node.inputs, *node.outputs)}
    used |= {*document.inputs, *document.outputs}
    old = {id(tensor) for tensor in document.file.graph.tensors}
    before = set(document.file.labels)
    for name, tensor in list(document.file.tensors.items()):
        if name in used:
            continue
        if id(tensor) not in old:
            del document.file.tensors[name]
        elif name in before and document.structural and tensor.buffer and _was_read(document, name):
            tensor.buffer = 0


def _was_read(document: TFLiteDocument, name: str) -> bool:
    number = document.file.labels.index(name)
    flat = document.file.schema.Model.GetRootAs(document.file.content, 0).Subgraphs(0)
    operators = (flat.Operators(index) for index in range(flat.OperatorsLength()))
    return any(number in operator.InputsAsNumpy() for operator in operators if operator.InputsLength())
