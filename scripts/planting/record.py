"""What was planted, where: one line of the answer key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """What one edit did: the native names it touched (the operator's first), and the value before and after."""

    location: str
    names: tuple[str, ...]
    attribute: str
    expected: Any
    actual: Any
    detail: str


@dataclass(frozen=True)
class Record:
    """A planted fault. ``effect`` is the largest change of an output, relative to its largest value."""

    kind: str
    family: str
    format: str
    location: str
    names: tuple[str, ...]
    attribute: str
    expected: Any
    actual: Any
    detail: str
    effect: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
