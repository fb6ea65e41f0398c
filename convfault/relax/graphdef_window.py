"""TensorFlow's operators that slide a window over pictures: convolutions, poolings, padding, resizing."""

from __future__ import annotations

from typing import Any

from convfault.relax import expressions
from convfault.relax.graphdef import Node, Operator, static_shape


def _format(node: Node) -> tuple[str, int]:
    """Data layout, and the position of the height in it."""
    layout = node.attribute("data_format")
    return layout, 1 if layout == "NHWC" else 2


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """What TensorFlow's SAME adds before and after one side of a picture: the odd pixel goes after."""
    output = -(-size // stride)
    total = max((output - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(node: Node, kernel: tuple[int, int], shape: tuple[int, ...]) -> dict[str, Any]:
    """Strides, padding (top, left, bottom, right) and dilation of a window over a picture of ``shape``."""
    _, first = _format(node)
    strides = tuple(node.attribute("strides")[first : first + 2])
    known = node.operation.node_def.attr
    dilation = tuple(node.attribute("dilations")[first : first + 2]) if "dilations" in known else (1, 1)
    kind = node.attribute("padding")
    if kind == "SAME":
        sides = shape[first : first + 2]
        pairs = [same_padding(*values) for values in zip(sides, kernel, strides, dilation, strict=True)]
    elif kind == "EXPLICIT":
        given = node.attribute("explicit_paddings")
        pairs = [tuple(given[2 * axis : 2 * axis + 2]) for axis in (first, first + 1)]
    else:
        pairs = [(0, 0), (0, 0)]
    padding = (pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])
    return {"strides": strides, "padding": padding, "dilation": dilation}


def _convolution(node: Node) -> Any:
    from tvm import relax

    layout, _ = _format(node)
    height, width, depth, _filters = node.shape(1)
    groups = node.shape()[layout.index("C")] // depth
    return relax.op.nn.conv2d(
        *node.inputs,
        groups=groups,
        data_layout=layout,
        kernel_layout="HWIO",
        **_window(node, (height, width), node.shape()),
    )


def _depthwise(node: Node) -> Any:
    """A depthwise kernel (H, W, C, M) is a grouped one (H, W, 1, C * M): output channel c * M + m reads channel c."""
    from tvm import relax

    layout, _ = _format(node)
    height, width, channels, multiplier = node.shape(1)
    kernel = relax.op.reshape(node.inputs[1], (height, width, 1, channels * multiplier))
    window = _window(node, (height, width), node.shape())
    return relax.op.nn.conv2d(
        node.inputs[0], kernel, groups=channels, data_layout=layout, kernel_layout="HWIO", **window
    )


def _transposed(node: Node) -> Any:
    """Conv2DBackpropInput (sizes, kernel (H, W, out, in), picture); its window is that of the convolution it undoes."""
    from tvm import relax

    layout, first = _format(node)
    output, kernel = node.output_shape(), node.shape(1)[:2]
    window = _window(node, (kernel[0], kernel[1]), output)
    top, left, bottom, right = window["padding"]
    picture, weights = node.inputs[2], relax.op.permute_dims(node.inputs[1], [3, 2, 0, 1])
    if layout == "NHWC":
        picture = relax.op.permute_dims(picture, [0, 3, 1, 2])
    extra = []
    for axis, (before, after) in enumerate(((top, bottom), (left, right))):
        size = node.shape(2)[first + axis]
        reach = (kernel[axis] - 1) * window["dilation"][axis] + 1
        extra.append(output[first + axis] - ((size - 1) * window["strides"][axis] + reach - before - after))
    found = relax.op.nn.conv2d_transpose(picture, weights, output_padding=tuple(extra), **window)
    return relax.op.permute_dims(found, [0, 2, 3, 1]) if layout == "NHWC" else found


def _pool(name: str) -> Operator:
    def convert(node: Node) -> Any:
        from tvm import relax

        layout, first = _format(node)
        size = tuple(node.attribute("ksize")[first : first + 2])
        window = _window(node, (size[0], size[1]), node.shape())
        return getattr(relax.op.nn, name)(node.inputs[0], pool_size=size, layout=layout, **window)

    return convert


def _pool_with_places(node: Node) -> Any:
    """MaxPoolWithArgmax, as long as nobody asks where the maxima are."""
    from tvm import relax

    if node.operation.outputs[1].consumers():
        raise ValueError("the places of the maxima")
    size = tuple(node.attribute("ksize")[1:3])
    strides, same = tuple(node.attribute("strides")[1:3]), node.attribute("padding") == "SAME"
    sides = zip(node.shape()[1:3], size, strides, strict=True)
    (top, bottom), (left, right) = [same_padding(*side) if same else (0, 0) for side in sides]
    window = {"strides": strides, "padding": (top, left, bottom, right)}
    return relax.op.nn.max_pool2d(node.inputs[0], pool_size=size, layout="NHWC", **window)


def _pad(node: Node) -> Any:
    from tvm import relax

    widths = [int(width) for width in node.constant(1).reshape(-1)]
    fill = float(node.constant(2)) if node.operation.type == "PadV2" else 0.0
    return relax.op.nn.pad(node.inputs[0], widths, "constant", fill)


def _mirror_pad(node: Node) -> Any:
    from tvm import relax

    widths = node.constant(1)
    if node.attribute("mode") == "SYMMETRIC":
        return expressions.mirrored(node.inputs[0], node.shape(), widths.tolist())
    return relax.op.nn.pad(node.inputs[0], [int(width) for width in widths.reshape(-1)], "reflect")


def _resize(method: str) -> Operator:
    def convert(node: Node) -> Any:
        from tvm import relax

        if node.attribute("align_corners"):
            mode = "align_corners"
        else:
            mode = "half_pixel" if node.attribute("half_pixel_centers") else "asymmetric"
        rounding = {"align_corners": "round", "half_pixel": "round", "asymmetric": "floor"}[mode]
        rounding = rounding if method == "nearest_neighbor" else ""
        size = static_shape(node.operation.outputs[0])[1:3]  # the input may be computed of shapes
        return relax.op.image.resize2d(
            node.inputs[0],
            size,
            layout="NHWC",
            method=method,
            coordinate_transformation_mode=mode,
            rounding_method=rounding,
            cubic_alpha=-0.5,
        )

    return convert


OPERATORS: dict[str, Operator] = {
    "AvgPool": _pool("avg_pool2d"),
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "DepthwiseConv2dNative": _depthwise,
    "MaxPool": _pool("max_pool2d"),
    "MaxPoolWithArgmax": _pool_with_places,
    "MirrorPad": _mirror_pad,
    "Pad": _pad,
    "PadV2": _pad,
    "ResizeBilinear": _resize("linear"),
    "ResizeNearestNeighbor": _resize("nearest_neighbor"),
}
