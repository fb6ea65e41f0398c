"""TFLite files, edited through the schema's own object classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planting import tflite_tables as tables
from planting.network import NO_PADS, Network, Operator, Parameter, Unfit, Window, same_pads
from planting.tflite_tensors import Tensors

SAME, VALID = 0, 1


class TFLiteNetwork(Network):
    """The first subgraph of a TFLite file. An operator is called by its first output."""

    format = "tflite"
    layout = "NHWC"

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
        self.graph = self.model.subgraphs[0]
        self.tensors = Tensors(self.model, schema)
        self.codes = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}

    # reading

    def _type(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return str(self.codes[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def _operator(self, native: Any) -> Operator:
        kind = self._type(native)
        name = self.tensors.name
        data = tuple(name(index) for index in native.inputs if index >= 0 and not self.tensors.constant(index))
        outputs = tuple(name(index) for index in native.outputs)
        return Operator(outputs[0], tables.KINDS.get(kind, "other"), kind, data, outputs, native)

    def operators(self) -> list[Operator]:
        return [self._operator(each) for each in self.graph.operators if self._type(each) != "DEQUANTIZE"]

    def inputs(self) -> list[str]:
        return [self.tensors.name(index) for index in self.graph.inputs]

    def outputs(self) -> list[str]:
        return [self.tensors.name(index) for index in self.graph.outputs]

    def set_outputs(self, tensors: list[str]) -> None:
        before = list(self.graph.outputs)
        self.graph.outputs = np.asarray([self.tensors.index(each) for each in tensors], np.int32)
        for signature in self.model.signatureDefs or []:
            for each in signature.outputs:
                if len(before) == len(tensors):
                    each.tensorIndex = int(self.graph.outputs[before.index(each.tensorIndex)])
            listed = {each.tensorIndex for each in signature.outputs}
            for index in (int(each) for each in self.graph.outputs if int(each) not in listed):
                entry = self.schema.TensorMapT()
                entry.name, entry.tensorIndex = self.tensors.name(index).encode(), index
                signature.outputs.append(entry)

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.tensors.shape(self.tensors.index(tensor))

    # parameters

    def parameters(self) -> list[Parameter]:
        found = []
        for operator in self.operators():
            roles = tables.PARAMETERS.get(operator.type, ())
            for (role, axes), index in zip(roles, list(operator.handle.inputs)[1:], strict=False):
                if index >= 0 and self.tensors.constant(index):
                    name, shape = self.tensors.name(index), self.tensors.shape(index)
                    found.append(Parameter(operator.name, operator.kind, name, role, axes, shape))
        return found

    def read(self, parameter: Parameter) -> np.ndarray:
        return self.tensors.values(self.tensors.index(parameter.tensor))

    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        self.tensors.put(self.tensors.index(parameter.tensor), values)

    def drop(self, parameter: Parameter) -> None:
        operator = self.find(parameter.operator)
        operator.handle.inputs = np.asarray([*operator.handle.inputs[:2], -1], np.int32)

    def droppable(self, parameter: Parameter) -> bool:
        return parameter.kind == "dense"  # the runtime crashes on a convolution without a bias

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        index = self.tensors.add(f"{weight.tensor}/grouped", np.ascontiguousarray(values, np.float32))
        operator.handle.inputs = np.array(operator.handle.inputs, np.int32)
        operator.handle.inputs[1] = index

    # settings

    def window(self, operator: Operator) -> Window:
        options, kernel = operator.handle.builtinOptions, (1, 1)
        if operator.kind in ("conv", "depthwise"):
            kernel = self.tensors.shape(operator.handle.inputs[1])[1:3]  # type: ignore[assignment]
            dilations = (options.dilationHFactor, options.dilationWFactor)
        else:
            kernel, dilations = (options.filterHeight, options.filterWidth), (1, 1)
        window = Window(kernel, (options.strideH, options.strideW), dilations, NO_PADS)
        if options.padding == VALID:
            return window
        return window.with_pads(same_pads(window, self.size(operator.inputs[0])))

    def put_window(self, operator: Operator, window: Window) -> bool:
        options = operator.handle.builtinOptions
        same = same_pads(window, self.size(operator.inputs[0]))
        if window.pads not in (same, NO_PADS):
            return False
        if window.pads == NO_PADS or same != NO_PADS:
            options.padding = VALID if window.pads == NO_PADS else SAME
        options.strideH, options.strideW = window.strides
        if operator.kind in ("conv", "depthwise"):
            options.dilationHFactor, options.dilationWFactor = window.dilations
        else:
            options.filterHeight, options.filterWidth = window.kernel
        return True

    def attribute(self, operator: Operator, name: str) -> Any:
        native, key = operator.handle, (operator.type, name)
        if key in tables.FIELDS:
            return getattr(native.builtinOptions, tables.FIELDS[key])
        if name == "pads" and operator.kind == "pad":
            amounts = self.tensors.raw(native.inputs[1]).tolist()
            return tuple(map(tuple, amounts[1:3])) if not any(amounts[0] + amounts[3]) else None
        if key in tables.CONSTANTS and len(native.inputs) > tables.CONSTANTS[key]:
            values = self.tensors.raw(native.inputs[tables.CONSTANTS[key]])
            return values.tolist() if values.size > 1 else values.ravel().tolist()[0]
        if operator.kind == "resize":
            return tables.resize_setting(native.builtinOptions, operator.type, name)
        return 0.0 if key == ("PAD", "value") else None

    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        native, key = operator.handle, (operator.type, name)
        if key == ("PAD", "value"):
            index = self.tensors.add("pad_value", np.asarray(value, np.float32))
            native.inputs = np.asarray([*native.inputs, index], np.int32)
            self._retype(native, "PADV2")
        elif name == "pads":
            pads = np.asarray([(0, 0), *value, (0, 0)], self.tensors.raw(native.inputs[1]).dtype)
            native.inputs = np.array(native.inputs, np.int32)
            native.inputs[1] = self.tensors.add(f"{operator.name}/pads", pads)
        elif key in tables.FIELDS:
            setattr(native.builtinOptions, tables.FIELDS[key], value)
        elif key in tables.CONSTANTS:
            place, native.inputs = tables.CONSTANTS[key], np.array(native.inputs, np.int32)
            old = self.tensors.raw(native.inputs[place])
            shaped = np.asarray(value, old.dtype).reshape(old.shape)
            native.inputs[place] = self.tensors.add(f"{operator.name}/{name}", shaped)
        elif name == "coordinates":
            options = native.builtinOptions
            options.alignCorners, options.halfPixelCenters = value == "align_corners", value == "half_pixel"
        elif name == "method":
            settings = self.attribute(operator, "coordinates")
            self._retype(native, tables.RESIZES[value])
            self.set_attribute(self._operator(native), "coordinates", settings)
        else:
            raise Unfit(f"{operator.type} has no {name}")

    def fused(self, operator: Operator) -> str | None:
        options = operator.handle.builtinOptions
        return tables.FUSED.get(getattr(options, "fusedActivationFunction", 0))

    def set_fused(self, operator: Operator, activation: str | None) -> None:
        if not hasattr(operator.handle.builtinOptions, "fusedActivationFunction"):
            raise Unfit(f"{operator.type} has no activation inside")
        number = next((key for key, value in tables.FUSED.items() if value == activation), 0 if not activation else -1)
        if number < 0:
            raise Unfit(f"TFLite cannot fuse {activation}")
        operator.handle.builtinOptions.fusedActivationFunction = number

    # the graph

    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        native = operator.handle
        places = [place for place, index in enumerate(native.inputs) if self.tensors.carries(index)]
        native.inputs = np.array(native.inputs, np.int32)
        native.inputs[places[position]] = self.tensors.index(tensor)

    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        source = self.tensors.index(tensor)
        if not self.tensors.float32(source):
            raise Unfit(f"{tensor} is not of float32")
        code, constants, shape = tables.recipe(kind, self.tensors.shape(source), settings)
        native = self.schema.OperatorT()
        self._retype(native, code)
        for field, value in tables.recipe_options(kind, settings).items():
            setattr(native.builtinOptions, field, value)
        made = self.tensors.blank(f"{tensor}/{kind}", source, shape)
        made_name = self.tensors.name(made)
        extra = [self.tensors.add(f"{made_name}/{number}", each) for number, each in enumerate(constants)]
        native.inputs, native.outputs = np.asarray([source, *extra], np.int32), np.asarray([made], np.int32)
        places = [place for place, each in enumerate(self.graph.operators) if source in each.outputs]
        self.graph.operators.insert(places[0] + 1 if places else 0, native)
        return made_name

    def replace(self, operator: Operator, kind: str) -> None:
        if kind in ("add", "sub", "mul") or operator.kind.endswith("pool"):
            fused = self.fused(operator)
            kept = operator.handle.builtinOptions
            self._retype(operator.handle, tables.CODES[kind])
            if operator.kind.endswith("pool"):
                operator.handle.builtinOptions = kept
            else:
                self.set_fused(self._operator(operator.handle), fused)
            return
        if self.fused(operator):
            raise Unfit(f"{kind} cannot carry the activation inside")
        self._retype(operator.handle, tables.CODES[kind])

    def remove(self, operator: Operator) -> None:
        self.graph.operators = [each for each in self.graph.operators if each is not operator.handle]

    def _retype(self, native: Any, code: str) -> None:
        """Gives an operator another code and the fresh options of that code."""
        number = getattr(self.schema.BuiltinOperator, code)
        known = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in self.model.operatorCodes]
        if number not in known:
            entry = self.schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = number, min(number, 127), 1
            self.model.operatorCodes.append(entry)
            known.append(number)
        native.opcodeIndex = known.index(number)
        options = tables.OPTIONS.get(code)
        native.builtinOptionsType = getattr(self.schema.BuiltinOptions, options) if options else 0
        native.builtinOptions = getattr(self.schema, f"{options}T")() if options else None

    def save(self, path: Path) -> None:
        import flatbuffers

        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
