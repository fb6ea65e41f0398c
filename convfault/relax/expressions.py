"""Functions that Relax has no operator for, each in one spelling that the importers share and TVM can run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np


def scalar(value: float, like: Any) -> Any:
    """A number of the type of another expression."""
    from tvm import relax

    return relax.const(value, str(like.ty.dtype))


def shape_of(expression: Any) -> tuple[int, ...]:
    """The static shape of an expression that has been normalized."""
    return tuple(int(side) for side in expression.ty.shape)


def elu(value: Any, alpha: float = 1.0) -> Any:
    """x for x > 0, else alpha (exp(x) - 1); the exponent is bounded so that it cannot overflow where it is not used."""
    from tvm import relax

    zero, one, factor = (scalar(number, value) for number in (0.0, 1.0, alpha))
    below = relax.op.subtract(relax.op.exp(relax.op.minimum(value, zero)), one)
    return relax.op.where(relax.op.greater(value, zero), value, relax.op.multiply(below, factor))


def celu(builder: Any, value: Any, alpha: float) -> Any:
    """alpha * elu(x / alpha)."""
    from tvm import relax

    scaled = builder.emit(relax.op.multiply(value, scalar(1.0 / alpha, value)))
    return relax.op.multiply(builder.emit(elu(scaled)), scalar(alpha, value))


def softplus(value: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is larger than the threshold."""
    from tvm import relax

    return relax.op.nn.softplus(value, beta, threshold)


def mish(value: Any) -> Any:
    """x * tanh(softplus(x))."""
    from tvm import relax

    return relax.op.multiply(value, relax.op.tanh(softplus(value)))


def log_sigmoid(value: Any) -> Any:
    """-softplus(-x)."""
    from tvm import relax

    return relax.op.negative(softplus(relax.op.negative(value)))


