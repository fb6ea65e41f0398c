"""ATen operators that convfault expresses in Relax itself, or that TVM is known to get wrong.

Each function takes TVM's importer and the graph's node, and gives the Relax expression.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from convfault.relax import expressions, known_torch
from convfault.relax.expressions import scalar
from convfault.relax.torch_nodes import arguments_of, static_shape, static_side, value_of
from convfault.relax.torch_statistics import OPERATORS as STATISTICS

Operator = Callable[[Any, Any], Any]


def same(importer: Any, node: Any) -> Any:
    """An operator that does nothing in evaluation."""
    return importer.env[node.args[0]]


def batch_norm(importer: Any, node: Any) -> Any:
    """``batch_norm`` as exported; TVM takes its momentum for its epsilon.

    Arguments: input, weight, bias, mean, variance, training, momentum, epsilon.
    """
    import numpy as np
    from tvm import relax

    picture = importer.env[node.args[0]]
    channels, dtype = int(picture.ty.shape[1]), str(picture.ty.dtype)
    weight, bias, mean, variance = (
        relax.const(np.full(channels, default), dtype) if given is None else importer.env[given]
        for given, default in zip(node.args[1:5], (1.0, 0.0, 0.0, 1.0), strict=True)
    )
    normalized = relax.op.nn.batch_norm(
        picture, weight, bias, mean, variance, axis=1, epsilon=float(node.args[7]), training=False
    )
    return importer.block_builder.emit(relax.TupleGetItem(importer.block_builder.emit(normalized), 0))


def instance_norm(importer: Any, node: Any) -> Any:
    """``instance_norm`` as exported; TVM takes the running variance for its epsilon, and statistics for the picture's.

    Arguments: input, weight, bias, mean, variance, whether the picture's own statistics count, momentum, epsilon.
    """
    import numpy as np
    from tvm import relax

    if not node.args[5]:
        return batch_norm(importer, node)
    picture, rank = importer.env[node.args[0]], len(importer.env[node.args[0]].ty.shape)
    channels, dtype = int(picture.ty.shape[1]), str(picture.ty.dtype)
    scale, shift = (
        relax.const(np.full(channels, default), dtype) if given is None else importer.env[given]
        for given, default in zip(node.args[1:3], (1.0, 0.0), strict=True)
    )
    axes, epsilon = list(range(2, rank)), float(node.args[7])
    return importer.block_builder.emit(
        relax.op.nn.instance_norm(picture, scale, shift, channel_axis=1, axes=axes, epsilon=epsilon)
    )


def reshape(importer: Any, node: Any) -> Any:
    """View, flatten, squeeze and the like: the result's shape is known."""
    from tvm import relax

    shape = static_shape(node.meta["val"], importer.batch)
    return importer.block_builder.emit(relax.op.reshape(importer.env[node.args[0]], shape))


def elu(importer: Any, node: Any) -> Any:
    """``elu(x, alpha, scale, input_scale)``: scale * elu(x * input_scale) with one alpha."""
    from tvm import relax

    found, emit = arguments_of(node), importer.block_builder.emit
    value = value_of(importer, node)
    scaled = emit(relax.op.multiply(value, scalar(float(found["input_scale"]), value)))
    bent = emit(expressions.elu(scaled, float(found["alpha"])))
    return emit(relax.op.multiply(bent, scalar(float(found["scale"]), value)))


def _by(build: Callable[[Any, Any, dict[str, Any]], Any]) -> Operator:
    """An operator made by ``build(builder, value, arguments)`` of its first argument."""

    def convert(importer: Any, node: Any) -> Any:
        builder = importer.block_builder
        return builder.emit(build(builder, value_of(importer, node), arguments_of(node)))

    return convert


def log_sum_exp(importer: Any, node: Any) -> Any:
    """As ONNX defines it, so that both have one form; TVM looks for infinities, too."""
    from tvm import relax

    found, emit, value = arguments_of(node), importer.block_builder.emit, value_of(importer, node)
    axes = [found["dim"]] if isinstance(found["dim"], int) else list(found["dim"])
    most = emit(relax.op.max(value, axes, True))
    total = emit(relax.op.sum(emit(relax.op.exp(emit(relax.op.subtract(value, most)))), axes, True))
    whole = emit(relax.op.add(emit(relax.op.log(total)), most))
    return whole if found["keepdim"] else emit(relax.op.squeeze(whole, axes))


