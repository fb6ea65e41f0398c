"""TensorFlow and Keras → Relax by our own importer of frozen graphs: TVM has none, and no converter is involved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.errors import FormatError, ShapeError
from convfault.model import Model
from convfault.native import keras_files
from convfault.native.keras_layers import recording
from convfault.relax.graphdef import FrozenGraph, import_graph
from convfault.relax.imported import Encoding, Imported, import_around
from convfault.relax.tensorflow_half import half_values, widen


def import_saved_model(model: Model, batch: int) -> Imported:
    """Import a SavedModel folder's serving signature; native names are tensor names of its frozen graph."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model.path)
    if not loaded.signatures:
        raise FormatError(f"{model.path} has no signature: export it with one (serving_default)")
    function = loaded.signatures.get("serving_default") or next(iter(loaded.signatures.values()))
    variables = {id(variable.handle): variable.name.partition(":")[0] for variable in function.variables}
    definition = frozen_definition(function)
    captured = {inner.name for _, inner in function.graph.captures}
    inputs = {tensor.name: tensor.name for tensor in function.inputs if tensor.name not in captured}
    outputs = {tensor.name: tensor.name for tensor in function.outputs}
    return _import(FrozenGraph(definition, inputs, outputs, _captured(function, variables)), batch)


def import_keras(model: Model, batch: int) -> Imported:
    """Import a ``.keras`` or ``.h5`` file by tracing it in inference mode.

    Native names are those of layers and the paths of variables.
    """
    import tensorflow as tf

    network = keras_files.load(model)
    specs = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in network.inputs]
    layers: dict[str, str] = {}

    def run(*tensors: Any) -> Any:
        with recording(network) as recorded:
            outputs = network(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        layers.update({name: tensor.name for name, tensor in recorded.items()})
        return tf.nest.flatten(outputs)

    function = tf.function(run, autograph=False).get_concrete_function(*specs)
    inputs = {spec.name: tensor.name for spec, tensor in zip(specs, function.inputs, strict=False)}
    ends = _numbered([keras_files.layer_of(tensor).name for tensor in network.outputs])
    outputs = dict(zip(ends, (tensor.name for tensor in function.outputs), strict=True))
    names = keras_files.variable_names(network)
    frozen = FrozenGraph(frozen_definition(function), inputs, outputs, _captured(function, names), layers)
    return _import(frozen, batch)


def _numbered(names: list[str]) -> list[str]:
    return [f"{name}#{index}" if name in names[:index] else name for index, name in enumerate(names)]


def import_frozen_graph(model: Model, batch: int) -> Imported:
    """Import a frozen ``.pb``; its inputs are its placeholders, its outputs the nodes that nobody reads."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(model.path).read_bytes())
    read = {name.partition(":")[0].lstrip("^") for node in definition.node for name in node.input}
    ends = [
        n.name for n in definition.node if n.name not in read and n.op not in {"Placeholder", "NoOp", "Const", "Assert"}
    ]
    inputs = {f"{node.name}:0": f"{node.name}:0" for node in definition.node if node.op == "Placeholder"}
    outputs = {f"{name}:0": f"{name}:0" for name in ends}
    if not inputs or not outputs:
        raise FormatError(
            f"{model.path} is no frozen graph of a model: it has {len(inputs)} inputs and {len(outputs)} outputs"
        )
    return _import(FrozenGraph(definition, inputs, outputs, {}), batch)


def frozen_definition(function: Any) -> Any:
    """The GraphDef of a concrete function, calls inlined and variables turned into constants.

    This is TensorFlow's own ``convert_variables_to_constants_v2`` without its last step, which builds a new function
    of the result and takes five times as long as the rest.
    """
    from tensorflow.python.framework import convert_to_constants as converter

    captured = {inner.name.partition(":")[0]: outer for outer, inner in function.graph.captures}
    try:
        data = converter._FunctionConverterDataInEager(
            func=function, lower_control_flow=True, aggressive_inlining=False
        )
        definition = converter._replace_variables_by_constants(converter_data=data)[0]
    except AttributeError:  # another version of TensorFlow
        definition = converter.convert_variables_to_constants_v2(function).graph.as_graph_def()
    for node in definition.node:
        if node.op == "Placeholder" and node.name in captured:
            _make_constant(node, captured[node.name].numpy())
    return definition


def _make_constant(node: Any, values: Any) -> None:
    """Turn a placeholder for an array that the function closes over into that array, in place."""
    import tensorflow as tf

    node.op = "Const"
    del node.input[:]
    kind = node.attr["dtype"].type
    node.attr.clear()
    node.attr["dtype"].type = kind
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))


def _captured(function: Any, variable_names: Mapping[int, str]) -> dict[str, str]:
    """Const node → name of the variable that it was; ``variable_names`` is by the ``id`` of a variable's handle."""
    return {
        inner.name.partition(":")[0]: variable_names[id(outer)]
        for outer, inner in function.graph.captures
        if id(outer) in variable_names
    }


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
                raise ShapeError(
                    f"input '{node.name}' has no fixed size in dimension {index}: save it with a fixed size"
                )
            side.size = batch


def _import(frozen: FrozenGraph, batch: int) -> Imported:
    import tensorflow as tf

    def opened() -> Any:
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(frozen.definition, name="")
        return graph

    fix_shapes(frozen.definition, batch)
    graph = opened()
    half, copies = half_values(graph), widen(frozen.definition)
    if copies is None:
        return import_around(lambda refused: import_graph(graph, frozen, refused))
    named = {copy: frozen.variables.get(constant, f"{constant}:0") for copy, constant in copies.items()}
    single, wide = replace(frozen, variables={**frozen.variables, **named}), opened()
    imported = import_around(lambda refused: import_graph(wide, single, refused))
    constants = {single.variables.get(name.partition(":")[0]) for name in half if name.partition(":")[0] in copies}
    rounded = {id(imported.names[name]) for name in half if name in imported.names}
    return replace(
        imported,
        encodings={
            name: Encoding.half(name, name in constants)
            for name, value in imported.names.items()
            if name in constants or id(value) in rounded
        },
    )
