"""For each pair of layers, how well the best alignment of the two graphs does that goes through this pair.

Sequence alignment with gaps (Needleman and Wunsch 1970; along the paths of directed graphs: Lee, Grasso and Sharlow
2002), once from the inputs and once from the outputs: an inserted, missing or foreign layer costs something and is
passed, so that repeated blocks are told apart by what lies far behind and before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convfault.relax.graph import Array, Graph

GAP = 0.6
"""Cost of leaving out a layer of one side: two of them cost a bit more than a pair of unrelated kinds."""

LONGEST_GAP = 12
"""Layers of the target in a row that may be left out: a layer norm is spelled as up to ten operators."""

Neighbours = Sequence[Sequence[int]]


def inputs_of(graph: Graph) -> list[tuple[int, ...]]:
    """Positions of the layers that each layer reads."""
    return [tuple(graph.position(name) for name in layer.inputs) for layer in graph]


def readers_of(graph: Graph) -> list[tuple[int, ...]]:
    """Positions of the layers that read each layer."""
    return [tuple(graph.position(name) for name in graph.readers[layer.id]) for layer in graph]


def path_scores(source: Graph, target: Graph, scores: Array) -> Array:
    """(source layers, target layers) → score of the best alignment through the pair; ``scores`` are of pairs alone."""
    before = _sweep(scores, inputs_of(source), inputs_of(target))
    backwards = scores[::-1, ::-1]
    turned = [
        [[len(graph) - 1 - p for p in item] for item in reversed(readers_of(graph))] for graph in (source, target)
    ]
    behind = _sweep(backwards, turned[0], turned[1])[::-1, ::-1]
    return np.asarray(before + behind - scores)


def _sweep(scores: Array, source: Neighbours, target: Neighbours) -> Array:
    """Best score of a path that ends in each pair; neighbours come earlier, the row and column behind all are 0."""
    columns = _Columns.of(target)
    result = np.zeros((scores.shape[0] + 1, scores.shape[1] + 1))
    for row, neighbours in enumerate(source):
        current = scores[row].copy()
        if neighbours:
            rows = result[list(dict.fromkeys(neighbours))]
            several = len(rows) > 1
            current += np.maximum(columns.mean_of_best(rows) if several else columns.best(rows[0]), 0)
            np.maximum(current, rows[:, :-1].max(0) - GAP, out=current)
        result[row, :-1] = current
        for _ in range(LONGEST_GAP):
            passed = columns.best(result[row]) - GAP
            if not np.any(passed > result[row, :-1]):
                break
            np.maximum(result[row, :-1], passed, out=result[row, :-1])
    return result[:-1, :-1]


@dataclass(frozen=True, eq=False)
class _Columns:
    """The target's layers by the number of neighbours: number → (layers, their neighbours (layers, number))."""

    groups: Mapping[int, tuple[Array, Array]]
    padded: Array
    """(greatest number, layers): the neighbours, the last one repeated; for none the place behind the last layer."""

    @classmethod
    def of(cls, neighbours: Neighbours) -> _Columns:
        sizes: dict[int, list[int]] = {}
        for column, item in enumerate(neighbours):
            sizes.setdefault(len(set(item)), []).append(column)
        groups = {
            size: (np.array(columns), np.array([list(dict.fromkeys(neighbours[c])) for c in columns], int))
            for size, columns in sizes.items()
            if size
        }
        most = max(sizes, default=1) or 1
        padded = np.full((len(neighbours), most), len(neighbours))
        for columns, known in groups.values():
            padded[columns] = known[:, np.minimum(np.arange(most), known.shape[1] - 1)]
        return cls(groups, np.ascontiguousarray(padded.T))

    def best(self, row: Array) -> Array:
        """For each layer the row's best among the layer's neighbours."""
        return np.asarray(row[self.padded].max(0))

    def mean_of_best(self, rows: Array) -> Array:
        """For each layer: each row's best among the layer's neighbours, averaged; where one side has one, the best."""
        result = np.zeros(self.padded.shape[1])
        for size, (columns, neighbours) in self.groups.items():
            best = rows[:, neighbours].max(2)  # rows, columns, neighbours
            result[columns] = best.mean(0) if size > 1 else best.max(0)
        return result
