"""What speaks for a match: neighbours matched to each other, equal form, near-equal parameters; and how sure it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.localization.aligning.alignment import Match
from convfault.localization.aligning.resemblance import Resemblance, closeness, drawing, form_of, related
from convfault.localization.parameters.channels import order_of, orders
from convfault.localization.parameters.filters import Order
from convfault.relax.graph import Array, Graph, Layer

NEAR = 0.5
PERMUTED = 0.9
"""How sure equal filters in another order are."""


def judged(source: Graph, target: Graph, pairs: Array, known: Resemblance | None = None) -> tuple[list[Match], bool]:
    """The matches of an assignment (position in the source → in the target, -1: none) that hold.

    Layers of unrelated kinds hold only between matched neighbours. Also tells whether no parameters speak against any.
    """
    matches: list[Match] = []
    known_orders: dict[str, Order] = {}
    settled = True
    neighbours = Neighbours(source, target, pairs)
    for at, place in enumerate(pairs):
        if place < 0:
            continue
        layer, other = source.layers[at], target.layers[place]
        likeness = parameter_closeness(layer, other)
        settled &= likeness is None or likeness >= NEAR
        order = order_of(layer, other) if likeness is not None and likeness < NEAR else None
        if order is not None:  # the same filters: permuted here or, by an earlier layer, in their inputs
            likeness, known_orders[layer.id] = PERMUTED, order
        before, behind = neighbours.kept(at, int(place))
        if layer.kind != other.kind and not (before > 0 and behind > 0):
            continue
        values = float(known.values[at, place]) if known is not None else 0.0
        if not before and not behind and max(likeness or 0.0, values) < NEAR:
            continue
        matches.append(_match(layer, other, (before + behind) / 2, likeness, values))
    permuted = orders(source, target, {match.source: match.target for match in matches}, known_orders)
    return [replace(match, order=permuted.get(match.source)) for match in matches], settled


def parameter_closeness(source: Layer, target: Layer) -> float | None:
    """1 for equal parameters, about 0 for others', None where neither layer has any; the weights decide."""
    names = [name for name in ("weights", "values") if name in source.parameters and name in target.parameters]
    names = names or sorted(set(source.parameters) & set(target.parameters))
    if not names:
        return 0.0 if source.parameters or target.parameters else None
    return float(np.mean([_closeness(source, target, name) for name in names]))


def _closeness(source: Layer, target: Layer, name: str) -> float:
    a, b = (layer.parameters[name].values for layer in (source, target))
    if a.shape != b.shape:
        return 0.0
    if a.size == 0:
        return 1.0
    return float(closeness(drawing(a)[None], drawing(b)[None])[0, 0])


def _match(source: Layer, target: Layer, support: float, likeness: float | None, values: float) -> Match:
    content = max(likeness or 0.0, values)
    own = _kind_trust(source, target) * (1.0 if likeness is None else 0.85 + 0.15 * likeness)
    confidence = own * (1 - (1 - support) * (1 - 0.95 * content))
    if source.kind != target.kind:
        evidence = "position"
    elif support >= NEAR:
        evidence = "structure"
    elif content < NEAR:
        evidence = "position"
    else:
        evidence = "parameters" if (likeness or 0.0) >= values else "values"
    return Match(source.id, target.id, round(float(confidence), 4), evidence)


def _kind_trust(source: Layer, target: Layer) -> float:
    if source.kind != target.kind:
        return 0.6 if related(source.kind, target.kind) else 0.5
    return 0.9 + 0.1 * max(form_of(source, target), 0.0)


class Neighbours:
    """Which neighbours of a pair are matched to each other, layers without counterpart being passed over."""

    def __init__(self, source: Graph, target: Graph, pairs: Array) -> None:
        matched = {int(place) for place in pairs if place >= 0}
        self._pairs = pairs
        self._ends = [{graph.position(name) for name in graph.outputs} for graph in (source, target)]
        known = [{at for at, place in enumerate(pairs) if place >= 0}, matched]
        self._before = [_passing(graph, flags, False) for graph, flags in zip((source, target), known, strict=True)]
        self._behind = [_passing(graph, flags, True) for graph, flags in zip((source, target), known, strict=True)]

    def kept(self, at: int, place: int) -> tuple[float, float]:
        """The shares of kept neighbours before and behind, 1 where neither side has any."""
        before = self._share(self._before[0][at], self._before[1][place])
        behind = self._share(self._behind[0][at], self._behind[1][place])
        ends = at in self._ends[0] and place in self._ends[1]
        return before, max(behind, 1.0 if ends and not self._behind[0][at] else 0.5 * ends)

    def _share(self, sources: frozenset[int], targets: frozenset[int]) -> float:
        most = max(len(sources), len(targets))
        return sum(int(self._pairs[at]) in targets for at in sources) / most if most else 1.0


def _passing(graph: Graph, matched: set[int], behind: bool) -> list[frozenset[int]]:
    """For each layer the nearest matched layers before it, or behind it."""
    result: list[frozenset[int]] = [frozenset()] * len(graph)
    layers = reversed(graph.layers) if behind else graph.layers
    for layer in layers:
        names = graph.readers[layer.id] if behind else layer.inputs
        found = {graph.position(name) for name in names}
        passed = [result[at] for at in found - matched]
        result[graph.position(layer.id)] = frozenset(found & matched).union(*passed)
    return result
