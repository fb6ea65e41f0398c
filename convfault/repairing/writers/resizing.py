"""How TensorFlow and TFLite, whose operators are the same, are told to place the pixels of a resized picture.

Where no operator places them as a layer asks for, rows and columns that are taken whole can be gathered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.relax.resize import matrices
from convfault.repairing.writers.change import Refusal

NEAREST: Mapping[tuple[bool, bool], Mapping[str, str]] = {
    (False, False): {"coordinates": "asymmetric", "rounding": "floor"},
    (False, True): {"coordinates": "tf_half_pixel_for_nn", "rounding": "floor"},
    (True, False): {"coordinates": "align_corners", "rounding": "round_prefer_ceil"},
}
SMOOTH: Mapping[tuple[bool, bool], Mapping[str, str]] = {
    (False, True): {"coordinates": "half_pixel"},
    (True, False): {"coordinates": "align_corners"},
    (False, False): {"coordinates": "asymmetric"},
}
"""Whether corners are aligned, and whether pixels' centers lie at halves → what the operators then compute."""


def flags(layer: Layer, sides: tuple[int, ...]) -> tuple[bool, bool] | None:
    """Whether to align corners, and to put pixels' centers at halves, for pictures of these sides (height, width).

    What counts is that every pixel is mixed of the same ones; None where neither way does that.
    """
    wanted = matrices(sides, layer.hyperparameters)
    plain: dict[str, Any] = {name: value for name, value in layer.hyperparameters.items() if name != "scales"}
    for found, way in (NEAREST if layer["method"] == "nearest_neighbor" else SMOOTH).items():
        ours = matrices(sides, {**plain, **way})
        if all(np.allclose(one, other, rtol=0, atol=1e-6) for one, other in zip(wanted, ours, strict=True)):
            return found
    return None


def picks(layer: Layer, sides: tuple[int, ...]) -> tuple[Array, Array]:
    """The row and the column of a picture of these sides that each of the result's is.

    Raises ``Refusal`` where a resize mixes pixels, which no operator does as this layer asks for.
    """
    rounding = f" and rounding by {layer['rounding']}" if layer["method"] == "nearest_neighbor" else ""
    refusal = Refusal(f"no operator resizes by {layer['method']} at {layer['coordinates']}{rounding}")
    if layer.hyperparameters.get("antialias"):
        raise refusal
    rows, columns = matrices(sides, layer.hyperparameters)
    if any(not np.array_equal(part.max(axis=1), np.ones(len(part))) for part in (rows, columns)):
        raise refusal
    return rows.argmax(axis=1).astype(np.int32), columns.argmax(axis=1).astype(np.int32)
