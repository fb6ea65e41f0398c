"""Random edits of a graph, and what an alignment with the edited one should be: ids tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from convfault.localization.aligning.alignment import Alignment
from convfault.relax.fingerprint import description, distance
from convfault.relax.graph import Graph, Layer, Native, Parameter
from convfault.relax.kinds import COMMUTATIVE

Random = np.random.Generator


def values(random: Random, *shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Planted:
    """An edited graph; ``absent`` layers have no counterpart, ``doubtful`` ones may have any or none."""

    graph: Graph
    absent: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()


def _chosen(random: Random, layers: Sequence[Layer]) -> Layer:
    return layers[int(random.integers(len(layers)))]


def _inner(graph: Graph) -> list[Layer]:
    return [layer for layer in graph if layer.kind not in {"input", "constant"} and layer.inputs]


def _linear(graph: Graph) -> list[Layer]:
    return [layer for layer in graph if "weights" in layer.parameters]


def alive(graph: Graph) -> Graph:
    """Without the layers that no output depends on."""
    needed = set(graph.outputs) | set(graph.inputs)
    for layer in reversed(graph.layers):
        if layer.id in needed:
            needed.update(layer.inputs)
    return replace(graph, layers=tuple(layer for layer in graph if layer.id in needed))


def _pruned(before: Graph, graph: Graph, doubtful: frozenset[str] = frozenset()) -> Planted:
    kept = alive(graph)
    return Planted(kept, frozenset(layer.id for layer in before if layer.id not in kept), doubtful)


def remove(graph: Graph, random: Random) -> Planted:
    layer = _chosen(random, [item for item in _inner(graph) if item.id not in graph.outputs])
    return _pruned(graph, graph.without(layer.id), _alike_beside(graph, layer))


def _alike_beside(graph: Graph, layer: Layer) -> frozenset[str]:
    """Neighbours that one cannot tell from the layer."""
    names = {*layer.inputs, *graph.readers[layer.id]}
    alike = {n for n in names if graph[n].kind == layer.kind and not layer.parameters}
    return frozenset(alike | {layer.id}) if alike else frozenset()


def insert(graph: Graph, random: Random) -> Planted:
    source = _chosen(random, list(graph.layers))
    kind = ("sigmoid", "clip", "affine", "transpose", "abs")[int(random.integers(5))]
    known: dict[str, dict[str, Any]] = {"clip": {"minimum": 0.0, "maximum": 6.0}, "transpose": {"order": (0, 2, 1, 3)}}
    size = source.shape[-1:]
    parts = {"scale": Parameter(values(random, *size)), "shift": Parameter(values(random, *size))}
    layer = Layer(
        f"inserted{random.integers(10**9)}", kind, (source.id,), source.shape, hyperparameters=known.get(kind, {}),
        parameters=parts if kind == "affine" else {}, native=Native("x"),
    )  # fmt: skip
    edited = graph.with_inserted(layer)
    return Planted(edited, frozenset({layer.id}), _alike_beside(edited, layer))


def duplicate(graph: Graph, random: Random) -> Planted:
    kinds = [layer for layer in _inner(graph) if len(layer.inputs) == 1 and graph[layer.inputs[0]].shape == layer.shape]
    layer = _chosen(random, kinds)
    copy = replace(layer, id=f"copied{random.integers(10**9)}", inputs=(layer.id,))
    return Planted(graph.with_inserted(copy), frozenset({copy.id}), frozenset({copy.id, layer.id}))


def substitute(graph: Graph, random: Random) -> Planted:
    swaps = {"clip": "sigmoid", "average_pool": "max_pool", "add": "multiply", "mean": "max", "softmax": "sigmoid"}
    layer = _chosen(random, [item for item in graph if item.kind in swaps])
    return Planted(graph.with_layer(replace(layer, kind=swaps[layer.kind])))


def replace_by_unrelated(graph: Graph, random: Random) -> Planted:
    layer = _chosen(
        random, [item for item in _linear(graph) if graph[item.inputs[0]].shape == item.shape] or _linear(graph)
    )
    return Planted(graph.with_layer(replace(layer, kind="tanh", hyperparameters={}, parameters={})))


def rewire(graph: Graph, random: Random) -> Planted:
    for _ in range(50):
        layer = _chosen(random, [item for item in _inner(graph) if item.kind != "mean"])
        slot = int(random.integers(len(layer.inputs)))
        before = graph.layers[: graph.position(layer.id)]
        shape = graph[layer.inputs[slot]].shape
        others = [item.id for item in before if item.shape == shape and item.id not in layer.inputs]
        if others:
            names = list(layer.inputs)
            names[slot] = others[int(random.integers(max(len(others) - 6, 0), len(others)))]
            return _pruned(graph, graph.with_inputs(layer.id, tuple(names)))
    return Planted(graph)


def _changed(graph: Graph, layers: Sequence[Layer], change: Callable[[np.ndarray], np.ndarray]) -> Planted:
    for layer in layers:
        made = {name: change(item.values).astype(np.float32) for name, item in layer.parameters.items()}
        graph = graph.with_parameters(layer.id, **made)
    return Planted(graph)


def _rounded(array: np.ndarray) -> np.ndarray:
    step = max(float(np.abs(array).max()), 1e-9) / 127
    return np.asarray(np.round(array / step) * step)


def noise(graph: Graph, random: Random) -> Planted:
    return _changed(graph, [_chosen(random, _linear(graph))], lambda a: a + 0.1 * values(random, *a.shape))


def rounding(graph: Graph, random: Random) -> Planted:
    return _changed(graph, [_chosen(random, _linear(graph))], _rounded)


def rounding_of_all(graph: Graph, random: Random) -> Planted:
    return _changed(graph, _linear(graph), _rounded)


def zeros(graph: Graph, random: Random) -> Planted:
    return _changed(graph, [_chosen(random, _linear(graph))], lambda a: a * 0)


def not_a_number(graph: Graph, random: Random) -> Planted:
    return _changed(graph, [_chosen(random, _linear(graph))], lambda a: a * np.nan)


def foreign(graph: Graph, random: Random) -> Planted:
    return _changed(graph, [_chosen(random, _linear(graph))], lambda a: values(random, *a.shape))


def scaled_filters(graph: Graph, random: Random) -> Planted:
    scale = 0.5 + random.random()
    return _changed(graph, [_chosen(random, _linear(graph))], lambda a: a * (scale + 0.1 * random.random(a.shape[-1])))


def hyperparameters(graph: Graph, random: Random) -> Planted:
    layer = _chosen(random, [item for item in graph if item.kind in {"convolution", "average_pool", "clip"}])
    change: dict[str, Any] = {"padding": ((0, 2), (0, 2))} if layer.kind != "clip" else {"maximum": 6.0}
    return Planted(graph.with_hyperparameters(layer.id, **change))


def stride(graph: Graph, random: Random) -> Planted:
    """One layer has twice the stride, and all behind it other shapes."""
    layer = _chosen(random, [item for item in graph if item.kind == "convolution"])
    graph = graph.with_hyperparameters(layer.id, strides=(2, 2))
    behind = graph.descendants({layer.id})
    layers = tuple(
        replace(item, shape=(item.shape[0], *(-(-side // 2) for side in item.shape[1:3]), item.shape[3]))
        if item.id in behind and len(item.shape) == 4
        else item
        for item in graph
    )
    return Planted(replace(graph, layers=layers))


def swapped_weights(graph: Graph, random: Random) -> Planted:
    """Two layers of a chain exchange their weights: each stays where it stands."""
    for _ in range(50):
        first, second = _chosen(random, _linear(graph)), _chosen(random, _linear(graph))
        shapes = [layer.parameters["weights"].values.shape for layer in (first, second)]
        before = second.id in graph.descendants({first.id})
        if first.id != second.id and before and shapes[0] == shapes[1]:
            graph = graph.with_layer(replace(graph[first.id], parameters=second.parameters))
            return Planted(graph.with_layer(replace(graph[second.id], parameters=first.parameters)))
    return Planted(graph)


def swapped_inputs(graph: Graph, random: Random) -> Planted:
    layer = _chosen(random, [layer for layer in graph if len(layer.inputs) > 1])
    return Planted(graph.with_inputs(layer.id, tuple(random.permutation(layer.inputs).tolist())))


def more_outputs(graph: Graph, random: Random) -> Planted:
    extra = _chosen(random, [item for item in _inner(graph) if item.id not in graph.outputs])
    return Planted(replace(graph, outputs=tuple(random.permutation([*graph.outputs, extra.id]).tolist())))


def permuted_channels(graph: Graph, random: Random) -> Planted:
    layer = _chosen(random, _linear(graph))
    order = random.permutation(layer.shape[-1])
    return _changed(graph, [layer], lambda a: a[..., order])


def without_a_stretch(graph: Graph, random: Random) -> Planted:
    """Two or three layers in a row are missing."""
    before = graph
    layer = _chosen(random, [item for item in _inner(graph) if item.id not in graph.outputs])
    doubtful: frozenset[str] = frozenset()
    for _ in range(int(random.integers(2, 4))):
        if layer.id not in graph or layer.id in graph.outputs or not graph.readers[layer.id]:
            break
        following = graph[graph.readers[layer.id][0]]
        doubtful |= _alike_beside(graph, layer)
        graph = graph.without(layer.id)
        layer = graph[following.id]
    return _pruned(before, graph, doubtful)


def moved(graph: Graph, random: Random) -> Planted:
    """An activation stands somewhere else: matched or not, either is right."""
    layer = _chosen(random, [item for item in graph if item.kind == "clip"])
    without = graph.without(layer.id)
    source = _chosen(random, [item for item in _inner(without) if len(item.shape) == 4])
    placed = replace(layer, inputs=(source.id,), shape=source.shape)
    doubtful = _alike_beside(without.with_inserted(placed), placed) | _alike_beside(graph, layer) | {layer.id}
    return Planted(without.with_inserted(placed), frozenset(), doubtful)


Edit = Callable[[Graph, Random], Planted]

EDITS: tuple[Edit, ...] = (
    remove, insert, duplicate, substitute, replace_by_unrelated, rewire, noise, rounding, rounding_of_all, zeros,
    not_a_number, foreign, scaled_filters, hyperparameters, stride, swapped_weights, swapped_inputs, more_outputs,
    permuted_channels, without_a_stretch, moved,
)  # fmt: skip


def disguised(graph: Graph, random: Random) -> tuple[Graph, dict[str, str]]:
    """The same graph with other ids and another topological order; and its old ids by the new ones."""
    waiting = {layer.id: set(layer.inputs) for layer in graph}
    order: list[Layer] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if not needed]
        name = ready[int(random.integers(len(ready)))]
        order.append(graph[name])
        del waiting[name]
        for needed in waiting.values():
            needed.discard(name)
    numbers = random.permutation(len(order))
    new = {layer.id: f"t{number}" for layer, number in zip(order, numbers, strict=True)}
    layers = tuple(replace(item, id=new[item.id], inputs=tuple(new[n] for n in item.inputs)) for item in order)
    renamed = replace(
        graph, layers=layers, inputs=tuple(new[n] for n in graph.inputs), outputs=tuple(new[n] for n in graph.outputs)
    )
    return renamed, {name: old for old, name in new.items()}


def planted(graph: Graph, edits: Sequence[Edit], random: Random) -> Planted:
    absent: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    for edit in edits:
        made = edit(graph, random)
        graph, absent, doubtful = made.graph, absent | made.absent, doubtful | made.doubtful
    return Planted(graph, absent, doubtful)


def wrong(source: Graph, made: Planted, alignment: Alignment, truth: dict[str, str]) -> list[tuple[str, str | None]]:
    """The source's layers that were not matched as they should be, and with which they were."""
    found = {match.source: truth[match.target] for match in alignment.matches}
    expected = {layer.id: layer.id for layer in source if layer.id in made.graph}
    return [
        (layer.id, found.get(layer.id))
        for layer in source
        if layer.id not in made.doubtful
        and found.get(layer.id) != expected.get(layer.id)
        and found.get(layer.id) not in made.doubtful
    ]


def cost(source: Graph, target: Graph, pairs: dict[str, str]) -> float:
    """Edits that an alignment takes for granted: layers on one side, other inputs, other forms, other parameters."""
    total = float(len(source) + len(target) - 2 * len(pairs))
    for name, other in pairs.items():
        inputs = [pairs.get(item) for item in source[name].inputs], list(target[other].inputs)
        if source[name].kind in COMMUTATIVE:
            inputs = sorted(inputs[0], key=str), sorted(inputs[1])
        total += sum(a != b for a, b in zip_longest(*inputs))
        total += 2 * (source[name].kind != target[other].kind)
        total += 0.5 * (description(source[name]) != description(target[other]))
        total += 0.5 * (distance(source[name], target[other]) > 0.1)
    return total


def other_reading(source: Graph, target: Graph, alignment: Alignment, truth: dict[str, str]) -> bool:
    """Whether the alignment explains the target with no more edits than were planted."""
    planned = {old: new for new, old in truth.items() if old in source}
    found = {match.source: match.target for match in alignment.matches}
    return cost(source, target, found) <= cost(source, target, planned)
