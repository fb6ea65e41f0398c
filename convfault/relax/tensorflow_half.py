"""Makes a half-precision TensorFlow graph single precision: constants, operators, casts; what was half is recorded.

Such graphs come of Keras' policy ``mixed_float16``: variables in single precision that are cast on their way to every
operator, which computes in half precision. Casts between the two become ``Identity``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def half_values(graph: Any) -> frozenset[str]:
    """Names of a ``tf.Graph``'s float16 tensors that are computed or given."""
    import tensorflow as tf

    return frozenset(
        tensor.name
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.dtype == tf.float16 and operation.type != "Const"
    )


def widen(definition: Any) -> dict[str, str] | None:
    """Make a GraphDef float32 in place, None where it is; rounded constant → the constant that it is a copy of.

    A cast of a constant to half precision becomes a constant with what half precision keeps of it.
    """
    import tensorflow as tf

    half, single = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum}, tf.float32.as_datatype_enum
    nodes = {node.name: node for node in definition.node}
    copies: dict[str, str] = {}
    every = (*definition.node, *(each for item in definition.library.function for each in item.node_def))
    if not any(half.intersection(_types(value)) for node in every for value in node.attr.values()):
        return None
    for node in definition.node:
        kind = node.attr["DstT"].type if node.op == "Cast" else single
        if kind in half and (origin := _constant(node, nodes)) is not None:
            values = tf.make_ndarray(origin.attr["value"].tensor)
            with np.errstate(over="ignore"):
                _set_constant(node, values.astype(tf.as_dtype(kind).as_numpy_dtype))
            copies[node.name] = origin.name
    for node in every:
        if node.op == "Const" and node.attr["dtype"].type in half:
            _set_constant(node, tf.make_ndarray(node.attr["value"].tensor).astype(np.float32))
        for value in node.attr.values():
            if value.WhichOneof("value") == "type" and value.type in half:
                value.type = single
            elif value.WhichOneof("value") == "list" and half.intersection(value.list.type):
                value.list.type[:] = [single if kind in half else kind for kind in value.list.type]
        if node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type == single:
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = single
    for item in definition.library.function:
        for argument in (*item.signature.input_arg, *item.signature.output_arg):
            argument.type = single if argument.type in half else argument.type
    return copies


def _types(value: Any) -> list[int]:
    """The types that an attribute's value names."""
    return [value.type] if value.WhichOneof("value") == "type" else list(value.list.type)


def _constant(node: Any, nodes: dict[str, Any]) -> Any | None:
    """The constant in single precision that a node's first input is, whatever passes it on."""
    for found in _before(node, nodes):
        if found.op == "Const":
            return found if found.attr["dtype"].type == 1 else None
        if found.op != "Identity":
            return None
    return None


def _before(node: Any, nodes: dict[str, Any]) -> Iterator[Any]:
    """The node that the first input comes from, then what that reads first, and so on."""
    while node.input:
        node = nodes[node.input[0].partition(":")[0].lstrip("^")]
        yield node


def _set_constant(node: Any, values: Any) -> None:
    import tensorflow as tf

    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    tensor = tf.make_tensor_proto(values)
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)
