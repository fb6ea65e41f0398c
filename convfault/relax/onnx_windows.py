"""Makes explicit what an ONNX graph leaves open: paddings given as a word, sizes given as scales, parts of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})


def pad_explicitly(graph: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Replace ``auto_pad`` and ``output_shape`` by numbers, in place, where the input's shape is known."""
    import onnx

    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        word = found.get("auto_pad", b"NOTSET").decode()
        if node.op_type == "ConvTranspose" and node.input[0] in shapes:
            _pad_to_shape(node, found, shapes[node.input[0]], weights.get(node.input[1], []))
        if node.op_type not in WINDOWS or word == "NOTSET" or (word != "VALID" and node.input[0] not in shapes):
            continue
        kernel = found.get("kernel_shape") or (weights.get(node.input[1], [])[2:] if len(node.input) > 1 else [])
        if not kernel:
            continue
        ones = [1] * len(kernel)
        sides = shapes.get(node.input[0], ones)[-len(kernel) :]
        windows = zip(sides, kernel, found.get("strides", ones), found.get("dilations", ones), strict=True)
        totals = [0 if word == "VALID" else _total(*window) for window in windows]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = [*more, *less] if word == "SAME_LOWER" else [*less, *more]
        kept = [item for item in node.attribute if item.name not in {"auto_pad", "pads"}]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def pad_all_axes(graph: Any, ranks: Mapping[str, int], constants: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give each ``Pad`` of chosen axes the widths of all, in place, where they and the axes are constant."""
    import onnx

    for node in graph.node:
        if node.op_type != "Pad" or len(node.input) < 4 or not node.input[3]:
            continue
        widths, axes = constants.get(node.input[1]), constants.get(node.input[3])
        rank = ranks.get(node.input[0])
        if widths is None or axes is None or rank is None:
            continue
        pairs = np.zeros((2, rank), np.int64)
        pairs[:, axes.reshape(-1)] = widths.reshape(2, -1)
        name = f"{node.output[0]}/widths"
        graph.initializer.append(onnx.numpy_helper.from_array(pairs.reshape(-1), name))
        kept = [node.input[0], name, node.input[2]]
        del node.input[:]
        node.input.extend(kept if kept[2] else kept[:2])


def _pad_to_shape(node: Any, found: Mapping[str, Any], before: Sequence[int], weight: Sequence[int]) -> None:
    """Say in paddings what a transposed convolution's word or ``output_shape`` leaves of the whole."""
    import onnx

    kernel, word = found.get("kernel_shape") or weight[2:], found.get("auto_pad", b"NOTSET").decode()
    if not kernel or ("output_shape" not in found and word == "NOTSET"):
        return
    ones, begin, end = [1] * len(kernel), [], []
    added = list(found.get("output_padding") or [0] * len(kernel))
    wanted = found.get("output_shape", [None] * len(kernel))[-len(kernel) :]
    steps = zip(found.get("strides", ones), found.get("dilations", ones), strict=True)
    sides = zip(before[-len(kernel) :], kernel, wanted, steps, strict=True)
    for axis, (side, size, kept, (stride, dilation)) in enumerate(sides):
        whole = stride * (side - 1) + (size - 1) * dilation + 1 + added[axis]
        if kept is None:
            kept = whole if word == "VALID" else min(whole, side * stride)
        total = max(whole - kept, 0)
        added[axis] += max(kept - whole, 0)  # more than there is: at the end
        begin.append(total // 2 if word == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    del node.attribute[:]
    explicit = {**found, "pads": [*begin, *end], "output_padding": added}
    node.attribute.extend(
        onnx.helper.make_attribute(name, value)
        for name, value in explicit.items()
        if name not in {"auto_pad", "output_shape"}
    )


def is_open(node: Any) -> bool:
    """Whether it is an ``LpPool`` whose last window may lie beyond the edge."""
    return node.op_type == "LpPool" and any(item.name == "ceil_mode" and item.i for item in node.attribute)


def close_windows(graph: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Pad what ``LpPool`` with ``ceil_mode`` reads up to the end of its last window, in place.

    TVM takes it for an average times the size of a window, and an average of a window that lies beyond the edge is
    divided by the pixels inside; zeros change no sum.
    """
    import onnx

    for node in graph.node:
        if not is_open(node) or node.input[0] not in shapes:
            continue
        found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        kernel = found["kernel_shape"]
        ones = [1] * len(kernel)
        pads = list(found.get("pads") or [0] * 2 * len(kernel))
        sides = shapes[node.input[0]][-len(kernel) :]
        windows = zip(sides, kernel, found.get("strides", ones), found.get("dilations", ones), strict=True)
        for axis, (side, size, stride, dilation) in enumerate(windows):
            span, begin = (size - 1) * dilation + 1, pads[axis]
            last = -(-(side + begin + pads[axis + len(kernel)] - span) // stride)
            last -= last * stride >= side + begin  # one that begins behind the picture is left out
            pads[axis + len(kernel)] = max(pads[axis + len(kernel)], last * stride + span - side - begin)
        kept = [item for item in node.attribute if item.name not in {"ceil_mode", "pads"}]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def size_explicitly(graph: Any, constants: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, Sequence[int]]) -> bool:
    """Give one ``Resize`` whose scales make whole sides its result's size instead, in place; whether there was one.

    12 * 1.4166666 is 17 in float32, as runtimes multiply, and 16 for ONNX's own inference of shapes.
    """
    import onnx

    for node in graph.node:
        names = [*node.input, "", "", ""]
        scales, before = constants.get(names[2]), shapes.get(names[0])
        if node.op_type != "Resize" or names[3] or scales is None or before is None or scales.size != len(before):
            continue
        sides = np.asarray(before) * scales.reshape(-1).astype(np.float64)
        if np.abs(sides - np.rint(sides)).max() > 1e-4 or np.array_equal(np.floor(sides), np.rint(sides)):
            continue
        sizes = f"{node.output[0]}#sizes"
        graph.initializer.append(onnx.numpy_helper.from_array(np.rint(sides).astype(np.int64), sizes))
        del node.input[2:]
        node.input.extend(["", sizes])
        return True
    return False


def _total(side: int, kernel: int, stride: int, dilation: int) -> int:
    return max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)


def split_sequences(graph: Any, constants: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, Sequence[int]]) -> None:
    """Replace ``SplitToSequence`` into known parts, read by ``SequenceAt`` only, by slices, in place."""
    import onnx

    made = {node.output[0]: node for node in graph.node if node.op_type == "SplitToSequence"}
    for name, node in made.items():
        readers = [item for item in graph.node if name in item.input]
        places = [constants.get(item.input[1]) for item in readers if item.op_type == "SequenceAt"]
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
        edges = _edges(node, axis, constants, shapes)
        if edges is None or len(places) < len(readers) or any(place is None for place in places):
            continue
        spans = list(pairwise(edges))
        for reader, place in zip(readers, places, strict=True):
            span = spans[int(np.asarray(place).reshape(-1)[0])]
            numbers = {f"{reader.output[0]}#begin": span[0], f"{reader.output[0]}#end": span[1]}
            numbers[f"{reader.output[0]}#axis"] = axis
            graph.initializer.extend(
                onnx.numpy_helper.from_array(np.asarray([number], np.int64), name) for name, number in numbers.items()
            )
            names = [node.input[0], *numbers]
            reader.CopyFrom(onnx.helper.make_node("Slice", names, list(reader.output), name=reader.name))
        graph.node.remove(node)


def _edges(
    node: Any, axis: int, constants: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, Sequence[int]]
) -> list[int] | None:
    """Where the parts begin and end along the axis; None where that is not known, or the axis itself is dropped."""
    keeps = next((item.i for item in node.attribute if item.name == "keepdims"), 1)
    sizes = constants.get(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if node.input[0] not in shapes or sizes is None or not keeps:
        return None
    side = shapes[node.input[0]][axis]
    if sizes.ndim == 0:
        return [*range(0, side, int(sizes)), side]
    return [0, *np.cumsum(sizes).astype(int).tolist()]
