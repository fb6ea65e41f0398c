"""A ``Finding``: the kind of a difference, as a recognizer names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What the target's values are, compared with the source's.

    ``phrase`` completes a sentence that starts with the values ("are rounded to float16"). ``group`` marks causes
    that one setting of a converter brings about in many layers at once.
    """

    cause: str
    phrase: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    group: str | None = None
