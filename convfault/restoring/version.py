"""A ``Version``: the target after some rounds of a repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convfault.measurement import Measurement
from convfault.repairing.order import GOALS
from convfault.repairing.patch import Patch
from convfault.restoring.labels import Point
from convfault.restoring.proof import Proof

PROGRESS = 0.9
"""A further round must leave less than this share of the error, or of the labels that differ."""


@dataclass(frozen=True)
class Version:
    """Where it is, what it answers, and how it came about.

    A ``provisional`` one need not be better than the target: it is only what the next round starts from.
    """

    proof: Proof
    folder: Path
    changes: tuple[Mapping[str, str], ...] = ()
    patch: Patch | None = None
    curve: tuple[Point, ...] = ()
    restored: int = 0
    goal: str = GOALS[0]
    peeked: bool = False
    provisional: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is all that was asked for."""
        return self.proof.reached(self.goal)

    def behind(self, before: Version | None) -> Version:
        """The same with all that an earlier round did to the target."""
        if before is None:
            return self
        patch = before.patch.then(self.patch) if before.patch and self.patch else None
        return replace(self, patch=patch, changes=(*before.changes, *self.changes))

    def is_better_than(self, found: Measurement) -> bool:
        """Whether it is worth keeping: it reaches the goal, or is clearly nearer and worse nowhere."""
        if self.reached:
            return True
        if self.proof.worse:
            return False
        now, then = self.proof.found.comparison, found.comparison
        fewer = (now.top1_disagreement or 0.0) < PROGRESS * (then.top1_disagreement or 0.0)
        nearer = now.max_abs_error is not None and (
            then.max_abs_error is None or now.max_abs_error < PROGRESS * then.max_abs_error
        )
        return fewer or nearer
