"""TFLite's products and windows that TVM misreads or refuses, in Relax: the file says the shape of every result."""

from __future__ import annotations

from math import prod
from typing import Any

from convfault.relax import expressions
from convfault.relax.graphdef_window import same_padding


def shape_of(tensor: Any) -> list[int]:
    """The static shape of a tensor as the file has it; raises ``ValueError`` where it depends on the picture."""
    found = [int(side) for side in tensor.tensor.ShapeAsNumpy()] if tensor.tensor.ShapeLength() else []
    if any(side < 0 for side in found):
        raise ValueError("the shape of a tensor depends on the picture")
    return found


def options_of(operator: Any, name: str) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    options, given = getattr(schema, name)(), operator.BuiltinOptions()
    options.Init(given.Bytes, given.Pos)
    return options


def transposed_convolution(converter: Any, operator: Any) -> Any:
    """TRANSPOSE_CONV: size of the result (perhaps computed), kernel (out, H, W, in), picture, perhaps a bias."""
    from ai_edge_litert import schema_py_generated as schema
    from tvm import relax

    options = options_of(operator, "TransposeConvOptions")
    _, kernel, picture, *bias = converter.get_input_tensors(operator)
    result = shape_of(converter.get_output_tensors(operator)[0])
    strides, size = (options.StrideH(), options.StrideW()), shape_of(kernel)[1:3]
    same = options.Padding() == schema.Padding.SAME
    sides = list(zip(result[1:3], size, strides, strict=True))
    (top, bottom), (left, right) = (same_padding(*side) if same else (0, 0) for side in sides)
    before = shape_of(picture)[1:3]
    extra = [
        side - ((start - 1) * stride + reach - sum(cut))
        for (side, reach, stride), start, cut in zip(sides, before, ((top, bottom), (left, right)), strict=True)
    ]
    value = relax.op.permute_dims(converter.get_tensor_expr(picture), [0, 3, 1, 2])
    weights = relax.op.permute_dims(converter.get_tensor_expr(kernel), [3, 0, 1, 2])
    found = relax.op.nn.conv2d_transpose(
        value, weights, strides=strides, padding=(top, left, bottom, right), output_padding=tuple(extra)
    )
    found = relax.op.permute_dims(found, [0, 2, 3, 1])
    if bias and bias[0].tensor_idx != -1:
        found = relax.op.add(found, converter.get_tensor_expr(bias[0]))
    return converter.convert_fused_activation_function(found, options.FusedActivationFunction())


def fully_connected(converter: Any, operator: Any) -> Any:
    """FULLY_CONNECTED of more than rows: the last axis is what the weights (out, in) go with."""
    from tvm import relax

    options = options_of(operator, "FullyConnectedOptions")
    value, kernel, *bias = converter.get_input_tensors(operator)
    before, result = shape_of(value), shape_of(converter.get_output_tensors(operator)[0])
    depth = shape_of(kernel)[1]
    if len(before) == 2 and before[-1] == depth:
        return None
    rows = relax.op.reshape(converter.get_tensor_expr(value), (prod(before) // depth, depth))
    found = relax.op.matmul(rows, relax.op.permute_dims(converter.get_tensor_expr(kernel), [1, 0]))
    if bias and bias[0].tensor_idx != -1:
        found = relax.op.add(found, converter.get_tensor_expr(bias[0]))
    found = converter.convert_fused_activation_function(found, options.FusedActivationFunction())
    return relax.op.reshape(found, result)


def length_normalization(converter: Any, operator: Any) -> Any:
    """L2_NORMALIZATION along the last axis: x / max(length, 1e-6)."""
    from tvm import relax

    options = options_of(operator, "L2NormOptions")
    value = converter.get_tensor_expr(converter.get_input_tensors(operator)[0])
    total = relax.op.sum(relax.op.square(value), axis=[-1], keepdims=True)
    small = relax.op.maximum(total, expressions.scalar(1e-12, value))
    found = relax.op.multiply(value, relax.op.rsqrt(small))
    return converter.convert_fused_activation_function(found, options.FusedActivationFunction())


def space_to_batch(converter: Any, operator: Any) -> Any:
    """SPACE_TO_BATCH_ND with constant blocks and paddings."""
    value, blocks, pads = converter.get_input_tensors(operator)
    numbers = [converter.get_tensor_value(tensor).tolist() for tensor in (blocks, pads)]
    found = converter.get_tensor_expr(value)
    return expressions.space_to_batch(found, expressions.shape_of(found), *numbers)


def batch_to_space(converter: Any, operator: Any) -> Any:
    """BATCH_TO_SPACE_ND with constant blocks and crops."""
    value, blocks, crops = converter.get_input_tensors(operator)
    numbers = [converter.get_tensor_value(tensor).tolist() for tensor in (blocks, crops)]
    found = converter.get_tensor_expr(value)  # the file may leave the size of a batch made of blocks open
    return expressions.batch_to_space(found, expressions.shape_of(found), *numbers)
