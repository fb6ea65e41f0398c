"""Runs many edited copies of one graph: what they share is computed over all of them in one batch.

An edit in the middle of a network leaves every layer behind it as it was, and each of the copies would read the same
weights again for a picture or two. Together they are a batch: half the time of running one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from convfault.errors import ConvfaultError
from convfault.relax.evaluate import GIVEN, evaluate, resume
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.kinds import BINARY, LINEAR, POINTWISE, REDUCTIONS, WINDOWED
from convfault.relax.rounding import as_read

ROWS = 32
"""Pictures in a batch: more make no convolution faster."""

BYTES = 2**27
"""The largest value of a layer that a batch may have."""

BATCHED = WINDOWED | POINTWISE | BINARY | REDUCTIONS | {"affine", "concat", "dense", "prelu", "reshape", "softmax"}
"""Kinds that may treat a batch's pictures one by one (``_by_rows``); of all others each copy runs alone."""

Values = Mapping[str, Array]
Wanted = Callable[[Graph], Sequence[str]]


def resume_each(
    base: Graph, values: Values, variants: Sequence[Graph], wanted: Wanted = lambda variant: ()
) -> Iterator[tuple[int, Values]]:
    """The outputs of several edited graphs, and the layers ``wanted`` of each, from the ``values`` of the graph
    ``base`` that all were made from (layer id → value).

    Gives each variant's place in ``variants`` and its values by layer id, in the order in which they are done; no
    values for one that cannot be computed.
    """
    try:
        values = {**values, **resume(base, values, set(), [layer.id for layer in base if layer.id not in values])}
        found = (_copy(base, place, variant) for place, variant in enumerate(variants))
        copies = [copy for copy in found if copy is not None]
    except ConvfaultError:
        copies = []
    alike = {copy.place for copy in copies}
    for place, variant in enumerate(variants):
        if place not in alike:
            yield place, _alone(base, values, variant, wanted)
    copies.sort(key=lambda copy: copy.first)
    while copies:
        size = _size(base, values, copies[0].first)
        batch, copies = copies[:size], copies[size:]
        try:
            answers: Sequence[Values] = _Batch(base, values, batch, wanted).run()
        except (ConvfaultError, _UnlikeError):
            answers = [_alone(base, values, copy.graph, wanted) for copy in batch]
        yield from zip((copy.place for copy in batch), answers, strict=True)


def changed(before: Graph, after: Graph) -> set[str]:
    """The layers of an edited graph that do not compute what those of the one before do."""
    return {layer.id for layer in after if layer.id not in before or not _same(before[layer.id], layer)}


def _same(one: Layer, other: Layer) -> bool:
    """Whether two layers are one, or were made from it by the same edits, which share their arrays."""
    if one is other:
        return True
    plain = (one.kind, one.inputs, one.shape, one.dtype, one.rounding)
    if plain != (other.kind, other.inputs, other.shape, other.dtype, other.rounding):
        return False
    if one.hyperparameters != other.hyperparameters or one.parameters.keys() != other.parameters.keys():
        return False
    return all(one.parameters[name].values is other.parameters[name].values for name in one.parameters)


def _alone(base: Graph, values: Values, variant: Graph, wanted: Wanted) -> Values:
    known = {name: value for name, value in values.items() if name in variant}
    try:
        return resume(variant, known, changed(base, variant), wanted(variant))
    except ConvfaultError:
        return {}


@dataclass(frozen=True)
class _Copy:
    """An edited graph with the base's layers in the base's order, of which its ``own`` compute something else, the
    ``first`` of them at this position."""

    place: int
    graph: Graph
    own: Mapping[str, Layer]
    first: int


def _copy(base: Graph, place: int, variant: Graph) -> _Copy | None:
    """None where other layers stand there, or a value that is given is changed."""
    if [layer.id for layer in base] != [layer.id for layer in variant] or base.outputs != variant.outputs:
        return None
    own = {name: variant[name] for name in changed(base, variant)}
    if any({base[name].kind, layer.kind} & GIVEN for name, layer in own.items()):
        return None
    return _Copy(place, variant, own, min(map(base.position, own), default=len(base)))


