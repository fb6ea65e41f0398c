"""A ``Suspect``: what an analyzer found, before its effect is known; it becomes a ``Fault`` of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convfault.relax.edits import Edit


@dataclass(frozen=True, eq=False)
class Suspect:
    """A difference that may be a fault.

    ``source`` and ``target`` are ids of layers (None: there is none on that side). ``cause`` is a short stable word
    for the mechanism (``int8_rounding``, ``asymmetric_padding``), ``explanation`` a sentence for a person who knows
    nothing of convfault's inside, ``suggestion`` what to do about it. ``edit`` changes the *target's* graph so that
    the difference is gone; None where no edit of the graph can.
    ``attribute`` is the parameter or hyperparameter, ``expected`` the source's value and ``actual`` the target's;
    of arrays a short description, the figures being in ``evidence``.
    ``source_location``/``target_location`` override the native names of the layers.
    """

    kind: str
    cause: str
    explanation: str
    suggestion: str
    source: str | None = None
    target: str | None = None
    attribute: str | None = None
    expected: Any = None
    actual: Any = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    edit: Edit | None = None
    source_location: str | None = None
    target_location: str | None = None
