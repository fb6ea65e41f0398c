"""One concatenation in the wrong order, read by others: the normal form has the parts of the first in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from convfault.localization.graph.pairing import Pairing
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Together

Parts = tuple[str, ...]


def told_once(pairing: Pairing, suspects: Sequence[Suspect]) -> Iterator[Suspect]:
    """The suspects; a concatenation whose order is off only because that of an earlier one is goes with that one."""
    known = {number: _orders(pairing, item) for number, item in enumerate(suspects)}
    orders = {number: order for number, order in known.items() if order is not None}
    inner: dict[int, int] = {}
    for number, (wanted, found) in orders.items():
        for other, (part, turned) in orders.items():
            if other != number and len(part) < len(wanted) and _replaced(wanted, part, turned) == found:
                inner[number] = other
    for number, item in enumerate(suspects):
        if number in inner:
            continue
        edits = [item.edit, *(suspects[outer].edit for outer in inner if _innermost(inner, outer) == number)]
        cures = tuple(edit for edit in edits if edit is not None)
        yield replace(item, edit=Together(cures)) if len(cures) > 1 else item


def _innermost(inner: dict[int, int], number: int) -> int:
    while number in inner:
        number = inner[number]
    return number


def _orders(pairing: Pairing, suspect: Suspect) -> tuple[Parts, Parts] | None:
    """What a concatenation should read and what it reads, by the target's names; None for other suspects."""
    if suspect.cause != "input_order" or suspect.source is None or suspect.target is None:
        return None
    source, target = pairing.source[suspect.source], pairing.target[suspect.target]
    if source.kind != "concat" or target.kind != "concat" or any(n not in pairing.to_target for n in source.inputs):
        return None
    return tuple(pairing.to_target[name].target for name in source.inputs), target.inputs


def _replaced(wanted: Parts, part: Parts, turned: Parts) -> Parts | None:
    """``wanted`` with the stretch that ``part`` is of it in the order of ``turned``."""
    for start in range(len(wanted) - len(part) + 1):
        if wanted[start : start + len(part)] == part:
            return (*wanted[:start], *turned, *wanted[start + len(part) :])
    return None
