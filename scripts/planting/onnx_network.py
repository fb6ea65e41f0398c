"""ONNX files, edited through the ``onnx`` package. Operators without a name go by their first output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planting import onnx_tables as tables
from planting.network import NO_PADS, Network, Operator, Parameter, Unfit, Window, same_pads
from planting.onnx_constants import Constants


class OnnxNetwork(Network):
    """The main graph of an ONNX model."""

    format = "onnx"
    layout = "NCHW"

    def __init__(self, path: Path) -> None:
        import onnx

        self.onnx = onnx
        self.model = onnx.load(str(path))
        self.graph = self.model.graph
        self.constants = Constants(self.graph, onnx)
        self.shapes = self._shapes()
        self.opset = max(each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx"))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        inferred = self.onnx.shape_inference.infer_shapes(self.model).graph
        known = [*inferred.value_info, *inferred.input, *inferred.output]
        dimensions = {each.name: each.type.tensor_type.shape.dim for each in known}
        return {
            name: tuple(d.dim_value if d.HasField("dim_value") else -1 for d in sizes)
            for name, sizes in dimensions.items()
        }

    # reading

    def _operator(self, node: Any) -> Operator:
        kind = tables.KINDS.get(node.op_type, "other")
        if kind == "conv" and self._depthwise(node):
            kind = "depthwise"
        if node.op_type == "Clip":
            kind = "relu6" if self._bounds(node) == (0.0, 6.0) else "other"
        data = tuple(each for each in node.input if each and each not in self.constants)
        if node.op_type in ("MatMul", "Gemm") and (len(node.input) < 2 or node.input[1] not in self.constants):
            kind = "other"
        return Operator(node.name or node.output[0], kind, node.op_type, data, tuple(node.output), node)

    def _depthwise(self, node: Any) -> bool:
        group = tables.get(node, "group", 1)
        return bool(group > 1 and self.constants.shape(node.input[1])[1] == 1)

    def _bounds(self, node: Any) -> tuple[float | None, float | None]:
        if len(node.input) < 3:
            return tables.get(node, "min", None), tables.get(node, "max", None)
        if not all(each in self.constants for each in node.input[1:3]):
            return None, None
        low, high = (float(self.constants.values(each).ravel()[0]) for each in node.input[1:3])
        return low, high

    def operators(self) -> list[Operator]:
        return [self._operator(node) for node in self.graph.node if node.op_type != "Constant"]

    def inputs(self) -> list[str]:
        return [each.name for each in self.graph.input if each.name not in self.constants]

    def outputs(self) -> list[str]:
        return [each.name for each in self.graph.output]

    def set_outputs(self, tensors: list[str]) -> None:
        """An output that another tensor takes the place of keeps its name: the tensors change names instead."""
        known = {each.name: each for each in self.graph.output}
        before = self.outputs()
        for number, name in enumerate(tensors):
            if name not in known and number < len(before) and before[number] not in tensors:
                self._exchange(name, before[number])
                tensors = [*tensors[:number], before[number], *tensors[number + 1 :]]
        made = []
        for name in tensors:
            fresh = self.onnx.helper.make_tensor_value_info(name, 1, None)
            made.append(known.get(name, fresh))
        copies = [type(each).FromString(each.SerializeToString()) for each in made]
        del self.graph.output[:]
        self.graph.output.extend(copies)

    def _exchange(self, first: str, second: str) -> None:
        swapped = {first: second, second: first}
        for node in self.graph.node:
            node.input[:] = [swapped.get(each, each) for each in node.input]
            node.output[:] = [swapped.get(each, each) for each in node.output]
        self.shapes[first], self.shapes[second] = self.shapes.get(second, ()), self.shapes.get(first, ())

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.shapes.get(tensor, ())

    # parameters

    def parameters(self) -> list[Parameter]:
        found = []
        for operator in self.operators():
            for place, (role, axes) in enumerate(self._roles(operator), 1):
                if place < len(operator.handle.input) and operator.handle.input[place] in self.constants:
                    name = operator.handle.input[place]
                    found.append(Parameter(operator.name, operator.kind, name, role, axes, self.constants.shape(name)))
            sum_after = self._bias_sum(operator)
            if sum_after is not None:
                name = next(each for each in sum_after.handle.input if each in self.constants)
                found.append(Parameter(operator.name, "dense", name, "bias", "O", self.constants.shape(name)))
        return found

    def _roles(self, operator: Operator) -> tuple[tuple[str, str], ...]:
        if operator.type == "Gemm":
            return (("kernel", "OI" if tables.get(operator.handle, "transB", 0) else "IO"), ("bias", "O"))
        if operator.kind == "depthwise":
            return (("kernel", "OMHW"), ("bias", "O"))
        return tables.PARAMETERS.get(operator.type, ())

    def _bias_sum(self, operator: Operator) -> Operator | None:
        """The addition of a vector right behind a matrix product."""
        if operator.type != "MatMul" or operator.kind != "dense":
            return None
        readers = self.consumers(operator.outputs[0])
        if len(readers) != 1 or readers[0].type != "Add" or len(readers[0].inputs) != 1:
            return None
        name = next(each for each in readers[0].handle.input if each in self.constants)
        return readers[0] if len(self.constants.shape(name)) == 1 else None

    def read(self, parameter: Parameter) -> np.ndarray:
        return self.constants.values(parameter.tensor).astype(np.float32)

    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        self.constants.put(parameter.tensor, values, self.find(parameter.operator).handle)

    def drop(self, parameter: Parameter) -> None:
        operator = self.find(parameter.operator)
        if operator.type == "MatMul":
            sum_after = self._bias_sum(operator)
            assert sum_after is not None
            self.bypass(sum_after)
        else:
            del operator.handle.input[2:]

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        tables.put(operator.handle, "group", 2)
        operator.handle.input[1] = self.constants.add(f"{weight.tensor}_grouped", values.astype(np.float32))

    # settings

    def window(self, operator: Operator) -> Window:
        node = operator.handle
        if operator.kind in ("conv", "depthwise"):
            kernel = self.constants.shape(node.input[1])[2:]
        else:
            kernel = tuple(tables.get(node, "kernel_shape", [1, 1]))
        strides, dilations = (tuple(tables.get(node, name, [1, 1])) for name in ("strides", "dilations"))
        window = Window(kernel, strides, dilations, NO_PADS)  # type: ignore[arg-type]
        automatic = tables.get(node, "auto_pad", b"NOTSET")
        if automatic.startswith(b"SAME"):
            pads = same_pads(window, self.size(operator.inputs[0]))
            return window.with_pads(pads if automatic.endswith(b"UPPER") else (pads[0][::-1], pads[1][::-1]))
        top, left, bottom, right = tables.get(node, "pads", [0, 0, 0, 0])
        return window.with_pads(((top, bottom), (left, right)))

    def put_window(self, operator: Operator, window: Window) -> bool:
        node, (height, width) = operator.handle, window.pads
        tables.put(node, "auto_pad", "NOTSET")
        tables.put(node, "pads", [height[0], width[0], height[1], width[1]])
        tables.put(node, "strides", list(window.strides))
        tables.put(node, "kernel_shape", list(window.kernel))
        if operator.kind in ("conv", "depthwise"):
            tables.put(node, "dilations", list(window.dilations))
        return True

    def attribute(self, operator: Operator, name: str) -> Any:
        return tables.read_setting(operator, name, self.constants)

    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        tables.write_setting(operator, name, value, self.constants)

    # the graph

    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        places = [place for place, each in enumerate(operator.handle.input) if each and each not in self.constants]
        operator.handle.input[places[position]] = tensor

    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        code, constants, attributes = tables.recipe(kind, self.shape(tensor), settings)
        output = self.constants.fresh(f"{tensor}_{kind}")
        extra = [self.constants.add(f"{output}_{number}", each) for number, each in enumerate(constants)]
        node = self.onnx.helper.make_node(code, [tensor, *extra], [output], name=output, **attributes)
        if kind == "relu6" and self.opset < 11:
            raise Unfit("clipping bounds are attributes in this opset")
        places = [place for place, each in enumerate(self.graph.node) if tensor in each.output]
        self.graph.node.insert(places[0] + 1 if places else 0, node)
        self.shapes[output] = tables.grown(kind, self.shape(tensor), settings)
        return output

    def replace(self, operator: Operator, kind: str) -> None:
        node = operator.handle
        if node.op_type == "Clip" and kind == "relu":
            return self._lift_bound(node)
        if kind == "relu6":
            node.input.extend(
                [self.constants.add(f"{operator.name}_{bound}", np.asarray(bound, np.float32)) for bound in (0, 6)]
            )
        elif operator.kind.endswith("pool"):
            kept = {"kernel_shape", "strides", "pads", "auto_pad", "ceil_mode"}
            tables.keep_only(node, kept)
        else:
            tables.keep_only(node, set())
            del node.input[len(operator.inputs) if len(operator.inputs) > 1 else 1 :]
        node.op_type = tables.CODES[kind]
        return None

    def remove(self, operator: Operator) -> None:
        self.graph.node.remove(operator.handle)

    def _lift_bound(self, node: Any) -> None:
        if len(node.input) > 2:
            del node.input[2:]
        else:
            tables.keep_only(node, {"min"})

    def save(self, path: Path) -> None:
        del self.graph.value_info[:]
        self.onnx.save(self.model, str(path))
