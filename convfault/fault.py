"""*Where and why* two models differ, and what was done about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KINDS = ("input", "tool", "parameters", "hyperparameters", "graph", "runtime")
"""The kinds of fault, in the order in which the analyzers look for them."""


@dataclass(frozen=True)
class Fault:
    """One fault. Locations are the native names that a user sees in that framework.

    ``effect`` tells how much disagreement goes away when this fault alone is undone; ``cause`` is a short stable
    word for the mechanism, ``explanation`` a sentence for a person, ``suggestion`` what to do. A ``harmless`` one is a
    difference that changes no answer on the pictures looked at.
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
    harmless: bool = False

    def to_record(self) -> dict[str, Any]:
        """JSON form; ``from_record`` reads it back."""
        # a NaN weight is a finding, not an absent figure: values keep it as text, effects are figures and get null
        effect = {name: _finite_or_none(value) for name, value in self.effect.items()}
        return {name: _json_value(value) for name, value in {**asdict(self), "effect": effect}.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Fault:
        """Read back what ``to_record`` wrote; keys that a later convfault added are left out."""
        return cls(**{item.name: record[item.name] for item in fields(cls) if item.name in record})


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _json_value(value: Any) -> Any:
    """The value as JSON can hold it: arrays and tuples as lists, NaN and infinity as JavaScript spells them."""
    if hasattr(value, "tolist"):  # numpy's arrays and scalars, without importing it
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
