"""What a report draws of its faults: the weights that differ, and the layers round them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from convfault.fault import Fault
from convfault.localization.case import Case
from convfault.localization.neighbourhood import neighbourhood
from convfault.localization.picture import picture
from convfault.localization.suspect import Suspect

SHOWN = 5
"""Faults that are drawn: the worst one of each cause."""


def illustrated(case: Case, suspects: Sequence[Suspect], faults: Sequence[Fault]) -> list[Fault]:
    """The ``faults`` with ``layers`` in their evidence, the first ones with drawings, too.

    ``layers`` are the ids of ``source`` and ``target``, and ``before``: the first layer of the source behind the place,
    where that has no aligned layer of its own.

    ``suspects`` are those that the faults were made from, in the same order.
    """
    found: list[Fault] = []
    seen: set[tuple[str, str, Any]] = set()
    for suspect, fault in zip(suspects, faults, strict=True):
        kind = (fault.kind, fault.cause, fault.evidence.get("group"))
        more: dict[str, Any] = {"layers": _layers(case, suspect)}
        if kind not in seen and len(seen) < SHOWN and not fault.harmless:
            seen.add(kind)
            drawings = {"picture": picture(case, suspect), "neighbourhood": neighbourhood(case, suspect)}
            more |= {name: drawing for name, drawing in drawings.items() if drawing is not None}
        found.append(replace(fault, evidence={**fault.evidence, **more}))
    return found


def _layers(case: Case, suspect: Suspect) -> dict[str, str | None]:
    """Where in both graphs the suspect is."""
    found = {"source": suspect.source, "target": suspect.target}
    source, target = case.source.graph, case.target.graph
    aligned = {match.source for match in case.alignment.matches}
    if suspect.source in aligned or suspect.target in case.alignment.to_source:
        return found
    if suspect.source is not None and suspect.source in source:
        behind = [name for name in source.descendants({suspect.source}) if name in aligned]
    elif suspect.target is not None and suspect.target in target:
        followers = target.descendants({suspect.target})
        behind = [match.source for match in case.alignment.matches if match.target in followers]
    else:
        return found
    return {**found, "before": min(behind, key=source.position)} if behind else found
