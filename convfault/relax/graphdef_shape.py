"""TensorFlow's operators that move values without computing: reshaping, slicing, joining, gathering."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from convfault.relax import expressions
from convfault.relax.graphdef import Node, Operator


def _reshape(node: Node) -> Any:
    """Reshape, Squeeze, ExpandDims: the result's shape is known."""
    from tvm import relax

    return relax.op.reshape(node.inputs[0], node.output_shape())


def _transpose(node: Node) -> Any:
    from tvm import relax

    return relax.op.permute_dims(node.inputs[0], [int(axis) for axis in node.constant(1)])


def _concat(node: Node) -> Any:
    from tvm import relax

    return relax.op.concat(list(node.inputs[:-1]), axis=int(node.constant(len(node.inputs) - 1)))


def _pack(node: Node) -> Any:
    from tvm import relax

    axis = int(node.attribute("axis"))
    return relax.op.concat([relax.op.expand_dims(item, axis) for item in node.inputs], axis=axis)


def _slices(node: Node, edges: list[int], axis: int) -> list[Any]:
    from tvm import relax

    return [
        relax.op.strided_slice(node.inputs[-1 if node.operation.type == "Split" else 0], [axis], [start], [stop])
        for start, stop in pairwise(edges)
    ]


def _split(node: Node) -> Any:
    """Split (axis, value) into equal parts: one slice each, as every other importer's parts become."""
    axis = int(node.constant(0)) % len(node.shape(1))
    count, size = int(node.attribute("num_split")), node.shape(1)[axis]
    return _slices(node, [size // count * index for index in range(count + 1)], axis)


def _split_sizes(node: Node) -> Any:
    axis = int(node.constant(2)) % len(node.shape(0))
    sizes = [node.output_shape(index)[axis] for index in range(len(node.operation.outputs))]
    return _slices(node, [0, *np.cumsum(sizes).tolist()], axis)


def _unpack(node: Node) -> Any:
    from tvm import relax

    axis = int(node.attribute("axis")) % len(node.shape(0))
    parts = _slices(node, list(range(node.shape(0)[axis] + 1)), axis)
    return [relax.op.reshape(part, node.output_shape(index)) for index, part in enumerate(parts)]


def _slice(node: Node) -> Any:
    from tvm import relax

    begin = [int(value) for value in node.constant(1)]
    end = [start + side for start, side in zip(begin, node.output_shape(), strict=True)]
    return relax.op.strided_slice(node.inputs[0], list(range(len(begin))), begin, end)


def _strided_slice(node: Node) -> Any:
    """Any combination of begin, end, stride and masks, resolved by numpy's own indexing rules on the known shape."""
    from tvm import relax

    shape = node.shape()
    begin, end, stride = (node.constant(index) for index in (1, 2, 3))
    mask = {
        name: int(node.attribute(f"{name}_mask")) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    new = {index for index in range(len(begin)) if mask["new_axis"] & ~mask["ellipsis"] & 1 << index}
    spans: list[tuple[int, int, int]] = []
    for index in (each for each in range(len(begin)) if each not in new):
        bit = 1 << index
        if mask["ellipsis"] & bit:
            hidden = len(shape) - (len(begin) - len(new) - 1)
            spans.extend((0, side, 1) for side in shape[len(spans) : len(spans) + hidden])
            continue
        side = shape[len(spans)]
        if mask["shrink_axis"] & bit:
            start = int(begin[index]) % side
            spans.append((start, start + 1, 1))
            continue
        first = None if mask["begin"] & bit else int(begin[index])
        last = None if mask["end"] & bit else int(end[index])
        spans.append(slice(first, last, int(stride[index])).indices(side))
    found = node.inputs[0]
    for axis, (first, last, step) in enumerate(spans):
        if step < 0:
            if (first, last, step) != (shape[axis] - 1, -1, -1):
                raise ValueError("a strided slice that runs backwards over a part")
            found, spans[axis] = relax.op.flip(found, axis=axis), (0, shape[axis], 1)
    axes = list(range(len(spans)))
    found = relax.op.strided_slice(found, axes, *[[span[part] for span in spans] for part in range(3)])
    return relax.op.reshape(found, node.output_shape()) if new or mask["shrink_axis"] else found


def _gather(node: Node) -> Any:
    from tvm import relax

    axis = int(node.constant(2)) if len(node.inputs) > 2 else 0
    return relax.op.take(node.inputs[0], node.inputs[1], axis=axis)


def _tile(node: Node) -> Any:
    from tvm import relax

    pairs = zip(node.output_shape(), node.shape(), strict=True)  # the counts themselves may be computed
    return relax.op.tile(node.inputs[0], [after // before for after, before in pairs])


def _broadcast(node: Node) -> Any:
    from tvm import relax

    return relax.op.broadcast_to(node.inputs[0], node.output_shape())


def _fill(node: Node) -> Any:
    from tvm import relax

    return relax.op.broadcast_to(node.inputs[1], node.output_shape())


def _filled_like(value: float) -> Operator:
    def convert(node: Node) -> Any:
        from tvm import relax

        return relax.const(np.full(node.shape(), value, node.operation.outputs[0].dtype.name))

    return convert


def _depth_to_space(node: Node) -> Any:
    from tvm import relax

    count, height, width, depth = node.shape()
    block = int(node.attribute("block_size"))
    split = relax.op.reshape(node.inputs[0], (count, height, width, block, block, depth // block**2))
    return relax.op.reshape(relax.op.permute_dims(split, [0, 1, 3, 2, 4, 5]), node.output_shape())


def _space_to_depth(node: Node) -> Any:
    from tvm import relax

    count, height, width, depth = node.shape()
    block = int(node.attribute("block_size"))
    split = relax.op.reshape(node.inputs[0], (count, height // block, block, width // block, block, depth))
    return relax.op.reshape(relax.op.permute_dims(split, [0, 1, 3, 2, 4, 5]), node.output_shape())


def _space_to_batch(node: Node) -> Any:
    blocks, pads = (node.constant(index).tolist() for index in (1, 2))
    return expressions.space_to_batch(node.inputs[0], node.shape(), blocks, pads)


def _batch_to_space(node: Node) -> Any:
    blocks, crops = (node.constant(index).tolist() for index in (1, 2))
    return expressions.batch_to_space(node.inputs[0], node.shape(), blocks, crops)


def _largest(node: Node) -> Any:
    """TopKV2: the k largest along the last axis, and where they are."""
    from tvm import relax

    found = relax.op.topk(node.inputs[0], int(node.constant(1)), axis=len(node.shape()) - 1, dtype="int32")
    return [relax.TupleGetItem(found, 0), relax.TupleGetItem(found, 1)]


def _reverse(node: Node) -> Any:
    from tvm import relax

    found = node.inputs[0]
    for axis in node.constant(1).reshape(-1):
        found = relax.op.flip(found, axis=int(axis) % len(node.shape()))
    return found


def _cumulative_sum(node: Node) -> Any:
    exclusive, reverse = (bool(node.attribute(name)) for name in ("exclusive", "reverse"))
    return expressions.cumulative_sum(node.inputs[0], int(node.constant(1)), exclusive, reverse)


OPERATORS: dict[str, Operator] = {
    "BatchToSpaceND": _batch_to_space,
    "BroadcastTo": _broadcast,
    "ConcatV2": _concat,
    "Cumsum": _cumulative_sum,
    "DepthToSpace": _depth_to_space,
    "ExpandDims": _reshape,
    "Fill": _fill,
    "GatherV2": _gather,
    "OnesLike": _filled_like(1.0),
    "Pack": _pack,
    "Reshape": _reshape,
    "ReverseV2": _reverse,
    "Slice": _slice,
    "SpaceToBatchND": _space_to_batch,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "SplitV": _split_sizes,
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "TopKV2": _largest,
    "Transpose": _transpose,
    "Unpack": _unpack,
    "ZerosLike": _filled_like(0.0),
}
