"""An exported program as a ``Document``: values by module path or node name, weights by state dict, pictures NCHW."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.native.torch_names import node_names
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.torch_nodes import static_shape
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Document, Node, Order, Value, summary, unused
from convfault.repairing.writers.torch.call import new_call, read_call
from convfault.repairing.writers.torch.tensors import Tensors

TURNS = frozenset({"permute.default", "t.default", "transpose.int", "numpy_T.default"})
"""Operators whose result, of a constant, is a constant too: older programs turn their matrices so."""


class TorchDocument(Document):
    """The graph of an exported program. Node names are the graph's; the numbers in a sum with one are constants."""

    passive = frozenset(
        {
            "pad.default", "constant_pad_nd.default", "reshape.default", "view.default", "flatten.using_ints",
            "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "permute.default", "transpose.int",
            "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default",
            "clone.default", "contiguous.default", "alias.default", "detach.default", "to.dtype", "getitem",
        }
    )  # fmt: skip

    def __init__(self, program: Any, trusted: bool = False) -> None:
        super().__init__()
        self.program, self.tensors, self.trusted = program, Tensors(program), trusted
        self.numbers: dict[str, Any] = {}
        """Constant → the number that stands among a call's tensors."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.titles: dict[str, str] = {}
        """Tensor → the name of the node that computed it in the file."""
        self.stands: dict[str, str] = {}
        """Tensor that is given to the program → its placeholder."""
        self._read()

    def _read(self) -> None:
        """Fill in nodes, inputs and outputs from the graph."""
        signature, graph = self.program.graph_signature, self.program.graph
        targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target}
        native = node_names(graph)
        self.names = {node.name: targets.get(node.name, native.get(node.name, node.name)) for node in graph.nodes}
        for node in graph.nodes:
            name = self.names[node.name]
            value = node.meta.get("val")
            if hasattr(value, "shape") and hasattr(value, "dtype"):
                self.shapes[name] = static_shape(value, 1)
            if node.op == "placeholder":
                self.stands[name] = node.name
            elif node.op != "output":
                self.titles[name] = node.name
                call = read_call(node)
                inputs = [self._tensor(node, place, given) for place, given in enumerate(call.given)]
                self.nodes.append(Node(node.name, call.kind, inputs, [name], call))
        self.inputs = [self.names[name] for name in signature.user_inputs if isinstance(name, str)]
        self.outputs = [self.names[name] for name in signature.user_outputs if name in self.names]
        returned = [self.names[node.name] for node in graph.output_node().all_input_nodes]
        self.pinned = {name for name in returned if name not in self.outputs}

    def _tensor(self, node: Any, place: int, given: Any) -> str:
        """What a slot holds, by name."""
        if given is None:
            return ""
        if hasattr(given, "users"):
            return str(self.names[given.name])
        name = f"{node.name}:{place}"
        self.numbers[name] = given
        return name

    @property
    def taken(self) -> set[str]:
        """All names of values, nodes and placeholders."""
        names = {name for node in self.nodes for name in (node.name, *node.inputs, *node.outputs)}
        return names | {*self.names, *self.names.values(), *self.shapes, *self.tensors.added}

    # tensors

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.shapes.get(tensor)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        self.shapes[tensor] = shape

    def channels(self, tensor: str) -> int:
        shape = self.shape(tensor) or (1,)
        return int(shape[1]) if len(shape) == 4 else int(shape[-1]) if shape else 1

    def by_channel(self, node: Node, count: int) -> tuple[int, ...]:
        shape = self.shape(node.outputs[0]) or ()
        return (count, 1, 1) if len(shape) == 4 else (count,)

    def epsilon(self, node: Node) -> float:
        return float(node.native.argument("eps"))

    def constant(self, tensor: str) -> Array | None:
        if tensor in self.numbers:
            return np.asarray(self.numbers[tensor], np.float32)
        producer = self.producer(tensor) if tensor else None
        if producer is None:
            return self.tensors.values(tensor) if tensor in self.tensors else None
        if producer.type not in TURNS:
            return None
        values = self.constant(producer.inputs[0])
        return None if values is None else _turned(producer, values)

    def add_constant(self, name: str, values: Array) -> str:
        name = self.tensors.add(name, values)
        self.shapes[name] = tuple(values.shape)
        self.structural = True
        return name

    def put(self, node: Node, slot: int, values: Array) -> None:
        tensor = node.inputs[slot]
        before = self.constant(tensor) if tensor else None
        if before is not None and self._alone(tensor) and before.shape == values.shape:
            self.tensors.put(tensor, values)
        elif tensor in self.numbers and values.size == 1:
            self.numbers[tensor] = float(values.reshape(()))
            node.native.changed = True
        else:
            node.inputs[slot] = self.add_constant(f"{tensor}_own" if tensor else f"{node.name}_bias", values)
            node.native.changed = True
        self.note(tensor or node.name, "values" if tensor else f"input {slot}", summary(before), summary(values))

    def _alone(self, tensor: str) -> bool:
        """Whether it is a stored tensor that is read once, under whatever name."""
        if tensor in self.numbers or self.tensors.stored(tensor) is None:
            return False
        names = {*self.tensors.aliases(tensor)}
        read = sum(name in names for node in self.nodes for name in node.inputs)
        return read == 1 and names.isdisjoint(self.outputs) and names.isdisjoint(self.pinned)

    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        name = unused(name, self.taken)
        self.shapes[name] = shape
        return name

    def computed(self, tensor: str) -> str:
        return tensor

    # operators

    def make(
        self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], attributes: dict[str, Any] | None = None
    ) -> str:
        call, found = new_call(kind, inputs, attributes or {})
        output = unused(kind.partition(".")[0].strip("_"), self.taken)
        self.nodes.append(Node(output, call.kind, found, [output], call))
        self.made.add(id(self.nodes[-1]))
        self.shapes[output] = tuple(shape)
        self.structural = True
        return output

    def transpose(self, tensor: str, order: Order) -> str:
        producer = self.producer(tensor)
        if producer is not None and producer.type == "permute.default":  # two in a row are one, or none
            first = tuple(producer.native.argument("dims"))
            if len(first) == len(order) and tuple(first[axis] for axis in order) == tuple(range(len(order))):
                return producer.inputs[0]
        shape = self.shapes[tensor] if tensor in self.shapes else (0,) * len(order)
        return self.make("permute.default", [tensor], tuple(shape[axis] for axis in order), {"dims": list(order)})

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        return self.make("reshape.default", [tensor], shape, {"shape": [-1, *shape[1:]] if shape else []})

    def copy(self, tensor: str, into: str) -> None:
        producer = self.producer(tensor)
        if producer is None or id(producer) not in self.made or self.readers(tensor):
            self.make("clone.default", [tensor], self.shapes.get(tensor, ()))
            producer = self.nodes[-1]
        producer.outputs = [into]

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        if old in self.shapes:
            self.shapes[new] = self.shapes[old]
        self.structural = True

    def inherit(self, new: str, old: str) -> None:
        made, gone = self.producer(new), self.producer(old)
        if made is not None and gone is not None and made.type == gone.type and not self.readers(old):
            self.made.add(id(gone))  # its going is no change of its own

    # layers

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        from convfault.repairing.writers.torch.emit import emit

        if lower := self.lower_precision():
            raise Refusal(f"the program computes in {lower}, and new operators are written for float32 only")
        return emit(self, layer, values, shapes)

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        from convfault.repairing.writers.torch.patch import patch

        return patch(self, graph, after_graph, before, after)

    def lower_precision(self) -> str:
        """A type other than float32 that some node computes in, "" where there is none."""
        found = [node.native.node.meta.get("val") for node in self.nodes if node.native.node is not None]
        types = {str(value.dtype).removeprefix("torch.") for value in found if hasattr(value, "dtype")}
        return next(iter(sorted(name for name in types if "float" in name and name != "float32")), "")

    # the file

    def save(self, path: Path) -> None:
        from convfault.repairing.writers.torch.file import save

        save(self, path)


def _turned(node: Node, values: Array) -> Array:
    """A constant behind one of ``TURNS``."""
    if node.type == "permute.default":
        return values.transpose(node.native.argument("dims"))
    if node.type == "transpose.int":
        return values.swapaxes(node.native.argument("dim0"), node.native.argument("dim1"))
    return values.T
