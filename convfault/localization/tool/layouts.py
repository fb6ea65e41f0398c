"""Fits what a source is fed with and answers to the layout that a converter gave its target."""

from __future__ import annotations

from collections.abc import Sequence

from convfault.model import TensorSpec
from convfault.relax.graph import Array

Permutation = tuple[int, ...]
Feed = tuple[tuple[int, Permutation], ...]
"""For each input of the target: which of the source's inputs it is, and its axes in the target's order."""


def toward(layout: str, rank: int) -> Permutation:
    """The axes' order that brings a batch of ``rank`` to ``NHWC`` (channels last) or ``NCHW`` (channels second)."""
    inner = range(1, rank)
    if rank < 3:
        return (0, *inner) if rank else ()
    return (0, *inner[1:], 1) if layout == "NHWC" else (0, rank - 1, *inner[:-1])


def candidates(rank: int, turned: str) -> tuple[Permutation, ...]:
    """Orders of the axes that a converter may have given a tensor, the likeliest first.

    ``turned``: the layout that it said it turned the pictures to; empty: it keeps theirs.
    """
    kept = tuple(range(rank))
    others = (toward(turned, rank), kept) if turned else (kept, toward("NHWC", rank), toward("NCHW", rank))
    return tuple(dict.fromkeys(others))


def feeds(sources: Sequence[tuple[str, tuple[int, ...]]], targets: Sequence[TensorSpec], turned: str) -> list[Feed]:
    """What each input of the target takes, the likeliest way first; several where the sides are too alike to tell.

    ``sources``: name and shape of each input of the source. Inputs are paired by name, or else in order.
    """
    if len(sources) != len(targets):
        return []
    names = [_plain(name) for name, _ in sources]
    by_name = len(set(names)) == len(names) and {_plain(spec.name) for spec in targets} == set(names)
    choices = []
    for place, spec in enumerate(targets):
        number = names.index(_plain(spec.name)) if by_name else place
        shape = sources[number][1]
        orders = candidates(len(shape), turned)
        fitting = [order for order in orders if _fits([shape[axis] for axis in order], spec.shape)]
        if not fitting:
            return []
        choices.append([(number, order) for order in fitting])
    ways = range(max((len(choice) for choice in choices), default=0))
    return list(dict.fromkeys(tuple(choice[min(way, len(choice) - 1)] for choice in choices) for way in ways))


def answers(wanted: Array, found: Array, turned: str) -> list[tuple[Permutation | None, Array]]:
    """The target's output ``found`` in every order of its axes in which it has the shape of the source's, ``wanted``.

    The order is None for an output of another rank that differs by sides of one only.
    """
    if found.ndim != wanted.ndim:
        same = [side for side in found.shape if side != 1] == [side for side in wanted.shape if side != 1]
        return [(None, found.reshape(wanted.shape))] if same else []
    back = {"NHWC": "NCHW", "NCHW": "NHWC"}.get(turned, "")
    turns = [(order, found.transpose(order)) for order in candidates(found.ndim, back)]
    return [(order, values) for order, values in turns if values.shape == wanted.shape]


def _plain(name: str) -> str:
    """A tensor's name without what TensorFlow's tools put round it."""
    return name.removeprefix("serving_default_").partition(":")[0]


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(side in {None, own} for own, side in zip(shape, wanted, strict=True))
