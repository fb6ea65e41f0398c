"""A ``Ballot``: what one runtime answers to one layer alone, and what all of them decide about who is wrong.

Two things can be put to the vote. The *operator*, cut out of the model's own file: whoever runs it reads the file anew,
so that a runtime's wrong kernel stands alone against all others, and a wrong import against all of them. And the
*layer* as the graph has it, written to a file of its own: that repeats whatever the import misread, and only tells
whether convfault computes what its own graph says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPERATOR, LAYER = "operator", "layer"
NATIVE, GRAPH, NEITHER = "native", "graph", "neither"
CLEARLY = 0.1
"""A vote is for the answer from which it is so many times nearer than from the other one."""

RUNTIME, IMPORT = "runtime", "import"

KERNEL, READING = "kernel", "reading"
"""What a runtime may have in common with one of the two sides, for which it then has no vote."""


@dataclass(frozen=True)
class Ballot:
    """One runtime's vote on a layer whose native value is not what the graph gives on the same input.

    ``runs`` is ``operator`` or ``layer``. ``shares``: ``kernel`` for the runtime in question, given the operator alone,
    and those that may compute by the same kernels; ``reading`` for TVM, which reads the file by the importers that the
    graph comes from. ``from_native`` and ``from_graph`` are the largest differences from both answers, None where it
    could not run, for the ``reason`` given.
    """

    runtime: str
    runs: str
    version: str = ""
    shares: str = ""
    from_native: float | None = None
    from_graph: float | None = None
    reason: str = ""

    @property
    def side(self) -> str | None:
        """Whose answer it gives, too: ``native``, ``graph`` or ``neither``; None where it could not run."""
        native, graph = self.from_native, self.from_graph
        if native is None or graph is None:
            return None
        if native < CLEARLY * graph:
            return NATIVE
        return GRAPH if graph < CLEARLY * native else NEITHER

    def to_record(self) -> dict[str, Any]:
        """As a row of the report's table; a difference that is not finite is None."""
        return {
            "runtime": f"{self.runtime} {self.version}".strip(),
            "runs": self.runs,
            "from_native": _finite(self.from_native),
            "from_graph": _finite(self.from_graph),
            "sides_with": self.side,
            "shares": self.shares,
            "reason": self.reason,
        }


def decided(ballots: Sequence[Ballot]) -> str | None:
    """``runtime``: the native kernel is wrong; ``import``: the graph is; None: the votes do not tell.

    What shares a kernel with the runtime in question does not vote for it. When it answers as the graph does, though,
    the runtime contradicts itself. What shares the reading with the graph does not vote for the graph.
    """
    if any(ballot.shares == KERNEL and ballot.side == GRAPH for ballot in ballots):
        return RUNTIME
    for runs in (OPERATOR, LAYER):
        votes = [ballot for ballot in ballots if ballot.runs == runs]
        native = sum(ballot.side == NATIVE and ballot.shares != KERNEL for ballot in votes)
        graph = sum(ballot.side == GRAPH and ballot.shares != READING for ballot in votes)
        if native > graph:
            return IMPORT
        if graph > native and runs == OPERATOR:  # of the layer as the graph has it, that is no surprise
            return RUNTIME
    return None


def sure(ballots: Sequence[Ballot]) -> bool:
    """Whether a decision against the native kernel does not hang on one vote: others have faults, too."""
    votes = [ballot for ballot in ballots if ballot.runs == OPERATOR]
    if any(ballot.shares == KERNEL and ballot.side == GRAPH for ballot in votes):
        return True
    native = sum(ballot.side == NATIVE and ballot.shares != KERNEL for ballot in votes)
    return sum(ballot.side == GRAPH and ballot.shares != READING for ballot in votes) - native > 1


def told(ballots: Sequence[Ballot]) -> str:
    """The votes in a sentence; empty where nobody could run."""
    parts = []
    for side, words in ((GRAPH, "what the model says"), (NATIVE, "what the runtime gave")):
        names = dict.fromkeys(ballot.runtime for ballot in ballots if ballot.runs == OPERATOR and ballot.side == side)
        if names:
            parts.append(f"{' and '.join(names)} {'gives' if len(names) == 1 else 'give'} {words}")
    return f"Given the operator alone, {'; '.join(parts)}" if parts else ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
