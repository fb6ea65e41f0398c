"""What the report tells about a cause of faults, whichever model it was found in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One mechanism: what is found, how it arises, an example, and how it is repaired, each a sentence or two."""

    finds: str
    arises: str
    example: str
    repair: str
