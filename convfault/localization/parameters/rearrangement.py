"""Recognizes values that are the source's in another order: axes, channels, rows, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.relax.graph import Array

LAYOUTS = {"HWIO": (0, 1, 2, 3), "OIHW": (3, 2, 0, 1), "OHWI": (3, 0, 1, 2), "IOHW": (2, 3, 0, 1)}
"""How formats keep (H, W, in, out) weights: TF and Keras, torch and ONNX, TFLite, transposed convolutions of torch."""
PROJECTIONS = 6
Rearranged = Iterator[tuple[str, str, Array]]


def rearranged(difference: Difference, pictures: tuple[tuple[int, int, int], ...] = ()) -> Finding | None:
    """The same values elsewhere; ``pictures`` are the (H, W, C) that a dense layer's rows may come from."""
    if not np.isfinite(difference.actual).all() or np.ptp(difference.expected) <= difference.bound.max():
        return None
    for cause, phrase, candidate in _candidates(difference, pictures):
        if candidate.shape == difference.actual.shape and difference.near(candidate):
            return Finding(cause, phrase, {})
    return _permuted(difference) or _shuffled(difference)


def _candidates(difference: Difference, pictures: tuple[tuple[int, int, int], ...]) -> Rearranged:
    values = difference.expected
    if values.ndim == 4:
        yield from _spatial(values)
    if values.ndim >= 2:
        swapped = np.swapaxes(values, -1, -2)
        yield "transposed_in_out", "have input and output channels swapped", swapped
    if values.ndim == 2:
        for height, width, depth in pictures:
            if height * width * depth == len(values):
                yield from _flattened(values, (height, width, depth))
    yield from _rolled(values)
    yield from _memory(values)


def _spatial(values: Array) -> Rearranged:
    yield "transposed_spatial", "are transposed: height and width are swapped", values.transpose(1, 0, 2, 3)
    yield "kernel_flipped", "are turned by half a circle (convolution against correlation)", values[::-1, ::-1]
    yield "kernel_flipped", "are upside down", values[::-1]
    yield "kernel_flipped", "are mirrored left to right", values[:, ::-1]


def _flattened(values: Array, picture: tuple[int, int, int]) -> Rearranged:
    height, width, depth = picture
    rows = np.arange(len(values))
    first = rows.reshape(picture).transpose(2, 0, 1).reshape(-1)
    last = rows.reshape(depth, height, width).transpose(1, 2, 0).reshape(-1)
    phrase = "have their rows in the order of a picture flattened with channels {}"
    yield "flatten_order", phrase.format("first (C, H, W)"), values[first]
    yield "flatten_order", phrase.format("last (H, W, C)"), values[last]
    turned = rows.reshape(picture).transpose(1, 0, 2).reshape(-1)
    yield "flatten_order", "have their rows in the order of a picture with height and width swapped", values[turned]


def _rolled(values: Array) -> Rearranged:
    names = {4: ("rows", "columns", "input channels", "output channels"), 2: ("inputs", "outputs")}
    for axis in range(values.ndim):
        if values.shape[axis] > 2:
            what = names.get(values.ndim, ("channels",) * values.ndim)[axis]
            for step in (1, -1):
                direction = "up" if step > 0 else "down"
                yield "rolled", f"are moved by one place {direction} along the {what}", np.roll(values, step, axis)


def _memory(values: Array) -> Rearranged:
    """Written in the order of a transposed array, and read as if it were not."""
    phrase = "are in the order in memory of a transposed array (axes {} of {})"
    layouts = LAYOUTS if values.ndim == 4 else {"in, out": (0, 1), "out, in": (1, 0)} if values.ndim == 2 else {}
    for name, order in layouts.items():
        stored = values.transpose(order)
        back = tuple(int(axis) for axis in np.argsort(order))
        for axes in permutations(range(values.ndim)):
            if axes != tuple(range(values.ndim)):
                wrong = stored.transpose(axes).reshape(stored.shape).transpose(back)
                yield "memory_order", phrase.format(axes, name), wrong


