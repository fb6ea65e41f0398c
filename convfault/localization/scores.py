"""The ``Scores``: what both sides answer where that is scores of classes, and how far apart such answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convfault.localization.case import Case
from convfault.relax.graph import Array


@dataclass(frozen=True, eq=False)
class Scores:
    """What both sides answer, (pictures, classes), and the layers of the graphs that the answers are."""

    source: Array
    target: Array
    source_layer: str
    target_layer: str

    @property
    def error(self) -> float:
        """Largest difference, infinite where the numbers of classes differ."""
        return error_between(self.source, self.target) if self.source.shape == self.target.shape else float("inf")

    def renumbered(self, columns: Sequence[int | None]) -> Array:
        """The target's answers by the source's numbers: class ``i`` is the target's ``columns[i]`` (None: missing)."""
        kept = [0 if column is None else column for column in columns]
        return np.where([column is None for column in columns], 0.0, self.target[:, kept])


def of(case: Case) -> Scores | None:
    """The first output of each side where both are scores of classes."""
    try:
        one, other = case.source.outputs[0], case.target.outputs[0]
    except (IndexError, ValueError):
        return None
    one, other = one.reshape(len(one), -1).astype(np.float64), other.reshape(len(other), -1).astype(np.float64)
    shapes = [
        case.source.graph[case.source.graph.outputs[0]].shape,
        case.target.graph[case.target.graph.outputs[0]].shape,
    ]
    if any(sum(side > 1 for side in shape[1:]) != 1 for shape in shapes) or min(one.shape[1], other.shape[1]) < 2:
        return None
    return Scores(one, other, case.source.graph.outputs[0], case.target.graph.outputs[0])


def error_between(one: Array, other: Array) -> float:
    """Largest difference; infinite where something is not finite."""
    with np.errstate(all="ignore"):
        found = float(np.abs(one - other).max(initial=0.0))
    return found if np.isfinite(found) else float("inf")


def logits(values: Array) -> Array:
    """Scores up to a constant of each picture: the logarithm of probabilities, else the values themselves."""
    sums = values.sum(axis=1)
    if values.min() >= 0 and np.abs(sums - 1).max() <= 1e-2:
        values = np.log(np.maximum(values, 1e-30))
    return np.asarray(values)


def distance(one: Array, other: Array) -> float:
    """Root mean square difference of two logits after the constants of each picture are taken out."""
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (one, other))
    return float(np.sqrt(np.mean((one - other) ** 2)))
