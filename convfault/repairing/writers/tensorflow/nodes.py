"""TensorFlow's ``NodeDef``s as plain values; an operator's attributes and outputs are read from its ``OpDef``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Array

ALIASES = frozenset(
    {"Identity", "IdentityN", "StopGradient", "Snapshot", "PreventGradient", "EnsureShape", "CheckNumerics"}
)
"""Operators that answer with what they read: output k is input k."""

SILENT = frozenset({"Const", "Placeholder", "NoOp", "Assert"})
"""Operators that are never an output of a model, whoever reads them."""


def operator(kind: str) -> Any:
    """The ``OpDef`` of a type, None for one that this TensorFlow does not have."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(kind)


def attribute(node: Any, name: str) -> Any:
    """An attribute as a plain value; what the node does not say is the operator's own default."""
    if name in node.attr:
        return plain(node.attr[name])
    found = next((item for item in operator(node.op).attr if item.name == name), None)
    return None if found is None or not found.HasField("default_value") else plain(found.default_value)


def plain(value: Any) -> Any:
    """An ``AttrValue`` as a number, text, truth value, or list of numbers."""
    field = value.WhichOneof("value")
    if field == "list":
        return list(value.list.i) or list(value.list.f) or [item.decode() for item in value.list.s]
    return value.s.decode() if field == "s" else None if field is None else getattr(value, field)


def set_attribute(node: Any, name: str, value: Any) -> None:
    """Set an attribute that the operator's ``OpDef`` knows."""
    kind = next(item.type for item in operator(node.op).attr if item.name == name)
    _fill(node.attr[name], kind, value)


def _fill(target: Any, kind: str, value: Any) -> None:
    import tensorflow as tf

    target.Clear()
    match kind:
        case "int":
            target.i = int(value)
        case "float":
            target.f = float(value)
        case "bool":
            target.b = bool(value)
        case "string":
            target.s = str(value).encode()
        case "type":
            target.type = int(value)
        case "shape":
            target.shape.CopyFrom(value)
        case "tensor":
            target.tensor.CopyFrom(tf.make_tensor_proto(value))
        case "list(int)":
            target.list.i.extend(int(each) for each in value)
        case _:
            raise ValueError(f"attributes of type {kind} are not written")


def made(kind: str, inputs: Sequence[int], settings: dict[str, Any]) -> tuple[Any, list[int]]:
    """A new ``NodeDef`` without name and inputs, and the types of its outputs; ``inputs`` are the types it reads."""
    from tensorflow.core.framework import node_def_pb2

    definition = operator(kind)
    node = node_def_pb2.NodeDef(op=kind)
    values = {**_types(definition, inputs), **settings}
    for item in definition.attr:
        if item.name in values:
            _fill(node.attr[item.name], item.type, values[item.name])
        elif item.HasField("default_value"):
            node.attr[item.name].CopyFrom(item.default_value)
    return node, [node.attr[arg.type_attr].type if arg.type_attr else arg.type for arg in definition.output_arg]


def _types(definition: Any, inputs: Sequence[int]) -> dict[str, int]:
    """The attributes that the inputs decide: their types, and the number of those in a list."""
    found: dict[str, int] = {}
    place = 0
    for arg in definition.input_arg:
        count = len(inputs) - len(definition.input_arg) + 1 if arg.number_attr else 1
        if arg.number_attr:
            found[arg.number_attr] = count
        if arg.type_attr:
            found[arg.type_attr] = inputs[place]
        place += count
    return found


def constant_node(name: str, values: Array) -> Any:
    """A ``Const``."""
    import tensorflow as tf
    from tensorflow.core.framework import node_def_pb2

    node = node_def_pb2.NodeDef(op="Const", name=name)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def set_values(node: Any, values: Array) -> None:
    """Give a ``Const`` other numbers of its own type."""
    import tensorflow as tf

    kind = tf.as_dtype(node.attr["dtype"].type)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.ascontiguousarray(values, kind.as_numpy_dtype)))


def values_of(node: Any) -> Array:
    """The numbers of a ``Const``."""
    import tensorflow as tf

    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))


def label(reference: str) -> str:
    """``node`` as ``node:0``: what a tensor is called whoever reads it."""
    return reference if ":" in reference else f"{reference}:0"


def reference(tensor: str) -> str:
    """``node:0`` as ``node``: how a ``GraphDef`` writes it."""
    return tensor.removesuffix(":0")


def base(tensor: str) -> str:
    """The node of a tensor."""
    return tensor.partition(":")[0]


def data(node: Any) -> list[str]:
    """What a node reads, control edges left out."""
    return [name for name in node.input if not name.startswith("^")]


def controls(node: Any) -> list[str]:
    """The control edges of a node."""
    return [name for name in node.input if name.startswith("^")]


def set_inputs(node: Any, inputs: Iterable[str]) -> None:
    """Replace all that a node reads."""
    found = list(inputs)
    del node.input[:]
    node.input.extend(found)
