"""Takes a frozen TensorFlow graph apart. Runs where a converter runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from convfault.localization.tool.reduction import Piece, Places
from convfault.model import Model

QUIET = frozenset({"Const", "Placeholder", "NoOp"})


class Cutter:
    """The nodes of a frozen graph; values that nodes left out had computed become placeholders.

    Constants, and what depends on them only, stay with who reads them.
    """

    def __init__(self, model: Model) -> None:
        import tensorflow as tf

        self.source = model
        definition = _frozen(model)
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(definition, name="")
        self.by_name = {node.name: node for node in definition.node}
        order = [operation.name for operation in self.graph.get_operations()]
        self.constant: set[str] = set()
        for name in order:
            node = self.by_name[name]
            if node.op == "Const" or (node.op not in QUIET and node.input and self._only_constants(node)):
                self.constant.add(name)
        self.names = [name for name in order if self.by_name[name].op not in QUIET and name not in self.constant]
        self.nodes = [(self.by_name[name].op, name) for name in self.names]
        self.tensors = [
            tuple(tensor.name for tensor in self.graph.get_operation_by_name(name).outputs) for name in self.names
        ]
        place = {name: index for index, name in enumerate(self.names)}
        self.reads = [
            tuple(place[_node_of(item)] for item in self.by_name[name].input if _node_of(item) in place)
            for name in self.names
        ]
        self.frame = definition

    def _only_constants(self, node: Any) -> bool:
        return all(_node_of(item) in self.constant for item in node.input)

    def write(self, kept: Places, folder: Path) -> Piece | None:
        """``reduction.Cut.write``."""
        import tensorflow as tf

        small = tf.compat.v1.GraphDef()
        small.versions.CopyFrom(self.frame.versions)
        small.library.CopyFrom(self.frame.library)
        done: set[str] = set()
        origins: dict[str, str] = {}
        chosen = {self.names[index] for index in kept}
        for index in kept:
            node = self.by_name[self.names[index]]
            copy = small.node.add()
            copy.CopyFrom(node)
            del copy.input[:]
            for item in node.input:
                if item.startswith("^"):
                    continue
                source = _node_of(item)
                if source in self.constant:
                    self._add_constant(source, small, done)
                elif source not in chosen:
                    origin = self.graph.get_tensor_by_name(item if ":" in item else f"{item}:0").name
                    item = self._add_placeholder(origin, small, done)
                    origins[item] = origin
                copy.input.append(item)
        path = folder / "smallest.pb"
        path.write_bytes(small.SerializeToString())
        model = replace(self.source, path=str(path), format="frozen_graph", signature=None)
        return Piece(model, kept, tuple(origins.values()))

    def _add_constant(self, name: str, small: Any, done: set[str]) -> None:
        if name not in done:
            done.add(name)
            for item in self.by_name[name].input:
                self._add_constant(_node_of(item), small, done)
            small.node.add().CopyFrom(self.by_name[name])

    def _add_placeholder(self, item: str, small: Any, done: set[str]) -> str:
        tensor = self.graph.get_tensor_by_name(item)
        name = f"cut_{item.replace(':', '_').replace('/', '_')}"
        if name not in done:
            done.add(name)
            node = small.node.add(op="Placeholder", name=name)
            node.attr["dtype"].type = tensor.dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        return name


def _node_of(item: str) -> str:
    return item.lstrip("^").partition(":")[0]


def _frozen(model: Model) -> Any:
    import tensorflow as tf

    if model.format == "frozen_graph":
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(Path(model.path).read_bytes())
        return definition
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from convfault.converters.tensorflow_source import signature_key

    loaded = tf.saved_model.load(model.path)  # its variables live as long as it does
    function = loaded.signatures[signature_key(model.path)]
    return convert_variables_to_constants_v2(function).graph.as_graph_def()
