"""The ``Feeding``: what a first layer with weights is fed with on both sides, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from convfault.localization.case import Case
from convfault.localization.input import stem
from convfault.localization.input.stem import Stem
from convfault.relax.graph import Array

PICTURES = 1
"""On so many pictures the stems are compared."""


@dataclass(frozen=True, eq=False)
class Feeding:
    """A first layer with weights on both sides, what each is fed with, and the source's value there."""

    source: Stem
    target: Stem
    fed: Array
    other: Array
    wanted: Array
    found: Array | None

    @cached_property
    def gap(self) -> float:
        """Their difference relative to the largest wanted value; infinite where they cannot be compared."""
        return stem.gap(self.wanted, self.found) if self.is_comparable and self.found is not None else float("inf")

    @property
    def is_comparable(self) -> bool:
        """Whether the target's first layer takes its pictures and answers in the source's shape."""
        return self.found is not None and self.found.shape == self.wanted.shape

    @property
    def agrees(self) -> bool:
        """Whether they are the same but for rounding."""
        return self.gap <= stem.AGREE

    @cached_property
    def same_weights(self) -> bool:
        """Whether the layers' weights are equal, so that the difference lies before them."""
        one, other = (side.graph[side.layer].parameters["weights"].values for side in (self.source, self.target))
        return one.shape == other.shape and stem.gap(one, other) <= 1e-4


def feedings(case: Case) -> tuple[Feeding, ...]:
    """The pairs of first layers: those that are aligned, else those of equal shape in order."""
    sources, targets = stem.first_stems(case.source.graph), list(stem.first_stems(case.target.graph))
    start, other = case.source.start, case.target.start
    found = []
    for one in sources:
        match = case.alignment.to_target.get(one.layer)
        partner = next((item for item in targets if match is not None and item.layer == match.target), None)
        order = match.order if partner is not None and match is not None else None
        if partner is None:
            shape = one.graph[one.layer].shape[1:]
            free = (item for item in targets if item.layer not in case.alignment.to_source)
            partner = next((item for item in free if item.graph[item.layer].shape[1:] == shape), None)
        if partner is None:
            continue
        targets.remove(partner)
        fed = start[one.input][:PICTURES]
        wanted = stem.values(one, fed)
        if wanted is not None:
            wanted = wanted if order is None else wanted[..., list(order)]
            pictures = other[partner.input][:PICTURES]
            found.append(Feeding(one, partner, fed, pictures, wanted, stem.values(partner, pictures)))
    return tuple(found)
