"""How much each layer of the source resembles each layer of the target, by itself: kind, form, parameters, values.

All are matrices (source layers, target layers). Nothing here looks at neighbours; ``paths`` and ``assignment`` do.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from convfault.relax.fingerprint import description
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.kinds import BINARY, LINEAR, REDUCTIONS, UNARY

FAMILIES = (
    LINEAR | {"matmul", "affine", "batch_norm"},
    frozenset({"max_pool", "average_pool", "resize"}) | REDUCTIONS,
    UNARY | {"clip", "elu", "leaky_relu", "prelu", "softplus", "softmax", "log_softmax"},
    BINARY | {"concat"},
    frozenset({"reshape", "transpose", "slice", "pad", "tile", "broadcast", "cast"}),
    frozenset({"argmax", "argmin"}),
)
"""Kinds of which a converter may write one for the other."""

APART = frozenset({"input", "constant"})
"""Kinds that never stand for another."""

SAMPLE = 1024
"""Elements of each array that are compared: of independent weights they correlate by 0.03, never by half."""

NOTHING = 1e-30


@dataclass(frozen=True, eq=False)
class Resemblance:
    """``form`` is 1 for equal kind, hyperparameters and shapes, less the more differs, below 0 for another kind.

    ``parameters`` is 1 for equal ones, 0.97 after rounding to 8 bits, about 0 for others' and 0 for layers without;
    ``values`` the same for activations. ``parametric`` tells which layers have parameters that tell layers apart.
    """

    form: Array
    parameters: Array
    values: Array
    parametric: tuple[Array, Array]

    @property
    def content(self) -> Array:
        """The better evidence of parameters and values, which may both be broken: values never make up for weights."""
        return np.maximum(self.parameters, 0.6 * self.values)


def resemblance(
    source: Graph, target: Graph, source_values: Mapping[str, Array] | None, target_values: Mapping[str, Array] | None
) -> Resemblance:
    """Compare all layers of two graphs; values are activations by layer id, the same pictures first on both sides."""
    parameters, parametric = _parameters(source, target)
    values = np.zeros_like(parameters)
    if source_values and target_values:
        values = _values(source, target, source_values, target_values)
    return Resemblance(_forms(source, target), parameters, values, parametric)


def _forms(source: Graph, target: Graph) -> Array:
    """``form_of`` for all pairs; each distinct pair of descriptions is compared once."""
    kinds = [_distinct([_key(layer) for layer in graph]) for graph in (source, target)]
    table = np.array(
        [[form_of(source.layers[i], target.layers[j]) for j in kinds[1][0]] for i in kinds[0][0]], np.float64
    ).reshape(len(kinds[0][0]), len(kinds[1][0]))
    return np.asarray(table[np.ix_(kinds[0][1], kinds[1][1])])


def _key(layer: Layer) -> Hashable:
    return repr(description(layer))


def _distinct(keys: list[Hashable]) -> tuple[list[int], list[int]]:
    """Positions of the first of each key, and for every key the index among these."""
    first: dict[Hashable, int] = {}
    index = [first.setdefault(key, len(first)) for key in keys]
    return [keys.index(key) for key in first], index


def form_of(source: Layer, target: Layer) -> float:
    """How alike two layers are by kind, hyperparameters, shapes: 1 when equal, negative for kinds that differ."""
    shape = _shape_cost(source.shape[1:], target.shape[1:])
    if source.kind != target.kind:
        if APART & {source.kind, target.kind}:
            return -4.0
        return (-0.3 if related(source.kind, target.kind) else -0.7) - shape
    names = {*source.hyperparameters, *target.hyperparameters} - {"permutation"}
    unequal = sum(
        not _same(source.hyperparameters.get(name), target.hyperparameters.get(name)) for name in names
    ) / max(len(names), 1)
    arrays = max((_array_cost(source, target, name) for name in {*source.parameters, *target.parameters}), default=0.0)
    return 1.0 - 0.3 * unequal - shape - arrays


@cache
def related(source: str, target: str) -> bool:
    """Whether two kinds are equal or such that one may be written for the other."""
    return source == target or any(source in family and target in family for family in FAMILIES)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float | int):
        return a == b or abs(a - b) <= 1e-4 * max(abs(a), abs(b))
    return bool(a == b)


def _shape_cost(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """A picture's sides change with one stride, for all layers behind it; the number of channels hardly ever."""
    if a == b:
        return 0.0
    if a[-1:] == b[-1:]:
        return 0.1
    return 0.2 if sorted(a) == sorted(b) else 0.3


