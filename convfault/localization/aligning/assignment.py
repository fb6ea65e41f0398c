"""The assignment of layers that keeps most of both graphs: the least edits between them, found step by step.

A matched pair is worth what its layers have in common by themselves and what of their connections is kept. The best
assignment is a quadratic assignment problem with layers left out; it is solved by Frank and Wolfe's method (Vogelstein
et al., "Fast approximate quadratic programming for graph matching", 2015) from several starts, then mended by
exchanges. Connections reach over several layers, further over those that are not matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from convfault.relax.graph import Array, Graph
from convfault.relax.kinds import COMMUTATIVE

CONNECTION = 0.5
"""Worth of one kept connection. Parameters are worth less than two: swapped weights don't move a layer."""

THROUGH_MATCHED, THROUGH_UNMATCHED = 0.3, 0.85
"""What is left of a connection that leads over a matched layer, over one without counterpart."""

REACH = 8
SLOTS = 16
ROUNDS = 30
PROMISING = 30
LEAST = 0.12
"""A match worth less than this is none."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Who reads whom in a graph, as sparse matrices (reader's input, reader)."""

    graph: Graph

    @cached_property
    def direct(self) -> csr_array:
        """1 where a layer is read by another."""
        pairs = {(self.graph.position(name), at) for at, layer in enumerate(self.graph) for name in layer.inputs}
        return self._matrix(sorted(pairs))

    @cached_property
    def slots(self) -> dict[int, csr_array]:
        """Place among the inputs → 1 where a layer is read at this place, where places matter."""
        found: dict[int, list[tuple[int, int]]] = {}
        for at, layer in enumerate(self.graph):
            if len(layer.inputs) > 1 and layer.kind not in COMMUTATIVE:
                for slot, name in enumerate(layer.inputs[:SLOTS]):
                    found.setdefault(slot, []).append((self.graph.position(name), at))
        return {slot: self._matrix(pairs) for slot, pairs in found.items()}

    def reaching(self, matched: Array) -> csr_array:
        """How close a layer is behind another: 1 for its readers, less for those behind; ``matched`` flags layers."""
        passing = self.direct.multiply(np.where(matched, THROUGH_MATCHED, THROUGH_UNMATCHED)[None, :]).tocsr()
        result = step = self.direct
        lead = passing
        for _ in range(REACH - 1):
            step = (lead @ self.direct).tocsr()
            step.data = np.minimum(step.data, 1.0)
            step.data[step.data < 0.05] = 0
            step.eliminate_zeros()
            if not step.nnz:
                break
            result = result.maximum(step)
            lead = (lead @ passing).tocsr()
        return result

    def _matrix(self, pairs: list[tuple[int, int]]) -> csr_array:
        size = len(self.graph)
        rows, columns = np.array(pairs, int).reshape(-1, 2).T
        return csr_array((np.ones(len(pairs)), (rows, columns)), shape=(size, size))


@dataclass(frozen=True, eq=False)
class Problem:
    """What an assignment (0 and 1, source layers × target layers) is worth."""

    alone: Array
    wiring: tuple[csr_array, csr_array]
    slots: tuple[tuple[csr_array, csr_array], ...]

    def support(self, assignment: Array) -> Array:
        """Worth of the connections kept by each pair, given an assignment, counted at both ends."""
        result = self._kept(*self.wiring, assignment)
        for source, target in self.slots:
            result += 0.2 * self._kept(source, target, assignment)
        return CONNECTION * result

    @staticmethod
    def _kept(source: csr_array, target: csr_array, assignment: Array) -> Array:
        forward = source @ assignment @ target.T
        backward = source.T @ assignment @ target
        return np.asarray(forward + backward)

    def among(self, change: Array, rows: Array, columns: Array) -> float:
        """What a change of few entries is worth by the connections among these alone."""
        source, target = (self._dense[0][np.ix_(rows, rows)], self._dense[1][np.ix_(columns, columns)])
        return CONNECTION * float((change * (source @ change @ target.T)).sum())

    @cached_property
    def _dense(self) -> tuple[Array, Array]:
        return self.wiring[0].toarray(), self.wiring[1].toarray()

    def gradient(self, assignment: Array) -> Array:
        return np.asarray(self.alone + self.support(assignment))

    def worth(self, assignment: Array) -> float:
        return float((assignment * (self.alone + self.support(assignment) / 2)).sum())


def best_pairs(scores: Array, least: float = 0.0) -> Array:
    """The assignment (0 and 1) of the highest sum of ``scores``; pairs of ``least`` and less stay unassigned."""
    result = np.zeros_like(scores)
    rows, columns = linear_sum_assignment(np.maximum(scores, least), maximize=True)
    kept = scores[rows, columns] > least
    result[rows[kept], columns[kept]] = 1.0
    return result


def solve(problem: Problem, start: Array) -> Array:
    """An assignment of locally highest worth, from ``start``."""
    current, gradient = start, problem.gradient(start)
    for _ in range(ROUNDS):
        step = best_pairs(gradient) - current
        rising = float((gradient * step).sum())
        if rising < 1e-6:
            break
        change = problem.support(step)
        bend = float((step * change).sum()) / 2
        length = 1.0 if rising + 2 * bend >= 0 else min(1.0, -rising / (2 * bend))
        current = current + length * step
        gradient = gradient + length * change
    return mended(problem, best_pairs(current, 0.01) if np.any(current % 1) else current)


def mended(problem: Problem, assignment: Array) -> Array:
    """With layers exchanged, moved, matched and left out as long as that is worth more."""
    for _ in range(ROUNDS):
        candidate = best_pairs(problem.gradient(assignment))
        if problem.worth(candidate) <= problem.worth(assignment) + 1e-9:
            break
        assignment = candidate
    return _without_worthless(problem, _exchanged(problem, assignment))


def _exchanged(problem: Problem, assignment: Array) -> Array:
    """With two matches' targets exchanged where that is worth more."""
    exchange = np.array([[-1.0, 1.0], [1.0, -1.0]])
    for _ in range(ROUNDS):
        rows, columns = np.nonzero(assignment)
        gradient = problem.gradient(assignment)[np.ix_(rows, columns)]
        own = np.diag(gradient)
        gains = gradient + gradient.T - own[:, None] - own[None, :]
        promising = np.argsort(-np.triu(gains, 1), axis=None)[:PROMISING]
        for a, b in zip(*np.unravel_index(promising, gains.shape), strict=True):
            if gains[a, b] < -4 * CONNECTION:  # more than the two can be worth to each other
                continue
            mutual = problem.among(exchange, rows[[a, b]], columns[[a, b]])
            if a != b and gains[a, b] + mutual > 1e-6:
                assignment = assignment.copy()
                assignment[np.ix_(rows[[a, b]], columns[[a, b]])] += exchange
                break
        else:
            break
    return assignment


def _without_worthless(problem: Problem, assignment: Array) -> Array:
    """Without the matches that nothing speaks for, the worst first."""
    while True:
        gains = np.where(assignment > 0, problem.gradient(assignment), np.inf)
        worst = np.unravel_index(int(np.argmin(gains)), gains.shape)
        if gains[worst] >= LEAST:
            return assignment
        assignment = assignment.copy()
        assignment[worst] = 0.0
