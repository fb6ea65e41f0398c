"""A GraphDef's nodes, constants and batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from planting.runtimes import terminals


@dataclass(frozen=True)
class Norm:
    """A batch norm in pieces: x · product + (beta - mean · scale), scale being gamma / sqrt(variance + epsilon)."""

    product: str
    variance_sum: str


class Graph:
    """Reads and changes one GraphDef."""

    def __init__(self, definition: Any) -> None:
        import tensorflow as tf

        self.tensorflow, self.definition = tf, definition
        self.shapes = self._shapes()
        self.ends = set(terminals(definition)[1])
        self.constants = self._constants()
        self.norms = self._norms()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        graph = self.tensorflow.Graph()
        with graph.as_default():
            self.tensorflow.import_graph_def(self.definition, name="")
        known = {each.name: each.outputs[0].shape for each in graph.get_operations() if each.outputs}
        return {
            name: tuple(-1 if size is None else size for size in shape) for name, shape in known.items() if shape.rank
        }

    def node(self, name: str) -> Any:
        return next(each for each in self.definition.node if each.name == name)

    def inputs(self, node: Any) -> list[str]:
        """Names of the nodes whose results it reads."""
        return [each.split(":")[0] for each in node.input if not each.startswith("^")]

    def data(self, node: Any) -> list[str]:
        return [each for each in self.inputs(node) if each not in self.constants]

    def readers(self, name: str) -> list[Any]:
        return [each for each in self.definition.node if name in self.inputs(each)]

    def sorted(self) -> list[Any]:
        """All nodes, each behind what it reads; otherwise in the order of the file."""
        nodes = {each.name: each for each in self.definition.node}
        done: dict[str, Any] = {}
        for start in nodes:
            waiting = [start]
            while waiting:
                name = waiting[-1]
                missing = [each for each in self.inputs(nodes[name]) if each not in done]
                if missing:
                    waiting.extend(missing)
                else:
                    done.setdefault(waiting.pop(), nodes[name])
        return list(done.values())

    def _constants(self) -> set[str]:
        """Nodes that depend on no input."""
        found: set[str] = set()
        for node in self.sorted():
            read = self.inputs(node)
            if node.op == "Const" or (read and all(each in found for each in read)):
                found.add(node.name)
        return found

    def root(self, name: str) -> str | None:
        """The Const at the beginning of Identity, Reshape, Squeeze and the like."""
        node = self.node(name)
        while node.op in ("Identity", "Reshape", "Squeeze", "ExpandDims"):
            node = self.node(self.inputs(node)[0])
        return str(node.name) if node.op == "Const" else None

    def _norms(self) -> dict[str, Norm]:
        found = {}
        for node in self.definition.node:
            data = self.data(node) if node.op == "AddV2" and node.name not in self.constants else []
            product = self.node(data[0]) if len(data) == 1 else None
            if product is not None and product.op == "Mul" and len(self.data(product)) == 1:
                scale = next(each for each in self.inputs(product) if each in self.constants)
                root = self._above(scale, "Rsqrt")
                if root is not None and len(self.readers(product.name)) == 1:
                    found[node.name] = Norm(product.name, self.inputs(self.node(root))[0])
        return found

    def _above(self, name: str, op: str) -> str | None:
        node = self.node(name)
        if node.op == op:
            return name
        return next((found for each in self.inputs(node) if (found := self._above(each, op))), None)

    def norm_parts(self, node: Any) -> dict[str, str | None]:
        """The Const of each part of a batch norm."""
        if node.name not in self.norms:
            roles = ("gamma", "beta", "mean", "variance")
            return {role: self.root(name) for role, name in zip(roles, self.inputs(node)[1:], strict=False)}
        norm = self.norms[node.name]
        parts = {"variance": self.root(self.inputs(self.node(norm.variance_sum))[0])}
        scale = self.node(next(each for each in self.inputs(self.node(norm.product)) if each in self.constants))
        if scale.op == "Mul":
            parts["gamma"] = next(
                (self.root(each) for each in self.inputs(scale) if self.node(each).op != "Rsqrt"), None
            )
        shift = self.node(next(each for each in self.inputs(node) if each in self.constants))
        if shift.op == "Sub":
            beta, moved = self.inputs(shift)
            factors = self.inputs(self.node(moved))
            parts["beta"] = self.root(beta)
            parts["mean"] = next((self.root(each) for each in factors if self.root(each)), None)
        return parts

    def values(self, name: str) -> np.ndarray:
        return np.array(self.tensorflow.make_ndarray(self.node(name).attr["value"].tensor))

    def put(self, name: str, values: np.ndarray) -> None:
        cast = np.ascontiguousarray(values.astype(self.values(name).dtype))
        self.node(name).attr["value"].tensor.CopyFrom(self.tensorflow.make_tensor_proto(cast))

    def fresh(self, name: str) -> str:
        taken = {each.name for each in self.definition.node}
        names = (name if not number else f"{name}_{number}" for number in range(len(taken) + 1))
        return next(each for each in names if each not in taken)

    def add(self, name: str, values: np.ndarray) -> str:
        """A new Const."""
        node = self.definition.node.add()
        node.op, node.name = "Const", self.fresh(name)
        node.attr["value"].tensor.CopyFrom(self.tensorflow.make_tensor_proto(values))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
        self.constants.add(node.name)
        return str(node.name)

    def create(self, op: str, name: str, inputs: list[str], types: dict[str, type]) -> None:
        node = self.definition.node.add()
        node.op, node.name = op, name
        node.input.extend(inputs)
        for key, kind in types.items():
            node.attr[key].type = self.tensorflow.as_dtype(kind).as_datatype_enum

    def remove(self, names: set[str]) -> None:
        """Removes nodes, and constants that only they read."""
        kept = [each for each in self.definition.node if each.name not in names]
        read = {name for each in kept for name in self.inputs(each)} | self.ends
        while dead := {each.name for each in kept if each.name in self.constants and each.name not in read}:
            kept = [each for each in kept if each.name not in dead]
            read = {name for each in kept for name in self.inputs(each)} | self.ends
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del self.definition.node[:]
        self.definition.node.extend(copies)
        self.clear_controls()

    def clear_controls(self) -> None:
        """Drops control edges: a frozen graph has no order to keep, and they may lead to removed nodes."""
        for node in self.definition.node:
            if any(each.startswith("^") for each in node.input):
                kept = [each for each in node.input if not each.startswith("^")]
                del node.input[:]
                node.input.extend(kept)
        noops = [each for each in self.definition.node if each.op == "NoOp"]
        for each in noops:
            self.definition.node.remove(each)
