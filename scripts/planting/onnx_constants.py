"""The constants of an ONNX graph, initializers and Constant nodes alike."""

from __future__ import annotations

from typing import Any

import numpy as np


class Constants:
    """By name; ``in`` tells whether a tensor is constant."""

    def __init__(self, graph: Any, onnx: Any) -> None:
        self.graph, self.numpy = graph, onnx.numpy_helper
        self.protos: dict[str, Any] = {each.name: each for each in graph.initializer}
        for node in graph.node:
            values = [each.t for each in node.attribute if each.name == "value"]
            if node.op_type == "Constant" and values:
                self.protos[node.output[0]] = values[0]

    def __contains__(self, name: str) -> bool:
        return name in self.protos

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.protos[name].dims) if name in self.protos else ()

    def values(self, name: str) -> np.ndarray:
        return np.array(self.numpy.to_array(self.protos[name]))

    def put(self, name: str, values: np.ndarray, reader: Any) -> None:
        """Writes a constant; where other nodes read it too, ``reader`` gets a copy of its own."""
        sound = self.values(name)
        readers = sum(name in each.input for each in self.graph.node)
        cast = np.ascontiguousarray(values.astype(sound.dtype).reshape(sound.shape))
        if readers > 1 and name in reader.input:
            copy = self.add(f"{name}_copy", cast)
            reader.input[:] = [copy if each == name else each for each in reader.input]
        else:
            self.protos[name].CopyFrom(self.numpy.from_array(cast, self.protos[name].name))

    def fresh(self, name: str) -> str:
        """A name that no tensor has."""
        taken = set(self.protos) | {each for node in self.graph.node for each in (*node.input, *node.output)}
        names = (name if not number else f"{name}_{number}" for number in range(len(taken) + 1))
        return next(each for each in names if each not in taken)

    def add(self, name: str, values: np.ndarray) -> str:
        """A new initializer."""
        name = self.fresh(name)
        self.graph.initializer.append(self.numpy.from_array(np.asarray(values), name))
        self.protos[name] = self.graph.initializer[-1]
        return name
