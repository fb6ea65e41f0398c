"""Layers compared before and after edits, and refusals that name theirs."""

from __future__ import annotations

import numpy as np

from convfault.relax.graph import Layer
from convfault.repairing.writers.change import Refusal


class LayerRefusal(Exception):  # noqa: N818 - a no with its reason
    """A ``Refusal`` and the layer that it is about."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(layer, reason)
        self.layer, self.reason = layer, reason


class refusals:  # noqa: N801 - reads as a statement
    """Turns a ``Refusal`` into one that names its layer."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refusal):
            raise LayerRefusal(self.layer.id, str(error)) from error


def same(old: Layer, new: Layer) -> bool:
    """Whether two layers compute the same from their inputs."""
    if old is new:
        return True
    if old.kind != new.kind or old.shape != new.shape or old.hyperparameters != new.hyperparameters:
        return False
    if old.parameters.keys() != new.parameters.keys():
        return False
    pairs = ((old.parameters[name].values, new.parameters[name].values) for name in old.parameters)
    return all(a is b or (a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")) for a, b in pairs)


def describe(layer: Layer, other: Layer) -> str:
    """What sets a layer apart from another one, in a few words."""
    if layer.kind != other.kind:
        return layer.kind
    keys = [key for key, value in layer.hyperparameters.items() if other.hyperparameters.get(key) != value]
    return ", ".join(f"{key}={layer[key]}" for key in keys) or f"reads {', '.join(layer.inputs)}"
