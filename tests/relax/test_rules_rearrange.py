"""Chains of reshapes and transposes have one form, whichever axis the channels are on; others are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from convfault.relax.fingerprint import paired
from convfault.relax.graph import Graph
from convfault.relax.rules.rearrange import Move, canonical
from tests.relax.drafts import Sketch, kinds, simplified

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
HEIGHT, WIDTH, DEPTH = 6, 5, 8


def start() -> Sketch:
    sketch = Sketch(1, HEIGHT, WIDTH, DEPTH)
    sketch.source = sketch.layer("tanh", sketch.source, (1, HEIGHT, WIDTH, DEPTH))
    return sketch


def shuffle_last(groups: int) -> Graph:
    """Channels dealt out in turn, as Keras writes it."""
    sketch, rest = start(), DEPTH // groups
    x = sketch.layer("reshape", sketch.source, (1, HEIGHT, WIDTH, groups, rest))
    x = sketch.layer("transpose", x, (1, HEIGHT, WIDTH, rest, groups), order=(0, 1, 2, 4, 3))
    x = sketch.layer("reshape", x, (1, HEIGHT, WIDTH, DEPTH))
    return sketch.ending(sketch.layer("sigmoid", x, (1, HEIGHT, WIDTH, DEPTH)))


def shuffle_first(groups: int) -> Graph:
    """The same as torch writes it."""
    sketch, rest = start(), DEPTH // groups
    x = sketch.layer("transpose", sketch.source, (1, DEPTH, HEIGHT, WIDTH), order=TO_FIRST)
    x = sketch.layer("reshape", x, (1, groups, rest, HEIGHT, WIDTH))
    x = sketch.layer("transpose", x, (1, rest, groups, HEIGHT, WIDTH), order=(0, 2, 1, 3, 4))
    x = sketch.layer("reshape", x, (1, DEPTH, HEIGHT, WIDTH))
    x = sketch.layer("transpose", x, (1, HEIGHT, WIDTH, DEPTH), order=TO_LAST)
    return sketch.ending(sketch.layer("sigmoid", x, (1, HEIGHT, WIDTH, DEPTH)))


def test_a_channel_shuffle_is_the_same_with_channels_first_and_last() -> None:
    last, first = simplified(shuffle_last(2)), simplified(shuffle_first(2))
    assert len(paired(last, first)) == len(last) == len(first)
    assert kinds(last) == ["tanh", "sigmoid", "reshape", "transpose", "reshape"]


def test_rows_turned_before_an_axis_of_one_keep_one_form() -> None:
    """Whether a transpose or a reshape puts an axis of one in its place must not be asked for ever."""
    sketch = start()
    x = sketch.layer("reshape", sketch.source, (1, HEIGHT * WIDTH, DEPTH))
    x = sketch.layer("transpose", x, (1, DEPTH, HEIGHT * WIDTH), order=(0, 2, 1))
    x = sketch.layer("reshape", x, (1, 1, DEPTH, HEIGHT * WIDTH))
    graph = simplified(sketch.ending(sketch.layer("sigmoid", x, (1, 1, DEPTH, HEIGHT * WIDTH))))
    assert [kind for kind in kinds(graph) if kind == "transpose"] == ["transpose"]


def test_a_channel_shuffle_with_other_groups_is_another_one() -> None:
    last, first = simplified(shuffle_last(2)), simplified(shuffle_first(4))
    assert len(paired(last, first)) < len(last)


def pixel_shuffle(channels_first: bool, by_row: bool = True) -> Graph:
    sketch, depth = start(), DEPTH // 4
    if channels_first:
        x = sketch.layer("transpose", sketch.source, (1, DEPTH, HEIGHT, WIDTH), order=TO_FIRST)
        x = sketch.layer("reshape", x, (1, depth, 2, 2, HEIGHT, WIDTH))
        order = (0, 1, 4, 2, 5, 3) if by_row else (0, 1, 4, 3, 5, 2)
        x = sketch.layer("transpose", x, (1, depth, HEIGHT, 2, WIDTH, 2), order=order)
        x = sketch.layer("reshape", x, (1, depth, 2 * HEIGHT, 2 * WIDTH))
        x = sketch.layer("transpose", x, (1, 2 * HEIGHT, 2 * WIDTH, depth), order=TO_LAST)
    else:
        x = sketch.layer("reshape", sketch.source, (1, HEIGHT, WIDTH, depth, 2, 2))
        x = sketch.layer("transpose", x, (1, HEIGHT, 2, WIDTH, 2, depth), order=(0, 1, 4, 2, 5, 3))
        x = sketch.layer("reshape", x, (1, 2 * HEIGHT, 2 * WIDTH, depth))
    return sketch.ending(sketch.convolution(x))


def pixel_shuffle_by_pairs(swapped: bool = False) -> Graph:
    """The same with channels first in four dimensions, the batch of one joined with the channels: LiteRT's way."""
    sketch, depth = start(), DEPTH // 4
    x = sketch.layer("transpose", sketch.source, (1, DEPTH, HEIGHT, WIDTH), order=TO_FIRST)
    x = sketch.layer("reshape", x, (depth, 2, 2, HEIGHT * WIDTH))
    x = sketch.layer("transpose", x, (depth, 2, HEIGHT * WIDTH, 2), order=(0, 1, 3, 2))
    x = sketch.layer("reshape", x, (depth, 2, HEIGHT, WIDTH * 2))
    order = (0, 1, 2, 3) if swapped else (0, 2, 1, 3)
    x = sketch.layer("transpose", x, (depth, *((2, HEIGHT) if swapped else (HEIGHT, 2)), WIDTH * 2), order=order)
    x = sketch.layer("reshape", x, (1, depth, 2 * HEIGHT, 2 * WIDTH))
    x = sketch.layer("transpose", x, (1, 2 * HEIGHT, 2 * WIDTH, depth), order=TO_LAST)
    return sketch.ending(sketch.convolution(x))


