"""The cure of a region: the target gets the source's layers between the two frontiers, by the plainest edit.

Layers that only the target has are taken out, layers that only the source has are copied, and who reads something else
than in the source reads its counterpart. Edits are relative wherever that is possible, so that those of several regions
can be applied together, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from convfault.localization.graph.pairing import Pairing
from convfault.localization.graph.regions import Region, Slot
from convfault.relax.edits import (
    Add,
    Edit,
    Insert,
    Redirect,
    Remove,
    Rewire,
    SetHyperparameters,
    SetOutputs,
    Substitute,
    Together,
)
from convfault.relax.evaluate import OPERATIONS
from convfault.relax.graph import Layer, Native, Parameter
from convfault.relax.kinds import BINARY, POINTWISE

BY_CHANNEL = frozenset({"affine", "prelu", "batch_norm", "mean", "sum", "max", "min", "pad", "resize", "slice"})
"""Kinds whose output's channels are their input's, in the same order, but that may treat each differently."""

ANY_ORDER = POINTWISE | BINARY | {"leaky_relu", "max_pool", "average_pool", "where"}
"""Kinds that treat every channel alike."""


def transplant(pairing: Pairing, region: Region) -> Edit | None:
    """The edit that gives the target the source's region, None where its layers cannot be copied."""
    if any(pairing.source[name].kind not in OPERATIONS for name in region.missing):
        return None
    work = Transplant(pairing, region)
    parts = work.removal() or work.insertion() or work.substitution() or work.replacement()
    parts = (*parts, *work.shapes())
    return parts[0] if len(parts) == 1 else Together(parts)


