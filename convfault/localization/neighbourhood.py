"""The layers round a fault on both sides, and which of them belong together: what a report draws side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convfault.localization.case import Case
from convfault.localization.graph.causes import named
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Graph, Layer

DISTANCE = 2
"""Layers before and after."""
MOST = 10
"""Layers of one side."""


def neighbourhood(case: Case, suspect: Suspect) -> dict[str, Any] | None:
    """``source`` and ``target`` with ``layers`` and ``edges`` (pairs of ids); ``matches``, pairs of ids of both.

    A layer has its native ``name``, ``kind``, ``shape``, ``attributes`` as texts, and ``differs``: the names of those
    that its counterpart has otherwise. ``fault`` marks what the suspect is about. None where it is about no layer.
    """
    source, target = case.source.graph, case.target.graph
    seeds = [
        {layer_id} if layer_id is not None and layer_id in graph else set[str]()
        for layer_id, graph in ((suspect.source, source), (suspect.target, target))
    ]
    if not any(seeds):
        return None
    left, right = (_near(graph, found) for graph, found in zip((source, target), seeds, strict=True))
    to_target, to_source = case.alignment.to_target, case.alignment.to_source
    right = _closest(right, [to_target[name].target for name in left if name in to_target])
    left = _closest(left, [to_source[name].source for name in right if name in to_source])
    matches = [(name, to_target[name].target) for name in left if name in to_target]
    matches = [pair for pair in matches if pair[1] in right]
    return {
        "source": _side(source, left, {a: target[b] for a, b in matches}, seeds[0], suspect),
        "target": _side(target, right, {b: source[a] for a, b in matches}, seeds[1], suspect),
        "matches": [list(pair) for pair in matches],
    }


def _near(graph: Graph, seeds: set[str]) -> list[str]:
    """Ids of the layers at most ``DISTANCE`` steps away, the nearest first."""
    found = list(seeds)
    fringe = list(seeds)
    for _ in range(DISTANCE):
        reached = [name for layer_id in fringe for name in (*graph[layer_id].inputs, *graph.readers[layer_id])]
        fringe = [name for name in dict.fromkeys(reached) if name not in found]
        found += fringe
    return found[:MOST]


def _closest(found: list[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*found, *more]))[: MOST + 2]


def _side(
    graph: Graph, ids: list[str], others: Mapping[str, Layer], seeds: set[str], suspect: Suspect
) -> dict[str, Any]:
    ordered = sorted(ids, key=graph.position)
    return {
        "layers": [_layer(graph[name], others.get(name), name in seeds, suspect) for name in ordered],
        "edges": [[name, reader] for reader in ordered for name in dict.fromkeys(graph[reader].inputs) if name in ids],
        "reads_more": [name for name in ordered if any(item not in ids for item in graph[name].inputs)],
        "read_by_more": [name for name in ordered if any(item not in ids for item in graph.readers[name])],
    }


def _layer(layer: Layer, other: Layer | None, fault: bool, suspect: Suspect) -> dict[str, Any]:
    attributes = {name: _text(value) for name, value in layer.hyperparameters.items()}
    attributes |= {name: _sides(parameter.values.shape) for name, parameter in layer.parameters.items()}
    differs = [] if other is None else _differing(layer, other)
    if fault and suspect.attribute:
        differs += [name for name in suspect.attribute.split(", ") if name in attributes]
    return {
        "id": layer.id,
        "name": named(layer),
        "kind": layer.kind,
        "shape": list(layer.shape),
        "attributes": attributes,
        "differs": list(dict.fromkeys(differs)),
        "fault": fault,
    }


def _differing(layer: Layer, other: Layer) -> list[str]:
    """The kind, where that is another one, or the hyperparameters that are not equal."""
    if layer.kind != other.kind:
        return ["kind"]
    found = [name for name, value in layer.hyperparameters.items() if not _same(value, other.hyperparameters.get(name))]
    return [*found, *(["shape"] if layer.shape[1:] != other.shape[1:] else [])]


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one, object), np.asarray(other, object)))


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(_text(item) for item in value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sides(shape: Iterable[int]) -> str:
    return "×".join(str(side) for side in shape) or "scalar"
