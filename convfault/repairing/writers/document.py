"""A ``Document``: a native model file opened for editing, in words that fit all formats of operators and tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.change import Change, Refusal

if TYPE_CHECKING:
    from convfault.repairing.writers.folding import Step

Order = tuple[int, ...]


@dataclass(eq=False)
class Node:
    """One native operator; ``name`` is what ``Origin.node`` calls it, "" stands for an input that is left out."""

    name: str
    type: str
    inputs: list[str]
    outputs: list[str]
    native: Any


@dataclass(frozen=True)
class Value:
    """A native tensor that holds a layer's output: transposed by ``permutation`` (None: as it is) and reshaped."""

    tensor: str
    permutation: Order | None = None


class Document(ABC):
    """The operators and tensors of a file. Changes are in memory until ``save``; ``changes`` tells them."""

    passive: frozenset[str] = frozenset()
    """Types of operators that pass their first input on, as far as values by channel go."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.changes: list[Change] = []
        self.parts: dict[str, list[Node]] = {}
        """Layer id → operators that writing made part of it."""
        self.exposed: dict[str, str] = {}
        """Layer id → the tensor that holds it since a fused operator was taken apart."""
        self.made: set[int] = set()
        """Identities of the operators that were made here."""
        self.pinned: set[str] = set()
        """Tensors that something reads which is no operator of the graph."""
        self.held: frozenset[str] = frozenset()
        """Tensors that hold the values of the graph's layers, once that is known."""
        self.structural = False
        """Whether operators were added, removed or connected otherwise."""

    @property
    def alone(self) -> bool:
        """Whether the model is one file, with nothing beside it."""
        return True

    # tensors

    @abstractmethod
    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The static shape, batch as the graph has it; None when unknown."""

    @abstractmethod
    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        """Say that a tensor now has another shape."""

    @abstractmethod
    def constant(self, tensor: str) -> Array | None:
        """The real numbers of a constant, however it stores them; None for what is computed."""

    @abstractmethod
    def add_constant(self, name: str, values: Array) -> str:
        """A new constant, as it is; its name."""

    @abstractmethod
    def put(self, node: Node, slot: int, values: Array) -> None:
        """Let ``node`` read other numbers in input ``slot``: in place where nobody else reads the constant."""

    @abstractmethod
    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        """A new tensor for a computed value, of the type of ``like``; its name."""

    @abstractmethod
    def computed(self, tensor: str) -> str:
        """A tensor in floating point that can be computed with: itself, or behind a new de-quantization."""

    # operators

    @abstractmethod
    def make(
        self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], attributes: dict[str, Any] | None = None
    ) -> str:
        """A new operator of a native type at the end of the file; the name of its only output."""

    @abstractmethod
    def transpose(self, tensor: str, order: Order) -> str: ...

    @abstractmethod
    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str: ...

    @abstractmethod
    def copy(self, tensor: str, into: str) -> None:
        """Compute the tensor ``into`` as a copy of another, encoded as ``into`` is."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name wherever it stands."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the whole file aside, then rename it into place."""

    # layers

    @abstractmethod
    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        """New operators that compute a canonical layer from its inputs; raises ``Refusal``."""

    @abstractmethod
    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        """Change the layer's own operators so that they compute ``after``; False (and nothing done) if they cannot."""

    def expose(self, graph: Graph, layer: Layer) -> str | None:
        """A tensor that holds the layer's output where one can be had by taking a fused operator apart."""
        return None

    def by_channel(self, node: Node, count: int) -> tuple[int, ...]:
        """The shape in which one value a channel broadcasts against the operator's output."""
        return (count,)

    def ends(self, node: Node) -> bool:
        """Whether something inside the operator ends the arithmetic: a fused activation."""
        return False

    def channels(self, tensor: str) -> int:
        """How many channels a tensor has."""
        shape = self.shape(tensor)
        return int(shape[-1]) if shape else 1

    def epsilon(self, node: Node) -> float:
        """Of a normalization."""
        return 0.0

    def step(self, node: Node, count: int) -> tuple[Step, int] | None:
        """What an operator of this format alone does to each channel; see ``arithmetic.step_of``."""
        return None

    @abstractmethod
    def inherit(self, new: str, old: str) -> None:
        """The operator that makes ``new`` takes the place of the one that made ``old``, and its name."""

    def keep_float(self, tensor: str) -> None:
        """Keep a value as float32 that the file stores as integers or in half precision; raises ``Refusal``."""
        raise Refusal("the format stores no value in integers")

    # what all formats share

    def producer(self, tensor: str) -> Node | None:
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def readers(self, tensor: str) -> list[Node]:
        return [node for node in self.nodes if tensor in node.inputs]

    def of(self, layer: Layer) -> list[Node]:
        """The operators that were merged into a layer, in the file's order."""
        names = set(layer.native.names)
        own = [node for node in self.nodes if node.name in names]
        return own + [node for node in self.parts.get(layer.id, []) if node not in own]

    def note(self, place: str, attribute: str, before: Any, after: Any) -> None:
        """Record a change."""
        self.changes.append(Change(place, attribute, str(before), str(after)))

    def connect(self, node: Node, slot: int, tensor: str) -> None:
        """Let an operator read another tensor."""
        self.note(node.name, f"input {slot}", node.inputs[slot], tensor)
        node.inputs[slot] = tensor
        self.structural = True

    def as_layer(self, value: Value, shape: tuple[int, ...]) -> str:
        """A tensor that is a layer's output of ``shape`` exactly."""
        tensor, order = value.tensor, value.permutation
        if order is not None:
            found = self.shape(tensor)
            if found is not None and len(found) != len(order):  # a sequence, which is a picture of one row
                tensor = self.reshape(tensor, tuple(shape[order.index(axis)] for axis in range(len(order))))
            tensor = self.transpose(tensor, order)
        return tensor if self._like(tensor, shape) else self.reshape(tensor, shape)

    def into_form(self, value: Value, shape: tuple[int, ...], form: Value, native: tuple[int, ...]) -> str:
        """A layer's output as ``form`` shows it, ``native`` being the form's own tensor shape."""
        if value.permutation == form.permutation and self._like(value.tensor, native):
            return value.tensor
        order = form.permutation
        if order is not None and len(order) != len(native):  # of a picture of one row the sequence
            turned = self.transpose(self.as_layer(value, shape), inverse(order))
            return self.reshape(turned, native)
        middle = native if order is None else tuple(native[axis] for axis in order)
        tensor = self.as_layer(value, shape)
        if middle[1:] != shape[1:]:
            tensor = self.reshape(tensor, middle)
        return tensor if order is None else self.transpose(tensor, inverse(order))

    def _like(self, tensor: str, shape: tuple[int, ...]) -> bool:
        found = self.shape(tensor)
        return found is None or (len(found) == len(shape) and found[1:] == shape[1:])

    def dead(self, spared: AbstractSet[int] = frozenset()) -> set[int]:
        """Identities of the operators whose results nobody reads, or only such operators; ``spared`` count as read."""
        found: set[int] = set()
        while True:
            alive = [node for node in self.nodes if id(node) not in found]
            read = {name for node in alive for name in node.inputs} | {*self.outputs} | self.pinned
            gone = {id(node) for node in alive if read.isdisjoint(node.outputs)} - spared
            if not gone:
                return found
            found |= gone

    def prune(self, spared: AbstractSet[int]) -> None:
        """Remove operators that nobody reads any more; ``spared`` were never read."""
        gone = self.dead(spared)
        for node in self.nodes:
            if id(node) in gone and id(node) not in self.made:
                self.note(node.name, node.type, "operator", "")
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.structural = self.structural or bool(gone)

    def sort(self) -> None:
        """Bring the operators into an order in which each stands behind what it reads, otherwise as they were."""
        made = {output: node for node in self.nodes for output in node.outputs}
        done: dict[int, Node] = {}
        for root in self.nodes:
            stack = [root]
            while stack:
                node = stack[-1]
                waiting = [made[name] for name in node.inputs if name in made and id(made[name]) not in done]
                if waiting and len(stack) <= len(self.nodes):
                    stack.append(waiting[0])
                else:
                    done.setdefault(id(node), node)
                    stack.pop()
        self.nodes = list(done.values())


def inverse(order: Order) -> Order:
    """The order that undoes ``order``."""
    return tuple(order.index(axis) for axis in range(len(order)))


def unused(name: str, taken: set[str]) -> str:
    """``name``, or it with a number behind that makes it new."""
    names = (name if not number else f"{name}_{number}" for number in range(len(taken) + 1))
    return next(each for each in names if each not in taken)


def summary(values: Array | None) -> str:
    """A constant in a few words."""
    if values is None:
        return "computed"
    shape = "x".join(map(str, values.shape)) or "scalar"
    if values.size <= 4:
        return f"{values.dtype} {values.reshape(-1).tolist()}"
    return f"{values.dtype} {shape}, {values.min():.6g} to {values.max():.6g}"


def half(values: Array) -> Array | None:
    """The values in float16 where that holds each of them exactly, else None.

    A repair that keeps a model small rounds what it restores to half precision; a writer then stores it so in the place
    of what was quantized.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    return found if values.ndim > 1 and np.array_equal(found.astype(values.dtype), values) else None
