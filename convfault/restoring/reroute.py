"""Takes another way to the target: another tool, route or option, where the file itself cannot be mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault.comparison import AGREE
from convfault.detour import taken, ways
from convfault.errors import ConvfaultError, UsageError
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.request import Context, Request
from convfault.restoring.proof import Proof

TRIES, RUNS = 12, 5
"""How many other ways are taken at most, and how many of them to the end: a conversion that fails does so soon."""


@dataclass(frozen=True)
class Detour:
    """What became of another way: its ``route`` in words, and why it was ``accepted`` or not."""

    route: str
    accepted: bool
    reason: str
    found: Measurement | None = None

    def to_record(self, number: int) -> dict[str, Any]:
        """As an attempt of a report."""
        comparison = self.found.comparison if self.found else None
        return {
            "fault_id": None,
            "strategy": "tool",
            "round": number,
            "edit": f"convert by {self.route}",
            "accepted": self.accepted,
            "reason": self.reason,
            "max_abs_error_left": comparison.max_abs_error if comparison else None,
            "top1_disagreement_left": comparison.top1_disagreement if comparison else None,
            "size_bytes": None,
        }


def detours(found: Measurement, guilty: int | None, request: Request, context: Context) -> Iterator[Detour]:
    """Take one other way after the other, until one agrees. ``guilty`` is the hop to avoid, where it is known."""
    ran = 0
    for text in map(str, ways(found, guilty)[:TRIES]):
        if ran == RUNS:
            return
        try:
            measured = taken(found, text, request, context)
        except (UsageError, ConvfaultError) as error:
            yield Detour(text, False, str(error))
            continue
        comparison = measured.comparison
        if comparison.verdict == AGREE:
            yield Detour(text, True, "what it gives agrees with the source", measured)
            return
        ran += bool(measured.traces)
        yield Detour(text, False, "; ".join(comparison.reasons) or f"the verdict is {comparison.verdict}", measured)


def copied(target: Model, found: Measurement, place: Path) -> Proof:
    """A model that was measured, copied to ``place`` with all that lies beside it."""
    for path in target.files:
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, place if path == target.files[0] else place.with_name(path.name))
    return Proof(target.at(place), found)


def gives(detour: Detour, wanted: str) -> bool:
    """Whether the way gave a model of the format that is wanted."""
    target = detour.found.pair.target if detour.found else None
    return target is not None and target.format == wanted
