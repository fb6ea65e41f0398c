"""Changes of a ``Graph`` as values: what a fault's cure does, to be tried, combined, listed and written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from convfault.relax.graph import Array, Graph, Layer, ordered


class Edit(Protocol):
    """One change. ``changed`` holds the ids of the layers whose output it changes, in the edited graph."""

    @property
    def changed(self) -> frozenset[str]: ...

    def apply(self, graph: Graph) -> Graph:
        """The edited graph; the given one stays as it was."""
        ...


@dataclass(frozen=True, eq=False)
class SetParameters:
    """Give a layer other weights, bias or scale."""

    layer: str
    values: Mapping[str, Array]

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer})

    def apply(self, graph: Graph) -> Graph:
        return graph.with_parameters(self.layer, **self.values)


@dataclass(frozen=True)
class SetHyperparameters:
    """Give a layer other hyperparameters; ``shape`` where its output's shape changes with them."""

    layer: str
    values: Mapping[str, Any]
    shape: tuple[int, ...] | None = None

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer})

    def apply(self, graph: Graph) -> Graph:
        edited = graph.with_hyperparameters(self.layer, **self.values)
        return edited if self.shape is None else edited.with_layer(replace(edited[self.layer], shape=self.shape))


@dataclass(frozen=True)
class KeepFloat:
    """Keep the outputs of some layers, which hold one value, as real numbers instead of rounding them to integers."""

    layers: tuple[str, ...]

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(self.layers)

    def apply(self, graph: Graph) -> Graph:
        for name in self.layers:
            graph = graph.with_layer(replace(graph[name], rounding=None))
        return graph


@dataclass(frozen=True, eq=False)
class Substitute:
    """Put another layer in a layer's place; it keeps the id, its readers, and how the file stores its output."""

    layer: Layer

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer.id})

    def apply(self, graph: Graph) -> Graph:
        layer = replace(self.layer, rounding=graph[self.layer.id].rounding)
        return replace(graph, layers=ordered(graph.with_layer(layer).layers))


@dataclass(frozen=True, eq=False)
class Insert:
    """Add a layer behind its inputs; ``readers`` of its first input (None: all of them) read it instead."""

    layer: Layer
    readers: tuple[str, ...] | None = None

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer.id, *(self.readers or ())})

    def apply(self, graph: Graph) -> Graph:
        return graph.with_inserted(self.layer, self.readers)


@dataclass(frozen=True)
class Remove:
    """Take a layer out; whoever read it (``readers``) reads its first input."""

    layer: str
    readers: tuple[str, ...]

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(self.readers)

    def apply(self, graph: Graph) -> Graph:
        return graph.without(self.layer)


@dataclass(frozen=True)
class Rewire:
    """Let a layer read other layers."""

    layer: str
    inputs: tuple[str, ...]

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer})

    def apply(self, graph: Graph) -> Graph:
        return graph.with_inputs(self.layer, self.inputs)


@dataclass(frozen=True, eq=False)
class Add:
    """Add a layer that nobody reads yet."""

    layer: Layer

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({self.layer.id})

    def apply(self, graph: Graph) -> Graph:
        return replace(graph, layers=ordered((*graph.layers, self.layer)))


@dataclass(frozen=True)
class Redirect:
    """Let ``readers`` of layer ``old`` read ``new`` instead; with ``outputs`` it is an output in its stead, too.

    Unlike ``Rewire`` and ``SetOutputs`` it leaves the readers' other inputs alone, so that edits can be combined.
    """

    old: str
    new: str
    readers: tuple[str, ...]
    outputs: bool = False

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({*self.readers, *((self.new,) if self.outputs else ())})

    def apply(self, graph: Graph) -> Graph:
        layers = tuple(
            replace(layer, inputs=tuple(self.new if name == self.old else name for name in layer.inputs))
            if layer.id in self.readers
            else layer
            for layer in graph
        )
        outputs = tuple(self.new if self.outputs and name == self.old else name for name in graph.outputs)
        return replace(graph, layers=ordered(layers), outputs=outputs)


@dataclass(frozen=True)
class SetOutputs:
    """Choose which layers are the model's outputs, in order."""

    outputs: tuple[str, ...]

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(self.outputs)

    def apply(self, graph: Graph) -> Graph:
        return replace(graph, outputs=self.outputs)


@dataclass(frozen=True)
class Together:
    """Several edits, one after the other."""

    edits: tuple[Edit, ...] = field(default=())

    @property
    def changed(self) -> frozenset[str]:
        return frozenset().union(*(edit.changed for edit in self.edits))

    def apply(self, graph: Graph) -> Graph:
        for edit in self.edits:
            graph = edit.apply(graph)
        return graph


def in_file(edit: Edit, places: Sequence[int]) -> Edit:
    """The edit for a graph whose outputs are in another order: output ``k`` here is number ``places[k]`` there."""
    if isinstance(edit, Together):
        return Together(tuple(in_file(each, places) for each in edit.edits))
    if not isinstance(edit, SetOutputs) or not places:
        return edit
    order = sorted(range(len(edit.outputs)), key=lambda k: places[k] if k < len(places) else k)
    return SetOutputs(tuple(edit.outputs[k] for k in order))
