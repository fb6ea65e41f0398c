"""TensorFlow and Keras → Relax by our own importer of frozen graphs: TVM has none, and no converter is involved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault.errors import FormatError, ShapeError
from convfault.model import Model
from convfault.relax.graphdef import import_graph
from convfault.relax.imported import Imported, import_around


@dataclass(frozen=True)
class FrozenGraph:
    """A GraphDef without variables: ``inputs`` and ``outputs`` map the signature's names to tensor names,
    ``variables`` the name of a Const node to the variable that it was."""

    definition: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    variables: Mapping[str, str]


def import_saved_model(model: Model, batch: int) -> Imported:
    """Import a SavedModel folder's serving signature; native names are tensor names of its frozen graph."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model.path)
    if not loaded.signatures:
        raise FormatError(f"{model.path} has no signature: export it with one (serving_default)")
    function = loaded.signatures.get("serving_default") or next(iter(loaded.signatures.values()))
    names = {tensor.name: spec.name for spec, tensor in zip(_flat_specs(function), function.inputs, strict=False)}
    variables = {id(variable.handle): variable.name.partition(":")[0] for variable in function.variables}
    frozen = freeze(function, names, list(function.structured_outputs), variables)
    return _import(frozen, batch)


def _flat_specs(function: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(function.structured_input_signature))


def import_keras(model: Model, batch: int) -> Imported:
    """Import a ``.keras`` or ``.h5`` file by tracing it in inference mode; variables keep their Keras paths."""
    import keras
    import tensorflow as tf

    network = keras.models.load_model(model.path, compile=False, safe_mode=not model.trusted)
    specs = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in network.inputs]
    single = len(specs) == 1
    traced = tf.function(lambda *tensors: network(tensors[0] if single else list(tensors), training=False))
    function = traced.get_concrete_function(*specs)
    names = {tensor.name: spec.name for spec, tensor in zip(specs, function.inputs, strict=False)}
    variables = {id(variable.value.handle): variable.path for variable in network.variables}
    return _import(freeze(function, names, list(network.output_names), variables), batch)


def import_frozen_graph(model: Model, batch: int) -> Imported:
    """Import a frozen ``.pb``; its inputs are its placeholders, its outputs the nodes that nobody reads."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(model.path).read_bytes())
    read = {name.partition(":")[0].lstrip("^") for node in definition.node for name in node.input}
    ends = [n.name for n in definition.node if n.name not in read and n.op not in {"Placeholder", "NoOp", "Const", "Assert"}]
    inputs = {node.name: f"{node.name}:0" for node in definition.node if node.op == "Placeholder"}
    outputs = {name: f"{name}:0" for name in ends}
    if not inputs or not outputs:
        raise FormatError(f"{model.path} is no frozen graph of a model: it has {len(inputs)} inputs and {len(outputs)} outputs")
    return _import(FrozenGraph(definition, inputs, outputs, {}), batch)


def freeze(
    function: Any, input_names: Mapping[str, str], output_names: Sequence[str], variable_names: Mapping[int, str]
) -> FrozenGraph:
    """Turn a concrete function's variables into constants.

    ``input_names``: tensor name → name in the signature; ``variable_names``: ``id`` of a variable's handle → its name.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    captured = {
        inner.name.partition(":")[0]: variable_names[id(outer)]
        for outer, inner in function.graph.captures
        if id(outer) in variable_names
    }
    inputs = {input_names.get(t.name, t.name.partition(":")[0]): t.name for t in frozen.inputs if t.dtype.name != "resource"}
    outputs = dict(zip(sorted(output_names), [tensor.name for tensor in frozen.outputs], strict=False))
    if len(outputs) != len(frozen.outputs):
        outputs = {tensor.name: tensor.name for tensor in frozen.outputs}
    return FrozenGraph(frozen.graph.as_graph_def(), inputs, outputs, captured)


def fix_shapes(definition: Any, batch: int) -> None:
    """Make the placeholders of a GraphDef static in place: an open first dimension is the batch."""
    for node in definition.node:
        node.attr.pop("_output_shapes", None)
        if node.op != "Placeholder":
            continue
        for index, side in enumerate(node.attr["shape"].shape.dim):
            if side.size >= 0:
                continue
            if index:
                raise ShapeError(f"input '{node.name}' has no fixed size in dimension {index}: save it with a fixed size")
            side.size = batch


def _import(frozen: FrozenGraph, batch: int) -> Imported:
    import tensorflow as tf

    fix_shapes(frozen.definition, batch)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.definition, name="")
    return import_around(lambda refused: import_graph(graph, frozen.inputs, frozen.outputs, frozen.variables, refused))
