"""Another way to the target that was taken, where its own file cannot be mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convfault.measurement import Measurement


@dataclass(frozen=True)
class Way:
    """What became of it: ``edit`` says what was done, ``reason`` why it was ``accepted`` or not."""

    edit: str
    accepted: bool
    reason: str
    found: Measurement | None = None

    def to_record(self, number: int = 1) -> dict[str, Any]:
        """As an attempt of a report."""
        comparison = self.found.comparison if self.found else None
        return {
            "fault_id": None,
            "strategy": "tool",
            "round": number,
            "edit": self.edit,
            "accepted": self.accepted,
            "reason": self.reason,
            "max_abs_error_left": comparison.max_abs_error if comparison else None,
            "top1_disagreement_left": comparison.top1_disagreement if comparison else None,
            "size_bytes": None,
        }
