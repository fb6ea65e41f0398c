"""Writes an edited document's calls into the configuration, as one functional model without models inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from convfault.native.keras_files import layer_of
from convfault.repairing.writers.change import EditRefusedError
from convfault.repairing.writers.document import Node, unused
from convfault.repairing.writers.keras.call import Stored
from convfault.repairing.writers.keras.reference import (
    Place,
    Reference,
    places,
    template_for,
    with_places,
)

if TYPE_CHECKING:
    from convfault.repairing.writers.keras.document import KerasDocument


def flatten(document: KerasDocument) -> None:
    """Bring the document's calls into its file's configuration; a chain stays a ``Sequential`` model."""
    _rejoin(document)
    Layout(document).write()


def _rejoin(document: KerasDocument) -> None:
    """Take activations back into the layers that they were taken out of, where nothing else came between."""
    for node in list(document.nodes):
        if id(node) not in document.split:
            continue
        stored, before = node.native.stored, document.split[id(node)][1]
        behind = document.readers(node.outputs[0])
        if len(behind) != 1 or behind[0].type != "Activation" or node.outputs[0] in document.outputs:
            document.note(stored.name, "activation inside", before, "a layer of its own")
            continue
        stored.settings["activation"] = behind[0].native.stored.settings["activation"]
        if stored.settings["activation"] != before:
            document.note(stored.name, "activation", before, stored.settings["activation"])
        node.outputs[0] = behind[0].outputs[0]
        document.nodes.remove(behind[0])


class Layout:
    """The calls that the outputs need, and where each tensor is to be found."""

    def __init__(self, document: KerasDocument) -> None:
        self.document = document
        self.makers = {output: node for node in document.nodes for output in node.outputs}
        self.nodes = self._needed()
        self.given = _inputs(document)
        self._name_layers()
        self._name_outputs()
        self.calls: dict[int, list[Node]] = {}
        for node in self.nodes:
            self.calls.setdefault(id(node.native.stored), []).append(node)

    def write(self) -> None:
        """Change the configuration."""
        document, top = self.document, self.document.file.config
        chain = self._chain() if "input_layers" not in top["config"] else None
        if chain is not None:
            inputs = [entry for entry in top["config"]["layers"] if entry["class_name"] == "InputLayer"]
            top["config"]["layers"] = [*inputs, *(self._entry(node.native.stored) for node in chain)]
            return
        if "input_layers" not in top["config"]:
            made = document.file.library.saving.serialize_keras_object(_smallest(document.file.library))
            top |= {name: made[name] for name in ("module", "class_name", "registered_name") if name in top}
            top["class_name"] = made["class_name"]
            kept = {name: top["config"][name] for name in ("name", "trainable") if name in top["config"]}
            top["config"] = {**kept, "layers": [], "input_layers": [], "output_layers": []}
        config, ends = top["config"], [self._output(position) for position in range(len(document.outputs))]
        starts: list[Place] = [(str(entry["name"]), 0, 0) for entry in self.given.values()]
        config["layers"] = [*self.given.values(), *self._entries()]
        config["input_layers"] = with_places(config["input_layers"], starts)
        config["output_layers"] = with_places(config["output_layers"], ends)

    def _entries(self) -> list[dict[str, Any]]:
        found = []
        for calls in self.calls.values():
            templates = [self._template(node) for node in calls]
            found.append({**self._entry(calls[0].native.stored), "inbound_nodes": templates})
        return found

    def _entry(self, stored: Stored) -> dict[str, Any]:
        """A layer's part of the configuration under the name that it has now."""
        entry = {key: value for key, value in stored.entry.items() if key not in {"inbound_nodes", "name"}}
        settings = {**stored.settings, "name": stored.name} if "name" in stored.settings else stored.settings
        stored.path = (stored.name,)
        return {**entry, "config": settings, "name": stored.name}

    def _template(self, node: Node) -> Any:
        call = node.native
        if call.template is None:
            call.template = template_for(self.document.file.old)
            holder = call.template[0] if self.document.file.old else call.template["args"][0]
            call.arguments = [Reference(holder)]
        for slot, argument in enumerate(call.arguments):
            if isinstance(argument, Reference):
                argument.point(self._place(node, slot), self.document.shape(node.inputs[slot]))
        return call.template

    def _source(self, node: Node, slot: int) -> str:
        """The tensor that a call reads, passed on by others where it was before."""
        tensor, through = node.inputs[slot], self.document.through.get((id(node), slot))
        return through if through is not None and self.document.same[through] == tensor else tensor

    def _place(self, node: Node, slot: int) -> Place:
        return self._where(self._source(node, slot))

    def _where(self, tensor: str) -> Place:
        if tensor in self.given:
            return str(self.given[tensor]["name"]), 0, 0
        maker = self.makers.get(tensor)
        if maker is None:
            raise EditRefusedError(f"'{tensor}'", "a layer of Keras reads what layers compute, not a constant")
        return maker.native.stored.name, self.calls[id(maker.native.stored)].index(maker), maker.outputs.index(tensor)

    def _end(self, position: int) -> str:
        tensor = self.document.outputs[position]
        raw = self.document.raw_outputs.get(tensor, tensor)
        return raw if raw in self.makers else tensor

    def _output(self, position: int) -> Place:
        return self._where(self._end(position))

    def _needed(self) -> list[Node]:
        """The calls that the outputs depend on, in order; a call that passes on comes before its readers."""
        done: dict[int, Node] = {}
        for position in range(len(self.document.outputs)):
            stack = [self.makers.get(self._end(position))]
            while stack:
                node = stack[-1]
                waiting = [] if node is None else [each for each in self._before(node) if id(each) not in done]
                if node is not None and waiting and len(stack) <= len(self.document.nodes) + 1:
                    stack.append(waiting[0])
                    continue
                if node is not None:
                    done.setdefault(id(node), node)
                stack.pop()
        order = {id(node): position for position, node in enumerate(self.document.nodes)}
        settled = all(order[id(each)] < order[key] for key, node in done.items() for each in self._before(node))
        return sorted(done.values(), key=lambda node: order[id(node)]) if settled else list(done.values())

    def _before(self, node: Node) -> list[Node]:
        """The calls that a call reads."""
        count = len(node.native.arguments) if node.native.template is not None else 1
        found = [self.makers.get(self._source(node, slot)) for slot in range(min(count, len(node.inputs)))]
        return [each for each in found if each is not None]

    def _name_layers(self) -> None:
        """Give every layer a name of its own."""
        taken: dict[str, Stored | None] = {str(entry["name"]): None for entry in self.given.values()}
        for node in self.nodes:
            stored: Stored = node.native.stored
            if taken.get(stored.name, stored) is not stored:
                stored.name = unused("_".join(stored.path), set(taken))
            taken[stored.name] = stored

    def _name_outputs(self) -> None:
        """Let the model's outputs keep their names, which are those of the layers that give them."""
        layers = {node.native.stored.name: node.native.stored for node in self.nodes}
        for position, tensor in enumerate(self.document.outputs):
            wanted, maker = self.document.output_names.get(tensor), self.makers.get(self._end(position))
            if wanted is None or maker is None or maker.native.stored.name == wanted:
                continue
            stored: Stored = maker.native.stored
            if wanted in layers:
                holder = layers[wanted]
                holder.name = unused(f"{wanted}_before", set(layers))
                layers[holder.name] = holder
            layers[wanted], stored.name = stored, wanted

    def _chain(self) -> list[Node] | None:
        """The calls as the layers of a ``Sequential`` model, None where they are no chain of them."""
        single = len(self.document.outputs) == 1 == len(self.given)
        if not single or any(len(calls) > 1 for calls in self.calls.values()):
            return None
        chain: list[Node] = []
        last = next(iter(self.given))
        for node in self.nodes:
            plain = node.native.template is None or len(node.native.arguments) == 1
            entry = node.native.stored.entry
            layer = ".ops." not in str(entry.get("module")) and "OpLambda" not in entry["class_name"]
            if not plain or not layer or self._source(node, 0) != last or len(node.outputs) != 1:
                return None
            chain.append(node)
            last = node.outputs[0]
        return chain if chain and last == self._end(0) else None


def _inputs(document: KerasDocument) -> dict[str, dict[str, Any]]:
    """Tensor → the entry of the ``InputLayer`` that gives it, in the order of the model's inputs."""
    config, network = document.file.config["config"], document.file.network
    known = {str(each.get("name", each["config"].get("name"))): each for each in config["layers"]}
    found = {}
    for tensor, source in zip(document.inputs, network.inputs, strict=True):
        layer = layer_of(source)
        entry = known.get(str(layer.name)) or _entry_of(document.file.library, layer)
        found[tensor] = {**entry, "name": str(layer.name), "inbound_nodes": []}
    if "input_layers" in config:
        order = [place[0] for place in places(config["input_layers"])]
        found = dict(sorted(found.items(), key=lambda item: order.index(str(item[1]["name"]))))
    return found


def _entry_of(library: Any, layer: Any) -> dict[str, Any]:
    """A live layer as it would be stored."""
    found: dict[str, Any] = json.loads(json.dumps(library.saving.serialize_keras_object(layer)))
    return found


def _smallest(library: Any) -> Any:
    """A functional model, to see what Keras calls such a thing."""
    source = library.Input((1,))
    return library.Model(source, library.layers.Activation("linear")(source))
