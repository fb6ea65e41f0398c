"""Average pools whose divisor a format has no name for: as a plain pool, and what its result is multiplied by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfault.relax.evaluate_window import counted, window_of
from convfault.relax.graph import Array, Layer


def plain_pool(layer: Layer, sides: tuple[int, ...]) -> tuple[Layer, Array | None]:
    """The pool with all of its padding counted, and the factor, (H, W, 1) or a single number; None: nothing is needed.

    ``sides`` are height and width of the picture that it slides over.
    """
    divisor, uncounted = layer.hyperparameters.get("divisor"), layer.hyperparameters.get("uncounted")
    if layer.kind != "average_pool" or (divisor is None and uncounted is None):
        return layer, None
    window = window_of(layer)
    values = {name: value for name, value in layer.hyperparameters.items() if name not in {"divisor", "uncounted"}}
    plain = replace(layer, hyperparameters={**values, "count_padding": True})
    size = window.size[0] * window.size[1]
    if divisor is not None:
        return plain, np.asarray(size / divisor, np.float32)
    assert uncounted is not None
    counts = np.asarray(counted(sides, window, uncounted), np.float32)
    return plain, np.asarray(size / counts, np.float32).reshape(*layer.shape[1:3], 1)
