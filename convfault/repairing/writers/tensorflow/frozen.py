"""Frozen ``.pb`` graphs: nodes under their names in one ``GraphDef``, which does not list its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convfault import cache
from convfault.repairing.writers.document import Node, unused
from convfault.repairing.writers.tensorflow import nodes
from convfault.repairing.writers.tensorflow.document import TensorFlowDocument, reachable


class FrozenDocument(TensorFlowDocument):
    """A ``GraphDef`` file. Its outputs are the nodes that nobody reads, in the file's order, and stay so."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self.content = path.read_bytes()
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(self.content)
        read = {nodes.base(name.removeprefix("^")) for node in definition.node for name in node.input}
        ends = [node.name for node in definition.node if node.name not in read and node.op not in nodes.SILENT]
        inputs = [f"{node.name}:0" for node in definition.node if node.op == "Placeholder"]
        super().__init__(definition, inputs, [f"{name}:0" for name in ends])
        self.terminals = list(self.outputs)

    def save(self, path: Path) -> None:
        if not self.structural and not self.changes:
            cache.write_aside(path, self.content)
            return
        self._end()
        made = self._made()
        del self.definition.node[:]
        self.definition.node.extend(_pruned(made, self.outputs, {nodes.base(name) for name in self.fresh}))
        cache.write_aside(path, self.definition.SerializeToString(deterministic=True))

    def _end(self) -> None:
        """Let every output be a node that nobody reads, in their order."""
        for place, tensor in enumerate(self.outputs):
            producer = self.producer(tensor)
            if producer is None or self.readers(tensor) or tensor in self.outputs[:place] or not tensor.endswith(":0"):
                self.outputs[place] = self.make("Identity", [tensor], self.shapes.get(tensor, ()))
        if self.structural:
            last = [node for name in self.outputs if (node := self.producer(name)) is not None]
            self.nodes = [*(node for node in self.nodes if node not in last), *last]

    def _made(self) -> list[Any]:
        """All nodes: those that no edit knows of in their places, the others in the document's order."""
        final = self._names()
        own = {self.origins[id(node)][0] for node in self.nodes if id(node) in self.origins}
        removed = {name for name, _ in self.origins.values()} - own
        written = iter(self.nodes)
        found: list[Any] = [nodes.constant_node(nodes.base(name), self.numbers[name]) for name in sorted(self.fresh)]
        for native in self.definition.node:
            if native.name in own:
                found.append(self._written(next(written), final))
            elif native.name not in removed:
                found.append(self._rewritten(native, final))
        return [*found, *(self._written(node, final) for node in written)]

    def _names(self) -> dict[str, str]:
        """Tensor → how a node refers to it, for all that operators of the document answer."""
        found: dict[str, str] = {}
        taken = {native.name for native in self.definition.node if f"{native.name}:0" not in self._computed()}
        taken |= {nodes.base(name) for name in self.fresh}
        for node in self.nodes:
            name = unused(nodes.base(node.outputs[0]), taken)
            taken.add(name)
            found |= {tensor: nodes.reference(f"{name}:{number}") for number, tensor in enumerate(node.outputs)}
        return found

    def _computed(self) -> set[str]:
        return {f"{name}:0" for name, _ in self.origins.values()}

    def _written(self, node: Node, final: dict[str, str]) -> Any:
        """The ``NodeDef`` of an operator of the document."""
        native = type(node.native)()
        native.CopyFrom(node.native)
        native.name = nodes.base(final[node.outputs[0]])
        read = self.origins.get(id(node), ("", ()))[1]
        before = nodes.data(node.native)
        inputs = []
        for slot, tensor in enumerate(node.inputs):
            kept = slot < len(read) and read[slot] == tensor
            name = nodes.label(before[slot]) if kept else tensor
            inputs.append(final.get(name, nodes.reference(name)))
        nodes.set_inputs(native, [*inputs, *nodes.controls(node.native)])
        return native

    def _rewritten(self, native: Any, final: dict[str, str]) -> Any:
        """A node that is no operator of the document: a constant, an alias, one that no output depends on."""
        tensor = f"{native.name}:0"
        found = type(native)()
        found.CopyFrom(native)
        if tensor in self.changed:
            nodes.set_values(found, self.numbers[tensor])
        inputs = [final.get(nodes.label(name), name) for name in nodes.data(native)]
        nodes.set_inputs(found, [*inputs, *nodes.controls(native)])
        return found


def _pruned(made: list[Any], outputs: list[str], fresh: set[str]) -> list[Any]:
    """Without new constants that nobody reads, and without what would be an output because its readers are gone."""
    needed = reachable({node.name: node for node in made}, outputs)
    kept = [node for node in made if node.name in needed or node.name not in fresh]
    while True:
        names = {node.name for node in kept}
        read = {nodes.base(name.removeprefix("^")) for node in kept for name in node.input}
        gone = {
            node.name
            for node in kept
            if node.name not in needed
            and (
                any(nodes.base(name) not in names for name in nodes.data(node))
                or (node.name not in read and node.op not in nodes.SILENT)
            )
        }
        if not gone:
            break
        kept = [node for node in kept if node.name not in gone]
    for node in kept:
        wanted = [name for name in node.input if not name.startswith("^") or name[1:] in names]
        if len(wanted) != len(node.input):
            nodes.set_inputs(node, wanted)
    return kept
