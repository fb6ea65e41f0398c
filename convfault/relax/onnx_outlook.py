"""Which of an ONNX model's operators on integers can be float: all of whose integers lead to and come from such.

The others stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convfault.relax.onnx_forms import DEQUANTIZE, PASSING, QUANTIZE, ROUNDS, ROUNDS_AT_RUN_TIME, Form, form_of, given
from convfault.relax.onnx_scene import Scene
from convfault.relax.onnx_steps import Steps, attributes

AT_RUN_TIME = Steps("uint8", np.zeros(0, np.float32), np.zeros(0, np.int64))
"""Those that DynamicQuantizeLinear finds."""


class Outlook:
    """``viable`` holds the identities of those operators, ``forms`` what an identity computes in float."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.forms: dict[int, Form] = {}
        self.viable = self._viable()

    def steps(self, node: Any, slots: tuple[int, ...]) -> Steps | None:
        """The steps that an operator names in its inputs, None where they are computed."""
        settings = attributes(node) if node.op_type in {QUANTIZE, DEQUANTIZE} else {"axis": 0}
        tensor = node.input[0] if node.op_type == DEQUANTIZE else ""
        maker = self.scene.producers.get(tensor)
        if node.op_type == ROUNDS_AT_RUN_TIME or (maker is not None and maker.op_type == ROUNDS_AT_RUN_TIME):
            return AT_RUN_TIME
        axis, block = int(settings.get("axis", 1)), int(settings.get("block_size", 0))
        return self.scene.steps(node.input, slots, tensor, axis, block)

    def _viable(self) -> set[int]:
        """Identities of the operators whose integers all come from and lead to such, or to DequantizeLinear."""
        found = {id(node): node for node in self.scene.nodes if self._is_candidate(node)}
        while True:
            gone = [key for key, node in found.items() if not self._holds(node, found)]
            if not gone:
                return set(found)
            for key in gone:
                del found[key]

    def _is_candidate(self, node: Any) -> bool:
        if node.op_type in ROUNDS:
            return self.steps(node, (1, 2)) is not None
        if node.op_type in PASSING:
            return node.op_type != "Pad" or self.scene.opset >= 11
        form = form_of(node.op_type, node.input, attributes(node))
        if form is None:
            return False
        self.forms[id(node)] = form
        slots = [place[1:] for place in form.tensors] + ([form.result] if form.result else [])
        bias = given(node.input, form.bias) if form.bias is not None else ""
        known = all(self.steps(node, slot) is not None for slot in slots)
        return known and (not bias or bias in self.scene.constants)

    def _holds(self, node: Any, viable: dict[int, Any]) -> bool:
        scene = self.scene
        form = self.forms.get(id(node))
        read = [node.input[place[0]] for place in form.tensors] if form else [node.input[0]]
        if node.op_type == ROUNDS_AT_RUN_TIME and not self._is_real_again(node):
            return False
        if node.op_type not in ROUNDS:
            makers = [scene.producers.get(name) for name in read]
            integer = [
                (name in scene.constants and form is not None) or (maker is not None and self._makes(maker, viable))
                for name, maker in zip(read, makers, strict=True)
            ]
            if not all(integer):
                return False
        if form is not None and form.result is None:
            return True
        readers = [reader for name in node.output for reader in scene.readers.get(name, [])]
        return all(reader.op_type == DEQUANTIZE or id(reader) in viable for reader in readers) and not (
            scene.pinned.intersection(node.output)
        )

    def _is_real_again(self, node: Any) -> bool:
        """Whether all who read what is rounded at run time make it real again."""
        readers = [reader for name in node.output for reader in self.scene.readers.get(name, [])]
        return all(r.op_type == DEQUANTIZE and list(r.input) == list(node.output) for r in readers)

    def _makes(self, maker: Any, viable: dict[int, Any]) -> bool:
        """Whether a viable operator makes integers."""
        form = self.forms.get(id(maker))
        return id(maker) in viable and (form is None or form.result is not None)
