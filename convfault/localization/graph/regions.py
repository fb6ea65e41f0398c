"""Where two aligned graphs are wired differently: regions of unmatched layers, between layers that are matched.

A *slot* is a place that reads something else in the target than in the source: an input of a matched layer or an output
of the model. The unmatched layers that lead to a slot, on both sides, and the slots that they lead to, are one region:
what lies between the two frontiers of matched layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet

from convfault.localization.aligning.alignment import Match
from convfault.localization.graph.pairing import Pairing
from convfault.relax.graph import Graph
from convfault.relax.kinds import COMMUTATIVE


@dataclass(frozen=True)
class Slot:
    """One place that reads differently: input number ``index`` of ``reader``, or output ``index`` (reader None).

    ``expected`` is the source layer read there, ``actual`` the target layer; None: that side has no such place.
    """

    reader: Match | None
    index: int
    expected: str | None
    actual: str | None


@dataclass(frozen=True)
class Region:
    """One place of difference: unmatched layers of the source and of the target, in order, and where they lead.

    ``outputs``: the list of the model's outputs itself differs, in length or order.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    slots: tuple[Slot, ...]
    outputs: bool = False

    @property
    def readers(self) -> tuple[Match, ...]:
        """The matched layers that read differently, each once."""
        return tuple(dict.fromkeys(slot.reader for slot in self.slots if slot.reader is not None))


def together(first: Region, second: Region) -> Region:
    """Two regions as one."""
    return Region(
        (*first.missing, *second.missing),
        (*first.extra, *second.extra),
        (*first.slots, *second.slots),
        first.outputs or second.outputs,
    )


def regions(pairing: Pairing) -> tuple[Region, ...]:
    """All places of difference, in the source's order."""
    inputs = [slot for match in pairing.to_target.values() for slot in _input_slots(pairing, match)]
    outputs, changed = _output_slots(pairing)
    slots = [*inputs, *outputs]
    sets = DisjointSet([("slot", number) for number in range(len(slots))])
    _join_layers(sets, pairing, slots)
    _join_slots(sets, pairing, slots)
    if changed:
        for number in range(len(inputs), len(slots)):
            sets.merge(("slot", len(inputs)), ("slot", number))
    found = (_region(pairing, slots, members, changed) for members in sets.subsets())
    return tuple(sorted((item for item in found if item.slots), key=lambda item: _place(pairing.source, item)))


def _input_slots(pairing: Pairing, match: Match) -> list[Slot]:
    source, target = pairing.source[match.source], pairing.target[match.target]
    images = pairing.images(source.inputs)
    if tuple(images) == target.inputs:
        return []
    if source.kind in COMMUTATIVE and len(images) == len(target.inputs):
        pairs = pairing.paired(list(source.inputs), list(target.inputs))
    else:
        pairs = [(index, index) for index in range(max(len(images), len(target.inputs)))]
    slots = []
    for i, j in pairs:
        expected = source.inputs[i] if i < len(source.inputs) else None
        actual = target.inputs[j] if j < len(target.inputs) else None
        if expected is None or images[i] is None or images[i] != actual:
            slots.append(Slot(match, i, expected, actual))
    return slots


def _output_slots(pairing: Pairing) -> tuple[list[Slot], bool]:
    """The model's outputs that differ, and whether their list differs in more than what stands at each place."""
    expected, actual = pairing.source.outputs, pairing.target.outputs
    pairs = pairing.paired(list(expected), list(actual))
    images = pairing.images(expected)
    if len(expected) == len(actual) and all(i == j for i, j in pairs):
        differing = [i for i in range(len(expected)) if images[i] is None or images[i] != actual[i]]
        # two places that hold one layer can only be told apart by the whole list
        shared = any(actual.count(actual[i]) > 1 for i in differing)
        return [Slot(None, i, expected[i], actual[i]) for i in differing], shared and len(actual) > 1
    if len(expected) == len(actual):
        places = [i for i in range(len(expected)) if images[i] != actual[i]]
        return [Slot(None, i, expected[i], actual[i]) for i in places], True
    slots = [Slot(None, i, expected[i], actual[j]) for i, j in pairs if images[i] is None or images[i] != actual[j]]
    slots += [Slot(None, i, name, None) for i, name in enumerate(expected) if i not in {pair[0] for pair in pairs}]
    slots += [Slot(None, j, None, name) for j, name in enumerate(actual) if j not in {pair[1] for pair in pairs}]
    return slots, True


