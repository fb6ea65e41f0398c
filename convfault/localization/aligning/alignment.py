"""Which layer of the target does what a layer of the source does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Match:
    """A layer of the source and its counterpart, by id.

    ``evidence`` says what joined them: ``structure`` (the same surroundings), ``parameters``, ``values`` (the same
    activations) or ``position`` (what was left between matched neighbours). ``order`` is how the target's channels
    are permuted: its output's channel ``i`` is the source's channel ``order[i]``; None: not at all.
    """

    source: str
    target: str
    confidence: float = 1.0
    evidence: str = "structure"
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Alignment:
    """The matches, in the source's order, and the layers that have no counterpart.

    A layer is matched at most once. ``confidence`` is 0..1: the matched share, weighted by the matches' own.
    """

    matches: tuple[Match, ...]
    source_only: tuple[str, ...] = field(default=())
    target_only: tuple[str, ...] = field(default=())

    @cached_property
    def to_target(self) -> Mapping[str, Match]:
        """Source layer id → match."""
        return {match.source: match for match in self.matches}

    @cached_property
    def to_source(self) -> Mapping[str, Match]:
        """Target layer id → match."""
        return {match.target: match for match in self.matches}

    @property
    def confidence(self) -> float:
        count = len(self.matches) + max(len(self.source_only), len(self.target_only))
        return sum(match.confidence for match in self.matches) / count if count else 0.0
