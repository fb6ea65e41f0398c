"""Which of Keras' ways to resize a picture is the one that a layer asks for."""

from __future__ import annotations

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.relax.resize import resize

METHODS = {"linear": "bilinear", "nearest_neighbor": "nearest", "cubic": "bicubic"}
KERAS = {"coordinates": "half_pixel", "rounding": "round", "cubic_alpha": -0.5}
"""How Keras' ``Resizing`` places pixels, whatever the method."""


def resizing(layer: Layer, size: tuple[int, int] | None = None) -> str | None:
    """The interpolation by which Keras resizes as the layer does; None where none does.

    ``size``: height and width before, where known: some ways differ for some sizes only.
    """
    ours = {**layer.hyperparameters}
    theirs = {"method": ours["method"], "size": ours["size"], **KERAS}
    sides = size or (7, 9)
    same = all(np.allclose(_spread(side, axis, ours), _spread(side, axis, theirs)) for axis, side in enumerate(sides))
    return METHODS.get(str(ours["method"])) if same else None


def _spread(side: int, axis: int, hyperparameters: dict[str, object]) -> Array:
    """What each pixel of a line becomes."""
    target = hyperparameters["size"][axis]  # type: ignore[index]
    scales = hyperparameters.get("scales")
    values: dict[str, object] = {**hyperparameters, "size": (target, 1), "scales": None}
    if scales:
        values["scales"] = (scales[axis], None)  # type: ignore[index]
    return resize(np.eye(side, dtype=np.float32).reshape(1, side, 1, side), values)
