"""Arithmetic among the constants of a TensorFlow graph, forwards and backwards.

Keras writes a batch normalization in pieces: ``scale = gamma * rsqrt(variance + epsilon)`` is computed of variables,
and so is what is added. To give such a product another value, one of the variables that it is made of is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.tensorflow.nodes import attribute

FORWARDS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Neg": np.negative,
    "Rsqrt": lambda x: np.asarray(1, x.dtype) / np.sqrt(x),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Reshape": lambda x, shape: x.reshape(shape),
    "ExpandDims": lambda x, axis: np.expand_dims(x, int(axis)),
    "Transpose": lambda x, order: x.transpose(order),
}
"""Operator → what it computes of its inputs."""

SHAPING = frozenset({"Reshape", "ExpandDims", "Squeeze"})
"""Operators that keep the numbers and their order."""


@dataclass(frozen=True)
class Expression:
    """A constant operator: ``native`` is its ``NodeDef``, ``inputs`` the tensors that it reads."""

    native: Any
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """A ``Const`` and the numbers that it should have; ``depth`` operators lie between."""

    tensor: str
    values: Array
    depth: int


class Constants:
    """The values of constants: ``stored`` ones, and ``expressions`` computed of them. Tensors go by ``node:0``."""

    def __init__(self, stored: Callable[[str], Array | None], expression: Callable[[str], Expression | None]) -> None:
        self.stored, self.expression = stored, expression
        self.known: dict[str, Array | None] = {}
        self.reached: dict[str, frozenset[str]] = {}

    def forget(self) -> None:
        """After a stored value changed."""
        self.known.clear()

    def value(self, tensor: str) -> Array | None:
        """The numbers of a constant, None for what depends on the model's inputs or cannot be computed here."""
        if tensor not in self.known:
            self.known[tensor] = None  # an expression that reads itself is no constant
            self.known[tensor] = self._value(tensor)
        return self.known[tensor]

    def _value(self, tensor: str) -> Array | None:
        found = self.stored(tensor)
        if found is not None:
            return found
        expression = self.expression(tensor)
        if expression is None or expression.native.op not in {*FORWARDS, "Squeeze"}:
            return None
        inputs = [self.value(name) for name in expression.inputs]
        if any(each is None for each in inputs):
            return None
        try:
            with np.errstate(all="ignore"):
                return np.asarray(_computed(expression.native, inputs))
        except (ValueError, TypeError):
            return None

    def leaves(self, tensor: str) -> frozenset[str]:
        """The stored constants that a constant is made of."""
        if tensor not in self.reached:
            expression = self.expression(tensor)
            stored = self.stored(tensor) is not None
            below = [self.leaves(name) for name in expression.inputs] if expression is not None and not stored else []
            self.reached[tensor] = frozenset({tensor}) if stored else frozenset().union(*below)
        return self.reached[tensor]

    def inverted(self, tensor: str, wanted: Array, spared: frozenset[str]) -> Leaf | None:
        """The stored constant, none of the ``spared``, that gives ``tensor`` the wanted numbers when it is changed."""
        present = self.value(tensor)
        if present is None or present.shape != wanted.shape:
            return None
        if self.stored(tensor) is not None:
            return None if tensor in spared else Leaf(tensor, wanted.astype(present.dtype), 0)
        if present.dtype.kind != "f":
            return None
        expression = self.expression(tensor)
        assert expression is not None
        found = []
        for slot, name in enumerate(expression.inputs):
            below = self._operand(expression, slot, wanted)
            leaf = None if below is None else self.inverted(name, below, spared)
            if leaf is not None and np.isfinite(leaf.values).all():
                found.append(Leaf(leaf.tensor, leaf.values, leaf.depth + 1))
        return min(found, key=lambda leaf: leaf.depth, default=None)

    def _operand(self, expression: Expression, slot: int, wanted: Array) -> Array | None:
        """What input ``slot`` must be for the result to be ``wanted``; None where that cannot be had."""
        values = [self.value(name) for name in expression.inputs]
        own = values[slot]
        if own is None or (own.size != wanted.size) or (slot and expression.native.op in SHAPING):
            return None
        others = [each for place, each in enumerate(values) if place != slot and each is not None]
        with np.errstate(all="ignore"):
            found = _backwards(expression.native, slot, wanted, others)
        return None if found is None else np.asarray(found, own.dtype).reshape(own.shape)


def _computed(native: Any, inputs: Sequence[Any]) -> Array:
    if native.op == "Squeeze":
        axes = attribute(native, "squeeze_dims")
        return np.asarray(np.squeeze(inputs[0], tuple(axes) if axes else None))
    return FORWARDS[native.op](*inputs)


def _backwards(native: Any, slot: int, wanted: Array, others: Sequence[Array]) -> Any:
    wanted = wanted.astype(np.float64)
    match native.op, slot:
        case ("Add" | "AddV2", _) | ("Sub", 0):
            return wanted - others[0] if native.op != "Sub" else wanted + others[0]
        case "Sub", 1:
            return others[0] - wanted
        case "Mul", _:
            return wanted / others[0]
        case "RealDiv", 0:
            return wanted * others[0]
        case "RealDiv", 1:
            return others[0] / wanted
        case "Neg", 0:
            return -wanted
        case "Rsqrt", 0:
            return 1 / wanted**2
        case "Sqrt", 0:
            return wanted**2
        case "Transpose", 0:
            return wanted.transpose(np.argsort(others[0].reshape(-1)))
        case (("Reshape" | "ExpandDims" | "Squeeze"), 0):
            return wanted
    return None
