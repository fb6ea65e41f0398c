"""An ONNX model as a ``Document``: values by name, pictures (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault import cache
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.onnx_half import half_values, is_half
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Document, Node, Order, Value, half, summary, unused
from convfault.repairing.writers.onnx.values import (
    attributes,
    captured,
    cast,
    copied,
    dequantized,
    save_beside,
    set_attributes,
    shapes,
)

LIMIT = 1_900_000_000
"""Bytes: a protobuf cannot be larger, weights then lie in a file beside it."""


class OnnxDocument(Document):
    """The main graph of the model; functions, metadata and opset imports stay as they are."""

    passive = frozenset(
        {
            "Pad",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Identity",
            "DequantizeLinear",
            "Dropout",
            "Cast",
        }
    )

    def __init__(self, path: Path) -> None:
        import onnx

        super().__init__()
        light = onnx.load(path, load_external_data=False)
        self.external = any(tensor.data_location == tensor.EXTERNAL for tensor in light.graph.initializer)
        self.proto = onnx.load(path) if self.external else light
        graph = self.proto.graph
        for native in graph.node:
            name = native.name or (native.output[0] if native.output else "")
            self.nodes.append(Node(name, native.op_type, list(native.input), list(native.output), native))
            self.pinned |= captured(native)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.opset = next((item.version for item in self.proto.opset_import if item.domain in {"", "ai.onnx"}), 1)
        self.shapes = shapes(self.proto)
        self.types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        self.stale: set[str] = set()
        """Values whose recorded shape no longer holds."""
        self.cut_off: frozenset[str] | None = None
        """Values whose range of integers stands for a Relu; None: nobody has asked yet."""
        self.steps: dict[str, list[str]] = {}
        """Integer tensor that something else is to be written to → the names of its scale and zero point."""
        self.half = is_half(self.proto)
        """Whether anything is stored or computed in half precision."""
        self.halves = half_values(self.proto) if self.half else set[str]()
        """Values in half precision, constants not among them."""

    @property
    def alone(self) -> bool:
        return not self.external

    @property
    def taken(self) -> set[str]:
        """All names of values."""
        names = {name for node in self.nodes for name in (*node.inputs, *node.outputs)}
        return names | {*self.constants, *self.inputs, *self.outputs, *self.shapes}

    # tensors

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.shapes.get(tensor)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        if self.shapes.get(tensor) != shape:
            self.shapes[tensor] = shape
            self.stale.add(tensor)

    def channels(self, tensor: str) -> int:
        shape = self.shape(tensor) or (1,)
        return int(shape[1]) if len(shape) == 4 else int(shape[-1]) if shape else 1

    def by_channel(self, node: Node, count: int) -> tuple[int, ...]:
        shape = self.shape(node.outputs[0]) or ()
        return (count, 1, 1) if len(shape) == 4 else (count,)

    def epsilon(self, node: Node) -> float:
        return float(attributes(node).get("epsilon", 1e-5))

    def constant(self, tensor: str) -> Array | None:
        from onnx import numpy_helper

        if tensor in self.constants:
            return np.asarray(numpy_helper.to_array(self.constants[tensor]))
        producer = self.producer(tensor) if tensor else None
        if producer is None or producer.type not in {"Constant", "DequantizeLinear", "Identity", "Cast"}:
            return None
        if producer.type == "Constant":
            found = attributes(producer).get("value")
            return None if found is None else np.asarray(numpy_helper.to_array(found))
        parts = [self.constant(name) for name in producer.inputs]
        if any(part is None for part in parts):
            return None
        if producer.type == "Cast":
            return cast(producer, parts[0])
        return parts[0] if producer.type == "Identity" else dequantized(producer, parts)

    def add_constant(self, name: str, values: Array) -> str:
        from onnx import numpy_helper

        name = unused(name, self.taken)
        values = np.asarray(values, np.float32) if values.dtype == np.float64 else values
        made = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        self.proto.graph.initializer.append(made)
        self.constants[name] = self.proto.graph.initializer[-1]
        self.shapes[name] = tuple(values.shape)
        self.structural = True
        return name

    def put(self, node: Node, slot: int, values: Array) -> None:
        from onnx import TensorProto, numpy_helper

        tensor = node.inputs[slot] if slot < len(node.inputs) else ""
        if not tensor:
            node.inputs.extend([""] * (slot + 1 - len(node.inputs)))
            node.inputs[slot] = self.add_constant(f"{node.outputs[0]}/bias", values)
            self.note(node.name, f"input {slot}", "", summary(values))
            return
        before = self.constant(tensor)
        assert before is not None
        values = values.astype(before.dtype) if before.dtype.kind == "f" else values
        alone = sum(reader.inputs.count(tensor) for reader in self.readers(tensor)) == 1
        alone = alone and tensor not in self.outputs and tensor not in self.pinned
        if alone and tensor in self.constants:
            self.constants[tensor].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor))
            self.shapes[tensor] = tuple(values.shape)
        elif self._is_stored_small(tensor) and (small := half(values)) is not None:
            stored = self.add_constant(f"{tensor}/float16", small)
            node.inputs[slot] = self.make("Cast", [stored], values.shape, {"to": TensorProto.FLOAT})
        else:
            node.inputs[slot] = self.add_constant(f"{tensor}/own", values)
        self.note(tensor, "values", summary(before), summary(values))

    def _is_stored_small(self, tensor: str) -> bool:
        producer = self.producer(tensor)
        return producer is not None and producer.type in {"DequantizeLinear", "Cast"}

    def blank(self, name: str, shape: tuple[int, ...], like: str) -> str:
        from convfault.repairing.writers.onnx.float import stored_steps

        name = unused(name, self.taken)
        self.shapes[name] = shape
        if steps := stored_steps(self, like):
            self.steps[like] = steps
        if like in self.halves:
            self.halves.add(name)
        return name

    def computed(self, tensor: str) -> str:
        from convfault.repairing.writers.onnx.float import dequantized, stored_steps
        from convfault.repairing.writers.onnx.half import single

        if tensor in self.halves:
            return single(self, tensor)
        steps = stored_steps(self, tensor)
        return tensor if steps is None else dequantized(self, tensor, steps)

    # operators

    def make(
        self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], attributes: dict[str, Any] | None = None
    ) -> str:
        from onnx import helper

        source = next((name for name in inputs if name and name not in self.constants), inputs[0] if inputs else "new")
        output = unused(f"{source}/{kind.lower()}", self.taken)
        native = helper.make_node(kind, [], [], name=unused(output, {node.name for node in self.nodes}))
        self.nodes.append(Node(native.name, kind, list(inputs), [output], native))
        set_attributes(self.nodes[-1], attributes or {})
        self.made.add(id(self.nodes[-1]))
        self.shapes[output] = tuple(shape)
        self.structural = True
        return output

    def transpose(self, tensor: str, order: Order) -> str:
        producer = self.producer(tensor)
        if producer is not None and producer.type == "Transpose":  # two in a row are one, or none
            first = tuple(attributes(producer).get("perm", ()))
            if first and tuple(first[axis] for axis in order) == tuple(range(len(order))):
                return producer.inputs[0]
        shape = self.shapes[tensor] if tensor in self.shapes else (0,) * len(order)
        return self.make("Transpose", [tensor], tuple(shape[axis] for axis in order), {"perm": list(order)})

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        sides = self.add_constant("shape", np.asarray((-1, *shape[1:]) if shape else (), np.int64))
        return self.make("Reshape", [tensor, sides], shape)

    def copy(self, tensor: str, into: str) -> None:
        from onnx import TensorProto

        producer, steps = self.producer(tensor), self.steps.get(into)
        narrow = steps is not None or (into in self.halves and tensor not in self.halves)
        if producer is not None and id(producer) in self.made and not self.readers(tensor) and not narrow:
            producer.outputs = [into]
            return
        kind = "QuantizeLinear" if steps is not None else "Cast" if narrow else "Identity"
        settings = {"to": TensorProto.FLOAT16} if kind == "Cast" else {}
        self.make(kind, [tensor, *(steps or ())], self.shapes.get(tensor, ()), settings)
        self.nodes[-1].outputs = [into]

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.outputs = [new if name == old else name for name in node.outputs]
        if old in self.shapes:
            self.shapes[new] = self.shapes[old]
        self.structural = True

    def inherit(self, new: str, old: str) -> None:
        made, gone = self.producer(new), self.producer(old)
        if made is None or gone is None or made.type != gone.type or self.readers(old):
            return
        made.name, gone.name = gone.name, unused(f"{gone.name}/replaced", {node.name for node in self.nodes})
        made.native.name, gone.native.name = made.name, gone.name
        self.made.add(id(gone))  # its going is no change of its own

    # layers

    def emit(self, layer: Layer, values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> Value:
        from convfault.repairing.writers.onnx.emit import emit

        return emit(self, layer, values, shapes)

    def patch(self, graph: Graph, after_graph: Graph, before: Layer, after: Layer) -> bool:
        from convfault.repairing.writers.onnx.patch import patch

        return patch(self, graph, after_graph, before, after)

    def needs(self, version: int, kind: str) -> None:
        """Refuse an operator that the model's opset lacks in the form that is written."""
        if self.opset < version:
            raise Refusal(f"the model's opset is {self.opset}, and {kind} is written for {version} and later")

    def keep_float(self, tensor: str) -> None:
        from convfault.repairing.writers.onnx.float import keep_float
        from convfault.repairing.writers.onnx.half import keep_single

        keep = keep_single if tensor in self.halves else keep_float
        keep(self, tensor)

    def axes_of(self, kind: str, axes: Sequence[int]) -> tuple[list[str], dict[str, Any]]:
        """The axes of a reduction as this opset wants them: as an input or as an attribute."""
        if self.opset >= (13 if kind == "ReduceSum" else 18):
            return [self.add_constant("axes", np.asarray(axes, np.int64))], {}
        return [], {"axes": list(axes)}

    # the file

    def save(self, path: Path) -> None:
        import onnx

        graph = self.proto.graph
        natives = []
        for node in self.nodes:
            if list(node.native.input) != node.inputs:
                del node.native.input[:]
                node.native.input.extend(node.inputs)
            if list(node.native.output) != node.outputs:
                del node.native.output[:]
                node.native.output.extend(node.outputs)
            natives.append(node.native)
        if self.structural:
            kept = [copied(native) for native in natives]
            del graph.node[:]
            graph.node.extend(kept)
            self._drop_unread()
        self._set_outputs()
        if self.external or self.proto.ByteSize() > LIMIT:
            onnx.external_data_helper.convert_model_to_external_data(self.proto, location=f"{path.name}.data")
            save_beside(self.proto, path)
        else:
            cache.write_aside(path, self.proto.SerializeToString())

    def _drop_unread(self) -> None:
        """Take out constants and recorded shapes of what is no longer there."""
        graph = self.proto.graph
        used = {name for node in self.nodes for name in (*node.inputs, *node.outputs)} | {*self.outputs} | self.pinned
        listed = {value.name for value in graph.input}
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in used | listed]:
            graph.initializer.remove(tensor)
        for value in [value for value in graph.value_info if value.name not in used]:
            graph.value_info.remove(value)
        if self.stale:  # what is behind them may have another shape, too
            del graph.value_info[:]

    def _set_outputs(self) -> None:
        import onnx

        graph = self.proto.graph
        known = {value.name: value for value in graph.output}
        if list(known) == self.outputs and self.stale.isdisjoint(self.outputs):
            return
        made = []
        for name in self.outputs:
            if name in known and name not in self.stale:
                made.append(known[name])
                continue
            shape = self.shapes.get(name)
            free = [f"{name}_batch", *shape[1:]] if shape else shape
            if name in known and shape and known[name].type.tensor_type.shape.dim:
                first = known[name].type.tensor_type.shape.dim[0]
                free = [first.dim_param or first.dim_value or free[0], *shape[1:]] if free else free
            kind = self.types.get(name, onnx.TensorProto.FLOAT)
            made.append(onnx.helper.make_tensor_value_info(name, kind, free))
        copies = [copied(value) for value in made]
        del graph.output[:]
        graph.output.extend(copies)
