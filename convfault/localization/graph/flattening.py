"""Products whose weights go with another order of flattening than the picture comes in."""

from __future__ import annotations

import numpy as np

from convfault.localization.aligning.alignment import Match
from convfault.relax.fingerprint import distance
from convfault.relax.graph import Array, Graph

MUCH_NEARER = 0.1
"""A new order of the weights explains a difference if less than this share of it is left."""

ORDERS = ((2, 0, 1), (1, 2, 0), (1, 0, 2), (0, 2, 1), (2, 1, 0))
"""Of a picture's height, width and channels."""


def flattening_order(source: Graph, target: Graph, match: Match) -> tuple[int, ...] | None:
    """How the picture's axes, the batch among them, were permuted before the target's weights were laid out.

    None: they were not, or the layers are no products of a flattened picture.
    """
    layer, other = source[match.source], target[match.target]
    if layer.kind != "dense" or other.kind != "dense" or match.order is not None or not other.inputs:
        return None
    flat = target[other.inputs[0]]
    picture = target[flat.inputs[0]] if flat.kind == "reshape" else flat
    if len(picture.shape) != 4 or max(picture.shape[1:3]) <= 1:
        return None
    expected, actual = layer.parameters["weights"].values, other.parameters["weights"].values
    shape = picture.shape[1:]
    if expected.shape != actual.shape or expected.shape[0] != int(np.prod(shape)) or distance(layer, other) == 0:
        return None
    difference = _mean(expected - actual)
    rows = np.arange(expected.shape[0])
    for axes in ORDERS:
        turned = rows.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes)).reshape(-1)
        if _mean(expected - actual[turned]) < MUCH_NEARER * difference:
            return (0, *(axis + 1 for axis in axes))
    return None


def _mean(values: Array) -> float:
    return float(np.abs(values).mean())