def _join_layers(sets: DisjointSet, pairing: Pairing, slots: list[Slot]) -> None:
    """Unmatched layers go together with those that they read, and with the slots that read them."""
    sides = (("source", pairing.source, pairing.to_target), ("target", pairing.target, pairing.to_source))
    for side, graph, matched in sides:
        for layer in graph:
            if layer.id not in matched:
                sets.add((side, layer.id))
                for name in layer.inputs:
                    if name not in matched:
                        sets.merge((side, layer.id), (side, name))
        for number, slot in enumerate(slots):
            read = slot.expected if side == "source" else slot.actual
            if read is not None and read not in matched:
                sets.merge(("slot", number), (side, read))


def _join_slots(sets: DisjointSet, pairing: Pairing, slots: list[Slot]) -> None:
    """Slots go together that only one edit can set right: of one reader rewired, and readers that changed places."""
    by_reader: dict[str, list[int]] = {}
    for number, slot in enumerate(slots):
        if slot.reader is not None:
            by_reader.setdefault(slot.reader.source, []).append(number)
    for name, numbers in by_reader.items():
        inputs = pairing.target[pairing.to_target[name].target].inputs
        actual = [str(slots[number].actual) for number in numbers]
        crossed = not set(actual).isdisjoint(map(str, pairing.images(str(slots[n].expected) for n in numbers)))
        doubled = any(inputs.count(item) > 1 for item in actual)
        roots = {sets[("slot", number)] for number in numbers}
        if crossed or doubled or len(roots) < len(numbers) or any(_rewired(pairing, slots[n]) for n in numbers):
            _merge(sets, numbers)
    for number, slot in enumerate(slots):
        for name in _neighbours(pairing, slot):
            _merge(sets, [number, *by_reader.get(name, [])])
    for first, last in _windows(pairing, slots):
        names = (layer.id for layer in pairing.source.layers[first : last + 1])
        _merge(sets, [number for name in names for number in by_reader.get(name, [])])


def _windows(pairing: Pairing, slots: list[Slot]) -> list[tuple[int, int]]:
    """Stretches of the source at whose beginning the target reads what comes only at their end, joined if they overlap.

    Half a cure within one would make the target a cycle.
    """
    found: list[tuple[int, int]] = []
    for slot in slots:
        if slot.reader is not None and slot.actual is not None:
            first = pairing.source.position(slot.reader.source)
            behind = (pairing.to_source[name].source for name in pairing.target_anchors[slot.actual])
            last = max(map(pairing.source.position, behind), default=-1)
            if last > first:
                found.append((first, last))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if joined and first <= joined[-1][1]:
            first, last = joined[-1][0], max(last, joined.pop()[1])
        joined.append((first, last))
    return joined


def _rewired(pairing: Pairing, slot: Slot) -> bool:
    """Whether a slot reads another matched layer than it should, or is there on one side only."""
    if slot.expected is None or slot.actual is None:
        return True
    return slot.expected in pairing.to_target and slot.actual in pairing.to_source


def _neighbours(pairing: Pairing, slot: Slot) -> set[str]:
    """Source ids of what a rewired slot reads and should read."""
    if not _rewired(pairing, slot) or slot.reader is None:
        return set()
    actual = pairing.to_source[slot.actual].source if slot.actual in pairing.to_source else None
    return {name for name in (slot.expected, actual) if name is not None}


def _merge(sets: DisjointSet, numbers: list[int]) -> None:
    for number in numbers[1:]:
        sets.merge(("slot", numbers[0]), ("slot", number))


def _region(pairing: Pairing, slots: list[Slot], members: set[tuple[str, object]], changed: bool) -> Region:
    missing = sorted((str(n) for side, n in members if side == "source"), key=pairing.source.position)
    extra = sorted((str(n) for side, n in members if side == "target"), key=pairing.target.position)
    own = tuple(slots[number] for number in sorted(int(str(n)) for side, n in members if side == "slot"))
    return Region(tuple(missing), tuple(extra), own, changed and any(slot.reader is None for slot in own))


def _place(source: Graph, region: Region) -> int:
    places = [source.position(name) for name in region.missing]
    places += [source.position(match.source) for match in region.readers]
    return min(places, default=len(source))
