"""The graph of an ONNX model while it is made float: who makes and reads a value, and what takes its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.relax.imported import Encoding
from convfault.relax.onnx_steps import Steps, array, constants_of, inner_reads, steps_of, type_name

NODE, OPERATOR = "convfault.node", "convfault.operator"
"""Keys of a node's metadata: the name and type of the native operator that it was made for."""


class Scene:
    """``nodes`` may be replaced by whoever rewrites; constants are added by name and what is unread goes at the end."""

    def __init__(self, proto: Any) -> None:
        self.proto, self.graph = proto, proto.graph
        self.nodes: list[Any] = list(proto.graph.node)
        self.constants = constants_of(proto.graph)
        self.inputs = {value.name for value in proto.graph.input} - set(self.constants)
        self.outputs = {value.name for value in proto.graph.output}
        self.pinned = self.outputs | set(inner_reads(proto.graph))
        self.opset = next((item.version for item in proto.opset_import if item.domain in {"", "ai.onnx"}), 1)
        self.encodings: dict[str, Encoding] = {}
        self._added: dict[str, Array] = {}
        self._steps: dict[str, Steps] = {}
        self._titles: set[str] = set()
        self.look()

    def look(self) -> None:
        """See who makes and reads what."""
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def free(self, name: str) -> str:
        """``name``, or it with something behind that makes it new."""
        taken = {*self.constants, *self.producers, *self.inputs, *self._added}
        names = (name if not number else f"{name}_{number}" for number in range(len(taken) + 1))
        return next(each for each in names if each not in taken)

    def steps(
        self, inputs: Sequence[str], slots: Sequence[int], tensor: str = "", axis: int = 0, block: int = 0
    ) -> Steps | None:
        """The steps that stand in an operator's inputs; those of a missing zero point are of the ``tensor``'s type."""
        scale, zero = (inputs[slot] if 0 <= slot < len(inputs) else "" for slot in slots)
        dtype = type_name(self.constants[tensor]) if tensor in self.constants else "uint8"
        return steps_of(self.constants, scale, zero, dtype, axis, block)

    def real_constant(self, stored: str, steps: Steps, name: str) -> str:
        """A float constant with the real numbers of a stored one, under ``name`` unless it is taken; its name."""
        return self.rounded_constant(name, steps, array(self.constants[stored]))

    def rounded_constant(self, name: str, steps: Steps, stored: Array) -> str:
        """The same for integers that stand nowhere."""
        if name in self._added:
            if name in self._steps and self._steps[name].same(steps):
                return name
            name = self.free(f"{name}/real")
        self._steps[name] = steps
        self.encodings[name] = steps.encoding(name, True)
        self._added[name] = steps.real(stored)
        return name

    def float_constant(self, name: str, values: Array) -> str:
        """A new constant; its name."""
        name = self.free(name)
        self._added[name] = values
        return name

    def value(self, name: str) -> Array | None:
        """The numbers of a constant, as they are now."""
        if name in self._added:
            return self._added[name]
        return array(self.constants[name]) if name in self.constants else None

    def made(self, kind: str, inputs: Iterable[str], output: str, native: Any, **settings: Any) -> Any:
        """A new operator of ONNX's own for a native one, not yet in its place."""
        from onnx import helper

        title = native_name(native)
        name = title if title not in self._titles else f"{title}/{kind}/{output}"
        self._titles.add(name)
        node = helper.make_node(kind, list(inputs), [output], name=name, **settings)
        for key, value in ((NODE, title), (OPERATOR, native.op_type)):
            node.metadata_props.add(key=key, value=value)
        self.producers[output] = node
        return node

    def write(self) -> None:
        """Give the model the nodes and constants, and forget what was recorded about values."""
        from onnx import NodeProto, numpy_helper

        nodes = [NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        read = {name for node in nodes for name in node.input} | self.pinned
        kept = [n for n in nodes if n.op_type != "Constant" or (n.output[0] in read and n.output[0] not in self._added)]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        for tensor in [t for t in self.graph.initializer if t.name not in read or t.name in self._added]:
            self.graph.initializer.remove(tensor)
        for value in [value for value in self.graph.input if value.name in self._added]:
            self.graph.input.remove(value)
        for name, values in self._added.items():
            if name in read:
                self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        self.encodings = {n: e for n, e in self.encodings.items() if n in read or n in self.producers}
        del self.graph.value_info[:]


def native_name(node: Any) -> str:
    """What a node goes by: ``Origin.node``."""
    return str(node.name or node.output[0])
