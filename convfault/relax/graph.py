"""The ``Graph``: a read-only view of a model in Relax as plain Python values and numpy arrays.

Pictures are (N, H, W, C), convolution weights (H, W, C / groups, filters), matrices (in, out), whatever the native
layout is. ``convfault.relax.canonical`` brings a graph into the normal form in which two faithful conversions of one
model are equal. The kinds of layers and what each one's hyperparameters mean are in ``convfault.relax.kinds``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.errors import UnknownNameError
from convfault.relax.imported import Encoding, Origin, UnsupportedOperator

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Parameter:
    """An effective constant of a layer and the native tensors that it was computed from."""

    values: Array
    native: tuple[str, ...] = ()

    def with_values(self, values: Array) -> Parameter:
        return replace(self, values=values)


@dataclass(frozen=True)
class Native:
    """What a layer is in the native model.

    ``tensor`` holds the layer's output (None when no native tensor does); its value transposed by ``permutation``
    (None: as it is) and reshaped to the layer's shape is that output. ``operators`` were merged into the layer, in
    order of computation.
    """

    tensor: str | None = None
    permutation: tuple[int, ...] | None = None
    operators: tuple[Origin, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the native operators."""
        return tuple(operator.node for operator in self.operators)

    @property
    def shown(self) -> Native:
        """The tensor alone: for a layer of the same output whose operators are told elsewhere."""
        return replace(self, operators=())

    def transposed(self, order: tuple[int, ...]) -> Native:
        """For a layer whose output is this one's transposed by ``order``."""
        before = self.permutation or tuple(range(len(order)))
        combined = tuple(before[axis] for axis in order) if len(before) == len(order) else None
        if combined is None:  # a reshape lies between: the native tensor no longer shows this output
            return replace(self, tensor=None, permutation=None)
        return replace(self, permutation=None if combined == tuple(range(len(order))) else combined)

    def after(self, earlier: Native) -> Native:
        """For a layer that also does what an ``earlier`` one did."""
        seen = {operator.node for operator in self.operators}
        kept = tuple(operator for operator in earlier.operators if operator.node not in seen)
        return replace(self, operators=(*kept, *self.operators))


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation of a graph.

    ``id`` is unique in its graph and survives edits; ``inputs`` are ids of the layers it reads; ``shape`` is that of
    its output, batch first; ``hyperparameters`` are numbers, tuples and strings by canonical name; ``details`` says
    what is not compared (the epsilon of a batch normalization that was folded in). ``rounding`` is how the file stores
    the output where it holds integers: what the layer computes is rounded to them.
    """

    id: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str = "float32"
    hyperparameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    native: Native = field(default_factory=Native)
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rounding: Encoding | None = None

    def view(self, values: Array) -> Array:
        """The value of ``native.tensor``, from the native runtime and of any batch size, as this layer's output."""
        order = self.native.permutation
        if order is not None and len(order) != values.ndim:  # of a sequence, which is a picture of one row here
            turned = [self.shape[order.index(axis)] for axis in range(len(order))]
            values = values.reshape(len(values), *turned[1:])
        if order is not None:
            values = values.transpose(order)
        count = values.size // max(int(np.prod(self.shape[1:])), 1)
        return values.reshape(count, *self.shape[1:])

    @property
    def names(self) -> tuple[str, ...]:
        """What the layer's operators are called in the file, also where the normal form has moved them on."""
        return (*self.native.names, *self.details.get("placed", ()))

    @property
    def called(self) -> tuple[str, ...]:
        """The same by the names that a user knows, those of layers where the framework has layers (Keras)."""
        return (*(operator.called for operator in self.native.operators), *self.details.get("placed", ()))

    def __getitem__(self, name: str) -> Any:
        """A hyperparameter by name."""
        return self.hyperparameters[name]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.hyperparameters.items())
        arrays = ", ".join(f"{name}{parameter.values.shape}" for name, parameter in self.parameters.items())
        return f"{self.id} = {self.kind}({', '.join(self.inputs)}) [{values}] {arrays} -> {self.shape}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in topological order, and which of them are the model's inputs and outputs, in the model's own order.

    ``layout`` is the native one. Edits return a new graph and share all layers that they do not touch.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layout: str = "NHWC"
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    unsupported: tuple[UnsupportedOperator, ...] = ()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {layer.id: position for position, layer in enumerate(self.layers)}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Layer id → ids of the layers that read it, one entry for each reading."""
        found: dict[str, list[str]] = {layer.id: [] for layer in self.layers}
        for layer in self.layers:
            for source in layer.inputs:
                found[source].append(layer.id)
        return {name: tuple(ids) for name, ids in found.items()}

    def __getitem__(self, layer_id: str) -> Layer:
        if layer_id not in self._index:
            raise UnknownNameError("layer", layer_id, self._index)
        return self.layers[self._index[layer_id]]

    def __contains__(self, layer_id: object) -> bool:
        return layer_id in self._index

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def position(self, layer_id: str) -> int:
        """Where the layer stands in topological order."""
        return self._index[self[layer_id].id]

    def descendants(self, layer_ids: set[str]) -> set[str]:
        """These layers and all that depend on them: what must be computed again after an edit."""
        found = set(layer_ids)
        for layer in self.layers:
            if not found.isdisjoint(layer.inputs):
                found.add(layer.id)
        return found

    def by_native(self, name: str) -> tuple[Layer, ...]:
        """The layers that a native operator or tensor has become part of."""
        return tuple(
            layer
            for layer in self.layers
            if layer.native.tensor == name
            or name in layer.native.names
            or any(name in parameter.native for parameter in layer.parameters.values())
        )

    def with_layer(self, layer: Layer) -> Graph:
        """With the layer of the same id replaced."""
        position = self.position(layer.id)
        edited = replace(self, layers=(*self.layers[:position], layer, *self.layers[position + 1 :]))
        edited.__dict__["_index"] = self._index  # the same ids in the same places: hundreds of edits are made in a row
        return edited

    def with_hyperparameters(self, layer_id: str, **values: Any) -> Graph:
        """With some hyperparameters of a layer changed; its shape stays as it was."""
        layer = self[layer_id]
        return self.with_layer(replace(layer, hyperparameters={**layer.hyperparameters, **values}))

    def with_parameters(self, layer_id: str, **values: Array) -> Graph:
        """With some parameters of a layer changed."""
        layer = self[layer_id]
        changed = {n: layer.parameters.get(n, Parameter(a)).with_values(a) for n, a in values.items()}
        return self.with_layer(replace(layer, parameters={**layer.parameters, **changed}))

    def with_inserted(self, layer: Layer, readers: tuple[str, ...] | None = None) -> Graph:
        """With a new layer behind its inputs; ``readers`` of its first input (None: all of them) read it instead."""
        source = layer.inputs[0]
        wanted = set(self.readers[source] if readers is None else readers)
        layers: list[Layer] = []
        last = max(self.position(item) for item in layer.inputs)
        for position, old in enumerate(self.layers):
            layers.append(_rewired(old, source, layer.id) if old.id in wanted else old)
            if position == last:
                layers.append(layer)
        outputs = tuple(layer.id if item == source and readers is None else item for item in self.outputs)
        return replace(self, layers=tuple(layers), outputs=outputs)

    def without(self, layer_id: str) -> Graph:
        """With a layer taken out; whoever read it reads its first input."""
        source = self[layer_id].inputs[0]
        layers = tuple(_rewired(layer, layer_id, source) for layer in self.layers if layer.id != layer_id)
        return replace(self, layers=layers, outputs=tuple(source if o == layer_id else o for o in self.outputs))

    def with_inputs(self, layer_id: str, inputs: tuple[str, ...]) -> Graph:
        """With a layer reading other layers; the order is mended where it must be."""
        return replace(self, layers=ordered(self.with_layer(replace(self[layer_id], inputs=inputs)).layers))


def _rewired(layer: Layer, old: str, new: str) -> Layer:
    if old not in layer.inputs:
        return layer
    return replace(layer, inputs=tuple(new if item == old else item for item in layer.inputs))


def ordered(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers in topological order, otherwise as they were; raises ``ValueError`` for a cycle."""
    known = {layer.id: layer for layer in layers}
    done: dict[str, Layer] = {}
    for layer in layers:
        stack = [(layer, iter(layer.inputs))]
        active = {layer.id}
        while stack:
            current, pending = stack[-1]
            source = next((item for item in pending if item not in done), None)
            if source is None:
                done.setdefault(current.id, current)
                active.discard(current.id)
                stack.pop()
            elif source in active:
                raise ValueError(f"layer {source} would depend on itself")
            else:
                active.add(source)
                stack.append((known[source], iter(known[source].inputs)))
    return tuple(done.values())
