"""Calls of functions in a TensorFlow graph: Keras wraps grouped convolutions in one that is compiled apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

Convert = Callable[[Any, dict[str, Any], Any], None]
"""Binds the outputs of one operation in a table of expressions by tensor name, with a builder."""


def called(operation: Any, inputs: list[Any], builder: Any, library: Mapping[str, Any], convert: Convert) -> list[Any]:
    """The expressions that the called function gives for these inputs; ``library``: the functions by name.

    Its inner tensors get no names: no runtime shows them.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    name = operation.get_attr("f").name
    definition = type(library[name])()
    definition.CopyFrom(library[name])
    for attributes in (*definition.arg_attr.values(), *definition.node_def):
        attributes.attr.pop("_output_shapes", None)  # of any batch; the operation's own are fixed
    with operation.graph.as_default():
        body = function_def_to_graph(definition, input_shapes=[tensor.shape for tensor in operation.inputs])
    table = {tensor.name: value for tensor, value in zip(body.inputs, inputs, strict=True)}
    for inner in body.get_operations():
        if inner.type not in {"Placeholder", "NoOp"}:
            convert(inner, table, builder)
    return [table[tensor.name] for tensor in body.outputs]