def _permuted(difference: Difference) -> Finding | None:
    """The channels of one axis in another order; of filters perhaps with another scale each."""
    for axis in range(difference.expected.ndim - 1, -1, -1):
        order = _order(difference, axis)
        if order is None:
            continue
        moved = np.take(difference.expected, order, axis)
        what = "output channels" if axis == difference.expected.ndim - 1 else _input_word(difference, axis)
        evidence = {"axis": what, "moved": int((order != np.arange(len(order))).sum()), "order": order[:8].tolist()}
        cause, text = _order_name(order, what, difference.expected.ndim == 4 and axis == 2)
        if difference.near(moved):
            return Finding(cause, f"have their {what} {text}", evidence)
        scaled = Difference(difference.name, moved, difference.actual, difference.bound)
        if axis == difference.expected.ndim - 1 and moved[..., 0].size > 1:
            with_scale = moved * scaled.ratios.astype(np.float32)
            if difference.near(with_scale) and not np.any(scaled.ratios == 0):
                phrase = f"have their {what} {text}, but not what is multiplied with them (batch normalization)"
                return Finding(cause, phrase, evidence)
    return None


def _input_word(difference: Difference, axis: int) -> str:
    words = {4: ("rows", "columns", "input channels"), 2: ("inputs",)}
    return words.get(difference.expected.ndim, ("channels",) * difference.expected.ndim)[axis]


def _order(difference: Difference, axis: int) -> Array | None:
    """The order of the source's slices along an axis that gives the target's, as far as directions in space tell."""
    count = difference.expected.shape[axis]
    if count < 2:
        return None
    sides = [
        np.moveaxis(side, axis, 0).reshape(count, -1).astype(np.float64)
        for side in (difference.expected, difference.actual)
    ]
    if sides[0].shape[1] > 1:
        random = np.random.default_rng(0).standard_normal((sides[0].shape[1], PROJECTIONS))
        if axis == difference.expected.ndim - 1:  # a filter's direction: its scale may have stayed
            sides = [side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-30) for side in sides]
        sides = [side @ random for side in sides]
    return _matched(*sides)


def _matched(expected: Array, actual: Array) -> Array | None:
    """For each row of ``actual`` the nearest of ``expected``, if every one is taken once and something moves."""
    count = len(expected)
    if expected.shape[1] == 1:  # sorting pairs single numbers best
        order = np.empty(count, int)
        order[np.argsort(actual[:, 0], kind="stable")] = np.argsort(expected[:, 0], kind="stable")
    else:
        squares = (expected**2).sum(1)[None] + (actual**2).sum(1)[:, None] - 2 * actual @ expected.T
        order = squares.argmin(axis=1)
        if len(np.unique(order)) < count and count <= 1024:  # equal channels: any assignment of them will do
            from scipy.optimize import linear_sum_assignment

            order = np.asarray(linear_sum_assignment(squares)[1])
    moves = len(np.unique(order)) == count and np.any(order != np.arange(count))
    return order if moves else None


def _order_name(order: Array, what: str, inputs: bool) -> tuple[str, str]:
    count = len(order)
    places = np.arange(count)
    moved = int((order != places).sum())
    tests: tuple[tuple[Callable[[], bool], str, str], ...] = (
        (lambda: bool(np.array_equal(order, places[::-1])), "channels_reversed", "in reverse order"),
        (lambda: moved == 2, "channels_permuted", f"{int(np.flatnonzero(order != places)[0])} and "
         f"{int(np.flatnonzero(order != places)[-1])} swapped"),
    )  # fmt: skip
    for step in (1, -1):
        if np.array_equal(order, np.roll(places, step)):
            return "rolled", f"moved by one place {'up' if step > 0 else 'down'}"
    if inputs and count == 3 and np.array_equal(order, places[::-1]):
        return "channels_reversed", "in reverse order (RGB against BGR)"
    for test, cause, text in tests:
        if test():
            return cause, text
    groups = next((size for size in range(2, count // 2 + 1) if count % size == 0 and _interleaved(order, size)), 0)
    if groups:
        return "group_layout", f"interleaved as {groups} groups of {count // groups}"
    return "channels_permuted", f"in another order ({moved} of {count} moved)"


def _interleaved(order: Array, groups: int) -> bool:
    return bool(np.array_equal(order, np.arange(len(order)).reshape(groups, -1).T.reshape(-1)))


def _shuffled(difference: Difference) -> Finding | None:
    """The same numbers in no recognized order."""
    if difference.expected.size < 8:
        return None
    pair = [np.sort(side, axis=None) for side in (difference.expected, difference.actual)]
    distinct = np.unique(pair[0]).size > 4
    slack = difference.slack.max()
    if not distinct or np.any(np.abs(pair[0] - pair[1]) > slack):
        return None
    moved = float(difference.changed.mean())
    return Finding("shuffled", f"are the source's in another order ({moved:.0%} elsewhere)", {"moved": moved}, 0.9)
