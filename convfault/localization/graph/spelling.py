"""Whether a region of the target only spells differently what the source computes: decided by computing both.

Both sides get the source's values at the frontier before the region. Equal values behind it, or behind the layers that
read it (where a factor was moved into their weights), make the difference harmless, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from convfault.errors import ShapeError, UnknownNameError, UsageError
from convfault.localization.activations import (
    MARGIN,
    ROUNDING,
    Activations,
    Lookup,
    arranged,
    computed,
    largest_difference,
    relative_error,
    size,
    watched,
)
from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.graph.pairing import Pairing
from convfault.localization.graph.regions import Region, Slot
from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Array

KERNELS = 1e-4
"""Relative difference of two runtimes' kernels on one operator: a native value against a computed one."""

UNCOMPUTABLE = (UsageError, UnknownNameError, ShapeError, KeyError, IndexError)
FEW = 2
"""Rows that are computed first: most regions that differ do so on any picture."""

Place = Slot | Match


class Spelling:
    """Compares regions of one case by their values."""

    def __init__(self, case: Case, pairing: Pairing) -> None:
        self.case, self.pairing = case, pairing
        self.source, self.target = pairing.source, pairing.target
        self.values = Activations(case.source)
        self._watched = watched(case.target)

    def error(self, region: Region) -> float:
        """Largest difference at the region's end relative to the source's largest value there; 0 within noise.

        Infinite where the sides cannot be compared: other shapes, missing places, layers that nothing can compute.
        """
        if any(slot.expected is None or slot.actual is None for slot in region.slots if slot.reader is None):
            return np.inf
        errors = []
        for opened, places in self._views(region):
            errors.append(self._difference(region, opened, places))
            if errors[-1] == 0:
                return 0.0
        return errors[0]

    def _views(self, region: Region) -> Iterator[tuple[frozenset[str], Sequence[Place]]]:
        """How far to look: matched target layers that are computed, too, and the places that are compared.

        First the slots alone; then behind their readers, and with the layers before them (a factor or an addend may
        have been moved into either's parameters); then through layers that changed places.
        """
        behind: list[Place] = [*region.readers, *(slot for slot in region.slots if slot.reader is None)]
        before = self._before(region)
        for opened in (frozenset(), before) if before else (frozenset(),):
            yield opened, region.slots
            yield opened, behind
        inner = self._inner(region)
        if inner:
            yield inner, [s for s in region.slots if s.reader is None or s.reader.target not in inner]

    def _before(self, region: Region) -> frozenset[str]:
        """The matched target layers before the region that only the region reads."""
        inside = {*region.extra, *(match.target for match in region.readers)}
        before = {name for item in inside for name in self.target[item].inputs if name in self.pairing.to_source}
        own = {match.target for match in region.readers}
        return frozenset(
            name
            for name in before
            if self.target[name].inputs and self._only_read_by(name, inside) and (name in own or self._as_source(name))
        )

    def _as_source(self, name: str) -> bool:
        """Whether a matched layer reads what it should: what another region does before it is not this one's affair."""
        images = self.pairing.images(self.source[self.pairing.to_source[name].source].inputs)
        return sorted(map(str, images)) == sorted(self.target[name].inputs)

    def _only_read_by(self, name: str, inside: set[str]) -> bool:
        return set(self.target.readers[name]) <= inside and name not in self.target.outputs

    def _inner(self, region: Region) -> frozenset[str]:
        """Readers of the region that other readers of it read: layers in the midst of an exchange of places."""
        read = {slot.actual for slot in region.slots} | {
            name for item in region.extra for name in self.target[item].inputs
        }
        inner = {match.target for match in region.readers if match.target in read}
        inside = {*region.extra, *(match.target for match in region.readers)}
        return frozenset(inner) if all(self._only_read_by(name, inside) for name in inner) else frozenset()

    def _difference(self, region: Region, opened: frozenset[str], places: Sequence[Place]) -> float:
        try:
            few = self._compared(region, opened, places, slice(FEW))
            return few if few > 0 else self._compared(region, opened, places, slice(None))
        except UNCOMPUTABLE:
            return self._one_by_one(region, opened, places)

    def _one_by_one(self, region: Region, opened: frozenset[str], places: Sequence[Place]) -> float:
        """The same for layers that move the axis of pictures, and so know one picture at a time only."""
        try:
            return max(self._compared(region, opened, places, slice(row, row + 1)) for row in range(FEW))
        except UNCOMPUTABLE:
            return np.inf

    def _compared(self, region: Region, opened: frozenset[str], places: Sequence[Place], rows: slice) -> float:
        worst = 0.0
        plain, shaken = self._fed(rows), self._fed(rows, shaken=True)
        for place in places:
            expected = self._expected(place, rows)
            actual = self._actual(region, opened, place, plain)
            sensitivity = largest_difference(self._actual(region, opened, place, shaken), actual)
            noise = MARGIN * max(sensitivity, ROUNDING * size(expected))
            worst = max(worst, relative_error(expected, actual, noise))
        return worst

    def _expected(self, place: Place, rows: slice) -> Array:
        """The source's value there, in the target's order of channels."""
        if isinstance(place, Match):
            return arranged(self.values[place.source][rows], place.order)
        if place.expected is None:
            raise UsageError("the source reads nothing there")
        match = self.pairing.to_target.get(place.expected)
        return arranged(self.values[place.expected][rows], None if match is None else match.order)

    def _actual(self, region: Region, opened: frozenset[str], place: Place, known: Lookup) -> Array:
        """The target's value there, from the source's values before the region."""
        if isinstance(place, Match):
            layer, own = self.target[place.target], {slot.actual for slot in region.slots if slot.reader == place}
            inputs = [self._input(place, index, name in own, known, opened) for index, name in enumerate(layer.inputs)]
            return evaluate(layer, inputs)
        if place.actual is None:
            raise UsageError("the target reads nothing there")
        return computed(self.target, [place.actual], known, opened)[place.actual]

    def _input(self, match: Match, index: int, own: bool, known: Lookup, opened: frozenset[str]) -> Array:
        """What a layer behind the region reads; from another region it gets what the source has there."""
        name = self.target[match.target].inputs[index]
        if own or name in self.pairing.to_source:
            return computed(self.target, [name], known, opened)[name]
        return self.values[self.source[match.source].inputs[index]]

    def _fed(self, rows: slice, shaken: bool = False) -> Lookup:
        """The source's values as those of the target's matched layers."""
        rng = np.random.default_rng(0)

        def lookup(name: str) -> Array | None:
            match = self.pairing.to_source.get(name)
            if match is None:
                return None
            value = arranged(self.values[match.source][rows], match.order)
            if not shaken or value.dtype.kind != "f":
                return value
            signs = rng.integers(0, 2, value.shape, np.int8) * 2 - 1
            return np.asarray(value * (1 + signs * np.float32(ROUNDING)), dtype=value.dtype)

        return lookup

    def native_error(self, region: Region) -> float | None:
        """The same where the target has an operator that nobody can compute, from the values its runtime had there.

        The source's layers get the *target's* native values; None where the runtime shows too little of them.
        """
        worst = 0.0
        for slot in region.slots:
            if slot.expected is None or slot.actual is None:
                return None
            try:
                actual = computed(self.target, [slot.actual], self._watched)[slot.actual]
                wanted = computed(self.source, [slot.expected], self._native_of)[slot.expected]
            except UNCOMPUTABLE:
                return None
            worst = max(worst, relative_error(wanted, actual, KERNELS * size(wanted)))
        return worst

    def _native_of(self, source_id: str) -> Array | None:
        """The target's native value of a matched source layer, in the source's order of channels."""
        match = self.pairing.to_target.get(source_id)
        if match is None:
            return None
        value = computed(self.target, [match.target], self._watched)[match.target]
        return value if match.order is None else value[..., np.argsort(match.order)]