def _size(base: Graph, values: Values, first: int) -> int:
    """How many copies make a batch, of which the layers from the ``first`` one on are computed."""
    largest = max((values[layer.id].nbytes for layer in base.layers[first:]), default=1)
    pictures = max((len(values[name]) for name in base.inputs if values[name].ndim), default=1)
    return max(1, min(ROWS // max(pictures, 1), BYTES // max(largest, 1)))


class _UnlikeError(Exception):
    """The copies' values cannot be put together."""


class _Spread:
    """A layer's value in the first ``count`` copies of a batch, of the others as it is in the base."""

    def __init__(self, base: Array, parts: Sequence[Array] = (), whole: Array | None = None) -> None:
        self.base, self._parts, self._whole = base, list(parts), whole
        self.count = len(self._parts) if whole is None else len(whole) // len(base)

    def of(self, number: int) -> Array:
        """In one copy."""
        if number >= self.count:
            return self.base
        if self._whole is None:
            return self._parts[number]
        return self._whole[number * len(self.base) : (number + 1) * len(self.base)]

    def rows(self, begin: int, end: int) -> Array:
        """In some copies, one behind the other."""
        if self._whole is None or end > self.count:
            parts = [self.of(number) for number in range(max(end, self.count))]
            if any(part.shape != self.base.shape or part.dtype.kind != self.base.dtype.kind for part in parts):
                raise _UnlikeError
            self._parts, self._whole, self.count = [], np.concatenate(parts), len(parts)
        return self._whole[begin * len(self.base) : end * len(self.base)]


class _Batch:
    """Copies of which those that are changed first come first: the others need nothing of the layers before."""

    def __init__(self, base: Graph, values: Values, copies: Sequence[_Copy], wanted: Wanted) -> None:
        self.base, self.values, self.copies = base, values, copies
        self.wanted = {*base.outputs, *(name for copy in copies for name in wanted(copy.graph))}
        self.pictured = base.descendants({layer.id for layer in base if layer.kind in GIVEN})
        self.reach: dict[str, int] = {}
        """Of the layers that must be computed: in how many of the copies, from the first one on."""
        for number, copy in enumerate(copies, 1):
            self.reach.update(dict.fromkeys(copy.graph.descendants({*copy.own}), number))
        self.current: dict[str, _Spread] = {}

    def run(self) -> list[Values]:
        needed = self._needed()
        for layer in self.base:
            if layer.id in self.reach and layer.kind not in GIVEN:
                self.current[layer.id] = self._computed(layer.id, self.reach[layer.id])
                for name in needed.get(layer.id, ()):
                    self.current.pop(name, None)
        spreads = {name: self._value(name) for name in self.wanted}
        return [{name: spread.of(number) for name, spread in spreads.items()} for number in range(len(self.copies))]

    def _needed(self) -> dict[str, list[str]]:
        """Layer id → ids of those that no copy reads once it has been computed."""
        last: dict[str, int] = {}
        for copy in self.copies:
            for position, layer in enumerate(copy.graph):
                if layer.id in self.reach:
                    last.update({name: max(last.get(name, 0), position) for name in layer.inputs})
        found: dict[str, list[str]] = {}
        for name, position in last.items():
            if name not in self.wanted:
                found.setdefault(self.base.layers[position].id, []).append(name)
        return found

    def _computed(self, name: str, count: int) -> _Spread:
        parts = []
        layers = [copy.own.get(name, self.base[name]) for copy in self.copies[:count]]
        for _, run in groupby(range(count), key=lambda number: id(layers[number])):
            numbers = list(run)
            parts += self._parts(layers[numbers[0]], numbers)
        base = self.values[name]
        return _Spread(base, whole=parts[0]) if len(parts) < count else _Spread(base, parts)

    def _parts(self, layer: Layer, numbers: Sequence[int]) -> list[Array]:
        """The layer's value in each of some copies; those of all that need it come as one."""
        inputs = [self._value(name) for name in layer.inputs]
        given = [self.base[name] for name in layer.inputs]
        if len(numbers) == 1 or not self._by_rows(layer):
            return [
                evaluate(layer, [as_read(at, value.of(number)) for at, value in zip(given, inputs, strict=True)])
                for number in numbers
            ]
        begin, end = numbers[0], numbers[-1] + 1
        batch = [
            as_read(at, value.rows(begin, end) if at.id in self.pictured else value.base)
            for at, value in zip(given, inputs, strict=True)
        ]
        found = evaluate(layer, batch)
        if found.shape != (len(numbers) * len(self.values[layer.id]), *self.values[layer.id].shape[1:]):
            raise _UnlikeError
        return [found] if len(numbers) == self.reach[layer.id] else np.split(found, len(numbers))

    def _value(self, name: str) -> _Spread:
        if name not in self.current:
            self.current[name] = _Spread(self.values[name])
        return self.current[name]

    def _by_rows(self, layer: Layer) -> bool:
        """Whether each row of the layer's output hangs on nothing but that row of what it reads."""
        pictured = [name for name in layer.inputs if name in self.pictured]
        others = [name for name in layer.inputs if name not in self.pictured]
        if layer.kind not in BATCHED or not self.reach.keys().isdisjoint(others):
            return False
        if not pictured or (pictured[0] != layer.inputs[0] and layer.kind not in BINARY):
            return False
        rank = self.values[layer.id].ndim
        if not rank or not all(self.values[name].ndim for name in pictured):
            return False
        if layer.kind in BINARY:
            shapes = [self.values[name].shape for name in others]
            same = all(self.values[name].ndim == rank for name in pictured)
            return same and all(len(shape) < rank or shape[0] == 1 for shape in shapes)
        if layer.kind in LINEAR:
            return len(pictured) == 1
        if layer.kind == "concat":
            return not others and layer["axis"] % rank != 0
        axes = layer["axes"] if layer.kind in REDUCTIONS else (layer.hyperparameters.get("axis", 1),)
        return all(axis % self.values[pictured[0]].ndim for axis in axes) and bool(axes)
