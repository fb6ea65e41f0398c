"""What the input analyzer accounts for completely, so that no other analyzer tells the same fault again.

A target that wants its pictures otherwise has other weights in its first layer, or a layer before that; one that
numbers its classes otherwise has the columns of its last layer in another order. Told twice, such a fault would also
seem harmless: leaving one of the two in while the other is undone changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from convfault.localization.case import Case
from convfault.localization.input import labels, misfeeding
from convfault.localization.suspect import Suspect
from convfault.relax.edits import SetParameters
from convfault.relax.fingerprint import distance

EQUAL = 1e-4
"""Parameters are the source's when they are this close relative to the largest: what rounding leaves."""


@dataclass(frozen=True)
class Claimed:
    """Ids of layers whose differences are the input's, and whether the inputs themselves are exchanged."""

    source: frozenset[str] = frozenset()
    target: frozenset[str] = frozenset()
    exchanged: bool = False


@lru_cache(maxsize=1)
def claimed(case: Case) -> Claimed:
    """The layers that a fault of the input explains to what rounding leaves."""
    source, target, exchanged = set[str](), set[str](), False
    for found in misfeeding.found(case):
        exchanged |= found.suspect.cause == "input_order"
        if found.explains_all:
            source |= {*found.feeding.source.before, found.feeding.source.layer}
            target |= {*found.feeding.target.before, found.feeding.target.layer}
    for suspect in labels.examine(case):
        head = _renumbered_head(case, suspect)
        if head is not None:
            target.add(head)
    return Claimed(frozenset(source), frozenset(target), exchanged)


def _renumbered_head(case: Case, suspect: Suspect) -> str | None:
    """The last layer, when its parameters in the source's order of classes are the source's."""
    edit = suspect.edit
    match = case.alignment.to_source.get(edit.layer) if isinstance(edit, SetParameters) else None
    if match is None or not isinstance(edit, SetParameters):
        return None
    edited = edit.apply(case.target.graph)[edit.layer]
    layer = case.source.graph[match.source]
    same = layer.parameters.keys() == edited.parameters.keys() and distance(layer, edited) <= EQUAL
    return edit.layer if same else None
