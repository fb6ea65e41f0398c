"""Lets an ONNX file keep a value in float32 that it computes in half precision.

The operators that make or read the value compute in float32, between casts; the pair of casts around the value goes.
Weights stay as they are stored, behind a cast, so that the file hardly grows.
"""

from __future__ import annotations

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rules.smooth import SELU_ALPHA, SELU_SCALE
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.onnx.float import fresh, make
from convfault.repairing.writers.onnx.values import attributes, captured


def keep_single(document: OnnxDocument, tensor: str) -> None:
    """See ``Document.keep_float``; the tensor is one of ``document.halves``.

    So are those before it that no layer of the graph holds, the steps of a formula, and those cast from the same value.
    """
    maker = document.producer(tensor)
    if maker is None or tensor in document.outputs or tensor in document.pinned:
        raise Refusal(f"'{tensor}' is what the model is given or answers, in half precision")
    cast = maker.type == "Cast"
    twins = [node.outputs[0] for node in document.readers(maker.inputs[0]) if node.type == "Cast"] if cast else [tensor]
    nodes = _behind(document, maker)
    inner = [name for node in nodes[1:] for name in node.outputs]
    ends = {*document.outputs} | document.pinned
    for name in dict.fromkeys((*twins, *inner)):
        if name in document.halves and name not in ends:
            _keep(document, name)
    for node in nodes:
        _exact(document, node)
    document.sort()


def _behind(document: OnnxDocument, last: Node) -> list[Node]:
    """An operator, and those before it whose values no layer of the graph holds."""
    found, front = [last], [last]
    while front and document.held:
        producers = [document.producer(name) for name in front.pop().inputs if name and name not in document.held]
        new = [node for node in producers if node is not None and all(node is not each for each in found)]
        found += new
        front += new
    return found


BOOKS = tuple(
    float(np.float32(value))
    for value in (2**0.5, 0.5**0.5, (2 / np.pi) ** 0.5, 0.044715, 1 / 6, SELU_ALPHA, SELU_SCALE)
)
"""Constants of formulas."""


def _exact(document: OnnxDocument, node: Node) -> None:
    """Give a formula's constants the digits that half precision has cut off."""
    for slot, name in enumerate(node.inputs) if node.type != "Cast" else ():
        exact = _book_value(document, name)
        if exact is not None:
            document.put(node, slot, exact)


def _book_value(document: OnnxDocument, name: str) -> Array | None:
    """The constant of a formula that half precision has rounded to this one."""
    held = document.constant(name) if name and name not in document.halves else None
    if held is None or held.size != 1:
        return None
    number = float(held.reshape(-1)[0])
    exact = next((value for value in BOOKS if number == float(np.float16(value)) != value), None)
    return None if exact is None else np.full(held.shape, exact, np.float32)


def _keep(document: OnnxDocument, tensor: str) -> None:
    nodes = [node for node in (document.producer(tensor), *document.readers(tensor)) if node is not None]
    for node in nodes:
        _check(node)
    for node in nodes:
        spread_half(document, node)
    document.note(tensor, "stored as", "float16", "float32")
    _drop_casts(document, tensor)


def widen_for(document: OnnxDocument, graph: Graph, layer: Layer) -> None:
    """Let the model compute in single precision, so that a weighted layer can have other weights than half precision's.

    All of it: runtimes that compute so anyway round at every cast that is written between two operators. Constants stay
    as they are stored, but for those of the formula that bends what the layer gives.
    """
    ends = {*document.inputs, *document.outputs} | document.pinned
    for name in sorted(document.halves - ends):
        _keep(document, name)
    for node in document.of(layer):
        spread_half(document, node)
    for reader in graph.readers[layer.id]:
        last = document.producer(str(graph[reader].native.tensor)) if graph[reader].kind in FORMULAS else None
        for node in () if last is None else _behind(document, last):
            _exact(document, node)


FORMULAS = frozenset({"gelu", "gelu_tanh", "selu", "hard_swish", "mish"})
"""Kinds of layers whose constants stand in the books."""


def spread_half(document: OnnxDocument, node: Node) -> None:
    """Let an operator on half precision compute in float32, between casts."""
    from onnx import TensorProto

    if node.type == "Cast":
        return
    _check(node)
    for slot, name in enumerate(node.inputs):
        if _is_half(document, name):
            node.inputs[slot] = single(document, name)
            document.structural = True
    for slot, name in enumerate(node.outputs):
        if name in document.halves:
            node.outputs[slot] = fresh(document, f"{name}/float", name)
            make(document, "Cast", [node.outputs[slot]], name, {"to": TensorProto.FLOAT16})


def single(document: OnnxDocument, name: str) -> str:
    """The value in float32: behind the cast that is there, or a new one."""
    from onnx import TensorProto

    for node in document.readers(name):
        if node.type == "Cast" and attributes(node).get("to") == TensorProto.FLOAT:
            return node.outputs[0]
    output = fresh(document, f"{name}/single", name)
    make(document, "Cast", [name], output, {"to": TensorProto.FLOAT})
    return output


def _check(node: Node) -> None:
    if captured(node.native):
        raise Refusal(f"'{node.name}' ({node.type}) holds graphs of its own in half precision")


def _is_half(document: OnnxDocument, name: str) -> bool:
    held = document.constant(name) if name and name not in document.halves else None
    return name in document.halves or (held is not None and held.dtype == np.float16)


def _drop_casts(document: OnnxDocument, tensor: str) -> None:
    """Take out the casts to half precision and back; who reads the value reads it as it was before."""
    maker, readers = document.producer(tensor), document.readers(tensor)
    assert maker is not None
    source, aliases = maker.inputs[0], {node.outputs[0] for node in readers}
    kept = aliases & ({*document.outputs} | document.pinned)
    gone = {id(node) for node in (maker, *readers)}
    document.nodes = [node for node in document.nodes if id(node) not in gone]
    document.halves.discard(tensor)
    document.structural = True
    for value in [value for value in document.proto.graph.value_info if value.name == tensor]:
        document.proto.graph.value_info.remove(value)
    producer = document.producer(source)
    if producer is not None and id(producer) not in gone and not document.readers(source):
        producer.outputs = [tensor if name == source else name for name in producer.outputs]
        source = tensor
    for node in document.nodes:
        node.inputs = [source if name in aliases else name for name in node.inputs]
    for alias in sorted(kept):
        document.copy(source, alias)
