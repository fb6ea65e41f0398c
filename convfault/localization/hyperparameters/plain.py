"""How two matched layers without a window differ in their hyperparameters, in the words of their frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from convfault.localization.hyperparameters.attribute import Attribute, differing, differs
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.resize import resize
from convfault.relax.rounding import HALF, span

CAUSES_OF = {
    "alpha": "alpha", "antialias": "antialias", "axes": "axis", "axis": "axis", "begin": "slice_bounds",
    "beta": "softplus", "coordinates": "half_pixel", "cubic_alpha": "cubic_coefficient", "end": "slice_bounds",
    "epsilon": "epsilon", "exclude_outside": "exclude_outside", "keepdims": "keepdims",
    "maximum": "clip_bounds", "method": "resize_method",
    "minimum": "clip_bounds", "mode": "pad_mode", "order": "order", "padding": "padding", "repeats": "repeats",
    "rounding": "nearest_rounding", "scales": "resize_scale",
    "size": "resize_size", "slope": "slope", "strides": "slice_bounds",
    "threshold": "softplus", "to": "cast_dtype", "value": "pad_value",
}  # fmt: skip
"""Attribute → cause."""

OPTIONAL = frozenset({"antialias", "exclude_outside", "scales"})
"""Attributes that a layer may lack: an edit that gives it None takes them away."""

TOGETHER = {
    "clip": ("minimum", "maximum"),
    "slice": ("begin", "end", "strides"),
    "resize": ("size", "method", "antialias", "exclude_outside", "coordinates", "rounding", "scales", "cubic_alpha"),
    "softplus": ("beta", "threshold"),
}
"""Attributes of a kind that one fault changes together, the one that names it first."""

WORDS = {
    "to": "type cast to", "cubic_alpha": "cubic coefficient", "keepdims": "keeping of reduced axes",
    "axes": "reduced axes", "begin": "first index", "end": "end index", "coordinates": "coordinate transformation",
    "rounding": "rounding to the nearest pixel", "method": "interpolation", "order": "order of axes",
    "value": "fill value", "exclude_outside": "leaving out of what lies outside", "mode": "padding mode",
}  # fmt: skip
"""Attributes whose canonical name is not what a user calls them."""

ACTIVATIONS = {
    (0.0, float("inf")): "ReLU", (0.0, 6.0): "ReLU6", (-1.0, 1.0): "hardtanh (-1 to 1)", (0.0, 1.0): "clip to 0..1",
}  # fmt: skip


def plain_attributes(graphs: tuple[Graph, Graph], source: Layer, target: Layer) -> Iterator[Attribute]:
    """The attributes in which two layers of one kind without a window differ; ``graphs`` are theirs."""
    names = [name for name in differing(source, target) if name != "permutation"]
    if not names or _same_effect(graphs, source, target):
        return
    together = [name for name in TOGETHER.get(source.kind, ()) if name in names]
    if together:
        yield _attribute(source, target, together)
    for name in names:
        if name not in together:
            yield _attribute(source, target, [name])


def reshaped(graphs: tuple[Graph, Graph], source: Layer, target: Layer) -> Attribute | None:
    """Two reshapes (or broadcasts) that make different shapes of one."""
    before = [graph[layer.inputs[0]].shape[1:] for graph, layer in zip(graphs, (source, target), strict=True)]
    if source.shape[1:] == target.shape[1:] or before[0] != before[1]:
        return None
    phrase = f"The shape is {list(target.shape)} instead of {list(source.shape)}."
    return Attribute("target_shape", "shape", {}, list(source.shape), list(target.shape), phrase)


def _attribute(source: Layer, target: Layer, names: list[str]) -> Attribute:
    values = {name: source.hyperparameters.get(name) for name in names if name in {*source.hyperparameters, *OPTIONAL}}
    first = names[0]
    expected, actual = source.hyperparameters.get(first), target.hyperparameters.get(first)
    cause = CAUSES_OF.get(first, first)
    if source.kind == "resize":
        cause = _resize_cause(first, expected, actual)
    if source.kind == "clip":
        expected, actual = bounds(source), bounds(target)
        phrase = f"The activation is {actual} instead of {expected}."
    else:
        phrase = f"The {WORDS.get(first, first)} is {_text(actual)} instead of {_text(expected)}."
    evidence = {
        side: {name: layer.hyperparameters.get(name) for name in names}
        for side, layer in (("source", source), ("target", target))
    }
    name = "bounds" if source.kind == "clip" else first
    return Attribute(cause, name, values, expected, actual, phrase, evidence, tuple(names[1:]))


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "absent" if value is None else str(value)


def bounds(layer: Layer) -> str:
    """A clip as users know it."""
    pair = (float(layer["minimum"]), float(layer["maximum"]))
    known = next((title for values, title in ACTIVATIONS.items() if not differs(values, pair)), None)
    return known or f"a clip from {pair[0]:.6g} to {pair[1]:.6g}"


def _resize_cause(name: str, expected: Any, actual: Any) -> str:
    if name != "coordinates":
        return CAUSES_OF[name]
    return "align_corners" if "align_corners" in {expected, actual} else "half_pixel"


def _same_effect(graphs: tuple[Graph, Graph], source: Layer, target: Layer) -> bool:
    """Whether the differing attributes make no difference for these shapes."""
    test = SAME_EFFECT.get(source.kind)
    if test is None:
        return False
    before = [graph[layer.inputs[0]].shape for graph, layer in zip(graphs, (source, target), strict=True)]
    return before[0][1:] == before[1][1:] and source.shape[1:] == target.shape[1:] and test(source, target, before[0])


def _clips_alike(source: Layer, target: Layer, shape: tuple[int, ...]) -> bool:
    """Whether the range of the integers that hold the target's output ends where the bounds differ: a quantizer drops
    an activation that the range implies, and ReLU6 cannot be told from ReLU then."""
    if target.rounding is None or target.rounding.at_run_time or target.rounding.dtype == HALF:
        return False
    low, high = span(target.rounding)
    pairs = [(max(layer["minimum"], low), min(layer["maximum"], high)) for layer in (source, target)]
    return bool(max(abs(one - other) for one, other in zip(*pairs, strict=True)) <= max(target.rounding.scales))


def _resizes_alike(source: Layer, target: Layer, shape: tuple[int, ...]) -> bool:
    """Resizing is linear along each axis: the same matrices do the same."""
    pairs = [(_matrix(source, axis, shape), _matrix(target, axis, shape)) for axis in (0, 1)]
    return all(np.allclose(one, other, rtol=0, atol=1e-6) for one, other in pairs)


def _matrix(layer: Layer, axis: int, shape: tuple[int, ...]) -> Array:
    before, after = shape[axis + 1], layer["size"][axis]
    scales = layer.hyperparameters.get("scales")
    picture = np.eye(before, dtype=np.float32).reshape(1, before, 1, before)
    along = {"size": (after, 1), "scales": None if scales is None else (scales[axis], 1.0)}
    return resize(picture, {**layer.hyperparameters, **along})


def _reduces_alike(source: Layer, target: Layer, shape: tuple[int, ...]) -> bool:
    """Axes of size 1 can be reduced or not."""
    if source["keepdims"] != target["keepdims"]:
        return False
    wanted = [{axis for axis in layer["axes"] if shape[axis] != 1} for layer in (source, target)]
    return wanted[0] == wanted[1]


def _cuts_alike(source: Layer, target: Layer, shape: tuple[int, ...]) -> bool:
    """The same indices, however the bounds are written; the batch is left out."""
    spans = [
        [slice(*span).indices(side) for side, span in zip(shape, _spans(layer), strict=True)][1:]
        for layer in (source, target)
    ]
    return all(range(*a) == range(*b) for a, b in zip(*spans, strict=True))


def _spans(layer: Layer) -> list[tuple[int, int, int]]:
    return list(zip(layer["begin"], layer["end"], layer["strides"], strict=True))


SAME_EFFECT: dict[str, Callable[[Layer, Layer, tuple[int, ...]], bool]] = {
    **dict.fromkeys(("mean", "sum", "max", "min", "prod"), _reduces_alike),
    "clip": _clips_alike,
    "resize": _resizes_alike,
    "slice": _cuts_alike,
}
