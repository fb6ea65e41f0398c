"""Frozen TensorFlow graphs and SavedModels. Tensors go by their node's name, as all edited ones are output 0.

A SavedModel is edited as its frozen graph; what is written is a ``.pb`` or a SavedModel, as the file's name asks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planting import tensorflow_tables as tables
from planting.network import NO_PADS, Network, Operator, Parameter, Unfit, Window, same_pads
from planting.runtimes import frozen, terminals
from planting.tensorflow_graph import Graph


class TensorFlowNetwork(Network):
    """A GraphDef without variables. The batch norms that Keras writes as sums and products count as one operator."""

    format = "tensorflow"
    layout = "NHWC"

    def __init__(self, path: Path) -> None:
        self.graph = Graph(frozen(path))

    # reading

    def operators(self) -> list[Operator]:
        found: list[Operator] = []
        inner = {self.graph.norms[name].product for name in self.graph.norms}
        for node in self.graph.sorted():
            if node.name in self.graph.constants or node.name in inner or node.op in ("Placeholder", "NoOp"):
                continue
            if node.name in self.graph.norms:
                data = self.graph.data(self.graph.node(self.graph.norms[node.name].product))
                found.append(Operator(node.name, "norm", "BatchNormalization", tuple(data), (node.name,), node))
                continue
            data = self.graph.data(node)
            kind = tables.KINDS.get(node.op, "other")
            if kind in ("add", "sub", "mul", "max") and len(data) < 2:
                kind = "other"
            if kind in ("conv", "depthwise", "dense") and len(data) != 1:
                kind = "other"
            found.append(Operator(node.name, kind, node.op, tuple(data), (node.name,), node))
        return found

    def inputs(self) -> list[str]:
        return terminals(self.graph.definition)[0]

    def outputs(self) -> list[str]:
        """None by name: whatever nobody reads is an output, and Identity nodes stand at the ends."""
        return [name for name in terminals(self.graph.definition)[1] if name in self.graph.ends]

    def set_outputs(self, tensors: list[str]) -> None:
        raise Unfit("a GraphDef does not list its outputs")

    def unread(self) -> set[str]:
        return super().unread() - self.graph.ends

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.graph.shapes.get(tensor, ())

    # parameters

    def parameters(self) -> list[Parameter]:
        found = []
        for operator in self.operators():
            named: list[tuple[str, str, str | None]] = []
            if operator.kind in tables.KERNELS:
                named.append(
                    ("kernel", tables.KERNELS[operator.kind], self.graph.root(self.graph.inputs(operator.handle)[1]))
                )
                named.append(("bias", "O", self._bias(operator)))
            elif operator.kind == "norm":
                named.extend((role, "O", name) for role, name in self.graph.norm_parts(operator.handle).items())
            for role, axes, root in named:
                if root is not None:
                    shape = self.graph.values(root).shape
                    found.append(Parameter(operator.name, operator.kind, root, role, axes, shape))
        return found

    def _bias_sum(self, operator: Operator) -> Any:
        """The node behind a layer that adds one constant a channel."""
        readers = self.graph.readers(operator.name)
        if len(readers) != 1 or readers[0].op not in ("BiasAdd", "AddV2") or readers[0].name in self.graph.norms:
            return None
        return readers[0] if len(self.graph.data(readers[0])) == 1 else None

    def _bias(self, operator: Operator) -> str | None:
        node = self._bias_sum(operator)
        if node is None:
            return None
        constant = next(each for each in self.graph.inputs(node) if each in self.graph.constants)
        root = self.graph.root(constant)
        return root if root is not None and self.graph.values(root).ndim == 1 else None

    def read(self, parameter: Parameter) -> np.ndarray:
        return self.graph.values(parameter.tensor).astype(np.float32)

    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        self.graph.put(parameter.tensor, values)

    def drop(self, parameter: Parameter) -> None:
        node = self._bias_sum(self.find(parameter.operator))
        self.bypass(self.find(node.name))

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        operator.handle.input[1] = self.graph.add(f"{weight.tensor}/grouped", values.astype(np.float32))

    # settings

    def window(self, operator: Operator) -> Window:
        node = operator.handle
        if node.attr["data_format"].s not in (b"NHWC", b""):
            raise Unfit("the graph is of another layout")
        if operator.kind in ("conv", "depthwise"):
            root = self.graph.root(self.graph.inputs(node)[1])
            if root is None:
                raise Unfit("the kernel is computed")
            kernel, dilations = self.graph.values(root).shape[:2], tuple(node.attr["dilations"].list.i)[1:3] or (1, 1)
        else:
            kernel, dilations = tuple(node.attr["ksize"].list.i)[1:3], (1, 1)
        window = Window(kernel, tuple(node.attr["strides"].list.i)[1:3], dilations, NO_PADS)
        if node.attr["padding"].s == b"SAME":
            return window.with_pads(same_pads(window, self.size(operator.inputs[0])))
        explicit = list(node.attr["explicit_paddings"].list.i) if "explicit_paddings" in node.attr else []
        return window.with_pads(((explicit[2], explicit[3]), (explicit[4], explicit[5]))) if explicit else window

    def put_window(self, operator: Operator, window: Window) -> bool:
        same = same_pads(window, self.size(operator.inputs[0]))
        if window.pads not in (same, NO_PADS):
            return False
        if operator.kind == "depthwise" and window.strides != (window.strides[0],) * 2:
            return False
        attributes = operator.handle.attr
        attributes["padding"].s = b"VALID" if window.pads == NO_PADS else b"SAME"
        if "explicit_paddings" in attributes:
            del attributes["explicit_paddings"].list.i[:]
        attributes["strides"].list.i[:] = [1, *window.strides, 1]
        if operator.kind in ("conv", "depthwise"):
            attributes["dilations"].list.i[:] = [1, *window.dilations, 1]
        else:
            attributes["ksize"].list.i[:] = [1, *window.kernel, 1]
        return True

    def attribute(self, operator: Operator, name: str) -> Any:
        return tables.read_setting(operator, name, self.graph)

    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        tables.write_setting(operator, name, value, self.graph)

    # the graph

    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        node = operator.handle
        if node.name in self.graph.norms:
            node = self.graph.node(self.graph.norms[node.name].product)
        places = [place for place, each in enumerate(self.graph.inputs(node)) if each not in self.graph.constants]
        node.input[places[position]] = tensor

    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        op, constants = tables.recipe(kind, settings)
        name = self.graph.fresh(f"{tensor}/{kind}")
        extra = [self.graph.add(f"{name}/{number}", values) for number, values in enumerate(constants)]
        self.graph.create(op, name, [tensor, *extra], tables.types(kind))
        shape = self.shape(tensor)
        if kind == "transpose":
            shape = tuple(shape[axis] for axis in settings["permutation"])
        elif kind == "pad":
            (top, bottom), (left, right) = settings["pads"]
            shape = (shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3])
        self.graph.shapes[name] = shape
        return name

    def replace(self, operator: Operator, kind: str) -> None:
        node = operator.handle
        node.op = tables.CODES[kind]
        allowed = {"T", *tables.ATTRIBUTES.get(node.op, ())}
        for name in [each for each in node.attr if each not in allowed]:
            del node.attr[name]

    def remove(self, operator: Operator) -> None:
        norm = self.graph.norms.pop(operator.name, None)
        self.graph.remove({operator.name} | ({norm.product} if norm else set()))

    def save(self, path: Path) -> None:
        self.graph.clear_controls()
        if path.suffix == ".pb":
            path.write_bytes(self.graph.definition.SerializeToString(deterministic=True))
        else:
            self._save_folder(path)

    def _save_folder(self, path: Path) -> None:
        import tensorflow as tf

        definition = self.graph.definition
        entries, ends = terminals(definition)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        find = wrapped.graph.as_graph_element
        names = {f"output_{number}": find(f"{name}:0") for number, name in enumerate(ends)}
        function = wrapped.prune(find(f"{entries[0]}:0"), names)
        module = tf.Module()
        spec = tf.TensorSpec(find(f"{entries[0]}:0").shape, tf.float32, name=entries[0])
        module.answer = tf.function(lambda picture: function(picture)).get_concrete_function(spec)
        tf.saved_model.save(module, str(path), signatures=module.answer)
