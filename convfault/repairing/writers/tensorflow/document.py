"""A TensorFlow graph without variables as a ``Document``: tensors are ``node:0``, pictures (N, H, W, C).

Operators that only pass a tensor on (``Identity`` and its like) are seen through: whoever reads one reads what it
passes on. Those at the model's outputs are operators of the document, so that an output can be connected otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.import_tensorflow import fix_shapes
from convfault.repairing.writers.document import Document, Node, Order, Value, summary, unused
from convfault.repairing.writers.folding import Put
from convfault.repairing.writers.tensorflow import nodes
from convfault.repairing.writers.tensorflow.constants import Constants, Expression


class TensorFlowDocument(Document):
    """The nodes of a frozen ``GraphDef`` that its outputs depend on. ``home`` begins the names of new nodes."""

    passive = frozenset(
        {
            "BatchToSpaceND", "ExpandDims", "Pad", "PadV2", "Reshape", "SpaceToBatchND", "Squeeze", "Transpose",
            *nodes.ALIASES,
        }
    )  # fmt: skip

    def __init__(self, definition: Any, inputs: Iterable[str], outputs: Iterable[str], home: str = "") -> None:
        super().__init__()
        self.definition, self.home = definition, home
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.raw = {node.name: node for node in definition.node}
        self.numbers: dict[str, Array] = {}
        """Constants that were read, changed or made here, by tensor."""
        self.changed: set[str] = set()
        """Constants of the file that have other numbers now."""
        self.fresh: set[str] = set()
        """Constants that were made here."""
        self.edited: set[int] = set()
        """Identities of the nodes whose attributes changed."""
        self.stale: set[str] = set()
        """Tensors whose shape changed."""
        self.shapes, self.types = _inferred(definition)
        self.constants = Constants(self._stored, self._expression)
        self.origins: dict[int, tuple[str, tuple[str, ...]]] = {}
        """Identity of a node of the file → its own name, and what it read, aliases seen through."""
        self._fill()

    def _fill(self) -> None:
        needed = reachable(self.raw, self.outputs)
        ends = {nodes.base(name) for name in self.outputs}
        for native in self.definition.node:
            hidden = native.op in {"Const", "Placeholder"} or (native.op in nodes.ALIASES and native.name not in ends)
            if native.name not in needed or hidden:
                continue
            read = [self.root(nodes.label(name)) for name in nodes.data(native)]
            count = max(1, _outputs(native, self.types))
            node = Node(native.name, native.op, read, [f"{native.name}:{k}" for k in range(count)], native)
            self.nodes.append(node)
            self.origins[id(node)] = (native.name, tuple(read))

    def root(self, tensor: str) -> str:
        """The tensor that an alias passes on, or the tensor itself."""
        seen = set()
        while tensor not in seen:
            seen.add(tensor)
            native = self.raw.get(nodes.base(tensor))
            if native is None or native.op not in nodes.ALIASES:
                break
            tensor = nodes.label(nodes.data(native)[int(tensor.partition(":")[2])])
        return tensor

    @property
    def taken(self) -> set[str]:
        """All names of tensors, and what would be the first tensor of every node."""
        names = {name for node in self.nodes for name in (*node.inputs, *node.outputs)}
        return names | {f"{name}:0" for name in self.raw} | self.fresh | {*self.shapes}

    def new(self, name: str) -> str:
        """A name for a new tensor, in the part of the graph where new nodes go."""
        node, _, rest = name.partition(":")
        number, slash, tail = rest.partition("/")
        node = f"{node}{'' if number in {'', '0'} else f'_{number}'}{slash}{tail}"
        kept = "".join(letter if letter.isalnum() or letter in "_.-/" else "_" for letter in node)
        kept = kept if kept.startswith(self.home) else f"{self.home}{kept.lstrip('/_')}"
        return f"{unused(kept, {nodes.base(each) for each in self.taken})}:0"

    # tensors

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.shapes.get(tensor)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        if self.shapes.get(tensor) != shape:
            self.shapes[tensor] = shape
            self.stale.add(tensor)

    def epsilon(self, node: Node) -> float:
        return float(nodes.attribute(node.native, "epsilon"))

    def _stored(self, tensor: str) -> Array | None:
        if tensor not in self.numbers:
            native = self.raw.get(nodes.base(tensor))
            if native is None or native.op != "Const" or native.attr["dtype"].type == 7:  # text
                return None
            self.numbers[tensor] = nodes.values_of(native)
        return self.numbers[tensor]

    def _expression(self, tensor: str) -> Expression | None:
        producer = self.producer(tensor)
        return None if producer is None else Expression(producer.native, tuple(producer.inputs))

    def constant(self, tensor: str) -> Array | None:
        return self.constants.value(self.root(tensor))

    def add_constant(self, name: str, values: Array) -> str:
        import tensorflow as tf

        tensor = self.new(name)
        values = np.asarray(values, np.float32) if values.dtype == np.float64 else values
        self.numbers[tensor] = np.array(values, order="C")
        self.types[tensor] = int(tf.as_dtype(values.dtype).as_datatype_enum)
        self.shapes[tensor] = tuple(values.shape)
        self.fresh.add(tensor)
        self.structural = True
        return tensor

    def put(self, node: Node, slot: int, values: Array) -> None:
        self.put_all([Put(node, slot, values)])

    def put_all(self, puts: Sequence[Put]) -> None:
        """Let operators read other numbers: what constants are computed of is changed where nobody else minds."""
        from convfault.repairing.writers.tensorflow.assignment import Assignment

        Assignment(self, puts).perform()

    def set_numbers(self, tensor: str, values: Array) -> None:
        """Give a stored constant other numbers."""
        before = self._stored(tensor)
        self.numbers[tensor] = np.array(values, order="C")
        self.changed.add(tensor)
        self.constants.forget()
        self.note(self.spelled(tensor), "values", summary(before), summary(values))

    def own(self, node: Node) -> None:
        """Let attributes of a node be changed without changing what was read from the file."""
        if id(node) not in self.edited:
            copied = type(node.native)()
            copied.CopyFrom(node.native)
            node.native = copied
            self.edited.add(id(node))

    def spelled(self, tensor: str) -> str:
        """What a stored constant is called in the file."""
        return nodes.base(tensor)

    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        tensor = self.new(name)
        self.shapes[tensor] = tuple(shape)
        self.types[tensor] = self.types[like]
        return tensor

    def computed(self, tensor: str) -> str:
        return tensor

    # operators

    def make(
        self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], attributes: dict[str, Any] | None = None
    ) -> str:
        source = next((name for name in inputs if name not in self.fresh), inputs[0] if inputs else "new")
        native, types = nodes.made(kind, [self.types[name] for name in inputs], attributes or {})
        output = self.new(f"{nodes.base(source)}/{kind}")
        native.name = nodes.base(output)
        outputs = [output, *(f"{native.name}:{number}" for number in range(1, len(types)))]
        self.nodes.append(Node(native.name, kind, list(inputs), outputs, native))
        self.made.add(id(self.nodes[-1]))
        self.types.update(zip(outputs, types, strict=True))
        self.shapes[output] = tuple(shape)
        self.structural = True
        return output

    def transpose(self, tensor: str, order: Order) -> str:
        shape = self.shapes[tensor] if tensor in self.shapes else (0,) * len(order)
        turned = tuple(shape[axis] for axis in order)
        return self.make("Transpose", [tensor, self.add_constant("order", np.asarray(order, np.int32))], turned)

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        sides = self.add_constant("shape", np.asarray((-1, *shape[1:]) if shape else (), np.int32))
        return self.make("Reshape", [tensor, sides], shape)

    def copy(self, tensor: str, into: str) -> None:
        producer = self.producer(tensor)
        alone = producer is not None and id(producer) in self.made and not self.readers(tensor)
        if producer is None or not alone or len(producer.outputs) > 1 or tensor in self.outputs:
            self.make("Identity", [tensor], self.shapes.get(tensor, ()))
            producer = self.nodes[-1]
        producer.outputs = [into]
        self.types.setdefault(into, self.types[tensor])

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        self.types[new] = self.types[old]
        if old in self.shapes:
            self.shapes[new] = self.shapes[old]
        self.structural = True

    def inherit(self, new: str, old: str) -> None:
        made, gone = self.producer(new), self.producer(old)
        if made is None or gone is None or made.type != gone.type or self.readers(old):
            return
        made.name, gone.name = gone.name, unused(f"{gone.name}/replaced", {node.name for node in self.nodes})
        self.made.add(id(gone))  # its going is no change of its own

    # layers

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        from convfault.repairing.writers.tensorflow.emit import emit

        tensors = [self.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(emit(self, layer, tensors, shapes))

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        from convfault.repairing.writers.tensorflow.patch import patch

        return patch(self, graph, after_graph, before, after)

    def save(self, path: Path) -> None:
        raise NotImplementedError


def reachable(raw: dict[str, Any], outputs: Iterable[str]) -> set[str]:
    """Names of the nodes that tensors depend on, control edges left out."""
    found: set[str] = set()
    waiting = [nodes.base(name) for name in outputs]
    while waiting:
        name = waiting.pop()
        if name not in found and name in raw:
            found.add(name)
            waiting.extend(nodes.base(each) for each in nodes.data(raw[name]))
    return found


def _inferred(definition: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Tensor → its shape for one picture where it is fixed; tensor → its type."""
    import tensorflow as tf

    fixed = type(definition)()
    fixed.CopyFrom(definition)
    fix_shapes(fixed, 1)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(fixed, name="")
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    known = {tensor.name: tensor.shape for tensor in tensors}
    shapes = {name: tuple(shape.as_list()) for name, shape in known.items() if shape.rank is not None}
    types = {tensor.name: int(tensor.dtype.base_dtype.as_datatype_enum) for tensor in tensors}
    return {name: shape for name, shape in shapes.items() if None not in shape}, types


def _outputs(native: Any, types: dict[str, int]) -> int:
    count = 0
    while f"{native.name}:{count}" in types:
        count += 1
    return count
