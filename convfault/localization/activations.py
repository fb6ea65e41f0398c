"""Values of layers, where they can be known, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from convfault.errors import UsageError
from convfault.localization.case import Subject
from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rounding import as_read

ROUNDING = 2.0**-18
"""Relative size of a harmless perturbation: 32 roundings of a float32, what folding a batch norm costs a weight."""

MARGIN = 10.0
"""How many times the effect of that perturbation still counts as noise."""

Lookup = Callable[[str], Array | None]


def computed(
    graph: Graph, wanted: Iterable[str], known: Lookup, opened: frozenset[str] = frozenset()
) -> dict[str, Array]:
    """Values of the ``wanted`` layers from what is ``known``; the ``opened`` ones are computed even if they are.

    Raises ``UsageError`` where a value is needed that is neither known nor computable.
    """
    values: dict[str, Array] = {}
    needed: list[str] = []
    pending, seen = list(wanted), set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            value = None if name in opened else known(name)
            if value is not None:
                values[name] = value
            else:
                needed.append(name)
                pending.extend(graph[name].inputs)
    for name in sorted(needed, key=graph.position):
        values[name] = evaluate(graph[name], [as_read(graph[item], values[item]) for item in graph[name].inputs])
    return {name: values[name] for name in wanted}


class Activations:
    """The values of a subject's layers, as far as they can be known."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __getitem__(self, layer_id: str) -> Array:
        """Raises ``UsageError`` where the value depends on a layer that nothing tells the value of."""
        if layer_id not in self.subject.values:
            raise UsageError(f"the value of layer {layer_id} is not known")
        return self.subject.values[layer_id]


def watched(subject: Subject) -> Lookup:
    """The values that the subject's own runtime had, None for layers that it does not show."""

    def lookup(layer_id: str) -> Array | None:
        start = subject.start.get(layer_id)
        return subject.native(layer_id) if start is None else start

    return lookup


def arranged(value: Array, order: tuple[int, ...] | None) -> Array:
    """A source layer's value with the channels in the target's order."""
    if order is None or value.ndim == 0 or value.shape[-1] != len(order):
        return value
    return value[..., list(order)]


def size(value: Array) -> float:
    """The largest finite magnitude."""
    if value.size == 0:
        return 0.0
    largest = max(float(value.max()), -float(value.min()))  # without a copy: NaN comes through
    return largest if np.isfinite(largest) else float(np.abs(value[np.isfinite(value)]).max(initial=0))


def largest_difference(expected: Array, actual: Array) -> float:
    """The largest difference; infinite for other shapes, or where only one side is NaN or infinite."""
    if expected.shape != actual.shape:
        return np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.asarray(expected - actual if expected.dtype.kind == "f" else expected.astype(float) - actual)
        np.abs(differences, out=differences)
    largest = float(differences.max(initial=0))
    if np.isfinite(largest):
        return largest
    with np.errstate(invalid="ignore"):
        same = (expected == actual) | ((expected != expected) & (actual != actual))
    differences = np.where(same, 0, differences)
    return float(np.inf if np.isnan(differences).any() else differences.max(initial=0))


def relative_error(expected: Array, actual: Array, noise: float = 0.0) -> float:
    """Largest difference relative to the largest expected value; 0 below the noise, infinite for other shapes, NaN."""
    largest = largest_difference(expected, actual)
    if largest <= noise:
        return 0.0
    return float(largest / max(size(expected), float(np.finfo(np.float32).tiny)))


def rounding(layer: Layer, inputs: Iterable[Array], output: Array) -> float:
    """What rounding may do to a layer's output, in its unit: ``MARGIN`` times the harmless perturbation of its terms.

    The terms of a sum may be larger than the sum: products of weights and inputs add up as a random walk, so that n of
    them with relative errors r come to r * sqrt(n) * rms(inputs) * rms(weights) (Higham and Mary 2019).
    """
    largest = size(output)
    if "weights" in layer.parameters:
        weights = layer.parameters["weights"].values
        terms = weights.reshape(-1, weights.shape[-1])
        walk = float(np.sqrt(np.square(terms, dtype=np.float64).sum(0).max(initial=0)))
        largest = max([largest, *(walk * _rms(value) for value in inputs)])
    elif layer.kind in {"affine", "add", "subtract"}:
        scale = size(layer.parameters["scale"].values) if layer.kind == "affine" else 1.0
        largest = max([largest, *(scale * size(value) for value in inputs)])
    return MARGIN * ROUNDING * largest


def _rms(value: Array) -> float:
    finite = value[np.isfinite(value)]
    return float(np.sqrt(np.square(finite, dtype=np.float64).mean())) if finite.size else 0.0