def stack(importer: Any, node: Any) -> Any:
    """TVM has an operator for it that other formats do not."""
    found, builder = arguments_of(node), importer.block_builder
    values = [importer.env[item] for item in found["tensors"]]
    return builder.emit(expressions.stack(builder, values, int(found["dim"])))


def layer_norm(importer: Any, node: Any) -> Any:
    """Over the last axes, with or without scale and shift; TVM fails where there are none."""
    import numpy as np
    from tvm import relax

    found, builder, value = arguments_of(node), importer.block_builder, value_of(importer, node)
    shape = tuple(static_side(side, importer.batch) for side in found["normalized_shape"])
    dtype = str(value.ty.dtype)
    scale, shift = (
        relax.const(np.full(shape, default), dtype) if found[name] is None else importer.env[found[name]]
        for name, default in (("weight", 1.0), ("bias", 0.0))
    )
    axes = list(range(-len(shape), 0))
    return builder.emit(relax.op.nn.layer_norm(value, scale, shift, axes=axes, epsilon=float(found["eps"])))


def _extreme(name: str) -> Operator:
    """``amax`` and ``amin``; no axes are all axes."""

    def convert(importer: Any, node: Any) -> Any:
        from tvm import relax

        found, value = arguments_of(node), value_of(importer, node)
        function = getattr(relax.op, name)
        axes = list(found["dim"]) or None
        return importer.block_builder.emit(function(value, axis=axes, keepdims=bool(found["keepdim"])))

    return convert


