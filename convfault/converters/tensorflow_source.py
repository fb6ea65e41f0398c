"""Opens a TensorFlow model for a converter: a SavedModel's serving function or a frozen graph's inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convfault.errors import FormatError
from convfault.model import Model

STATELESS_ENDS = {"NoOp", "Assert", "Const"}
"""Kinds of node that nobody consumes and that are nevertheless no output."""


def signature_key(path: str) -> str:
    """The name of the signature to convert: ``serving_default``, or else the only one."""
    from tensorflow.python.saved_model import loader_impl

    graphs = loader_impl.parse_saved_model(path).meta_graphs
    names = [name for graph in graphs for name in graph.signature_def if not name.startswith("__saved_model")]
    if "serving_default" in names or not names:
        return "serving_default"
    return str(names[0])


def frozen_graph(model: Model) -> tuple[Any, list[str], list[str]]:
    """GraphDef of a frozen ``.pb``, and the names (``node:0``) of its input and output tensors."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(Path(model.path).read_bytes())
    consumed = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    inputs = [f"{node.name}:0" for node in graph.node if node.op == "Placeholder"]
    ends = [node for node in graph.node if node.name not in consumed and node.op not in STATELESS_ENDS]
    outputs = [f"{node.name}:0" for node in ends if node.op != "Placeholder"]
    if not inputs or not outputs:
        raise FormatError(f"{model.path} is no frozen graph: it has no {'placeholder' if not inputs else 'output'}")
    return graph, inputs, outputs


def frozen_function(model: Model) -> Any:
    """A frozen ``.pb`` as a concrete function from its placeholders to its outputs."""
    import tensorflow as tf

    graph, inputs, outputs = frozen_graph(model)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    element = wrapped.graph.as_graph_element
    return wrapped.prune([element(name) for name in inputs], [element(name) for name in outputs])
