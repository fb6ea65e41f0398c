"""Borders that repeat or mirror what is inside, for formats that lack such a padding: which places to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from convfault.relax.graph import Array, Layer

MODES: Mapping[str, str] = {"replicate": "edge", "reflect": "reflect", "symmetric": "symmetric", "circular": "wrap"}
"""Mode of a layer → numpy's."""


def borders(layer: Layer, shape: tuple[int, ...]) -> Iterator[tuple[int, Array, tuple[int, ...]]]:
    """Axis, places (int64) to take along it, and the shape behind it, for each axis of ``shape`` with a border."""
    for axis, widths in enumerate(layer["padding"]):
        if any(widths):
            places = np.pad(np.arange(shape[axis], dtype=np.int64), widths, mode=MODES[layer["mode"]])  # type: ignore[call-overload]
            shape = (*shape[:axis], len(places), *shape[axis + 1 :])
            yield axis, places, shape