class Transplant:
    """The edits of one region; each form is empty where it does not fit."""

    def __init__(self, pairing: Pairing, region: Region) -> None:
        self.source, self.target, self.pairing = pairing.source, pairing.target, pairing
        self.region = region
        self.names: dict[str, str] = {}
        for name in region.missing:
            self.names[name] = self._free(f"{name}_of_source")
        self.orders = {
            match.target: match.order
            for name in region.missing
            for item in self.source[name].inputs
            if (match := pairing.to_target.get(item)) is not None and match.order is not None
        }
        self.reads = {slot.reader.target for slot in region.slots if slot.reader is not None}
        self.ends = any(slot.reader is None for slot in region.slots)

    def _free(self, name: str) -> str:
        while name in self.target or name in self.names.values():
            name += "_"
        return name

    def image(self, source_id: str) -> str:
        """The target layer that stands for a source layer: its counterpart, or its copy."""
        match = self.pairing.to_target.get(source_id)
        return self.names[source_id] if match is None else match.target

    def removal(self) -> tuple[Edit, ...]:
        """Only superfluous layers in a row, and who reads the last should read what goes into the first."""
        row = self._row(self.target, self.region.extra)
        if self.region.missing or self.region.outputs or row is None or not self._one_place(row[1]):
            return ()
        if any(self.image(str(slot.expected)) != row[0] for slot in self.region.slots):
            return ()
        return tuple(self._remove(name) for name in self.region.extra[::-1])

    def insertion(self) -> tuple[Edit, ...]:
        """Only missing layers in a row, and who reads the last reads what should go into the first."""
        row = self._row(self.source, self.region.missing)
        if self.region.extra or self.region.outputs or self.orders or row is None:
            return ()
        before = self.pairing.to_target.get(row[0])
        if before is None or any(slot.expected != row[1] for slot in self.region.slots):
            return ()
        if not self._one_place(before.target) or (self.ends and not self._all_readers(before.target)):
            return ()
        if any(self._reads_more_than_slots(name, before.target) for name in self.reads):
            return ()
        readers = None if self.ends else tuple(sorted(self.reads))
        return tuple(Insert(copy, readers) for copy in self._copies())

    def substitution(self) -> tuple[Edit, ...]:
        """One layer in another's place."""
        region = self.region
        if len(region.missing) != 1 or len(region.extra) != 1 or region.outputs or self.orders:
            return ()
        if any((slot.expected, slot.actual) != (region.missing[0], region.extra[0]) for slot in region.slots):
            return ()
        (copy,) = self._copies()
        old = self.target[region.extra[0]]
        native = Native(None, None, old.native.operators)
        return (Substitute(replace(copy, id=old.id, native=native)),)

    def replacement(self) -> tuple[Edit, ...]:
        """The general form: copies are added, readers turned to them, what nobody reads any more is taken out."""
        edits: list[Edit] = [Add(copy) for copy in self._copies()]
        ends = self._ends(edits) if self.orders else {}
        for name in sorted(self.reads, key=self._place):  # in the source's order no step makes a cycle
            slots = [slot for slot in self.region.slots if slot.reader is not None and slot.reader.target == name]
            edits.append(self._reading(name, slots, ends))
        edits.extend(self._outputs(ends))
        edits.extend(self._remove(name) for name in self.region.extra[::-1] if self.target[name].inputs)
        return tuple(edits)

    def shapes(self) -> tuple[Edit, ...]:
        """The source's shapes for what depends on the region, where the difference has changed them."""
        below = self.target.descendants({*self.reads, *self.region.extra})
        return tuple(
            SetHyperparameters(match.target, {}, self.source[match.source].shape)
            for match in self.pairing.to_target.values()
            if match.target in below and self._reshaped(match.source, match.target)
        )

    def _reshaped(self, source_id: str, target_id: str) -> bool:
        expected, actual = self.source[source_id].shape, self.target[target_id].shape
        return len(expected) == len(actual) and expected[1:] != actual[1:]

    def _place(self, target_id: str) -> int:
        return self.source.position(self.pairing.to_source[target_id].source)

    def _row(self, graph: object, names: tuple[str, ...]) -> tuple[str, str] | None:
        """What goes into the first and the last of layers that each read the one before, None if they don't."""
        side = self.source if graph is self.source else self.target
        if not names or any(len(side[name].inputs) != 1 for name in names):
            return None
        first = side[names[0]].inputs[0]
        chained = all(side[name].inputs[0] == before for before, name in pairwise(names))
        return (first, names[-1]) if chained else None

    def _one_place(self, actual: str) -> bool:
        """Whether all slots read this one layer of the target."""
        return all(slot.actual == actual and slot.expected is not None for slot in self.region.slots)

    def _reads_more_than_slots(self, name: str, actual: str) -> bool:
        """Whether a reader also reads a layer where the source does so, too."""
        slots = sum(slot.reader is not None and slot.reader.target == name for slot in self.region.slots)
        return self.target[name].inputs.count(actual) != slots

    def _all_readers(self, target_id: str) -> bool:
        return set(self.target.readers[target_id]) <= self.reads

    def _remove(self, name: str) -> Remove:
        """Takes one layer out; its readers that go as well are not named, as they are not in the edited graph."""
        readers = dict.fromkeys(self.target.readers[name])
        return Remove(name, tuple(reader for reader in readers if reader not in self.region.extra))

    def _copies(self) -> Iterator[Layer]:
        """Copies of the missing layers, in order, reading counterparts and copies."""
        straightened: dict[str, str] = {}
        plain = self._keeps_order(ANY_ORDER)
        for name in self.region.missing:
            layer = self.source[name]
            inputs = []
            for item in layer.inputs:
                image = self.image(item)
                if image in self.orders and not plain:
                    if image not in straightened:
                        straightened[image] = self._free(f"{image}_in_order")
                        order = np.argsort(self.orders[image] or ())
                        yield _permuting(straightened[image], self.target[image], image, order)
                    image = straightened[image]
                inputs.append(image)
            yield replace(layer, id=self.names[name], inputs=tuple(inputs), native=Native())

    def _keeps_order(self, kinds: frozenset[str]) -> bool:
        """Whether channels go through the region in their order: one order at its inputs, and only these kinds."""
        orders = {
            None if match is None else match.order
            for name in self.region.missing
            for item in self.source[name].inputs
            if item not in self.names
            for match in [self.pairing.to_target.get(item)]
        }
        return len(orders) == 1 and all(self.source[name].kind in kinds for name in self.region.missing)

    def _ends(self, edits: list[Edit]) -> dict[str, str]:
        """Copy → its value in the target's order of channels, which its readers go by; adds what puts it so."""
        if self._keeps_order(ANY_ORDER) or not self._keeps_order(ANY_ORDER | BY_CHANNEL):
            return {}
        order, ends = next(iter(self.orders.values())) or (), {}
        for slot in self.region.slots:
            copy = self.names.get(str(slot.expected))
            if copy is not None and copy not in ends and self.source[str(slot.expected)].shape[-1] == len(order):
                ends[copy] = self._free(f"{copy}_in_order")
                layer = self.source[str(slot.expected)]
                edits.append(Add(_permuting(ends[copy], layer, copy, np.asarray(order))))
        return ends

    def _reading(self, name: str, slots: list[Slot], ends: dict[str, str]) -> Edit:
        """Let one matched layer read what its counterpart reads."""
        layer, match = self.target[name], self.pairing.to_source[name]
        counterpart = self.source[match.source]
        images = [self._image_or(item, layer.inputs[index:][:1], ends) for index, item in enumerate(counterpart.inputs)]
        if layer.parameters.keys() != counterpart.parameters.keys():  # weights that one side computes
            return Substitute(replace(counterpart, id=name, inputs=tuple(images), native=layer.native))
        if len(images) != len(layer.inputs):
            return Rewire(name, tuple(images))
        (slot, *more) = slots
        if not more and layer.inputs.count(str(slot.actual)) == 1:
            return Redirect(str(slot.actual), images[slot.index], (name,))
        return Rewire(name, self._inputs(layer, slots, images))

    def _image_or(self, source_id: str, current: tuple[str, ...], ends: dict[str, str]) -> str:
        """What stands for a source layer; where that is another region's affair, what is ``current``."""
        if source_id not in self.names and source_id not in self.pairing.to_target:
            return current[0]
        image = self.image(source_id)
        return ends.get(image, image)

    def _inputs(self, layer: Layer, slots: list[Slot], images: list[str]) -> tuple[str, ...]:
        """The layer's inputs with only the slots' changed."""
        inputs, done = list(layer.inputs), set()
        for slot in slots:
            position = next(i for i, item in enumerate(layer.inputs) if item == slot.actual and i not in done)
            if slot.actual == layer.inputs[slot.index] and slot.index not in done:
                position = slot.index
            done.add(position)
            inputs[position] = images[slot.index]
        return tuple(inputs)

    def _outputs(self, ends: dict[str, str]) -> Iterator[Edit]:
        if self.region.outputs:
            images = [self.image(name) for name in self.source.outputs]
            yield SetOutputs(tuple(ends.get(name, name) for name in images))
            return
        for slot in self.region.slots:
            if slot.reader is None:
                image = self.image(str(slot.expected))
                yield Redirect(str(slot.actual), ends.get(image, image), (), outputs=True)


def _permuting(name: str, layer: Layer, source: str, order: np.ndarray) -> Layer:
    """A layer whose output channel ``i`` is channel ``order[i]`` of ``source``, which has the shape of ``layer``."""
    weights = np.zeros((len(order), len(order)), np.float32)
    weights[order, np.arange(len(order))] = 1
    parameters = {"weights": Parameter(weights), "bias": Parameter(np.zeros(len(order), np.float32))}
    return Layer(name, "dense", (source,), layer.shape, layer.dtype, {}, parameters)
