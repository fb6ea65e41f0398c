"""TFLite operators that convfault expresses in Relax itself.

Each function takes TVM's converter and the operator, and gives the Relax expression, or None to leave it to TVM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from convfault.relax import expressions, tflite_windows

Operator = Callable[[Any, Any], Any]


def same(converter: Any, operator: Any) -> Any:
    """QUANTIZE and DEQUANTIZE between tensors that are float by now: the model's own input or output."""
    return converter.get_tensor_expr(converter.get_input_tensors(operator)[0])


def reshape(converter: Any, operator: Any) -> Any:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the file says the result's shape, even where the graph computes it."""
    from tvm import relax

    output = converter.get_output_tensors(operator)[0].tensor
    shape = [int(side) for side in output.ShapeAsNumpy()] if output.ShapeLength() else []
    source = converter.get_tensor_expr(converter.get_input_tensors(operator)[0])
    if any(side < 0 for side in shape):
        return None
    count, rest = math.prod(expressions.shape_of(source)), math.prod(shape[1:])
    if shape and rest and count != math.prod(shape) and count % rest == 0:
        shape[0] = count // rest  # the file leaves the size of a batch made of blocks open
    return relax.op.reshape(source, shape)


def gelu(converter: Any, operator: Any) -> Any:
    """GELU by the error function or by tanh, as its option says, which TVM does not read."""
    from ai_edge_litert import schema_py_generated as schema
    from tvm import relax

    options, given = schema.GeluOptions(), operator.BuiltinOptions()
    if given is not None:
        options.Init(given.Bytes, given.Pos)
    value = converter.get_tensor_expr(converter.get_input_tensors(operator)[0])
    rough = given is not None and options.Approximate()
    return relax.op.nn.gelu_tanh(value) if rough else relax.op.nn.gelu(value)


def cumulative_sum(converter: Any, operator: Any) -> Any:
    """CUMSUM along a known axis; TVM refuses those from behind."""
    value, axis = converter.get_input_tensors(operator)
    if converter.has_expr(axis.tensor_idx):
        return None
    options = tflite_windows.options_of(operator, "CumsumOptions")
    place = int(converter.get_tensor_value(axis).reshape(-1)[0])
    told = options.Exclusive(), options.Reverse()
    return expressions.cumulative_sum(converter.get_tensor_expr(value), place, *told)


def mirror_pad(converter: Any, operator: Any) -> Any:
    """MIRROR_PAD that mirrors its edge, too, which TVM refuses."""
    value, widths = converter.get_input_tensors(operator)
    if tflite_windows.options_of(operator, "MirrorPadOptions").Mode() != 1:
        return None
    found = converter.get_tensor_expr(value)
    return expressions.mirrored(found, tflite_windows.shape_of(value), converter.get_tensor_value(widths).tolist())


def tile(converter: Any, operator: Any) -> Any:
    """TILE: how often each axis is repeated shows in the shapes, even where the graph computes it."""
    from tvm import relax

    source = converter.get_input_tensors(operator)[0]
    before, after = (
        [int(side) for side in tensor.tensor.ShapeAsNumpy()]
        for tensor in (source, converter.get_output_tensors(operator)[0])
    )
    if len(before) != len(after) or any(side < 0 for side in (*before, *after)):
        return None
    return relax.op.tile(
        converter.get_tensor_expr(source), [new // old for new, old in zip(after, before, strict=True)]
    )


def prelu(converter: Any, operator: Any) -> Any:
    """PRELU: its slopes may differ along any axis, which TVM's own operator does not allow."""
    from tvm import relax

    value, slopes = (converter.get_tensor_expr(tensor) for tensor in converter.get_input_tensors(operator))
    zero = relax.const(0.0, str(value.ty.dtype))
    return relax.op.add(relax.op.nn.relu(value), relax.op.multiply(slopes, relax.op.minimum(value, zero)))


def scatter(converter: Any, operator: Any) -> Any:
    """SCATTER_ND: indices, updates, shape; TVM turns the indices, and lets the last update of a place win."""
    from tvm import relax

    indices, updates = (converter.get_tensor_expr(item) for item in converter.get_input_tensors(operator)[:2])
    result = tflite_windows.shape_of(converter.get_output_tensors(operator)[0])
    return relax.op.scatter_nd(relax.op.zeros(result, str(updates.ty.dtype)), indices, updates, "add")


def update_slice(converter: Any, operator: Any) -> Any:
    """DYNAMIC_UPDATE_SLICE: tensor, update, start, which is moved so that the update fits; only a known start."""
    value, part, start = converter.get_input_tensors(operator)
    if converter.has_expr(start.tensor_idx):
        return None
    shape, sides = tflite_windows.shape_of(value), tflite_windows.shape_of(part)
    given = converter.get_tensor_value(start).reshape(-1)
    starts = [min(max(int(at), 0), whole - length) for at, whole, length in zip(given, shape, sides, strict=True)]
    return expressions.with_block(
        converter.get_tensor_expr(value), shape, converter.get_tensor_expr(part), sides, starts
    )


OPERATORS: dict[str, Operator] = {
    "BATCH_TO_SPACE_ND": tflite_windows.batch_to_space,
    "CUMSUM": cumulative_sum,
    "DEQUANTIZE": same,
    "DYNAMIC_UPDATE_SLICE": update_slice,
    "EXPAND_DIMS": reshape,
    "FULLY_CONNECTED": tflite_windows.fully_connected,
    "GELU": gelu,
    "L2_NORMALIZATION": tflite_windows.length_normalization,
    "MIRROR_PAD": mirror_pad,
    "PRELU": prelu,
    "QUANTIZE": same,
    "RESHAPE": reshape,
    "SCATTER_ND": scatter,
    "SPACE_TO_BATCH_ND": tflite_windows.space_to_batch,
    "SQUEEZE": reshape,
    "TILE": tile,
    "TRANSPOSE_CONV": tflite_windows.transposed_convolution,
}