def adaptive_max_pool(importer: Any, node: Any) -> Any:
    """The largest value of the whole picture, or of equal parts of it; the places (second result) are not given."""
    from tvm import relax

    value, emit = value_of(importer, node), importer.block_builder.emit
    sides, result = expressions.shape_of(value)[2:], tuple(int(side) for side in arguments_of(node)["output_size"])
    if result == (1, 1):
        return emit(relax.op.max(value, axis=[2, 3], keepdims=True)), None
    if any(side % part for side, part in zip(sides, result, strict=True)):
        raise ValueError("the parts of the picture are not equal")
    size = tuple(side // part for side, part in zip(sides, result, strict=True))
    return emit(relax.op.nn.max_pool2d(value, pool_size=size, strides=size)), None


def _narrow(builder: Any, value: Any, found: dict[str, Any]) -> Any:
    """``length`` elements from ``start`` on; TVM takes the length for the end."""
    from tvm import relax

    axis, start = int(found["dim"]) % len(value.ty.shape), int(found["start"])
    start %= expressions.shape_of(value)[axis]
    return relax.op.strided_slice(value, [axis], [start], [start + int(found["length"])])


def _reversed_difference(builder: Any, value: Any, found: dict[str, Any]) -> Any:
    """``other - alpha * x``."""
    from tvm import relax

    other, alpha = (scalar(float(found[name]), value) for name in ("other", "alpha"))
    return relax.op.subtract(other, relax.op.multiply(value, alpha) if float(found["alpha"]) != 1 else value)


def upsample_nearest(importer: Any, node: Any) -> Any:
    """Pixel floor(place * source / result); TVM rounds half-pixel centres instead."""
    from tvm import relax

    shape = static_shape(node.meta["val"], importer.batch)
    found = relax.op.image.resize2d(
        value_of(importer, node),
        tuple(shape[2:]),
        layout="NCHW",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
        rounding_method="floor",
    )
    return importer.block_builder.emit(found)


def convolution_same(importer: Any, node: Any) -> Any:
    """``conv2d`` with its padding as a word: the odd pixel goes behind."""
    from tvm import relax

    found, emit = arguments_of(node), importer.block_builder.emit
    value, weight = (importer.env[found[name]] for name in ("input", "weight"))
    strides, dilation = ([int(step) for step in _two(found[name])] for name in ("stride", "dilation"))
    totals = [step * (side - 1) for side, step in zip(expressions.shape_of(weight)[2:], dilation, strict=True)]
    totals = [0, 0] if found["padding"] == "valid" else totals
    padding = (totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2)
    result = emit(
        relax.op.nn.conv2d(value, weight, strides, padding, dilation, groups=int(found["groups"]), data_layout="NCHW")
    )
    if found["bias"] is None:
        return result
    return emit(relax.op.add(result, emit(relax.op.reshape(importer.env[found["bias"]], (1, -1, 1, 1)))))


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _threshold(builder: Any, value: Any, found: dict[str, Any]) -> Any:
    from tvm import relax

    return expressions.chosen(
        builder, relax.op.greater(value, scalar(float(found["threshold"]), value)), value, float(found["value"])
    )


def _hard_shrink(builder: Any, value: Any, found: dict[str, Any]) -> Any:
    from tvm import relax

    size = builder.emit(relax.op.abs(value))
    return expressions.chosen(builder, relax.op.greater(size, scalar(float(found["lambd"]), value)), value, 0.0)


RESHAPES = (
    *("_unsafe_view.default", "flatten.using_ints", "reshape.default", "squeeze.default", "squeeze.dim"),
    *("squeeze.dims", "unflatten.int", "unsqueeze.default", "view.default"),
)

OPERATORS: dict[str, Operator] = {
    **STATISTICS,
    **dict.fromkeys(RESHAPES, reshape),
    "adaptive_max_pool2d.default": adaptive_max_pool,
    "alpha_dropout.default": same,
    "amax.default": _extreme("max"),
    "amin.default": _extreme("min"),
    "batch_norm.default": batch_norm,
    "celu.default": _by(lambda at, value, found: expressions.celu(at, value, float(found["alpha"]))),
    "channel_shuffle.default": _by(lambda at, value, found: expressions.channel_shuffle(at, value, found["groups"])),
    "conv2d.padding": convolution_same,
    "dropout.default": same,
    "elu.default": elu,
    "feature_dropout.default": same,
    "glu.default": _by(lambda at, value, found: expressions.gated(at, value, found["dim"])),
    "hardshrink.default": _by(_hard_shrink),
    "instance_norm.default": instance_norm,
    "layer_norm.default": layer_norm,
    "log_sigmoid.default": _by(lambda at, value, found: expressions.log_sigmoid(value)),
    "logsumexp.default": log_sum_exp,
    "mish.default": _by(lambda at, value, found: expressions.mish(value)),
    "narrow.default": _by(_narrow),
    "pixel_shuffle.default": _by(
        lambda at, value, found: expressions.pixel_shuffle(at, value, found["upscale_factor"])
    ),
    "pixel_unshuffle.default": _by(
        lambda at, value, found: expressions.pixel_unshuffle(at, value, found["downscale_factor"])
    ),
    "rsub.Scalar": _by(_reversed_difference),
    "stack.default": stack,
    "upsample_nearest2d.default": upsample_nearest,
    "upsample_nearest2d.vec": upsample_nearest,
    "threshold.default": _by(_threshold),
}


def _in_training(name: str, node: Any) -> str | None:
    if "dropout" in name and (node.args[2] if len(node.args) > 2 else node.kwargs.get("train", False)):
        return "dropout in training mode gives another answer at every run"
    if name == "batch_norm.default" and node.args[5]:
        return "batch normalization in training mode depends on the other pictures of the batch"
    return None


def _with_places(name: str, node: Any) -> str | None:
    read = any(reader.target is operator.getitem and reader.args[1] == 1 and reader.users for reader in node.users)
    return "TVM gives zeros for the places of the maxima" if name.startswith("max_pool") and read else None


def refusal(name: str, node: Any) -> str | None:
    """Why TVM must not import this node: cases in which it is known to compute something else."""
    known = known_torch.refusal(name, known_torch.given_arguments(node))
    return known or _with_places(name, node) or _in_training(name, node)
