"""Finds what has to be done to the target's pictures so that its first layers answer as the source's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from convfault.localization.case import Case
from convfault.localization.graph.contrast import same
from convfault.localization.input import convention, correcting, geometry, labels, stem
from convfault.localization.input import feeding as feedings
from convfault.localization.input.convention import Correction
from convfault.localization.input.feeding import Feeding
from convfault.localization.input.geometry import Turn
from convfault.localization.suspect import Suspect
from convfault.relax.edits import Rewire, Together
from convfault.relax.graph import Array

SLIGHT = 0.02
"""A picture that is turned changes the first layer by more than this, relative to its largest value."""


@dataclass(frozen=True, eq=False)
class Misfeeding:
    """A suspect, the first layers that showed it, and whether it explains all that they differ in."""

    feeding: Feeding
    suspect: Suspect
    explains_all: bool


def examine(case: Case) -> list[Suspect]:
    """Suspects of how the target is fed; none where the first layers' values agree."""
    return [item.suspect for item in found(case)]


@lru_cache(maxsize=1)
def found(case: Case) -> tuple[Misfeeding, ...]:
    """The same with what they explain."""
    every = feedings.feedings(case)
    differing = [feeding for feeding in every if not feeding.agrees and not _moved(case, feeding)]
    if not differing:
        return ()
    if len(case.target.graph.inputs) > 1:
        exchanged = _exchanged(case, every)
        if exchanged is not None:
            return (Misfeeding(differing[0], exchanged, False),)
    seen: dict[str, Misfeeding] = {}
    for feeding in differing:
        if feeding.target.input not in seen:
            misfeeding = _otherwise(case, feeding)
            if misfeeding is not None:
                seen[feeding.target.input] = misfeeding
    return tuple(seen.values())


def _moved(case: Case, feeding: Feeding) -> bool:
    """Whether a layer before the first weights of one side stands further on in the other: a matter of nodes."""
    ours, theirs = feeding.source.before, feeding.target.before
    return any(
        (name in ours) != (other in theirs) and same(case.source.graph[name], case.target.graph[other])
        for name, other in _alike(case)
        if case.source.graph[name].parameters
    )


def _alike(case: Case) -> Iterator[tuple[str, str]]:
    """Pairs of a source's and a target's layer that may be one: aligned, or both aligned to none."""
    yield from ((match.source, match.target) for match in case.alignment.matches)
    yield from product(case.alignment.source_only, case.alignment.target_only)


def _otherwise(case: Case, feeding: Feeding) -> Misfeeding | None:
    """What has to be done to the target's pictures: channels, else a turn, else both, else the source's pictures."""
    if feeding.is_comparable:
        correction = _fitted(case, feeding, feeding.other, feeding.wanted)
        if correction is not None:
            suspect = correcting.corrected(case, feeding, geometry.UPRIGHT, correction)
            exact = _left(feeding, correction, feeding.other, feeding.wanted) <= stem.AGREE
            return Misfeeding(feeding, suspect, exact)
    if feeding.gap > SLIGHT:
        for turn in geometry.turns(feeding.other):
            turned = _when_turned(case, feeding, turn)
            if turned is not None:
                return turned
    if _right_on_the_sources(feeding):
        return Misfeeding(feeding, correcting.fed_otherwise(case, feeding), False)
    return None


def _right_on_the_sources(feeding: Feeding) -> bool:
    """Whether the target's first layer answers as the source's on the source's pictures, but for rounded weights."""
    found = stem.values(feeding.target, feeding.fed)
    if found is None or found.shape != feeding.wanted.shape:
        return False
    return stem.gap(feeding.wanted, found) <= max(stem.AGREE, min(0.1, feeding.gap / labels.CLEARLY))


def _when_turned(case: Case, feeding: Feeding, turn: Turn) -> Misfeeding | None:
    wanted, pictures = turn.answer(feeding.wanted), turn(feeding.other)
    answer = stem.values(feeding.target, pictures)
    if wanted is None or answer is None or answer.shape != wanted.shape:
        return None
    left = stem.gap(wanted, answer)
    if left <= max(stem.AGREE, min(0.1, feeding.gap / labels.CLEARLY)):
        # a kernel alone that is turned answers so, too: only the whole target can tell
        sure = not turn.turns_answer or _confirmed(case, feeding, turn)
        return Misfeeding(feeding, correcting.turned(case, feeding, turn), left <= stem.AGREE) if sure else None
    # with other weights there is one more fault than a turn and other channels: no such fit would be believable
    fits = feeding.same_weights and not turn.turns_answer
    fitted = _fitted(case, feeding, pictures, wanted) if fits else None
    if fitted is None:
        return None
    exact = _left(feeding, fitted, pictures, wanted) <= stem.AGREE
    return Misfeeding(feeding, correcting.corrected(case, feeding, turn, fitted), exact)


