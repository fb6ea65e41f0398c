"""Saved runs made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convfault.comparing.compare import Pictures, compare
from convfault.comparison import Comparison, Tolerance
from convfault.trace import StoredTrace, Trace, TraceWriter


def saved(
    folder: Path, tensors: Mapping[str, np.ndarray] | np.ndarray, layout: str = "NHWC", batch: int = 7
) -> StoredTrace:
    """A run over ``len(tensor)`` pictures with these outputs, written ``batch`` pictures at a time."""
    tensors = tensors if isinstance(tensors, Mapping) else {"scores": tensors}
    with TraceWriter(folder) as writer:
        for start in range(0, len(next(iter(tensors.values()))), batch):
            block = {name: values[start : start + batch] for name, values in tensors.items()}
            writer.append(Trace(block, tuple(tensors), "tflite", "1.0", layout))
    return StoredTrace(folder)


def compared(
    source: StoredTrace,
    target: StoredTrace,
    tolerance: float = 1e-6,
    labels: Sequence[int | None] | None = None,
    worst: int = 8,
) -> Comparison:
    """The comparison of two runs under one tolerance for all outputs; pictures are named ``p0``, ``p1`` ..."""
    names = [f"p{row}" for row in range(len(source))]
    return compare(source, target, Pictures(names, labels), [Tolerance(tolerance)] * len(source.outputs), worst)
