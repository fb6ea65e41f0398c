"""Chains of reshapes and transposes in one form: channel shuffles, pixel shuffles and their kin.

Such a chain only moves values. It cuts the axes of what it reads into factors, puts these in another order and joins
them again: the cut, the order and the joints are the same however a framework spells the chain, or which axis it has
the channels on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer

MOVES = frozenset({"reshape", "transpose"})
TO_FIRST = (0, 3, 1, 2)
SHORTEST = 3
"""Chains of two have one spelling already, and other rules know it."""

Axes = list[list[int]]
"""For each axis the numbers of the factors that it is made of, outermost first."""


@dataclass(frozen=True)
class Move:
    """One layer of a chain."""

    kind: str
    shape: tuple[int, ...]
    order: tuple[int, ...] = ()

    @classmethod
    def of(cls, layer: Layer) -> Move:
        return cls(layer.kind, layer.shape, layer["order"] if layer.kind == "transpose" else ())

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Those of a layer that does it."""
        return {"order": self.order} if self.order else {}


class Factors:
    """The axes of a source cut into factors, and how these lie in what the chain has made so far."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.sizes = dict(enumerate(shape))
        self.source = [number for number, size in self.sizes.items() if size != 1]
        self.axes: Axes = [[number] if size != 1 else [] for number, size in self.sizes.items()]

    @classmethod
    def moved(cls, shape: tuple[int, ...], chain: Sequence[Move]) -> Factors | None:
        """Behind the whole chain; None where it moves a batch of several, or joins parts of axes that do not fit."""
        if shape[0] != 1 and not all(_keeps_batch(move, shape[0]) for move in chain):
            return None
        factors = cls((1, *shape[1:]))
        for move in chain:
            sides = move.shape if shape[0] == 1 else (1, *move.shape[1:])
            if not (factors.transposed(move.order) if move.order else factors.reshaped(sides)):
                return None
        return factors

    def of_source(self) -> Axes:
        """For each axis of the source the factors that it was cut into."""
        found, pending = Axes(), list(self.source)
        for side in self.shape:
            axis, left = list[int](), side
            while left > 1:
                axis.append(pending.pop(0))
                left //= self.sizes[axis[-1]]
            found.append(axis)
        return found

    def transposed(self, order: Sequence[int]) -> bool:
        """Whether it can be done: always."""
        self.axes = [self.axes[axis] for axis in order]
        return True

    def reshaped(self, shape: Sequence[int]) -> bool:
        """Whether every new axis is made of whole factors, of which some may have to be cut."""
        pending, found = [number for axis in self.axes for number in axis], Axes()
        for side in shape:
            axis, left = list[int](), side
            while left > 1:
                size = self.sizes[pending[0]] if pending else 0
                if size and left % size == 0:
                    axis.append(pending.pop(0))
                elif size and size % left == 0:
                    outer, pending[0] = self._cut(pending[0], left)
                    axis.append(outer)
                else:
                    return False
                left //= self.sizes[axis[-1]]
            found.append(axis)
        self.axes = found
        return not pending

    def _cut(self, number: int, outer: int) -> tuple[int, int]:
        first, second = len(self.sizes), len(self.sizes) + 1
        self.sizes |= {first: outer, second: self.sizes[number] // outer}
        place = self.source.index(number)
        self.source[place : place + 1] = [first, second]
        return first, second


def canonical(shape: tuple[int, ...], chain: Sequence[Move]) -> list[Move] | None:
    """The chain in its one form, None where it has none.

    A batch of one may be moved and joined with other axes on the way: there is nothing in it to be told apart.
    """
    factors = Factors.moved(shape, chain) if chain[-1].shape[0] == shape[0] else None
    if factors is None:
        return None
    result, axes = chain[-1].shape, factors.axes[1:]
    straight = _runs(factors, axes)
    turns = len(result) == 4 and axes[0] and (axes[1] or axes[2])  # more than axes of size 1, which are only reshaped
    if turns and _cost(straight)[1]:
        last = _runs(factors, [axes[1], axes[2], axes[0]])
        if _cost(last) <= _cost(straight):
            found = _spelled(shape, factors, last, (result[0], *result[2:], result[1]))
            return _joined([*found, Move("transpose", result, TO_FIRST)], shape)
    return _spelled(shape, factors, straight, result)


def _keeps_batch(move: Move, batch: int) -> bool:
    return move.shape[0] == batch and (not move.order or move.order[0] == 0)


def _runs(factors: Factors, axes: Axes) -> list[list[int]]:
    """The places in the source of the result's factors, cut into runs of those that lie side by side in both."""
    places = {number: place for place, number in enumerate(factors.source)}
    runs: list[list[int]] = []
    for place in (places[number] for axis in axes for number in axis):
        if runs and runs[-1][-1] + 1 == place:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _cost(runs: list[list[int]]) -> tuple[int, int]:
    """How many runs there are, and how many pairs of them are not in the order of the source."""
    return len(runs), sum(one > other for place, one in enumerate(runs) for other in runs[place + 1 :])


