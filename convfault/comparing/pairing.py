"""Which output of the target answers which output of the source, and how its axes have to be turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.trace import StoredTrace

Shape = tuple[int, ...]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """An output on both sides by native name; None where the other side has no counterpart.

    ``arranged`` brings the target's values, (pictures, ...), to the source's shape and layout; None where no
    arrangement does, so that the two are not comparable.
    """

    source: str | None
    target: str | None
    arranged: Callable[[Array], Array] | None


def pair(source: StoredTrace, target: StoredTrace) -> tuple[Pair, ...]:
    """Every output of both sides in exactly one pair, the source's in their order, then the target's unpaired ones.

    Outputs of equal name go together if their shapes fit; the rest in order if all fit so; else each with the first
    that fits. What is left is paired by name, then in order, though it is not comparable.
    """
    partner: dict[str, str] = {}
    for choose in (_by_name, _by_order, _by_shape, _left_over_by_name, _left_over_in_order):
        free = [name for name in source.outputs if name not in partner]
        others = [name for name in target.outputs if name not in partner.values()]
        partner.update(choose(source, target, free, others))
    pairs = [_pair(source, target, name, partner.get(name)) for name in source.outputs]
    unpaired = [name for name in target.outputs if name not in partner.values()]
    return (*pairs, *(Pair(None, name, None) for name in unpaired))


def is_scores(shape: Shape) -> bool:
    """Whether a shape without the batch is that of the scores of two or more classes: (C,), (1, 1, C) or (C, 1, 1)."""
    classes = max(shape, default=1)
    return classes >= 2 and shape in {(classes,), (1, 1, classes), (classes, 1, 1)}


def _pair(source: StoredTrace, target: StoredTrace, name: str, other: str | None) -> Pair:
    if other is None:
        return Pair(name, None, None)
    found = _arrangements(source, target, name, other)
    # A shape like (8, 8, 8) fits as it is and turned: what lies closer on one picture tells which layout it has
    if len(found) > 1:
        wanted, seen = source.read(name, 0, 1), target.read(other, 0, 1)
        found.sort(key=lambda arranged: _distance(wanted, arranged(seen)))
    return Pair(name, other, found[0] if found else None)


def _arrangements(source: StoredTrace, target: StoredTrace, name: str, other: str) -> list[Callable[[Array], Array]]:
    """All ways to bring the target's output to the source's shape: as it is, turned to its layout, without ones."""
    wanted, seen = source.shape(name), target.shape(other)
    found: list[Callable[[Array], Array]] = [_as_it_is] if wanted == seen else []
    if source.layout != target.layout and len(wanted) == len(seen) >= 2:
        start, end = (-1, 1) if target.layout == "NHWC" else (1, -1)
        if np.moveaxis(np.empty((1, *seen), np.bool_), start, end).shape[1:] == wanted:
            found.append(_channels_last_to_first if start == -1 else _channels_first_to_last)
    if found or _without_ones(wanted) != _without_ones(seen):
        return found
    return [lambda values: values.reshape(len(values), *wanted)]


def _as_it_is(values: Array) -> Array:
    return values


def _channels_last_to_first(values: Array) -> Array:
    return np.moveaxis(values, -1, 1)


def _channels_first_to_last(values: Array) -> Array:
    return np.moveaxis(values, 1, -1)


def _without_ones(shape: Shape) -> Shape:
    return tuple(side for side in shape if side != 1)


def _distance(one: Array, other: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.nan_to_num(np.abs(np.subtract(one, other, dtype=np.float64)), nan=0.0).sum())


Names = Sequence[str]


def _by_name(source: StoredTrace, target: StoredTrace, free: Names, others: Names) -> dict[str, str]:
    return {name: name for name in free if name in others and _arrangements(source, target, name, name)}


def _by_order(source: StoredTrace, target: StoredTrace, free: Names, others: Names) -> dict[str, str]:
    pairs = list(zip(free, others, strict=False))
    fits = len(free) == len(others) and all(_arrangements(source, target, *names) for names in pairs)
    return dict(pairs) if fits else {}


def _by_shape(source: StoredTrace, target: StoredTrace, free: Names, others: Names) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in free:
        fitting = (o for o in others if o not in found.values() and _arrangements(source, target, name, o))
        other = next(fitting, None)
        if other is not None:
            found[name] = other
    return found


def _left_over_by_name(source: StoredTrace, target: StoredTrace, free: Names, others: Names) -> dict[str, str]:
    return {name: name for name in free if name in others}


def _left_over_in_order(source: StoredTrace, target: StoredTrace, free: Names, others: Names) -> dict[str, str]:
    return dict(zip(free, others, strict=False))
