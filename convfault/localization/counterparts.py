"""``Counterparts``: a layer of the source and its match in the target, with their parameters made comparable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convfault.localization.aligning.alignment import Alignment, Match
from convfault.localization.case import Case
from convfault.localization.parameters.difference import Difference, rounding_bound
from convfault.localization.parameters.filters import reordered
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.kinds import LINEAR
from convfault.relax.rounding import HALF, spread

HALF_ROUNDOFF = 2.0**-11
"""Relative error of a number in half precision."""
DEFAULTS = {"bias": 0.0, "shift": 0.0, "scale": 1.0}
"""What a layer without the parameter computes with."""
Picture = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Counterparts:
    """Two matched layers.

    ``differences`` holds every parameter of equal shape, ``differing`` those beyond rounding; ``wanted`` the source's
    values in the target's order and layout, which an edit sets; ``misshapen`` the shapes, source's and target's,
    where they are not equal. ``pictures``: the (H, W, C) that a dense layer's input was flattened from.
    """

    match: Match
    source: Layer
    target: Layer
    differences: Mapping[str, Difference]
    wanted: Mapping[str, Array]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    differing: Mapping[str, Difference] = field(init=False)

    def __post_init__(self) -> None:
        found = {name: item for name, item in self.differences.items() if item.changed.any()}
        object.__setattr__(self, "differing", found)

    def native(self, name: str) -> tuple[str, ...]:
        """The target's native tensors of a parameter."""
        return self.target.parameters[name].native if name in self.target.parameters else ()

    def source_native(self, name: str) -> tuple[str, ...]:
        """The source's native tensors of a parameter."""
        return self.source.parameters[name].native if name in self.source.parameters else ()


def counterparts(case: Case, match: Match) -> Counterparts | None:
    """The layers of a match; None where there is nothing to compare, or they compute different things."""
    source, target = case.source.graph[match.source], case.target.graph[match.target]
    if not (source.parameters or target.parameters) or not _comparable(source, target):
        return None
    differences: dict[str, Difference] = {}
    wanted: dict[str, Array] = {}
    misshapen = {}
    for name in {**source.parameters, **target.parameters}:
        pair = _values(source, target, name)
        if pair is None:
            continue
        expected = _reordered(case, match, name, pair[0])
        if expected.shape != pair[1].shape:
            if name != "weights" or source.hyperparameters.get("groups") == target.hyperparameters.get("groups"):
                misshapen[name] = (expected.shape, pair[1].shape)
                wanted[name] = expected
            continue
        if name == "weights" and np.array_equal(expected, pair[1]):
            continue
        wanted[name] = expected
        coarse = _is_half(case.source.graph, source, name) and not _is_half(case.target.graph, target, name)
        differences[name] = _difference(case, target, name, (expected, pair[1]), HALF_ROUNDOFF if coarse else 0.0)
    return Counterparts(match, source, target, differences, wanted, misshapen, _pictures(case.source.graph, source))


def _comparable(source: Layer, target: Layer) -> bool:
    return source.kind == target.kind or {source.kind, target.kind} <= {"convolution", "dense"}


def _values(source: Layer, target: Layer, name: str) -> tuple[Array, Array] | None:
    """The parameter on both sides, a missing one as what it stands for."""
    sides = [layer.parameters.get(name) for layer in (source, target)]
    present = next(side for side in sides if side is not None)
    if None in sides and name not in DEFAULTS:
        return None
    default = np.full_like(present.values, DEFAULTS.get(name, 0.0))
    expected, actual = (default if side is None else side.values for side in sides)
    if source.kind != target.kind and name == "weights" and expected.size == actual.size:
        expected = expected.reshape(actual.shape)  # a product and a 1x1 convolution
    return expected, actual


def _reordered(case: Case, match: Match, name: str, values: Array) -> Array:
    """The source's values with their channels in the order that the target has them in."""
    source, target = case.source.graph[match.source], case.target.graph[match.target]
    order = match.order
    inputs = _input_order(case.alignment, target)
    if order is None and inputs is None:
        return values
    if name != "weights" or source.kind not in LINEAR:
        return values[..., list(order)] if order is not None and values.shape[-1:] == (len(order),) else values
    return reordered(source, values, inputs, order)


def _input_order(alignment: Alignment, target: Layer) -> tuple[int, ...] | None:
    """The order of the channels that the target's layer reads."""
    match = alignment.to_source.get(target.inputs[0]) if target.inputs else None
    return match.order if match is not None else None


def _is_half(graph: Graph, layer: Layer, name: str) -> bool:
    """Whether a parameter is made of constants in half precision."""
    names = layer.parameters[name].native if name in layer.parameters else ()
    found = [graph.encodings[native] for native in names if native in graph.encodings]
    return any(encoding.constant and encoding.dtype == HALF for encoding in found)


