"""A kind of fault: where it fits, and the edit that plants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from planting.network import Network, Operator, Parameter
from planting.record import Change

Random = np.random.Generator
ALL = ("tflite", "onnx", "torch", "keras", "tensorflow")


@dataclass(frozen=True)
class Place:
    """Where a fault could go: an operator, and what of it."""

    operator: Operator
    parameter: Parameter | None = None
    choice: Any = None

    @property
    def weight(self) -> Parameter:
        assert self.parameter is not None
        return self.parameter

    @property
    def key(self) -> tuple[str, str, str]:
        return self.operator.name, self.parameter.tensor if self.parameter else "", str(self.choice)


@dataclass(frozen=True)
class Kind:
    """``find`` lists fitting places, ``apply`` plants the fault at one. ``smallest`` is the effect it must have.

    ``finite`` is False where NaN is the fault. ``shaped`` is False where the outputs may change in number or shape.
    """

    name: str
    family: str
    summary: str
    find: Callable[[Network], list[Place]]
    apply: Callable[[Network, Place, Random], Change]
    formats: tuple[str, ...] = ALL
    smallest: float = 1e-3
    finite: bool = True
    shaped: bool = True


def change(place: Place, attribute: str, expected: Any, actual: Any, detail: str, *names: str) -> Change:
    """A ``Change`` at the place's operator; its output and parameter are named too, and ``names`` besides."""
    operator = place.operator
    own = [operator.name, *operator.outputs[:1], *([place.parameter.tensor] if place.parameter else [])]
    own += [operator.module] if operator.module else []
    return Change(operator.name, tuple(dict.fromkeys([*own, *names])), attribute, expected, actual, detail)


def of_kind(*kinds: str) -> Callable[[Network], list[Place]]:
    """All operators of these kinds that read data."""

    def find(network: Network) -> list[Place]:
        return [Place(each) for each in network.operators() if each.kind in kinds and each.inputs]

    return find


def same_shape(network: Network, first: str, second: str) -> bool:
    """Whether two tensors have one shape, the batch left out."""
    return network.shape(first)[1:] == network.shape(second)[1:] and len(network.shape(first)) > 0


def ancestors(network: Network, tensor: str) -> set[str]:
    """Names of the operators that a tensor depends on."""
    makers = {output: each for each in network.operators() for output in each.outputs}
    found: set[str] = set()
    waiting = [tensor]
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker.name not in found:
            found.add(maker.name)
            waiting.extend(maker.inputs)
    return found