def _array_cost(source: Layer, target: Layer, name: str) -> float:
    if name not in source.parameters or name not in target.parameters:
        return 0.1
    a, b = source.parameters[name].values.shape, target.parameters[name].values.shape
    if a == b:
        return 0.0
    return 0.1 if sorted(a) == sorted(b) else 0.4


def _parameters(source: Graph, target: Graph) -> tuple[Array, tuple[Array, Array]]:
    names = sorted({name for graph in (source, target) for layer in graph for name in layer.parameters})
    result = np.zeros((len(source), len(target)))
    known = np.zeros(len(source), bool), np.zeros(len(target), bool)
    for name in names:
        arrays = [
            {at: layer.parameters[name].values for at, layer in enumerate(graph) if name in layer.parameters}
            for graph in (source, target)
        ]
        weight = 1.0 if name in {"weights", "values"} else 0.8
        drawn = [{at: drawing(array) for at, array in side.items()} for side in arrays]
        for flags, side in zip(known, drawn, strict=True):
            flags[[at for at, vector in side.items() if _speaks(vector)]] = True
        keys = [{at: (name, array.shape) for at, array in side.items()} for side in arrays]
        np.maximum(result, weight * _alike(result.shape, drawn, keys), out=result)
    return result, known


def _values(
    source: Graph, target: Graph, source_values: Mapping[str, Array], target_values: Mapping[str, Array]
) -> Array:
    sides = [
        {at: given[layer.id] for at, layer in enumerate(graph) if layer.id in given}
        for graph, given in ((source, source_values), (target, target_values))
    ]
    drawn = [{at: drawing(array) for at, array in side.items()} for side in sides]
    keys = [{at: array.shape for at, array in side.items()} for side in sides]
    return _alike((len(source), len(target)), drawn, keys)


def _alike(shape: tuple[int, int], drawn: list[dict[int, Array]], keys: list[dict[int, Any]]) -> Array:
    """``closeness`` of all vectors that speak, within each key; 0 elsewhere."""
    result = np.zeros(shape)
    for key in set(keys[0].values()) & set(keys[1].values()):
        at = [[p for p, k in side.items() if k == key and _speaks(drawn[n][p])] for n, side in enumerate(keys)]
        if all(at):
            result[np.ix_(at[0], at[1])] = closeness(
                np.stack([drawn[0][p] for p in at[0]]), np.stack([drawn[1][p] for p in at[1]])
            )
    return result


def drawing(array: Array) -> Array:
    """Up to ``SAMPLE`` elements as float64, the same ones for every array of the shape; NaN and inf as 0."""
    picked = array.reshape(-1) if array.size <= SAMPLE else array[_places(array.shape)]
    return np.nan_to_num(picked.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=512)
def _places(shape: tuple[int, ...]) -> tuple[Array, ...]:
    flat = np.sort(np.random.default_rng(0).integers(int(np.prod(shape)), size=SAMPLE))
    return tuple(np.unravel_index(flat, shape))


def _speaks(vector: Array) -> bool:
    """Whether a vector tells layers apart: all zeros or all ones do not."""
    return vector.size > 1 and bool(np.ptp(vector) > 1e-6 * np.abs(vector).max())


def closeness(a: Array, b: Array) -> Array:
    """1 for equal rows of (n, k) and (m, k), 0.97 after 8-bit rounding, up to 0.8 when scaled, near 0 for others."""
    squares = (a**2).sum(1)[:, None], (b**2).sum(1)[None, :]
    distances = np.sqrt(np.maximum(squares[0] + squares[1] - 2 * a @ b.T, 0))
    apart = distances / (np.sqrt(squares[0]) + np.sqrt(squares[1]) + NOTHING)
    centred = [x - x.mean(1, keepdims=True) for x in (a, b)]
    norms = [np.sqrt((x**2).sum(1)) + NOTHING for x in centred]
    correlation = np.clip(centred[0] @ centred[1].T / np.outer(*norms), 0, 1)
    certainty = 1 - 1 / np.sqrt(max(a.shape[1], 2))  # a few numbers correlate by chance
    return np.asarray(np.maximum(1 - 4 * apart, 0.8 * correlation**2 * certainty).clip(0, 1))