def _difference(case: Case, target: Layer, name: str, pair: tuple[Array, Array], coarse: float) -> Difference:
    """``coarse``: how far each of the source's values may itself be rounded, relative to it."""
    expected, actual = (_filters_last(target, name, np.atleast_1d(side)) for side in pair)
    weights = target.parameters.get("weights")
    if not np.issubdtype(expected.dtype, np.floating):
        bound = np.zeros(expected.shape[-1:], np.float64)
    else:
        bound = rounding_bound(name, expected, None if weights is None else weights.values)
        bound = bound + coarse * np.abs(expected.reshape(-1, expected.shape[-1])).max(axis=0, initial=0.0)
    native = target.parameters[name].native if name in target.parameters else ()
    return Difference(name, expected, actual, bound, native, _encoding(case, native, expected, actual))


def _filters_last(target: Layer, name: str, values: Array) -> Array:
    """The weights of a transposed convolution (H, W, filters / groups, C) as (H, W, C / groups, filters)."""
    if target.kind != "transposed_convolution" or name != "weights":
        return np.asarray(values, np.result_type(values, np.float32))
    height, width, filters, depth = values.shape
    groups = target["groups"]
    split = values.reshape(height, width, filters, groups, depth // groups).transpose(0, 1, 4, 3, 2)
    return np.ascontiguousarray(split.reshape(height, width, depth // groups, groups * filters))


def _encoding(case: Case, native: tuple[str, ...], expected: Array, actual: Array) -> Mapping[str, Any]:
    """How the target stores the tensor, by what scheme, and its steps: one for all, one a filter or one a value.

    ``factors``: of how many tensors so stored the values are made, such as weights and a scale behind them.
    """
    encodings = case.target.graph.encodings
    stored = [encodings[name] for name in native if name in encodings and encodings[name].constant]
    if not stored:
        return {}
    found = stored[0]
    if found.dtype == "float16":
        return {"dtype": found.dtype, "scheme": "float16 quantization"}
    activations = any(not encoding.constant and not encoding.at_run_time for encoding in encodings.values())
    scheme = "full integer quantization" if activations else "dynamic-range quantization"
    steps = np.abs(np.asarray(found.scales, np.float64))
    if found.blocks:
        steps = _of_blocks(steps, found.blocks, expected, actual)
    fits = {"steps": steps} if steps.size in {1, expected.shape[-1], expected.size} else {}
    return {"dtype": found.dtype, "scheme": scheme, "factors": len(stored), **fits}


def _of_blocks(steps: Array, blocks: tuple[int, ...], expected: Array, actual: Array) -> Array:
    """The steps of a tensor's blocks for each of its values, whichever way the file has it, filters last or first, and
    whichever part of it the values are."""
    shape = expected.shape[expected.ndim - len(blocks) :]  # a product may be a convolution of one pixel here
    if expected.size != math.prod(shape):
        return steps
    found = [part.reshape(expected.shape) for part in _parts(steps, blocks, shape)]
    turned = (*shape[-1:], *shape[:-1])
    found += [np.moveaxis(part, 0, -1).reshape(expected.shape) for part in _parts(steps, blocks, turned)]
    return min(found, key=lambda wide: float(np.mean(np.abs(actual - expected) > wide)), default=steps)


def _parts(steps: Array, blocks: tuple[int, ...], shape: tuple[int, ...]) -> list[Array]:
    """The steps of all values of this shape; of each part of that shape where the file has several in one tensor, one
    behind the other along an axis (queries, keys and values); none where they fit neither."""
    if len(shape) != len(blocks):
        return []
    count, rest = divmod(steps.size, math.prod(-(-side // length) for side, length in zip(shape, blocks, strict=True)))
    if rest or not count:
        return []
    axes = [axis for axis, length in enumerate(blocks) if length == 1] if count > 1 else [0]
    found = []
    for axis in axes:
        whole = [side * count if place == axis else side for place, side in enumerate(shape)]
        found += np.split(spread(steps, whole, 0, blocks), count, axis)
    return found


def _pictures(graph: Graph, layer: Layer) -> tuple[Picture, ...]:
    """The sizes of the picture that was flattened in front of a dense layer."""
    found: list[Picture] = []
    names = list(layer.inputs[:1]) if layer.kind == "dense" else []
    while names and len(found) < 2:
        before = graph[names.pop()]
        if len(before.shape) == 4:
            found.append((before.shape[1], before.shape[2], before.shape[3]))
            break
        names = list(before.inputs[:1])
    return tuple(found)
