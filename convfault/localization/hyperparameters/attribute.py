"""An ``Attribute``: a hyperparameter, or several that belong together, that differs between two matched layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convfault.relax.graph import Layer


@dataclass(frozen=True)
class Attribute:
    """``values`` are the source's, which an edit gives to the target; ``expected`` and ``actual`` in the user's words.

    ``phrase`` is a sentence about the target. ``also`` names attributes that differ in consequence. ``place`` is the
    target's operator that has it, where that is not the heart of the layer.
    """

    cause: str
    name: str
    values: Mapping[str, Any]
    expected: Any
    actual: Any
    phrase: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    place: str | None = None


def differs(a: Any, b: Any) -> bool:
    """Whether two values of a hyperparameter differ by more than float32 holds (and than six digits of folding)."""
    if isinstance(a, float) or isinstance(b, float):
        if a is None or b is None:
            return a is not b
        return not np.isclose(float(a), float(b), rtol=1e-5, atol=1e-6, equal_nan=True)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) != len(b) or any(differs(x, y) for x, y in zip(a, b, strict=True))
    return bool(a != b)


def differing(source: Layer, target: Layer) -> tuple[str, ...]:
    """The names of the hyperparameters that differ, those of one side only among them."""
    names = dict.fromkeys((*source.hyperparameters, *target.hyperparameters))
    missing = object()
    return tuple(
        name
        for name in names
        if differs(source.hyperparameters.get(name, missing), target.hyperparameters.get(name, missing))
    )
