"""Resizing in one form: of all conventions that read the same pixels with the same weights the first one is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer
from convfault.relax.resize import matrices

NEAREST = (
    ("asymmetric", "floor"),
    ("tf_half_pixel_for_nn", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("align_corners", "round_prefer_floor"),
    ("align_corners", "round_prefer_ceil"),
)
SMOOTH = (("half_pixel", ""), ("align_corners", ""), ("asymmetric", ""))
CLOSE = 1e-6


def plain_resize(draft: Draft, layer: Layer) -> Layer | None:
    """Coordinates, rounding and scales as plain as can be without another result for these sizes."""
    values = {name: value for name, value in layer.hyperparameters.items() if name != "scales"}
    source = draft.input_of(layer).shape
    wanted = matrices(source[1:3], layer.hyperparameters)
    for coordinates, rounding in NEAREST if layer["method"] == "nearest_neighbor" else SMOOTH:
        plain: dict[str, Any] = {**values, "coordinates": coordinates, "rounding": rounding}
        if plain == layer.hyperparameters:
            return None
        found = matrices(source[1:3], plain)
        if all(np.allclose(one, other, rtol=0, atol=CLOSE) for one, other in zip(wanted, found, strict=True)):
            return replace(layer, hyperparameters=plain)
    return None


RULES = (Rule("plain_resize", frozenset({"resize"}), plain_resize),)
