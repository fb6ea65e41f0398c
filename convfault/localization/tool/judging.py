"""How far the conversion of a piece is off: which output of the target is to be compared with which of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from convfault.localization.tool import layouts
from convfault.localization.tool.exhibit import Values
from convfault.model import Model
from convfault.relax.graph import Array


def turned_to(source: Model, layout: str) -> str:
    """The layout that a converter turned the pictures to, empty where it kept theirs."""
    own = source.preprocessing.layout if source.preprocessing is not None else ""
    return "" if layout in {"keeps", own} else layout


def whole(source: Model, target: Model, inputs: tuple[Array, ...], wanted: Array) -> Values:
    """A whole model's first output, of two models with their signatures; how far it is off is left open."""
    assert source.signature is not None
    assert target.signature is not None
    turned = turned_to(source, target.preprocessing.layout if target.preprocessing is not None else "keeps")
    shapes = [(spec.name, values.shape) for spec, values in zip(source.signature.inputs, inputs, strict=True)]
    ways = layouts.feeds(shapes, target.signature.inputs, turned)
    kept = tuple((number, tuple(range(values.ndim))) for number, values in enumerate(inputs))
    axes = tuple(range(wanted.ndim)) if len(target.signature.outputs[0].shape) == wanted.ndim else None
    return Values(inputs, wanted, target, next(iter(ways), kept), float("inf"), 0.0, axes=axes)


def measured(
    frame: Values, wanted: Sequence[Array], found: Sequence[Array], judged: tuple[Sequence[float], str]
) -> Values | None:
    """The output that is off the most, by its limit; None where no output of the target has any's shape.

    ``judged``: how far each of the ``wanted`` may be off, and the layout that pictures were turned to.
    """
    limits, turned = judged
    worst: Values | None = None
    for number, (values, limit) in enumerate(zip(wanted, limits, strict=True)):
        nearest: Values | None = None
        for place, answer in enumerate(found):
            for axes, arranged in layouts.answers(values, answer, turned):
                error = _largest(values, arranged)
                if nearest is None or error < nearest.error:
                    nearest = replace(frame, wanted=values, error=error, limit=limit, output=place, axes=axes)
                    nearest = replace(nearest, source_output=number)
        if nearest is not None and (worst is None or nearest.error * worst.limit > worst.error * nearest.limit):
            worst = nearest
    return worst


def _largest(wanted: Array, found: Array) -> float:
    """The largest deviation; infinite where one is not finite."""
    if not wanted.size:
        return 0.0
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())
