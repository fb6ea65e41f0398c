"""SavedModel folders: functions in ``saved_model.pb``, variables in a checkpoint, everything else beside them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from convfault import cache
from convfault.relax.graph import Array
from convfault.relax.import_tensorflow import frozen_definition
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.tensorflow import checkpoint as tensorflow_checkpoint
from convfault.repairing.writers.tensorflow import nodes
from convfault.repairing.writers.tensorflow.carriage import Carriage, home
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument
from convfault.repairing.writers.tensorflow.functions import CALLS, Functions

SIGNATURE = "serving_default"
PROGRAM = "saved_model.pb"


class SavedModelDocument(TensorFlowDocument):
    """A SavedModel's serving signature, frozen. Where only variables change, ``saved_model.pb`` keeps its bytes."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        self.folder = folder
        self.saved = saved_model_pb2.SavedModel()
        self.saved.ParseFromString((folder / PROGRAM).read_bytes())
        self.graph = self.saved.meta_graphs[0]
        loaded = tf.saved_model.load(str(folder))
        name = SIGNATURE if SIGNATURE in loaded.signatures else next(iter(loaded.signatures))
        function = loaded.signatures[name]
        self.functions = _functions(self.graph, name)
        self.captures = [inner.name for _, inner in function.graph.captures]
        """Tensors that are captured variables or constants, in the function's order."""
        names = {id(variable.handle): variable.name.partition(":")[0] for variable in function.variables}
        self.variables = {inner.name: names[id(o)] for o, inner in function.graph.captures if id(o) in names}
        definition = frozen_definition(function)
        inputs = [tensor.name for tensor in function.inputs if tensor.name not in self.captures]
        super().__init__(definition, inputs, [tensor.name for tensor in function.outputs])
        self.terminals = list(self.outputs)
        self.shown = {name: self.shape(name) for name in self.terminals}
        if self.functions is not None:
            self.home = home(self.functions, [node.name for node in self.nodes]).prefix

    @property
    def alone(self) -> bool:
        return False

    def spelled(self, tensor: str) -> str:
        return str(self.variables.get(tensor, nodes.base(tensor)))

    def save(self, path: Path) -> None:
        stored = self._captured()
        program = self._program()
        prefix = f".{path.name}."
        with (
            cache.storage_errors(path.parent),
            cache.place_errors(path),
            tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as scratch,
        ):
            aside = Path(scratch) / path.name
            shutil.copytree(self.folder, aside)
            if stored:
                tensorflow_checkpoint.write(self.folder, aside, stored)
            if program is not None:
                (aside / PROGRAM).write_bytes(program)
                _sign(aside)
            aside.rename(path)

    def _captured(self) -> dict[str, Array]:
        """Key of the checkpoint → its new numbers; captured constants get theirs in the graph."""
        changed = [name for name in self.captures if name in self.changed]
        if not changed:
            return {}
        if self.functions is None:
            return tensorflow_checkpoint.by_name(self.folder, {self.spelled(n): self.numbers[n] for n in changed})
        bound = self._bound()
        numbers = {name: bound[self.captures.index(name)] for name in changed}
        variables = [numbers[name] for name in changed if name in self.variables]
        known = tensorflow_checkpoint.keys(self.folder, self.graph.object_graph_def, variables)
        found: dict[str, Array] = {}
        for name in changed:
            if name in self.variables:
                found |= dict.fromkeys(known[numbers[name]], self.numbers[name])
                continue
            operation = self.graph.object_graph_def.nodes[numbers[name]].constant.operation
            native = next(node for node in self.graph.graph_def.node if node.name == operation)
            nodes.set_values(native, self.numbers[name])
        return found

    def _bound(self) -> list[int]:
        """Numbers of the saved objects that the signature's function captures."""
        assert self.functions is not None
        name = self.functions.outer.function.signature.name
        return list(self.graph.object_graph_def.concrete_functions[name].bound_inputs)

    def _program(self) -> bytes | None:
        """The changed ``saved_model.pb``, None where it stays as it is."""
        inner = self.changed - {*self.variables}
        if not self.structural and not inner and not self.edited and self.outputs == self.terminals:
            return None
        if self.functions is None:
            raise Refusal("the SavedModel was saved without functions, by TensorFlow 1: only its variables are written")
        self._answer()
        captured = set(self.captures)
        self.changed -= captured
        Carriage(self, self.functions, self.terminals).perform()
        return bytes(self.saved.SerializeToString(deterministic=True))

    def _answer(self) -> None:
        """Let each of the signature's outputs read what is now in its place."""
        if len(self.outputs) != len(self.terminals):
            raise Refusal(f"the signature has {len(self.terminals)} outputs, not {len(self.outputs)}, and stays")
        ends = {name: self.producer(name) for name in self.terminals}
        for name, end in ends.items():
            if end is None or id(end) not in self.origins or end.type not in nodes.ALIASES:
                raise Refusal(f"the signature's output '{name}' cannot be connected otherwise")
        read = {name: end.inputs[0] for name, end in ends.items() if end is not None}
        for name, now in zip(self.terminals, self.outputs, strict=True):
            tensor, end = read.get(now, now), ends[name]
            if end is not None and end.inputs[0] != tensor:
                end.inputs[0] = tensor
            shape, shown = self.shape(tensor), self.shown[name]
            if shape is not None and shown is not None and shape[1:] != shown[1:]:
                raise Refusal(f"the signature says that '{name}' is of shape {shown[1:]}, not {shape[1:]}, and stays")


def _functions(graph: Any, signature: str) -> Functions | None:
    """The functions of a signature; None where its graph lies open, as TensorFlow 1 saved it."""
    known = {node.name: node for node in graph.graph_def.node}
    library = {function.signature.name for function in graph.graph_def.library.function}
    for tensor in graph.signature_def[signature].outputs.values():
        node = known.get(nodes.base(tensor.name))
        name = "" if node is None else node.attr["f"].func.name if node.op in CALLS else node.op
        if name in library:
            return Functions(graph.graph_def, name)
    return None


def _sign(folder: Path) -> None:
    """Write the fingerprint anew, which tells programs apart; without one where this TensorFlow cannot make it."""
    place = folder / "fingerprint.pb"
    if not place.exists():
        return
    place.unlink()
    try:
        from tensorflow.python.saved_model import fingerprinting_utils

        fingerprinting_utils.write_fingerprint(str(folder))
    except Exception:  # it is internal to TensorFlow, and no model needs it
        place.unlink(missing_ok=True)
