"""The ``Candidate`` of a repair: a suspect whose edit may be written, and how it is told of."""

from __future__ import annotations

from collections.abc import Sequence

from convfault.localization import faults
from convfault.localization.case import Case
from convfault.localization.effect import Effect
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Edit

CORRECTION = "corrected_rounding"
"""The cause of a stand-in for a rounding, whose edit corrects the bias instead."""

Candidate = tuple[int, Suspect, Effect]
"""A suspect with its fault's rank and its effect."""


def strategy(suspect: Suspect) -> str:
    """The name of what undoes a suspect."""
    if suspect.kind == "parameters" and (suspect.cause.endswith("_rounding") or suspect.attribute == "output"):
        return "precision"
    return suspect.kind


def describe(case: Case, suspect: Suspect) -> str:
    """What the edit of a suspect does, in one line of native names."""
    place = suspect.target_location or suspect.source_location
    for subject, name in ((case.source, suspect.source), (case.target, suspect.target)):
        if name is not None and name in subject.graph and not suspect.target_location:
            place = faults.location(subject.graph[name], suspect.attribute) or place
    if suspect.attribute == "output":
        return f"keep the output of {place} in float"
    if suspect.cause == CORRECTION:
        return f"let the bias make up for the rounded weights of {place}"
    what = suspect.attribute if suspect.kind in {"parameters", "hyperparameters"} and suspect.attribute else None
    told = f"restore {what}" if what else f"undo {suspect.cause.replace('_', ' ')}"
    return f"{told} of {place}" if place else told


def without_edit(suspect: Suspect) -> str:
    """Why nothing in the graph undoes a suspect, and what does."""
    if suspect.evidence.get("preprocessing") is not None:
        return "no layer undoes it: --correct preprocessing corrects what the target is fed with"
    return str(suspect.evidence.get("no_edit") or "nothing in the target's own graph undoes it")


def edits_of(chosen: Sequence[Candidate]) -> list[Edit]:
    return [suspect.edit for _, suspect, _ in chosen if suspect.edit is not None]