@pytest.mark.parametrize(("swapped", "same"), [(False, True), (True, False)])
def test_a_pixel_shuffle_that_joins_the_batch_with_the_channels_is_the_same(swapped: bool, same: bool) -> None:
    last, pairs = simplified(pixel_shuffle(False)), simplified(pixel_shuffle_by_pairs(swapped))
    assert (len(paired(last, pairs)) == len(last) == len(pairs)) == same


def test_a_pixel_shuffle_is_the_same_with_channels_first_and_last() -> None:
    last, first = simplified(pixel_shuffle(False)), simplified(pixel_shuffle(True))
    assert len(paired(last, first)) == len(last) == len(first)


def test_a_pixel_shuffle_by_columns_is_another_one() -> None:
    assert len(paired(simplified(pixel_shuffle(False)), simplified(pixel_shuffle(True, by_row=False)))) < 6


def test_a_chain_that_moves_the_batch_is_left_alone() -> None:
    chain = [Move("reshape", (1, 8, 30)), Move("transpose", (8, 1, 30), (1, 0, 2)), Move("reshape", (8, 30))]
    assert canonical((1, 6, 5, 8), chain) is None


def test_a_chain_that_joins_parts_of_axes_is_left_alone() -> None:
    chain = [
        Move("transpose", (1, 5, 6), (0, 2, 1)),
        Move("reshape", (1, 3, 10)),
        Move("transpose", (1, 10, 3), (0, 2, 1)),
    ]
    assert canonical((1, 6, 5), chain) is None


def test_a_chain_that_undoes_itself_is_nothing() -> None:
    chain = [Move("reshape", (1, 30, 8)), Move("transpose", (1, 8, 30), (0, 2, 1)), Move("reshape", (1, 8, 6, 5))]
    chain.append(Move("transpose", (1, 6, 5, 8), TO_LAST))
    assert canonical((1, 6, 5, 8), chain) == []


@some.composite
def chains(draw: some.DrawFn) -> tuple[tuple[int, ...], list[Move]]:
    """Reshapes into divisors and transposes, in turn."""
    shape = (1, *draw(some.lists(some.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=3)))
    moves, now = [], shape
    for _ in range(draw(some.integers(1, 5))):
        if draw(some.booleans()):
            order = (0, *draw(some.permutations(range(1, len(now)))))
            now = tuple(now[axis] for axis in order)
            moves.append(Move("transpose", now, order))
        else:
            now = draw(some.sampled_from(_reshapes(now)))
            moves.append(Move("reshape", now))
    return shape, moves


def _reshapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Ways to join two neighbours or to cut one axis in two."""
    sides, found = shape[1:], [shape]
    for place in range(len(sides) - 1):
        found.append((1, *sides[:place], sides[place] * sides[place + 1], *sides[place + 2 :]))
    for place, side in enumerate(sides):
        for part in (2, 3):
            if side % part == 0:
                found.append((1, *sides[:place], part, side // part, *sides[place + 1 :]))
    return found


def moved(values: np.ndarray, moves: list[Move]) -> np.ndarray:
    for move in moves:
        values = values.transpose(move.order) if move.order else values.reshape(move.shape)
    return values


@given(chain=chains())
def test_the_one_form_moves_every_value_to_the_same_place_and_is_its_own_form(
    chain: tuple[tuple[int, ...], list[Move]],
) -> None:
    shape, moves = chain
    wanted = canonical(shape, moves)
    if wanted is None:
        return
    values = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(moved(values, wanted), moved(values, moves))
    assert not wanted or canonical(shape, wanted) == wanted


@pytest.mark.parametrize("side", [1, 2])
def test_a_mean_over_channels_turns_with_the_picture_that_it_is_taken_from(side: int) -> None:
    """The reshape that is left of a transpose of (N, H, W, 1) is no obstacle."""
    sketch = Sketch(side, HEIGHT, WIDTH, DEPTH)
    conv = sketch.convolution(sketch.source, filters=DEPTH)
    first = sketch.layer("transpose", conv, (side, DEPTH, HEIGHT, WIDTH), order=TO_FIRST)
    mean = sketch.layer("mean", first, (side, 1, HEIGHT, WIDTH), axes=(1,), keepdims=True)
    x = sketch.layer("subtract", (first, mean), (side, DEPTH, HEIGHT, WIDTH))
    x = sketch.layer("transpose", x, (side, HEIGHT, WIDTH, DEPTH), order=TO_LAST)
    assert kinds(simplified(sketch.ending(sketch.convolution(x)))) == ["convolution", "mean", "subtract", "convolution"]
