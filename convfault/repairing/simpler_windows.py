"""Windows, and what moves or picks values, by simpler ONNX operators: each gives the name of its value, or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convfault.relax.known_onnx import known
from convfault.relax.resize import matrices
from convfault.repairing.onnx_draft import Array, Draft


def global_pool(draft: Draft, kind: str) -> str | None:
    return draft.reduce(kind, draft.x, range(2, draft.rank)) if draft.rank else None


def filled(draft: Draft) -> str | None:
    """A dilated transposed convolution as one with zeros between the rows and columns of its kernel."""
    weights, steps = draft.given(1), [int(step) for step in draft.attributes.get("dilations", ())]
    if weights is None or all(step == 1 for step in steps):
        return None
    sides = [(side - 1) * step + 1 for side, step in zip(weights.shape[2:], steps, strict=True)]
    wider = np.zeros((*weights.shape[:2], *sides), weights.dtype)
    wider[(slice(None), slice(None), *(slice(None, None, step) for step in steps))] = weights
    kept = {name: value for name, value in draft.attributes.items() if name not in {"dilations", "kernel_shape"}}
    more = list(draft.node.input)[2:]
    return draft("ConvTranspose", draft.x, draft.constant(wider), *more, kernel_shape=sides, **kept)


def power_pool(draft: Draft) -> str | None:
    """The p-th root of the sum of powers, by an average that counts its padding."""
    power, kernel = float(draft.attributes.get("p", 2)), draft.attributes["kernel_shape"]
    if draft.attributes.get("ceil_mode") or any(step != 1 for step in draft.attributes.get("dilations", ())):
        return None
    kept = {name: value for name, value in draft.attributes.items() if name in {"strides", "pads", "auto_pad"}}
    size = draft("Abs", draft.x) if power == 1 else draft("Pow", draft("Abs", draft.x), power)
    total = draft("AveragePool", size, kernel_shape=kernel, count_include_pad=1, **kept)
    total = draft("Mul", total, float(np.prod(kernel)))
    return total if power == 1 else draft("Pow", total, 1 / power)


def _moved(draft: Draft, before: Sequence[int], order: Sequence[int], after: Sequence[int]) -> str:
    """Seen as ``before``, with its axes in another order, seen as ``after``."""
    turned = draft("Transpose", draft("Reshape", draft.x, draft.whole([0, *before])), perm=list(order))
    return draft("Reshape", turned, draft.whole([0, *after]))


def depth_to_space(draft: Draft) -> str | None:
    sides, block = draft.sides(), int(draft.attributes["blocksize"])
    if sides is None:
        return None
    depth, height, width = sides[0] // block**2, sides[1], sides[2]
    after = [depth, height * block, width * block]
    if draft.attributes.get("mode", b"DCR") == b"DCR":
        return _moved(draft, [block, block, depth, height, width], [0, 3, 4, 1, 5, 2], after)
    return _moved(draft, [depth, block, block, height, width], [0, 1, 4, 2, 5, 3], after)


def space_to_depth(draft: Draft) -> str | None:
    sides, block = draft.sides(), int(draft.attributes["blocksize"])
    if sides is None:
        return None
    depth, height, width = sides[0], sides[1] // block, sides[2] // block
    after = [depth * block**2, height, width]
    return _moved(draft, [depth, height, block, width, block], [0, 3, 5, 1, 2, 4], after)


def running_sum(draft: Draft) -> str | None:
    """A product with a triangle of ones."""
    place = draft.given(1)
    if place is None or not draft.rank:
        return None
    axis, last = int(place.reshape(-1)[0]) % draft.rank, draft.rank - 1
    side = draft.shapes[draft.x][axis]
    if not side:
        return None
    triangle = np.triu(np.ones((side, side)), 1 if draft.attributes.get("exclusive") else 0)
    if draft.attributes.get("reverse"):
        triangle = triangle.T
    if axis == last:
        return draft("MatMul", draft.x, draft.constant(triangle))
    order = list(range(draft.rank))
    order[axis], order[last] = last, axis
    product = draft("MatMul", draft("Transpose", draft.x, perm=order), draft.constant(triangle))
    return draft("Transpose", product, perm=order)


def _gathered(draft: Draft, indices: Mapping[int, Array]) -> str | None:
    """Picks these pixels along each axis; None where that would be all of them as they are."""
    value = draft.x
    for axis, places in indices.items():
        if not np.array_equal(places, np.arange(draft.shapes[draft.x][axis])):
            value = draft("Gather", value, draft.whole(places), axis=axis)
    return value if draft.nodes else None


def mirrored(draft: Draft) -> str | None:
    """A padding with pixels of the picture picks those."""
    mode, amounts, sides = draft.attributes.get("mode", b"constant").decode(), draft.given(1), draft.sides()
    if mode not in {"reflect", "edge", "wrap"} or amounts is None or sides is None:
        return None
    if len(draft.node.input) > 3 or amounts.min() < 0:
        return None
    pairs = amounts.reshape(2, -1).T
    if pairs[0].any() or len(pairs) != len(sides) + 1:
        return None
    found = {
        axis: np.pad(np.arange(side), tuple(pairs[axis]), mode)  # type: ignore[call-overload]
        for axis, side in enumerate(sides, 1)
    }
    return _gathered(draft, found)


def stepped(draft: Draft) -> str | None:
    """A slice with steps picks pixels."""
    starts, ends, axes, steps = (draft.given(place) for place in (1, 2, 3, 4))
    if starts is None or ends is None or steps is None or (axes is None and len(draft.node.input) > 3):
        return None
    places = np.arange(starts.size) if axes is None else axes
    shape, found = draft.shapes.get(draft.x, ()), {}
    for start, end, axis, step in zip(starts, ends, places, steps, strict=True):
        axis = int(axis) % max(len(shape), 1)
        if not shape or not shape[axis]:
            return None
        least = -(2**31)  # an end before the first pixel, for which Python has no number but None
        stop = None if end < least or (step < 0 and end < -shape[axis]) else int(end)
        found[axis] = np.arange(shape[axis])[int(start) : stop : int(step)]
    return _gathered(draft, found)


def repeated(draft: Draft) -> str | None:
    times = draft.given(1)
    if times is None:
        return None
    value = draft.x
    for axis, count in enumerate(times):
        if count > 1:
            value = draft("Concat", *[value] * int(count), axis=axis)
    return value if draft.nodes else None


def sliced(draft: Draft) -> str | None:
    """The parts of a split, one by one; takes the node's own outputs."""
    sizes = draft.attributes.get("split", draft.given(1))
    axis = draft.axis(0)
    whole = draft.shapes.get(draft.x, ())
    if sizes is None and whole and whole[axis]:
        part = -(-whole[axis] // len(draft.node.output))
        sizes = [min(part, whole[axis] - part * place) for place in range(len(draft.node.output))]
    if sizes is None or draft.opset < 10:
        return None
    begin = 0
    for size, output in zip(sizes, draft.node.output, strict=True):
        ends = [draft.whole([number]) for number in (begin, begin + int(size), axis)]
        name = draft("Slice", draft.x, *ends)
        draft.nodes[-1].output[0] = output
        begin += int(size)
    return name


def resized(draft: Draft) -> str | None:
    """Two products with matrices, one for each axis of the picture."""
    before, after = draft.sides(), draft.sides(draft.node.output[0])
    if before is None or after is None or len(before) != 3 or before[0] != after[0]:
        return None
    layer = known(
        "Resize", [draft.given(place) for place in range(len(draft.node.input))], draft.attributes, (1, *after)
    )
    if layer is None:
        return None
    rows, columns = matrices(before[1:], layer.hyperparameters)
    wide = draft("MatMul", draft.x, draft.constant(columns.T))
    return draft("MatMul", draft.constant(rows), wide)