def _spelled(shape: tuple[int, ...], factors: Factors, runs: list[list[int]], result: tuple[int, ...]) -> list[Move]:
    """Reshape, transpose, reshape; those that do nothing left out."""
    ordered = sorted(runs)
    split = (shape[0], *(prod(factors.sizes[factors.source[place]] for place in run) for run in ordered))
    order = (0, *(1 + ordered.index(run) for run in runs))
    turned = tuple(split[axis] for axis in order)
    return _joined([Move("reshape", split), Move("transpose", turned, order), Move("reshape", result)], shape)


def _joined(moves: list[Move], shape: tuple[int, ...]) -> list[Move]:
    """Without moves that do nothing, two transposes in a row being one, and so two reshapes."""
    kept: list[Move] = []
    for move in moves:
        if kept and kept[-1].kind == move.kind:
            earlier = kept.pop()
            move = replace(move, order=tuple(earlier.order[axis] for axis in move.order))
        before = kept[-1].shape if kept else shape
        idle = move.order == tuple(range(len(move.order))) if move.order else move.shape == before
        if not idle:
            kept.append(move)
    return kept


def settle_moves(draft: Draft, layer: Layer) -> Layer | str | None:
    """A whole chain of reshapes and transposes, from its end on, in its one form."""
    readers = [draft.layers[name].kind for name in draft.readers(layer.id)]
    if layer.id not in draft.outputs and not any(kind not in MOVES for kind in readers):
        return None
    chain = [*moves_before(draft, layer), layer]
    source, moves = draft.input_of(chain[0]), [Move.of(item) for item in chain]
    if len(chain) < SHORTEST or source.kind == "constant":
        return None
    wanted = canonical(source.shape, moves)
    if wanted is None or wanted == moves:
        return None
    native = layer.native
    for item in reversed(chain[:-1]):
        native = native.after(item.native)
    return put_moves(draft, source.id, wanted, replace(layer, native=native)) if wanted else source.id


def moves_before(draft: Draft, layer: Layer) -> list[Layer]:
    """The reshapes and transposes in a row that a layer reads its only input through, in order of computation."""
    chain = [layer]
    while (before := draft.input_of(chain[0])).kind in MOVES:
        chain.insert(0, before)
    return chain[:-1]


def put_moves(draft: Draft, source: str, moves: Sequence[Move], layer: Layer) -> Layer:
    """The last of the ``moves`` of what ``source`` computes, in a layer's place."""
    for move in moves[:-1]:
        source = draft.add(move.kind, (source,), move.shape, move.hyperparameters, dtype=layer.dtype).id
    last = moves[-1]
    return replace(layer, kind=last.kind, inputs=(source,), hyperparameters=last.hyperparameters)


RULES = (Rule("settle_moves", MOVES, settle_moves),)