def shuffled(builder: Any, value: Any, split: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Any:
    """The value reshaped to ``split``, its axes put in ``order``, and reshaped to ``shape``."""
    from tvm import relax

    parts = builder.emit(relax.op.reshape(value, tuple(split)))
    turned = builder.emit(relax.op.permute_dims(parts, list(order)))
    return relax.op.reshape(turned, tuple(shape))


def channel_shuffle(builder: Any, value: Any, groups: int) -> Any:
    """The channels (axis 1) of ``groups`` groups dealt out in turn."""
    shape = shape_of(value)
    split = (shape[0], groups, shape[1] // groups, *shape[2:])
    return shuffled(builder, value, split, (0, 2, 1, *range(3, len(split))), shape)


def pixel_shuffle(builder: Any, value: Any, factor: int) -> Any:
    """Channels (axis 1) to blocks of factor x factor pixels: (N, C r r, H, W) to (N, C, H r, W r)."""
    count, depth, height, width = shape_of(value)
    split = (count, depth // factor**2, factor, factor, height, width)
    result = (count, depth // factor**2, height * factor, width * factor)
    return shuffled(builder, value, split, (0, 1, 4, 2, 5, 3), result)


def pixel_unshuffle(builder: Any, value: Any, factor: int) -> Any:
    """The inverse of ``pixel_shuffle``."""
    count, depth, height, width = shape_of(value)
    split = (count, depth, height // factor, factor, width // factor, factor)
    result = (count, depth * factor**2, height // factor, width // factor)
    return shuffled(builder, value, split, (0, 1, 3, 5, 2, 4), result)


def stack(builder: Any, values: Sequence[Any], axis: int) -> Any:
    """Values of one shape joined along a new axis."""
    from tvm import relax

    shape = list(shape_of(values[0]))
    axis %= len(shape) + 1
    single = (*shape[:axis], 1, *shape[axis:])
    return relax.op.concat([builder.emit(relax.op.reshape(value, single)) for value in values], axis)


def gated(builder: Any, value: Any, axis: int) -> Any:
    """The first half along an axis times the sigmoid of the second: GLU."""
    from tvm import relax

    parts = builder.emit(relax.op.split(value, 2, axis))
    first, second = (builder.emit(relax.TupleGetItem(parts, number)) for number in range(2))
    return relax.op.multiply(first, builder.emit(relax.op.sigmoid(second)))


def chosen(builder: Any, condition: Any, value: Any, other: float) -> Any:
    """The value where the condition holds, else a number."""
    from tvm import relax

    return relax.op.where(builder.emit(condition), value, scalar(other, value))


def local_response_norm(value: Any, radius: int, bias: float, alpha: float, beta: float) -> Any:
    """x / (bias + alpha * sum of x² over ``radius`` channels to both sides) ** beta, channels last."""
    from tvm import relax

    shape, size = shape_of(value), 2 * radius + 1
    rows = relax.op.reshape(relax.op.square(value), (prod(shape[:-1]), shape[-1], 1, 1))
    pooled = relax.op.nn.avg_pool2d(
        rows, (size, 1), padding=(radius, 0, radius, 0), layout="NHWC", count_include_pad=True
    )
    scaled = relax.op.multiply(relax.op.reshape(pooled, shape), scalar(alpha * size, value))
    return relax.op.divide(value, relax.op.power(relax.op.add(scaled, scalar(bias, value)), scalar(beta, value)))


def space_to_batch(value: Any, given: Sequence[int], blocks: Sequence[int], pads: Sequence[Sequence[int]]) -> Any:
    """Pad, split each spatial side into blocks, and move the blocks into the batch: TensorFlow's way to dilate.

    ``given`` is the value's shape.
    """
    from tvm import relax

    shape = list(given)
    widths = [0, 0, *[int(width) for pair in pads for width in pair], *[0, 0] * (len(shape) - 1 - len(blocks))]
    padded = [side + sum(widths[2 * axis : 2 * axis + 2]) for axis, side in enumerate(shape)]
    split = [padded[0]]
    for axis, block in enumerate(blocks):
        split += [padded[axis + 1] // block, block]
    split += padded[1 + len(blocks) :]
    places = range(len(blocks))
    order = [*[2 + 2 * p for p in places], 0, *[1 + 2 * p for p in places], *range(1 + 2 * len(blocks), len(split))]
    result = [
        padded[0] * prod(blocks),
        *[padded[axis + 1] // block for axis, block in enumerate(blocks)],
        *padded[1 + len(blocks) :],
    ]
    builder = relax.BlockBuilder.current()
    value = builder.emit(relax.op.nn.pad(value, widths)) if any(widths) else value
    return shuffled(builder, value, split, order, result)


def batch_to_space(value: Any, given: Sequence[int], blocks: Sequence[int], crops: Sequence[Sequence[int]]) -> Any:
    """The inverse of ``space_to_batch``, with ``crops`` instead of padding."""
    from tvm import relax

    shape, count = list(given), len(blocks)
    batch = shape[0] // prod(blocks)
    order = [
        count,
        *[axis for p in range(count) for axis in (count + 1 + p, p)],
        *range(2 * count + 1, count + len(shape)),
    ]
    whole = [batch, *[side * block for side, block in zip(shape[1:], blocks, strict=False)], *shape[1 + count :]]
    builder = relax.BlockBuilder.current()
    value = builder.emit(shuffled(builder, value, [*blocks, batch, *shape[1:]], order, whole))
    begin = [int(crop[0]) for crop in crops]
    end = [side - int(crop[1]) for side, crop in zip(whole[1:], crops, strict=False)]
    return relax.op.strided_slice(value, list(range(1, count + 1)), begin, end)


def mirrored(value: Any, shape: Sequence[int], widths: Sequence[Sequence[int]]) -> Any:
    """The value with borders that mirror it, its edge included, which Relax has no padding for: places taken."""
    from tvm import relax

    for axis, (side, pair) in enumerate(zip(shape, widths, strict=True)):
        if any(pair):
            places = np.pad(np.arange(side, dtype=np.int64), tuple(int(width) for width in pair), mode="symmetric")
            value = relax.op.take(value, relax.const(places), axis)
    return value


def cumulative_sum(value: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    """The sum of all up to each place along an axis, itself left out where ``exclusive``, from behind where told so."""
    from tvm import relax

    axis %= len(shape_of(value))
    turned = relax.op.flip(value, axis) if reverse else value
    total = relax.op.cumsum(turned, axis, exclusive=exclusive)
    return relax.op.flip(total, axis) if reverse else total


def with_block(value: Any, shape: Sequence[int], part: Any, sides: Sequence[int], starts: Sequence[int]) -> Any:
    """The value with a block of it, of these sides from these places on, replaced by ``part``: parts joined."""
    from tvm import relax

    ends = [start + side for start, side in zip(starts, sides, strict=True)]
    axes = list(range(len(shape)))
    for axis in reversed(axes):
        if sides[axis] == shape[axis]:
            continue
        block = [(starts[each], ends[each]) if each < axis else (0, shape[each]) for each in axes]
        spans = [(0, starts[axis]), (ends[axis], shape[axis])]
        cuts = [[*block[:axis], span, *block[axis + 1 :]] if span[1] > span[0] else None for span in spans]
        before, behind = (
            [relax.op.strided_slice(value, axes, [one for one, _ in cut], [other for _, other in cut])] if cut else []
            for cut in cuts
        )
        part = relax.op.concat([*before, part, *behind], axis)
    return part
