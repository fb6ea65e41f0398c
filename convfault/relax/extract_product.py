"""Relax products of several forms → matrix products with what prepares and finishes them: ``einsum``, attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from convfault.relax.extract import Extraction, attributes, shape_of
from convfault.relax.graph import Native, Parameter


@dataclass(frozen=True)
class Letters:
    """The letters of a product of two: in both and the result, in both only, in one and the result."""

    batch: str
    summed: str
    left: str
    right: str

    @classmethod
    def of(cls, left: str, right: str, result: str) -> Letters | None:
        """None where a letter comes twice, or is summed over in one factor alone."""
        if any(len(set(part)) < len(part) for part in (left, right, result)):
            return None
        if any(letter not in result and not (letter in left and letter in right) for letter in left + right):
            return None
        both = [letter for letter in left if letter in right]
        return cls(
            "".join(letter for letter in both if letter in result),
            "".join(letter for letter in both if letter not in result),
            "".join(letter for letter in left if letter not in right),
            "".join(letter for letter in right if letter not in left),
        )


def _einsum(at: Extraction, call: Any) -> str:
    """A product of two as a matrix product, or elementwise where nothing is summed; others as they are."""
    values = attributes(call)
    names, formula = list(at.ids(call.args[0])), str(values["subscripts"]).replace(" ", "")
    if "->" in formula and "." not in formula and len(names) == 2:
        operands, _, result = formula.partition("->")
        left, right = operands.split(",")
        letters = Letters.of(left, right, result)
        if letters is not None:
            return _product(at, call, names, (left, right, result), letters)
    return at.emit(call, "einsum", names, {"subscripts": formula}).id


def _product(at: Extraction, call: Any, names: list[str], formula: tuple[str, str, str], letters: Letters) -> str:
    left, right, result = formula
    sides = {
        letter: at.draft.layers[name].shape[place]
        for name, part in zip(names, (left, right), strict=True)
        for place, letter in enumerate(part)
    }
    if not letters.summed:
        spread = [_arranged(at, n, part, result, sides) for n, part in zip(names, (left, right), strict=True)]
        return at.emit(call, "multiply", spread).id
    parts = (letters.left, letters.right, letters.summed)
    rows, columns, depth = (prod(sides[letter] for letter in part) for part in parts)
    batch = [sides[letter] for letter in letters.batch]
    first = _folded(at, names[0], left, letters.batch + letters.left + letters.summed, (*batch, rows, depth))
    second = _folded(at, names[1], right, letters.batch + letters.summed + letters.right, (*batch, depth, columns))
    whole = at.draft.add("matmul", (first, second), (*batch, rows, columns), native=_inner(at)).id
    made = letters.batch + letters.left + letters.right
    opened = at.draft.add("reshape", (whole,), [sides[letter] for letter in made]).id
    order = tuple(made.index(letter) for letter in result)
    return at.draft.add("transpose", (opened,), shape_of(call), {"order": order}, native=at.native).id


def _folded(at: Extraction, name: str, own: str, wanted: str, shape: Sequence[int]) -> str:
    """An operand with its letters in the ``wanted`` order, neighbours joined so that it has this ``shape``."""
    order = tuple(own.index(letter) for letter in wanted)
    return at.draft.add("reshape", (at.transposed(name, order),), shape).id


def _arranged(at: Extraction, name: str, own: str, result: str, sides: dict[str, int]) -> str:
    """An operand that broadcasts against the result."""
    kept = [letter for letter in result if letter in own]
    turned = at.transposed(name, tuple(own.index(letter) for letter in kept))
    return at.draft.add("reshape", (turned,), [sides[letter] if letter in own else 1 for letter in result]).id


def _inner(at: Extraction) -> Native:
    return Native(None, None, at.native.operators)


def _attention(at: Extraction, call: Any) -> str:
    """softmax(q kᵀ * scale + bias) v of (N, places, heads, depth); both factors take the root of the scale, as torch's
    exporters spell it."""
    found = attributes(call)
    query, key, value = (at.transposed(at.id(argument), (0, 2, 1, 3)) for argument in call.args[:3])
    shape, keys = at.draft.layers[query].shape, at.draft.layers[key].shape
    if found.get("causal_mask") or found.get("window_size"):
        return at.emit(call, "nn.attention", [at.id(argument) for argument in call.args[:3]], found).id
    scale = float(found["scale"]) if found.get("scale") is not None else 1 / sqrt(shape[3])
    factor = _number(at, sqrt(scale))
    turned = at.transposed(key, (0, 1, 3, 2))
    scaled = [at.draft.add("multiply", (name, factor), at.draft.layers[name].shape).id for name in (query, turned)]
    places = (*shape[:3], keys[2])
    scores = at.draft.add("matmul", scaled, places, native=_inner(at)).id
    if len(call.args) > 3:
        scores = at.draft.add("add", (scores, at.id(call.args[3])), places).id
    shares = at.draft.add("softmax", (scores,), places, {"axis": 3}, native=_inner(at)).id
    mixed = at.draft.add("matmul", (shares, value), (*shape[:3], at.draft.layers[value].shape[3]), native=_inner(at)).id
    return at.draft.add("transpose", (mixed,), shape_of(call), {"order": (0, 2, 1, 3)}, native=at.native).id


def _number(at: Extraction, value: float) -> str:
    values = {"values": Parameter(np.asarray(value, np.float32))}
    return at.draft.add("constant", (), (), {}, values).id


OPERATORS: dict[str, Callable[[Extraction, Any], Any]] = {
    "relax.einsum": _einsum,
    "relax.nn.attention": _attention,
    "relax.nn.attention_bias": _attention,
}
