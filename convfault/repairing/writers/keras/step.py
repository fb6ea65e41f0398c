"""Layers of Keras that scale and shift, as ``Step``s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convfault.repairing.writers.document import Node
from convfault.repairing.writers.folding import Put, Step

if TYPE_CHECKING:
    from convfault.repairing.writers.keras.document import KerasDocument

SMALLEST = 1e-7
"""What ``Normalization`` divides by at least."""


def step(document: KerasDocument, node: Node, count: int) -> tuple[Step, int] | None:
    """What the layer does to each of ``count`` channels, and which input carries the data; None if it is no such."""
    if node.type not in {"Rescaling", "Normalization", "LayerNormalization"} or len(node.inputs) < 3:
        return None
    constants = [values for name in node.inputs[1:3] if (values := document.constant(name)) is not None]
    if len(constants) < 2 or any(values.size not in {1, count} for values in constants):
        return None
    shapes = [np.shape(values) for values in constants]
    first, second = (np.broadcast_to(np.asarray(values, np.float64).reshape(-1), (count,)) for values in constants)
    if node.type != "Normalization":  # of LayerNormalization: what follows the normalization
        return Step(
            first,
            second,
            put_scale=lambda found: [Put(node, 1, found.scale)],
            put_shift=lambda found: [Put(node, 2, found.shift)],
        ), 0
    if any(int(np.prod(shape)) != count for shape in shapes):
        return None
    scale = 1 / np.maximum(np.sqrt(second), SMALLEST)
    return Step(
        scale,
        -first * scale,
        put_scale=lambda found: [Put(node, 2, (found.scale**-2.0).reshape(shapes[1]))],
        put_shift=lambda found: [Put(node, 1, (-found.shift / found.scale).reshape(shapes[0]))],
        mean=first,
    ), 0
