"""Lets a TFLite file keep a value in float32 that it stored as integers.

The operator that computes the value and those that read it then compute in floating point: what they read in integers
comes through DEQUANTIZE, what others read of them in integers goes through QUANTIZE. Weights stay as they are stored,
behind a DEQUANTIZE, so that the file hardly grows.
"""

from __future__ import annotations

from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.tflite.document import TFLiteDocument

MARKERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
BIAS = frozenset({"INT32", "INT64"})


def keep_float(document: TFLiteDocument, tensor: str) -> None:
    """See ``Document.keep_float``."""
    if document.file.type(tensor) == "FLOAT32":  # a picture that is quantized before it is read
        for reader in [node for node in document.readers(tensor) if node.type == "QUANTIZE"]:
            document.note(reader.outputs[0], "stored as", document.file.type(reader.outputs[0]).lower(), "float32")
            _undo_quantize(document, reader)
        return
    if tensor in document.outputs or tensor in document.inputs:
        end = "output" if tensor in document.outputs else "input"
        raise Refusal(f"'{tensor}' is the model's own {end}, which is {document.file.type(tensor).lower()}")
    producer = document.producer(tensor)
    if producer is None:
        raise Refusal(f"'{tensor}' is not computed by an operator")
    document.note(tensor, "stored as", document.file.type(tensor).lower(), "float32")
    if producer.type == "QUANTIZE":
        _undo_quantize(document, producer)
    else:
        _to_float(document, producer, kept=tensor)
        _make_float(document, tensor)
    for reader in document.readers(tensor):
        if reader.type == "DEQUANTIZE":
            _bypass(document, reader)
        elif reader.type != "QUANTIZE":
            _to_float(document, reader)


def _undo_quantize(document: TFLiteDocument, node: Node) -> None:
    """Whoever reads what QUANTIZE makes gets what it read, under the same name where an operator of ours made it."""
    before, after = node.inputs[0], node.outputs[0]
    producer = document.producer(before)
    document.nodes.remove(node)
    document.structural = True
    if producer is not None and document.readers(before) == [] and before not in document.outputs:
        producer.outputs[producer.outputs.index(before)] = after
        document.file.tensors.pop(before)
        _make_float(document, after)
        return
    for reader in document.readers(after):
        reader.inputs = [before if name == after else name for name in reader.inputs]
        if reader.type == "DEQUANTIZE":
            _bypass(document, reader)
        elif reader.type != "QUANTIZE":
            _to_float(document, reader)


def _to_float(document: TFLiteDocument, node: Node, kept: str = "") -> None:
    """Let an operator compute in floating point; ``kept`` is an output that becomes float itself."""
    for slot, name in enumerate(node.inputs):
        if name and document.file.encoding(name) is not None:
            node.inputs[slot] = _real(document, name)
    for slot, name in enumerate(node.outputs):
        if name == kept or document.file.encoding(name) is None:
            continue
        computed = document.blank(f"{name}/float", document.file.shape(name), name)
        _make_float(document, computed)
        node.outputs[slot] = computed
        document.make("QUANTIZE", [computed], document.file.shape(name))
        made = document.nodes[-1]
        document.file.tensors.pop(made.outputs[0])
        made.outputs, made.name = [name], name


def _real(document: TFLiteDocument, tensor: str) -> str:
    """The tensor in float32: a constant bias as such, anything else behind a DEQUANTIZE, one for all readers."""
    constant = document.file.real(tensor)
    if constant is not None and document.file.type(tensor) in BIAS:
        return document.add_constant(f"{tensor}/float", constant)
    known = next((node for node in document.readers(tensor) if node.type == "DEQUANTIZE"), None)
    return known.outputs[0] if known is not None else document.computed(tensor)


def _make_float(document: TFLiteDocument, tensor: str) -> None:
    found = document.file.tensors[tensor]
    found.type, found.quantization = document.file.schema.TensorType.FLOAT32, None
    document.file.restructured = True


def _bypass(document: TFLiteDocument, node: Node) -> None:
    """Let the readers of a DEQUANTIZE read what it reads, which is float already."""
    before, after = node.inputs[0], node.outputs[0]
    if after in document.outputs:
        node.inputs.append(document.sides(document.file.shape(after)))
        document.set_kind(node, "RESHAPE", {})
        return
    for reader in document.readers(after):
        reader.inputs = [before if name == after else name for name in reader.inputs]
    document.nodes.remove(node)
    document.structural = True
