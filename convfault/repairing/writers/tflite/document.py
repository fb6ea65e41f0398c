"""A TFLite file as a ``Document``: tensors by name, pictures always (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Document, Node, Order, Value, half, summary
from convfault.repairing.writers.tflite.file import DTYPES, TFLiteFile
from convfault.repairing.writers.tflite.store import store
from convfault.repairing.writers.tflite.tables import FUSED, OPTIONS, VERSIONS


class TFLiteDocument(Document):
    """The first graph of the file; the others, metadata and signatures stay as they are."""

    passive = frozenset({"PAD", "PADV2", "RESHAPE", "DEQUANTIZE"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = TFLiteFile(path)
        label = self.file.label
        for native in self.file.graph.operators:
            inputs = [label(int(index)) for index in ([] if native.inputs is None else native.inputs)]
            outputs = [label(int(index)) for index in native.outputs]
            self.nodes.append(Node(outputs[0], self.file.kind(native), inputs, outputs, native))
        self.inputs = [label(int(index)) for index in self.file.graph.inputs]
        self.outputs = [label(int(index)) for index in self.file.graph.outputs]
        maps = [item for signature in self.file.tree.signatureDefs or [] for item in _maps(signature)]
        self.signature = [(item, label(int(item.tensorIndex))) for item in maps if self._first(item)]

    def _first(self, entry: Any) -> bool:
        """Whether an entry of a signature is about the first graph."""
        signatures = self.file.tree.signatureDefs or []
        return any(entry in _maps(signature) and signature.subgraphIndex == 0 for signature in signatures)

    # tensors

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.file.shape(tensor)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        found = self.file.tensors[tensor]
        if self.file.shape(tensor) == shape:
            return
        self.note(tensor, "shape", self.file.shape(tensor), shape)
        found.shape = np.asarray(shape, np.int32)
        if found.shapeSignature is not None and len(found.shapeSignature) == len(shape):
            found.shapeSignature = np.asarray([found.shapeSignature[0], *shape[1:]], np.int32)
        elif found.shapeSignature is not None:
            found.shapeSignature = None
        self.file.restructured = True

    def constant(self, tensor: str) -> Array | None:
        if not tensor:
            return None
        producer = self.producer(tensor)
        if producer is not None and producer.type == "DEQUANTIZE":
            return self.file.real(producer.inputs[0])
        return None if producer is not None else self.file.real(tensor)

    def add_constant(self, name: str, values: Array) -> str:
        values = np.asarray(values, np.float32) if values.dtype == np.float64 else values
        kind = next((name for name, dtype in DTYPES.items() if values.dtype == dtype), None)
        if kind is None:
            raise Refusal(f"TFLite has no tensors of {values.dtype}")
        return self.file.add(name, values.shape, kind, values)

    def add_weights(self, name: str, values: Array) -> str:
        """A new constant; in a quantized model stored in half precision where that holds it exactly."""
        values = np.ascontiguousarray(values)
        small = half(values) if self.quantized else None
        if small is None:
            return self.add_constant(name, values)
        return self.make("DEQUANTIZE", [self.add_constant(name, small)], values.shape)

    @cached_property
    def quantized(self) -> bool:
        """Whether the file stores numbers with a scale."""
        return any(self.file.encoding(name) is not None for name in self.file.labels)

    def put(self, node: Node, slot: int, values: Array) -> None:
        tensor, values = node.inputs[slot] if slot < len(node.inputs) else "", np.asarray(values, np.float32)
        if not tensor:
            node.inputs.extend([""] * (slot + 1 - len(node.inputs)))
            node.inputs[slot] = self.add_constant(f"{node.name}/bias", values)
            self.note(node.name, f"input {slot}", "", summary(values))
            self.structural = True
            return
        before = self.constant(tensor)
        shared = sum(reader.inputs.count(tensor) for reader in self.readers(tensor)) > 1 or tensor in self.outputs
        kind = self.file.type(tensor)
        if shared:
            node.inputs[slot] = self.add_constant(f"{tensor}/own", values)
            self.structural = True
        elif kind == "FLOAT32" and self.producer(tensor) is None and values.shape == self.file.shape(tensor):
            self.file.set_bytes(tensor, values)
        elif (stored := self.file.stored(tensor, values)) is not None:
            self.file.set_bytes(tensor, stored)
            kind = "FLOAT32"  # as far as the note goes: the encoding stays
        elif half(values) is not None:
            self._make_half(tensor, values)
        else:
            self._make_float(tensor, values)
        encoding = "" if kind == "FLOAT32" and not self.producer(tensor) else f"{kind.lower()}, "
        self.note(tensor, "values", encoding + summary(before), summary(values))

    def _make_half(self, tensor: str, values: Array) -> None:
        """Store a constant that was quantized in float16, as TFLite does: a DEQUANTIZE makes it float32."""
        stored = self.file.add(f"{tensor}/float16", values.shape, "FLOAT16", half(values))
        made = self.make("DEQUANTIZE", [stored], values.shape)
        for reader in self.readers(tensor):
            reader.inputs = [made if name == tensor else name for name in reader.inputs]

    def _make_float(self, tensor: str, values: Array) -> None:
        """Make a constant float32 that was stored otherwise, or came out of a DEQUANTIZE; its name stays."""
        found = self.file.tensors[tensor]
        producer = self.producer(tensor)
        if producer is not None:
            producer.outputs = [self.blank(f"{tensor}/stored", self.file.shape(tensor), tensor)]
            self.structural = True
        found.type = self.file.schema.TensorType.FLOAT32
        found.quantization = found.sparsity = None
        found.shape = np.asarray(values.shape, np.int32)
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        if found.buffer and self.file.users()[int(found.buffer)] == 1:
            self.file.tree.buffers[found.buffer].data = data
        else:
            found.buffer = self.file.buffer(data)
        self.file.restructured = True

    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        source = self.file.tensors[like]
        made = self.file.add(name, shape, self.file.type(like))
        tensor = self.file.tensors[made]
        tensor.quantization = source.quantization
        signature = source.shapeSignature
        if signature is not None and len(signature) and signature[0] < 0:
            tensor.shapeSignature = np.asarray([-1, *shape[1:]], np.int32)
        return made

    def computed(self, tensor: str) -> str:
        kind = self.file.type(tensor)
        if kind in {"FLOAT32", "INT32", "INT64", "BOOL"} and self.file.encoding(tensor) is None:
            return tensor
        return self.make("DEQUANTIZE", [tensor], self.file.shape(tensor))

    # operators

    def make(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        attributes: dict[str, Any] | None = None,
        dtype: str = "FLOAT32",
    ) -> str:
        output = self.file.add(f"{inputs[0] or 'new'}/{kind.lower()}", shape, dtype)
        signature = self.file.tensors[inputs[0]].shapeSignature
        if signature is not None and len(signature) and signature[0] < 0 and shape:
            self.file.tensors[output].shapeSignature = np.asarray([-1, *shape[1:]], np.int32)
        node = Node(output, kind, list(inputs), [output], self.file.schema.OperatorT())
        self.set_kind(node, kind, attributes or {})
        self.nodes.append(node)
        self.made.add(id(node))
        self.structural = True
        return output

    def set_kind(self, node: Node, kind: str, attributes: dict[str, Any]) -> None:
        """Give an operator a type and the options of that type."""
        schema, native = self.file.schema, node.native
        node.type = kind
        native.opcodeIndex = self.file.code(kind, VERSIONS.get(kind, 1))
        options = OPTIONS.get(kind)
        native.builtinOptionsType = getattr(schema.BuiltinOptions, options) if options else 0
        native.builtinOptions = getattr(schema, f"{options}T")() if options else None
        for name, value in attributes.items():
            setattr(native.builtinOptions, name, value)
        self.file.restructured = True

    def transpose(self, tensor: str, order: Order) -> str:
        shape = self.file.shape(tensor)
        places = self.add_constant("order", np.asarray(order, np.int32))
        return self.make("TRANSPOSE", [tensor, places], tuple(shape[axis] for axis in order))

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        return self.make("RESHAPE", [tensor, self.sides(shape)], shape)

    def sides(self, shape: tuple[int, ...]) -> str:
        """A constant that says what a tensor is to be reshaped to, its batch left open."""
        return self.add_constant("shape", np.asarray((-1, *shape[1:]) if shape else shape, np.int32))

    def copy(self, tensor: str, into: str) -> None:
        producer = self.producer(tensor)
        float_kind = self.file.type(into) == "FLOAT32"
        if float_kind and producer is not None and id(producer) in self.made and not self.readers(tensor):
            producer.outputs, producer.name = [into], into
            self.file.tensors.pop(tensor)
            return
        if float_kind:
            made = self.make("RESHAPE", [tensor, self.sides(self.file.shape(into))], self.file.shape(into))
        elif self.file.encoding(into) is not None:
            made = self.make("QUANTIZE", [tensor], self.file.shape(into))
        else:
            made = self.make("CAST", [tensor], self.file.shape(into))
        node = self.nodes[-1]
        node.outputs, node.name = [into], into
        self.file.tensors.pop(made)

    def connect(self, node: Node, slot: int, tensor: str) -> None:
        old = node.inputs[slot]
        if self.file.type(old) != self.file.type(tensor):
            encoded = self.blank(f"{tensor}/encoded", self.file.shape(tensor), old)
            self.copy(self.computed(tensor), encoded)
            tensor = encoded
        super().connect(node, slot, tensor)

    def inherit(self, new: str, old: str) -> None:
        """Nothing: TFLite's operators have no names."""

    def rename(self, old: str, new: str) -> None:
        self.file.tensors.pop(new, None)  # made as a blank to hold the place
        self.file.tensors = {new if name == old else name: each for name, each in self.file.tensors.items()}
        self.file.tensors[new].name = new.encode()
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        source = self.file.tensors[new]
        self.file.add(old, self.file.shape(new), self.file.type(new))
        self.file.tensors[old].quantization = source.quantization
        self.file.tensors[old].shapeSignature = source.shapeSignature
        self.structural = True

    def save(self, path: Path) -> None:
        if self.structural or self.file.restructured:
            store(self)
        self.file.save(path)

    # layers

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        from convfault.repairing.writers.tflite.emit import emit

        tensors = [self.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(emit(self, layer, tensors, shapes))

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        from convfault.repairing.writers.tflite.patch import patch

        return patch(self, graph, after_graph, before, after)

    def ends(self, node: Node) -> bool:
        return bool(fused(node))

    def keep_float(self, tensor: str) -> None:
        from convfault.repairing.writers.tflite.floats import keep_float

        keep_float(self, tensor)

    def expose(self, graph: Graph, layer: Layer) -> str | None:
        """The tensor between an operator and the activation inside it, which becomes an operator of its own."""
        readers = set(graph.readers[layer.id])
        if len(readers) != 1 or layer.id in graph.outputs:
            return None
        clip = graph[next(iter(readers))]
        node = next((node for node in self.of(layer) if node.outputs[0] == clip.native.tensor), None)
        if node is None or clip.kind != "clip" or not fused(node):
            return None
        output = node.outputs[0]
        inner = self.blank(f"{output}/before_activation", self.file.shape(output), output)
        kind = next(name for name, number in FUSED.items() if number == fused(node))
        node.native.builtinOptions.fusedActivationFunction = 0
        node.outputs[0] = inner
        made = self.make(kind, [inner], self.file.shape(output))
        self.file.tensors.pop(made)
        activation = self.nodes.pop()
        activation.outputs, activation.name = [output], output
        self.nodes.insert(self.nodes.index(node) + 1, activation)
        self.parts[clip.id] = [activation]
        self.parts[layer.id] = [node]
        node.name = inner
        self.exposed[layer.id] = inner
        self.note(output, "fused activation", kind, "an operator of its own")
        return inner


def fused(node: Node) -> int:
    """The number of the activation inside an operator, 0 for none."""
    return int(getattr(node.native.builtinOptions, "fusedActivationFunction", 0) or 0)


def _maps(signature: Any) -> list[Any]:
    return [*(signature.inputs or []), *(signature.outputs or [])]
