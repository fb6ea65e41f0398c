"""Structural fingerprints: layers of two graphs with equal ones stand at the same place of the same structure.

A layer's fingerprint covers its kind, hyperparameters, shapes and, by those of its neighbours, everything before and
behind it (Weisfeiler and Lehman's refinement, run to the end in both directions of a graph without cycles).
Parameters' values are left out: they are what is compared afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfault.relax.graph import Graph, Layer
from convfault.relax.kinds import COMMUTATIVE


@dataclass(frozen=True)
class Pair:
    """A layer of each graph; ``distance`` is the largest difference of their parameters relative to their size."""

    source: Layer
    target: Layer
    distance: float


def digest(*parts: Any) -> str:
    """A short hash of values that print alike when they are alike."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def description(layer: Layer) -> tuple[Any, ...]:
    """What is compared of one layer by itself."""
    values = tuple(
        sorted((name, _rounded(value)) for name, value in layer.hyperparameters.items() if name != "permutation")
    )
    arrays = tuple(sorted((name, parameter.values.shape) for name, parameter in layer.parameters.items()))
    return layer.kind, values, arrays, layer.shape


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def forward(graph: Graph) -> dict[str, str]:
    """Layer id → fingerprint of the layer and all that it depends on."""
    found: dict[str, str] = {}
    for layer in graph:
        sources = [found[name] for name in layer.inputs]
        found[layer.id] = digest(description(layer), sorted(sources) if layer.kind in COMMUTATIVE else sources)
    return found


def backward(graph: Graph) -> dict[str, str]:
    """Layer id → fingerprint of the layer and all that depends on it."""
    found: dict[str, str] = {}
    for layer in reversed(graph.layers):
        uses = sorted(
            (found[reader], "" if graph[reader].kind in COMMUTATIVE else str(position))
            for reader in set(graph.readers[layer.id])
            for position, name in enumerate(graph[reader].inputs)
            if name == layer.id
        )
        ends = [position for position, name in enumerate(graph.outputs) if name == layer.id]
        found[layer.id] = digest(description(layer), uses, ends)
    return found


def fingerprints(graph: Graph) -> dict[str, str]:
    """Layer id → fingerprint of the layer in its whole surroundings."""
    before, behind = forward(graph), backward(graph)
    return {name: digest(before[name], behind[name]) for name in before}


def paired(source: Graph, target: Graph) -> tuple[Pair, ...]:
    """The layers of equal fingerprint, in the source's order; several of one fingerprint go by their parameters."""
    groups = _grouped(target, fingerprints(target))
    pairs: list[Pair] = []
    marks = fingerprints(source)
    for layer in source:
        candidates = groups.get(marks[layer.id], [])
        if candidates:
            distances = [distance(layer, other) for other in candidates]
            best = int(np.argmin(distances))
            pairs.append(Pair(layer, candidates.pop(best), distances[best]))
    return tuple(pairs)


def _grouped(graph: Graph, marks: Mapping[str, str]) -> dict[str, list[Layer]]:
    groups: dict[str, list[Layer]] = {}
    for layer in graph:
        groups.setdefault(marks[layer.id], []).append(layer)
    return groups


def distance(source: Layer, target: Layer) -> float:
    """Largest difference of two layers' parameters, relative to the largest value of each parameter."""
    return max((_difference(a.values, b.values) for a, b in _common(source, target)), default=0.0)


def _common(source: Layer, target: Layer) -> Iterable[tuple[Any, Any]]:
    return [
        (source.parameters[name], target.parameters[name]) for name in source.parameters if name in target.parameters
    ]


def _difference(a: Any, b: Any) -> float:
    if a.shape != b.shape or a.size == 0:
        return 0.0 if a.shape == b.shape else float("inf")
    size = max(float(np.abs(a).max()), float(np.abs(b).max()), 1e-6)
    return float(np.abs(a.astype(np.float64) - b).max()) / size