def _fitted(case: Case, feeding: Feeding, pictures: Array, wanted: Array) -> Correction | None:
    found = stem.correction(feeding.target, pictures, wanted)
    return None if found is None else _settled(case, feeding, found, pictures, wanted)


def _confirmed(case: Case, feeding: Feeding, turn: Turn) -> bool:
    """Whether the whole target answers as the source when it is fed so."""
    graph = geometry.edit(case.target.graph, feeding.target.input, turn).apply(case.target.graph)
    return geometry.improvement(case, graph) >= labels.CLEARLY


def _settled(case: Case, feeding: Feeding, found: Correction, pictures: Array, wanted: Array) -> Correction | None:
    """The plain correction next to the fitted one where it does as well, else the fitted one where it is exact.

    Faults of the weights blur the fit: then a plain one that takes away most of the difference counts.
    """
    if found.is_identity:
        return None
    plain = replace(found, scale=np.ones_like(found.scale), shift=np.zeros_like(found.shift))
    known = case.target.model.preprocessing or case.source.model.preprocessing
    candidates = [item for item in (plain, *convention.near(known, found)) if not item.is_identity]
    gaps = [_left(feeding, item, pictures, wanted) for item in candidates]
    exact = _left(feeding, found, pictures, wanted) <= stem.AGREE
    limit = stem.AGREE if exact else min(0.1, feeding.gap / labels.CLEARLY)
    close = [item for item, left in zip(candidates, gaps, strict=True) if left <= limit]
    chosen = min(close, key=lambda item: gaps[candidates.index(item)]) if close else found if exact else None
    if chosen is None:
        return None
    told = exact and not chosen.is_scaling
    return chosen if told or _is_plausible(case, feeding, chosen) else None


def _left(feeding: Feeding, found: Correction, pictures: Array, wanted: Array) -> float:
    """How far off the target's first layer still is."""
    value = stem.values(feeding.target, found(pictures))
    return stem.gap(wanted, value) if value is not None and value.shape == wanted.shape else float("inf")


def _is_plausible(case: Case, feeding: Feeding, found: Correction) -> bool:
    """Weights scaled by any factor are a matter of parameters; by that between two conventions, of the input."""
    if feeding.same_weights or not np.array_equal(feeding.fed, feeding.other) or not found.keeps_order:
        return True
    known = case.target.model.preprocessing or case.source.model.preprocessing
    return convention.reading(known, found).convention is not None


def _exchanged(case: Case, found: tuple[Feeding, ...]) -> Suspect | None:
    """The target takes its inputs in another order: each agrees on what another one is fed with."""
    names = {feeding.target.input for feeding in found}
    takes: dict[str, str] = {}
    for feeding in found:
        given = {name: case.target.start[name][: feedings.PICTURES] for name in sorted(names)}
        fitting = [n for n, v in given.items() if stem.agree(feeding.wanted, stem.values(feeding.target, v))]
        if not fitting or takes.get(feeding.target.input, fitting[0]) not in fitting:
            return None
        takes.setdefault(feeding.target.input, fitting[0])
    if sorted(takes.values()) != sorted(takes) or all(name == other for name, other in takes.items()):
        return None
    graph = case.target.graph
    native = {name: str(graph[name].native.tensor) for name in takes}
    moved = {name: other for name, other in takes.items() if name != other}
    readers = sorted({reader for name in moved for reader in graph.readers[name]}, key=graph.position)
    edits = tuple(Rewire(name, tuple(takes.get(item, item) for item in graph[name].inputs)) for name in readers)
    pairs = "; ".join(f"'{native[name]}' wants what '{native[other]}' is fed with" for name, other in moved.items())
    first = next(feeding for feeding in found if feeding.target.input in moved)
    return Suspect(
        kind="input",
        cause="input_order",
        explanation=f"The target's inputs are exchanged: {pairs}.",
        suggestion="Feed the target's inputs in the order that it takes them, by name.",
        source=first.source.input,
        target=first.target.input,
        attribute="input order",
        expected=list(native.values()),
        actual=[native[other] for other in takes.values()],
        evidence={"takes": {native[name]: native[other] for name, other in takes.items()}},
        edit=Together(edits),
    )
