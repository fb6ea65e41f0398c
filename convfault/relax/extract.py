"""Relax → ``Graph``: one layer for each Relax operator, constants and native names attached, nothing normalized yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convfault.model import TensorSpec
from convfault.relax import refused
from convfault.relax.draft import Draft
from convfault.relax.graph import Graph, Layer, Native, Parameter
from convfault.relax.imported import Imported, Origin, UnsupportedOperator


def extract(imported: Imported) -> Graph:
    """The raw graph of an imported model."""
    return Extraction(imported).graph()


class Extraction:
    """The walk over the bindings of one module; the operator tables call its methods."""

    def __init__(self, imported: Imported) -> None:
        self.imported = imported
        self.draft = Draft(imported.layout)
        self.layers: dict[int, str | tuple[str, ...]] = {}
        self._tensors: dict[int, list[str]] = {}
        for name, expression in imported.names.items():
            if hasattr(expression, "ty"):
                self._tensors.setdefault(hash(expression), []).append(name)
        self.native = Native()
        self._opaque: list[tuple[UnsupportedOperator, str]] = []

    def graph(self) -> Graph:
        """Walk the whole module."""
        function = self.imported.module["main"]
        self._inputs(function.params)
        bindings = [binding for block in function.body.blocks for binding in block.bindings]
        self._name_tuples(bindings)
        origins = self._origins(bindings)
        for binding, operators in zip(bindings, origins, strict=True):
            tensor = self._tensor(binding.var)
            self.native = Native(tensor, None, operators)
            self.layers[hash(binding.var)] = self._bind(binding.value)
        self._join_opaque()
        ends = self.layers[hash(function.body.body)]
        self.draft.outputs = list(ends) if isinstance(ends, tuple) else [ends]
        unsupported = tuple(operator for operator in self.imported.unsupported if operator.layer is None)
        return self.draft.graph(encodings=self.imported.encodings, unsupported=unsupported)

    def _name_tuples(self, bindings: list[Any]) -> None:
        """An operator that returns a tuple goes by the name of its first part: batch normalization."""
        from tvm import relax

        for binding in bindings:
            value = binding.value
            if isinstance(value, relax.TupleGetItem) and value.index == 0 and hash(binding.var) in self._tensors:
                self._tensors.setdefault(hash(value.tuple_value), self._tensors[hash(binding.var)])

    def _inputs(self, parameters: Any) -> None:
        specs = self.imported.inputs
        for spec, variable in zip(specs, parameters, strict=False):
            layer = self.draft.add("input", (), static(spec), native=Native(spec.name), dtype=spec.dtype)
            self.draft.inputs.append(layer.id)
            self.layers[hash(variable)] = layer.id
        rest = list(parameters)[len(specs) :]
        cut = [
            (operator, position) for operator in self.imported.unsupported for position in range(len(operator.outputs))
        ]
        for (operator, position), variable in zip(cut, rest, strict=True):
            spec = operator.outputs[position]
            native = Native(spec.name, None, (Origin(operator.node, operator.operator),))
            if operator.layer is not None:
                place = refused.place(self.draft, operator.layer, static(spec), native, spec.dtype)
                self._opaque.append((operator, place[0]))
                self.layers[hash(variable)] = place[1]
                continue
            values = {"operator": operator.operator, "output": position}
            layer = self.draft.add("opaque", (), static(spec), values, native=native, dtype=spec.dtype)
            self.layers[hash(variable)] = layer.id
            self._opaque.append((operator, layer.id))

    def _join_opaque(self) -> None:
        """Let every opaque layer read what its operator reads, so that the model stays in one piece."""
        for operator, layer_id in self._opaque:
            read = [self.imported.names.get(name) for name in operator.inputs]
            found = [self.layers.get(hash(item)) for item in read if hasattr(item, "ty")]
            inputs = tuple(item for item in found if isinstance(item, str))
            if operator.layer is not None:
                refused.join(self.draft, layer_id, inputs[0])
                continue
            self.draft.put(replace(self.draft.layers[layer_id], inputs=inputs))

    def _tensor(self, variable: Any) -> str | None:
        names = self._tensors.get(hash(variable), [])
        return next((name for name in names if name in self.imported.origins), names[0] if names else None)

    def _origins(self, bindings: list[Any]) -> list[tuple[Origin, ...]]:
        """The native operators of each binding: its own name's, else those of the next binding that has a name."""
        found: list[tuple[Origin, ...]] = []
        current: tuple[Origin, ...] = ()
        for binding in reversed(bindings):
            names = self._tensors.get(hash(binding.var), [])
            own = tuple(self.imported.origins[name] for name in names if name in self.imported.origins)
            current = own or current
            found.append(current)
        return found[::-1]

    def _bind(self, value: Any) -> str | tuple[str, ...]:
        from tvm import relax
        from tvm.ir import Call

        if isinstance(value, Call):
            tensors = isinstance(value.ty, (relax.TensorType, relax.TupleType))
            return self._call(value) if tensors else ()  # the rest are shapes, which are static and known
        if isinstance(value, relax.TupleGetItem):
            whole = self.of(value.tuple_value)
            return self._named(whole[value.index]) if isinstance(whole, tuple) else whole
        return self.of(value)

    def _named(self, name: str) -> str:
        """A part of a tuple, with the native name that the model has for it."""
        layer = self.draft.layers[name]
        if layer.native.tensor is None and self.native.tensor is not None and layer.kind not in {"input", "constant"}:
            operators = layer.native.operators or self.native.operators
            self.draft.put(replace(layer, native=Native(self.native.tensor, None, operators)))
        return name

    def _call(self, call: Any) -> str | tuple[str, ...]:
        from convfault.relax.extract_operators import OPERATORS

        operator = OPERATORS.get(call.op.name)
        if operator is not None:
            return operator(self, call)
        name = call.op.name.removeprefix("relax.")
        inputs = [found for argument in call.args for found in self.ids(argument)]
        if hasattr(call.ty, "fields"):
            return tuple(self._part(field, name, inputs, attributes(call), n) for n, field in enumerate(call.ty.fields))
        return self.emit(call, name, inputs, attributes(call)).id

    def _part(self, field: Any, kind: str, inputs: list[str], values: dict[str, Any], number: int) -> str:
        """One output of an operator that has several: a layer of its own."""
        shape = [int(side) for side in field.shape]
        native = Native(None, None, self.native.operators)
        values = {**values, "output": number}
        return self.draft.add(kind, inputs, shape, values, native=native, dtype=str(field.dtype)).id

    def of(self, expression: Any) -> str | tuple[str, ...]:
        """The layer (or layers, for a tuple) that an expression stands for; a constant becomes one on first sight."""
        from tvm import relax

        if isinstance(expression, relax.Tuple):
            return tuple(item for field in expression.fields for item in self.ids(field))
        key = hash(expression)
        if key not in self.layers:
            values = expression.value.numpy()
            native = tuple(name for name in self._tensors.get(key, ()))
            parameter = Parameter(values, native)
            layer = self.draft.add("constant", (), values.shape, {}, {"values": parameter}, dtype=str(values.dtype))
            self.layers[key] = layer.id
        return self.layers[key]

    def id(self, expression: Any) -> str:
        """The one layer that an expression stands for."""
        found = self.of(expression)
        if isinstance(found, tuple):
            raise TypeError("a tuple where one tensor was expected")
        return found

    def ids(self, expression: Any) -> tuple[str, ...]:
        """The layers of an expression that may be a tuple; none for shapes and numbers."""
        from tvm import relax

        if isinstance(expression, relax.Tuple) or hash(expression) in self.layers:
            found = self.of(expression)
            return found if isinstance(found, tuple) else (found,)
        value = getattr(expression, "value", None)
        return (self.id(expression),) if hasattr(value, "numpy") else ()

    def emit(self, call: Any, kind: str, inputs: Any, hyperparameters: Any = None) -> Layer:
        """A layer with the shape and native names of the call."""
        shape, dtype = shape_of(call), str(call.ty.dtype)
        return self.draft.add(kind, inputs, shape, hyperparameters or {}, native=self.native, dtype=dtype)

    def transposed(self, name: str, order: tuple[int, ...]) -> str:
        """A layer's output transposed."""
        layer = self.draft.layers[name]
        shape = [layer.shape[axis] for axis in order]
        native = Native(layer.native.tensor, layer.native.permutation).transposed(order)
        return self.draft.add("transpose", (name,), shape, {"order": order}, native=native, dtype=layer.dtype).id


def shape_of(expression: Any) -> tuple[int, ...]:
    """The static shape of a Relax expression."""
    return tuple(int(side) for side in expression.ty.shape)


def static(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of a tensor whose sides are all known."""
    return tuple(int(side or 1) for side in spec.shape)


def attributes(call: Any) -> dict[str, Any]:
    """The attributes of a call as plain values."""
    if call.attrs is None:
        return {}
    return {
        field.name: plain(getattr(call.attrs, field.name)) for field in type(call.attrs).__tvm_ffi_type_info__.fields
    }


def plain(value: Any) -> Any:
    """A Relax attribute as numbers, text and tuples of them."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for parts in ("fields", "values"):  # a tuple, a shape
        if hasattr(value, parts):
            return tuple(plain(item) for item in getattr(value, parts))
    if hasattr(value, "value"):
        return value.value.numpy().tolist() if hasattr(value.value, "numpy") else value.value
    if hasattr(value, "__iter__"):
        return tuple(plain(item) for item in value)
    return str(value)


def number(expression: Any) -> float:
    """The value of a Relax scalar: a number or a constant."""
    return float(np.asarray(plain(expression)).reshape(-1)[0])
