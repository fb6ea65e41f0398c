"""The ``Case``: all that the analyzers look at: both models, their graphs, and their values on some pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from convfault.comparison import Comparison
from convfault.errors import ConvfaultError
from convfault.localization.aligning.alignment import Alignment
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rounding import as_read
from convfault.trace import StoredTrace


@dataclass(frozen=True, eq=False)
class Subject:
    """One model of a case.

    ``inputs`` are the chosen pictures by native input name, batch first, in the native layout; ``trace`` the native
    runtime's tensors on them: the outputs, and every inner tensor that it could capture. The graph's outputs are in the
    order in which they are compared: each has the file's output number ``places``; empty: the file's own order.
    """

    model: Model
    graph: Graph
    inputs: Mapping[str, Array]
    trace: StoredTrace
    places: tuple[int, ...] = ()

    @cached_property
    def start(self) -> Mapping[str, Array]:
        """Input layer id → the pictures, in the graph's own layout."""
        return {
            name: self.graph[name].view(self.inputs[str(self.graph[name].native.tensor)]) for name in self.graph.inputs
        }

    @cached_property
    def values(self) -> Mapping[str, Array]:
        """Layer id → its value in the graph's own evaluation.

        A layer that cannot be evaluated has the native runtime's value, or is absent with all that depends on it.
        """
        found: dict[str, Array] = dict(self.start)
        for layer in self.graph:
            if layer.id not in found and (value := self._evaluated(layer, found)) is not None:
                found[layer.id] = value
        return MappingProxyType(found)

    def _evaluated(self, layer: Layer, known: Mapping[str, Array]) -> Array | None:
        if layer.kind == "opaque" or any(name not in known for name in layer.inputs):
            return self.native(layer.id)
        try:
            return evaluate.evaluate(layer, [as_read(self.graph[name], known[name]) for name in layer.inputs])
        except ConvfaultError:
            return self.native(layer.id)

    @property
    def outputs(self) -> tuple[Array, ...]:
        """What the native runtime answers, in the graph's order and layout."""
        return self.arranged([self.trace.read(name) for name in self.trace.outputs])

    def arranged(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """The values of the file's outputs, in its order and layout, as the graph has them."""
        ordered = [values[place] for place in self.places] if self.places else list(values)
        layers = [self.graph[name] for name in self.graph.outputs]
        return tuple(
            layer.view(value) if value[0].size == int(np.prod(layer.shape[1:])) else value
            for layer, value in zip(layers, ordered, strict=False)
        )

    @property
    def in_file(self) -> Graph:
        """The graph with its outputs in the file's order."""
        places = self.places or range(len(self.graph.outputs))
        ordered = sorted(zip(places, self.graph.outputs, strict=True))
        return replace(self.graph, outputs=tuple(name for _, name in ordered))

    def native(self, layer_id: str) -> Array | None:
        """A layer's value as the native runtime computed it, None where that has no such tensor, or of another form."""
        layer = self.graph[layer_id]
        if layer.native.tensor is None or layer.native.tensor not in self.trace.names:
            return None
        try:
            return layer.view(self.trace.read(layer.native.tensor))
        except ValueError:  # the runtime shows a tensor of another rank or size than the model says
            return None


@dataclass(frozen=True)
class Hop:
    """One conversion of the route: its record as in the report, and the comparison of what it made with the source."""

    record: Mapping[str, Any]
    comparison: Comparison | None


@dataclass(frozen=True, eq=False)
class Case:
    """A source and a target that differ.

    ``pictures`` names the chosen ones, some that deviate most and some that agree, in the data's order; every array of
    the subjects has them as its rows. ``comparison`` is that of the whole data; ``tolerance`` how far the first output
    may be off, ``limits`` how far each may (empty: all as far as the first).
    """

    source: Subject
    target: Subject
    alignment: Alignment
    comparison: Comparison
    pictures: tuple[str, ...]
    tolerance: float
    hops: tuple[Hop, ...] = field(default=())
    limits: tuple[float, ...] = ()

    @property
    def tolerances(self) -> tuple[float, ...]:
        """How far each output may be off."""
        return self.limits or (self.tolerance,) * len(self.source.graph.outputs)
