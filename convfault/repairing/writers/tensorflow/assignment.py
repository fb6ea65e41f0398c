"""Numbers put where operators read them, when what they read is computed of constants that others share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.document import Node, summary
from convfault.repairing.writers.folding import Put
from convfault.repairing.writers.tensorflow.constants import Leaf
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument

ROUNDING = 2e-6
"""Relative to the largest value: how far arithmetic among constants in float32 may be off."""


class Assignment:
    """Carries puts out one after the other: every other operator goes on reading the numbers that it read before."""

    def __init__(self, document: TensorFlowDocument, puts: Sequence[Put]) -> None:
        self.document = document
        self.waiting = list(puts)
        self.wanted = {(id(put.node), put.slot): put.values for put in puts}
        self.touched: set[str] = set()

    def perform(self) -> None:
        while self.waiting:
            put = self.waiting.pop(0)
            self._assign(put.node, put.slot, put.values)

    def _assign(self, node: Node, slot: int, values: Array) -> None:
        tensor = self.document.root(node.inputs[slot])
        before = self.document.constant(tensor)
        assert before is not None
        values = values.astype(before.dtype)
        stored = self.document.constants.stored(tensor) is not None
        if _alike(before, values, 0.0 if stored else ROUNDING):
            return
        leaf = self._leaf(tensor, before, values)
        others = [] if leaf is None else self._others(leaf.tensor, node, slot)
        if leaf is None or not self._movable(leaf.tensor, others):
            self._own(node, slot, before, values)
            return
        kept = [Put(other, place, number) for other, place, number in others]
        self.touched.add(leaf.tensor)
        self.document.set_numbers(leaf.tensor, leaf.values)
        found = self.document.constant(tensor)
        if found is None or not _alike(found, values.reshape(before.shape), ROUNDING):
            self._own(node, slot, before, values)
        for put in kept:
            if (id(put.node), put.slot) not in self.wanted:
                self.wanted[id(put.node), put.slot] = put.values
                self.waiting.append(put)

    def _leaf(self, tensor: str, before: Array, values: Array) -> Leaf | None:
        if values.size != before.size:
            return None
        return self.document.constants.inverted(tensor, values.reshape(before.shape), frozenset(self.touched))

    def _others(self, leaf: str, node: Node, slot: int) -> list[tuple[Node, int, Array]]:
        """The operators on the model's data that read what is computed of a constant, and the numbers they read."""
        found = []
        for other in self.document.nodes:
            for place, name in enumerate(other.inputs):
                root = self.document.root(name)
                if (other is node and place == slot) or leaf not in self.document.constants.leaves(root):
                    continue
                number = self.document.constant(root)
                if number is not None and self.document.constant(other.outputs[0]) is None:
                    found.append((other, place, number))
        return found

    def _movable(self, leaf: str, others: list[tuple[Node, int, Array]]) -> bool:
        """Whether all others are given their numbers too, or have another constant that can make up for the change."""
        for other, place, number in others:
            if (id(other), place) in self.wanted:
                continue
            spared = frozenset({*self.touched, leaf})
            if self.document.constants.inverted(self.document.root(other.inputs[place]), number, spared) is None:
                return False
        return True

    def _own(self, node: Node, slot: int, before: Array, values: Array) -> None:
        """Give the operator a constant that nobody else reads."""
        name = self.document.add_constant(f"{node.name}/own", values)
        self.document.note(node.name, f"input {slot}", summary(before), summary(values))
        node.inputs[slot] = name


def _alike(found: Array, wanted: Array, bound: float) -> bool:
    if found.shape != wanted.shape or found.dtype.kind != "f" or not bound:
        return np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
    if not np.isfinite(found).all() or not np.isfinite(wanted).all():
        return np.array_equal(found, wanted, equal_nan=True)
    size = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
    return bool(np.all(np.abs(found - wanted) <= bound * size))
