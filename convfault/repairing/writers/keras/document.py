"""A Keras model as a ``Document``: each call of a layer is an operator, models inside of models are opened up.

Where a layer returns what it was given (``Dropout``), whoever reads it reads what is before it; the reference in the
file stays as long as that holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convfault.model import Model
from convfault.relax.graph import Graph, Layer, Native
from convfault.relax.imported import Origin
from convfault.relax.kinds import LINEAR
from convfault.repairing.writers.document import Node, Order, Value, unused
from convfault.repairing.writers.folding import Step
from convfault.repairing.writers.keras.call import Met, Stored, walk
from convfault.repairing.writers.keras.constants import PARTS, KerasConstants
from convfault.repairing.writers.keras.file import KerasFile, variables
from convfault.repairing.writers.keras.trace import Trace


class KerasDocument(KerasConstants):
    """``batch`` is that of the graph to be edited. Raises what ``KerasFile`` raises."""

    passive = frozenset({"ZeroPadding2D", "Flatten", "Reshape", "Permute", "pad", "compat.v1.pad"})

    def __init__(self, model: Model, batch: int) -> None:
        super().__init__()
        self.file = KerasFile(model)
        self.batch = batch
        self.trace = Trace(self.file.network, batch)
        self.shapes.update(self.trace.inputs)
        self.same: dict[str, str] = {name: name for name in self.trace.inputs}
        """Tensor → the one that it is, where layers pass their input on."""
        self.through: dict[tuple[int, int], str] = {}
        """Identity of an operator and an input → the passed-on tensor that the file refers to there."""
        self.split: dict[int, tuple[Node, Any]] = {}
        """Identity of an operator whose activation was made one of its own → that, and the activation."""
        self.owners: dict[str, Node] = {}
        """Operation of TensorFlow → the call that makes it."""
        self.known: dict[int, Stored] = {}
        """Layers by the ``id`` of the live one."""
        self.inputs = list(self.trace.inputs)
        raw = walk(self.file.network, self.file.config["config"], self.inputs, self.file.old, self._meet)
        self.outputs = [self.same[name] for name in raw]
        self.raw_outputs = dict(zip(self.outputs, raw, strict=True))
        self.output_names = dict(zip(self.outputs, self.trace.outputs, strict=True))

    def _meet(self, met: Met) -> list[str]:
        call, run = met.call, self.trace.of(met.live)
        call.stored = self.known.setdefault(id(met.live), call.stored)
        if not call.stored.weights:
            call.stored.weights = variables(met.live)
        taken = {node.name for node in self.nodes}
        node = Node(unused("/".join(call.stored.path), taken), call.stored.type, [], [], call)
        for slot, name in enumerate(met.inputs):
            node.inputs.append(f"{node.name}#{slot}" if name is None else self.same[name])
            if name is not None and self.same[name] != name:
                self.through[id(node), slot] = name
        node.inputs += self.weight_inputs(node)
        self.owners.update(dict.fromkeys(run.operations, node))
        for position in range(met.outputs):
            name = f"{node.name}:{position}" if position else node.name
            node.outputs.append(name)
            tensor = run.tensors[position] if position < len(run.tensors) else name
            self.same[name] = self.trace.first.setdefault(tensor, name)
            self.shapes[name] = run.shapes[position] if position < len(run.shapes) else ()
        self.nodes.append(node)
        return list(node.outputs)

    def named(self, graph: Graph) -> Graph:
        """The model's graph with calls of layers for operations of TensorFlow, and tensors of this document."""
        calls = {layer.id: self._calls(layer) for layer in graph}
        counts = Counter(name for found in calls.values() for name in found)
        layers = []
        for layer in graph:
            tensor = self.trace.named(layer.native.tensor) if layer.native.tensor is not None else None
            tensor = self.same.get(tensor) if tensor is not None else None
            permutation = layer.native.permutation
            last = next(reversed(calls[layer.id].values()), None)
            if tensor is None and last is not None and counts[last.name] == 1:  # what it does further changes nothing
                shape = self.shapes[last.outputs[0]]
                order = permutation or range(len(shape))
                fits = len(order) == len(shape) and tuple(shape[axis] for axis in order) == layer.shape
                tensor = last.outputs[0] if fits else None
            operators = tuple(Origin(node.name, node.type) for node in calls[layer.id].values())
            native = Native(tensor, permutation if tensor is not None else None, operators)
            layers.append(replace(layer, native=native))
        return replace(graph, layers=tuple(layers))

    def _calls(self, layer: Layer) -> dict[str, Node]:
        """The calls whose operations were merged into a layer, by name, in order."""
        found = [self.owners[each.node] for each in layer.native.operators if each.node in self.owners]
        return {node.name: node for node in found}

    # tensors

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.shapes.get(tensor)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        self.shapes[tensor] = shape

    def channels(self, tensor: str) -> int:
        producer, shape = self.producer(tensor), self.shapes.get(tensor) or (1,)
        return int(shape[1 if producer is not None and self._first(producer) else -1])

    def by_channel(self, node: Node, count: int) -> tuple[int, ...]:
        return (count, 1, 1) if self._first(node) else (count,)

    def _first(self, node: Node) -> bool:
        """Whether the layer computes pictures with channels first."""
        settings = node.native.stored.settings
        rank = len(self.shapes.get(node.outputs[0]) or ())
        turned = node.type == "BatchNormalization" and settings.get("axis") in (1, [1])
        return rank == 4 and (turned or settings.get("data_format") == "channels_first")

    def epsilon(self, node: Node) -> float:
        return float(node.native.stored.settings.get("epsilon", 0.0))

    def ends(self, node: Node) -> bool:
        return fused(node) is not None

    def step(self, node: Node, count: int) -> tuple[Step, int] | None:
        from convfault.repairing.writers.keras.step import step

        return step(self, node, count)

    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        name = unused(name, {*self.shapes, *self.plain})
        self.shapes[name] = shape
        return name

    def computed(self, tensor: str) -> str:
        return tensor

    # operators

    def readers(self, tensor: str) -> list[Node]:
        """Without those that only pass it on: their own readers read it here."""
        found = super().readers(tensor)
        return [node for node in found if all(self.same.get(name, name) == name for name in node.outputs)]

    def graft(self, make: Callable[..., Any], inputs: Sequence[str]) -> str:
        """New operators, as ``make(*tensors)`` calls layers of Keras; the tensor that it returns."""
        from convfault.repairing.writers.keras.graft import graft

        return graft(self, make, inputs)

    def make(
        self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], attributes: dict[str, Any] | None = None
    ) -> str:
        made = getattr(self.file.library.layers, kind)(**(attributes or {}))
        return self.graft(lambda *tensors: made(tensors[0] if len(tensors) == 1 else list(tensors)), inputs)

    def transpose(self, tensor: str, order: Order) -> str:
        from convfault.repairing.writers.keras.emit import transposed

        return self.graft(transposed(self, order), [tensor])

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        before = self.shapes[tensor]
        if self.batch == 1 and shape[:1] != (1,) and np.prod(shape) == np.prod(before):
            shape = (1, *shape)  # a batch of one was left out, which broadcasts all the same
            if shape == before:
                return tensor
        if len(shape) == 2 and len(self.shapes[tensor]) > 1:
            return self.make("Flatten", [tensor], shape, {"data_format": "channels_last"})
        return self.make("Reshape", [tensor], shape, {"target_shape": tuple(int(side) for side in shape[1:])})

    def copy(self, tensor: str, into: str) -> None:
        producer = self.producer(tensor)
        if producer is None or id(producer) not in self.made or self.readers(tensor):
            producer = self.producer(self.make("Activation", [tensor], (), {"activation": "linear"}))
        assert producer is not None
        producer.outputs = [into]

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        self.shapes[new] = self.shapes.get(old, ())
        self.structural = True

    def inherit(self, new: str, old: str) -> None:
        made, gone = self.producer(new), self.producer(old)
        if made is None or gone is None or id(made) not in self.made or self.readers(old):
            return
        was: Stored = gone.native.stored
        if sum(node.native.stored is was for node in self.nodes) > 1:
            return
        taken = {node.native.stored.name for node in self.nodes}
        made.native.stored.name, was.name = was.name, unused(f"{was.name}_replaced", taken)
        made.name, gone.name = gone.name, unused(f"{gone.name}/replaced", {node.name for node in self.nodes})
        self.made.add(id(gone))  # its going is no change of its own

    def save(self, path: Path) -> None:
        from convfault.repairing.writers.keras.layout import flatten

        if self.structural:
            flatten(self)
        stored = {id(node.native.stored): node.native.stored for node in self.nodes}
        self.file.save(path, {each.path: each.weights for each in stored.values() if each.weights})

    # layers

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        from convfault.repairing.writers.keras.emit import emit

        tensors = [self.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(emit(self, layer, tensors, shapes))

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        from convfault.repairing.writers.keras.patch import patch

        return patch(self, graph, after_graph, before, after)

    def expose(self, graph: Graph, layer: Layer) -> str | None:
        """The tensor between a layer and the activation inside it, which becomes a layer of its own."""
        from convfault.repairing.writers.keras.graft import split

        node = next((node for node in self.of(layer) if fused(node) is not None), None)
        if node is None or layer.kind not in LINEAR or layer.shape != self.shapes.get(node.outputs[0]):
            return None
        owning = [each for each in graph if each.id != layer.id and node.name in each.native.names]
        if any(each.kind in LINEAR for each in owning):  # two products in one layer: SeparableConv2D
            return None
        inner = split(self, node)
        self.exposed[layer.id] = inner
        self.parts.setdefault(layer.id, []).append(node)
        for each in owning:
            self.parts.setdefault(each.id, []).append(self.split[id(node)][0])
        return inner


def fused(node: Node) -> Any:
    """The activation inside a layer that does something else, as stored; None where there is none."""
    if node.type not in {*PARTS, "SeparableConv2D"}:
        return None
    found = node.native.stored.settings.get("activation")
    name = found.get("config") if isinstance(found, dict) and found.get("class_name") == "function" else found
    return None if name in (None, "linear") else found
