"""The ``Stem``: a graph from its input to a first layer with weights, as a function of the pictures; how two differ.

Up to there everything is cheap to compute and, but for a shift, linear in the pictures. So what has to be done to the
channels to make one stem answer as another one is the solution of a small linear system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convfault.errors import ConvfaultError
from convfault.localization.input.convention import Correction
from convfault.relax import evaluate
from convfault.relax.graph import Array, Graph
from convfault.relax.kinds import LINEAR

AGREE = 3e-5
"""Stems agree when their values are this close relative to the largest: ten times what folding and summing leave."""

ROWS = 20_000
CHANNELS = 4
"""Up to so many channels every one may have come from every other one; beyond only their scale and shift are fitted."""


@dataclass(frozen=True, eq=False)
class Stem:
    """The layers that ``layer`` depends on, which are linear but for a shift, and the one ``input`` that it reads."""

    graph: Graph
    input: str
    layer: str

    @property
    def before(self) -> tuple[str, ...]:
        """Ids of the layers between the input and the layer with weights."""
        return tuple(item.id for item in self.graph if item.id not in {self.input, self.layer})

    def __call__(self, pictures: Array) -> Array:
        """The layer's value for pictures in the graph's layout."""
        return evaluate.run(self.graph, {self.input: np.ascontiguousarray(pictures, np.float32)})[self.layer]


def first_stems(graph: Graph) -> tuple[Stem, ...]:
    """The stem of every layer with weights that no other one stands before."""
    behind: set[str] = set()
    found = []
    for layer in graph:
        if not behind.isdisjoint(layer.inputs):
            behind.add(layer.id)
        elif layer.kind in LINEAR and "weights" in layer.parameters:
            behind.add(layer.id)
            stem = _stem(graph, layer.id)
            if stem is not None:
                found.append(stem)
    return tuple(found)


def _stem(graph: Graph, layer_id: str) -> Stem | None:
    needed = {layer_id}
    for layer in reversed(graph.layers):
        if layer.id in needed:
            needed.update(layer.inputs)
    inputs = [name for name in graph.inputs if name in needed]
    if len(inputs) != 1 or any(graph[name].kind == "opaque" for name in needed):
        return None
    layers = tuple(layer for layer in graph if layer.id in needed)
    return Stem(replace(graph, layers=layers, inputs=tuple(inputs), outputs=(layer_id,)), inputs[0], layer_id)


def values(stem: Stem, pictures: Array) -> Array | None:
    """The stem's value; None where it cannot take pictures of this shape."""
    try:
        return stem(pictures)
    except ConvfaultError:
        return None


def agree(wanted: Array, found: Array | None) -> bool:
    """Whether two values are the same but for rounding."""
    return found is not None and found.shape == wanted.shape and gap(wanted, found) <= AGREE


def gap(wanted: Array, found: Array) -> float:
    """The largest difference relative to the largest wanted value; infinite where something is not finite."""
    difference = np.abs(wanted - found).max(initial=0.0)
    size = max(float(np.abs(wanted).max(initial=0.0)), 1e-12)
    return float(difference) / size if np.isfinite(difference) else float("inf")


def correction(stem: Stem, pictures: Array, wanted: Array) -> Correction | None:
    """What to do to the channels of ``pictures`` to bring the stem's value next to ``wanted``; None where nothing does.

    The stem's answers to single channels are the columns of a least-squares problem, whose solution is read as a
    permutation and scaling of the channels with shifts. How close it comes is for the caller to see.
    """
    depth = pictures.shape[-1]
    if depth > 4 * CHANNELS or wanted.shape[0] != pictures.shape[0]:
        return None
    sources = [(i, j) for i in range(depth) for j in range(depth) if depth <= CHANNELS or i == j]
    if stem.graph[stem.layer].parameters["weights"].values.size < 4 * (len(sources) + depth):
        return None  # so few weights that the unknowns could stand in for any other ones
    try:
        base, columns = _responses(stem, pictures, sources)
    except ConvfaultError:
        return None
    if base.size != wanted.size or base.size < 4 * columns.shape[1]:
        return None  # so few values that some solution fits them all
    identity = np.asarray([float(i == j) for i, j in sources] + [0.0] * depth)
    chosen = np.linspace(0, base.size - 1, min(ROWS, base.size)).astype(int)
    left = (wanted.reshape(-1)[chosen] - base[chosen]).astype(np.float64)
    found = _solution(columns[chosen].astype(np.float64), left, identity)
    return _read(found, sources, depth) if np.isfinite(found).all() else None


def _solution(matrix: Array, left: Array, identity: Array) -> Array:
    """The least-squares solution next to the identity: channels that look alike are left as they are."""
    size = np.maximum(np.sqrt((matrix**2).sum(axis=0)), 1e-30)
    change, *_ = np.linalg.lstsq(matrix / size, left - matrix @ identity, rcond=1e-6)
    return np.asarray(identity + change / size)


def _responses(stem: Stem, pictures: Array, sources: list[tuple[int, int]]) -> tuple[Array, Array]:
    """The value for black pictures, and what each channel in each place, and a shift of each, adds to it.

    Flat, (values,) and (values, columns).
    """
    depth = pictures.shape[-1]
    probes = np.zeros((len(sources) + depth + 1, *pictures.shape), np.float32)
    for place, (to, source) in enumerate(sources, 1):
        probes[place, ..., to] = pictures[..., source]
    for to in range(depth):
        probes[1 + len(sources) + to, ..., to] = 1.0
    answers = stem(probes.reshape(-1, *pictures.shape[1:])).reshape(len(probes), -1)
    return answers[0], (answers[1:] - answers[0]).T


def _read(found: Array, sources: list[tuple[int, int]], depth: int) -> Correction | None:
    mixing = np.zeros((depth, depth))
    for value, place in zip(found, sources, strict=False):
        mixing[place] = value
    order = tuple(int(column) for column in np.abs(mixing).argmax(axis=1))
    if sorted(order) != list(range(depth)):
        return None
    scale, shift = mixing[np.arange(depth), list(order)], found[-depth:]
    return Correction(order, _tidy(scale), _tidy(shift, float(np.abs(scale).max())))


def _tidy(values: Array, size: float = 1.0) -> Array:
    """Without the rounding of the fit: what is all but equal becomes equal, what is all but zero or one becomes so."""
    spread, mean = float(np.ptp(values)), float(values.mean())
    if spread <= 1e-5 * max(abs(mean), size * 1e-3):
        values = np.full_like(values, mean)
    for plain, near in ((0.0, 1e-6 * size), (1.0, 1e-5)):
        values = np.where(np.abs(values - plain) <= near, plain, values)
    return np.asarray(values, np.float32)
