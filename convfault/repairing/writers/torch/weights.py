"""A module that a function of the user's builds: its weights are written as a state dict, its structure is theirs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault import cache
from convfault.relax.graph import Array, Graph, Layer
from convfault.repairing.writers.change import EditRefusedError, Refusal
from convfault.repairing.writers.document import Document, Node, Value
from convfault.repairing.writers.torch.document import TorchDocument


class WeightsDocument(TorchDocument):
    """The module's program as it was exported, of which nothing but numbers can change."""

    def __init__(self, program: Any, state: dict[str, Any], place: str) -> None:
        super().__init__(program, trusted=True)
        self.state, self.place = state, place
        self._refusing = ""

    @property
    def alone(self) -> bool:
        return False

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        raise Refusal(self.sentence(layer))

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        if before.hyperparameters != after.hyperparameters or before.kind != after.kind:
            raise Refusal(self.sentence(before))
        self._refusing = self.sentence(before)
        if before.parameters and not super().patch(graph, after_graph, before, after):
            raise Refusal(self.sentence(before))
        return True

    def put(self, node: Node, slot: int, values: Array) -> None:
        before = self.constant(node.inputs[slot]) if node.inputs[slot] else None
        if before is None or before.shape != values.shape or node.inputs[slot] not in self.state:
            raise Refusal(self._refusing)
        super().put(node, slot, values)

    def connect(self, node: Node, slot: int, tensor: str) -> None:
        raise EditRefusedError(f"'{node.name}'", self.sentence(None))

    def sentence(self, layer: Layer | None) -> str:
        """Why the layer cannot be changed here, and which line of the user's program to change."""
        sources = [source for operator in layer.native.operators for source in operator.source] if layer else []
        line = next((source for source in reversed(sources) if source.startswith("File")), "")
        where = f": change it where it is written, {line}" if line else ""
        return f"of {self.place} only the weights can be written, and this changes what its module computes{where}"

    def save(self, path: Path) -> None:
        """Write the state dict, with every tensor of it that no edit touched as it was."""
        import torch

        state = dict(self.state)
        for name, values in self.tensors.changed.items():
            for each in self.tensors.aliases(name):
                if each in state:
                    state[each] = torch.from_numpy(np.array(values)).to(state[each].dtype)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        cache.write_aside(path, buffer.getvalue())


def check_structure(document: Document, before: Graph, after: Graph) -> None:
    """Raise ``EditRefusedError`` where layers come, go, or read other ones."""
    assert isinstance(document, WeightsDocument)
    for layer in after:
        new = layer.id not in before
        if new or layer.inputs != before[layer.id].inputs:
            read = () if new else before[layer.id].inputs
            gone = next((before[name] for name in read if name not in after), None)
            near = next((before[name] for name in layer.inputs if name in before), None)
            known = gone or (near if new else layer)
            raise EditRefusedError(f"{layer.kind} {layer.id}", document.sentence(known))
    if after.outputs != before.outputs:
        raise EditRefusedError("the outputs", document.sentence(before[before.outputs[0]]))
