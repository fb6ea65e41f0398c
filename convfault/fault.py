"""*Where and why* two models differ, and what was done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = ("input", "tool", "parameters", "hyperparameters", "graph", "runtime")
"""The kinds of fault, in the order in which the analyzers look for them."""


@dataclass(frozen=True)
class Fault:
    """One fault. Locations are the native names that a user sees in that framework.

    ``effect`` tells how much disagreement goes away when this fault alone is undone; ``cause`` is a short stable
    word for the mechanism, ``explanation`` a sentence for a person, ``suggestion`` what to do.
    """

    id: str
    kind: str
    rank: int
    cause: str
    explanation: str
    suggestion: str
    source_location: str | None = None
    target_location: str | None = None
    attribute: str | None = None
    expected: Any = None
    actual: Any = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    effect: Mapping[str, float | None] = field(default_factory=dict)
    confidence: float = 1.0

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Fault:
        return cls(**record)
