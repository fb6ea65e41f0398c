"""Operators on stored integers whose scale is known, in float.

A value that was rounded to integers goes by the name of the first DequantizeLinear that reads it, else by that of the
integers; a rounded graph input by its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convfault.relax.onnx_forms import (
    DEQUANTIZE,
    ROUNDS,
    Form,
    axis_of,
    float_settings,
    given,
)
from convfault.relax.onnx_outlook import AT_RUN_TIME, Outlook
from convfault.relax.onnx_scene import Scene, native_name
from convfault.relax.onnx_sign import Signs
from convfault.relax.onnx_steps import Steps, array, attributes
from convfault.relax.rounding import measured


class Integers:
    """One rewriting of a scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.outlook = scene, Outlook(scene)
        self.steps: dict[str, Steps] = {}
        """Integer tensor → its steps."""
        self.names: dict[str, str] = {}
        """Native name → that of the value, where it is another."""
        self.signs = Signs(scene)
        self._dequantizers = {
            name: [n for n in readers if n.op_type == DEQUANTIZE] for name, readers in scene.readers.items()
        }

    def rewrite(self) -> None:
        """Make all that is viable float."""
        nodes: list[Any] = []
        for node in self.scene.nodes:
            if node.op_type == DEQUANTIZE:
                nodes += self._dequantized(node)
            elif id(node) not in self.outlook.viable:
                nodes.append(self._kept(node))
            elif node.op_type in ROUNDS:
                nodes += self._quantized(node, nodes)
            elif id(node) in self.outlook.forms:
                nodes += self._float(node, self.outlook.forms[id(node)])
            else:
                nodes.append(self._passed(node))
        self.scene.nodes = nodes

    # names

    def _named(self, name: str) -> str:
        while name in self.names:
            name = self.names[name]
        return name

    def _kept(self, node: Any) -> Any:
        for slot, name in enumerate(node.input):
            if self._named(name) != name:
                node.input[slot] = self._named(name)
        return node

    def _value_name(self, integer: str, steps: Steps) -> str:
        """What the value goes by that these integers stand for."""
        for node in self._dequantizers.get(integer, []):
            own = self.outlook.steps(node, (1, 2))
            if own is not None and own.same(steps):
                return str(node.output[0])
        return integer

    # QuantizeLinear and DequantizeLinear

    def _dequantized(self, node: Any) -> list[Any]:
        integer, output = node.input[0], node.output[0]
        steps = self.outlook.steps(node, (1, 2))
        if steps is not None and integer in self.scene.constants:
            rank = len(self.scene.constants[integer].dims)
            along = replace(steps, axis=steps.axis % rank) if rank else steps
            self.scene.producers.pop(output, None)
            self.scene.real_constant(integer, along, output)
            return []
        if steps is None or integer not in self.steps:
            return [self._kept(node)]
        value = self._named(integer)
        if value == output:
            return []
        if not steps.same(self.steps[integer]):
            return self._read_otherwise(node, value, steps)
        if output in self.scene.pinned:
            return [self.scene.made("Identity", [value], output, node)]
        self.names[output] = value
        return []

    def _read_otherwise(self, node: Any, value: str, steps: Steps) -> list[Any]:
        """The value as it is read with other scales than it was stored with."""
        stored, output = self.steps[node.input[0]], node.output[0]
        factor = np.asarray(steps.scales / stored.scales, np.float32).reshape(-1)[:1].reshape(())
        shift = np.asarray((stored.zeros - steps.zeros) * steps.scales, np.float32).reshape(-1)[:1].reshape(())
        scaled = self.scene.free(f"{output}/scaled")
        factor_name = self.scene.float_constant(f"{output}/factor", factor)
        shift_name = self.scene.float_constant(f"{output}/shift", shift)
        return [
            self.scene.made("Mul", [value, factor_name], scaled, node),
            self.scene.made("Add", [scaled, shift_name], output, node),
        ]

    def _quantized(self, node: Any, done: list[Any]) -> list[Any]:
        scene, native, integer = self.scene, node.input[0], node.output[0]
        steps = self.outlook.steps(node, (1, 2))
        assert steps is not None
        self.steps[integer] = steps
        source, value = self._named(native), self._value_name(integer, steps)
        if native in scene.constants:
            return self._rounded_constant(native, integer, value, steps)
        earlier = scene.encodings.get(source)
        if earlier is not None and earlier == steps.encoding(source, False):
            self.names[integer] = source
            return self._join(source, integer, value)
        alone = all(self._is_twin(reader, node) for reader in scene.readers[native]) and native not in scene.pinned
        clamped = steps.clamps and self.signs.may_be_negative(source)
        if native in scene.inputs and alone:
            scene.encodings[native] = steps.encoding(native, False)
            self.names[integer] = native
            return self._join(native, integer, value)
        scene.encodings[value] = steps.encoding(value, False)
        if value != integer:
            self.names[integer] = value
        if alone:
            self.names[native] = value  # for its twins
        if alone and not clamped and source == native and native in scene.producers:
            self._rename(scene.producers.pop(native), native, value)
            return []
        kind = "Relu" if clamped else "Identity"
        return [scene.made(kind, [source], value, node)]

    def _join(self, source: str, integer: str, value: str) -> list[Any]:
        """Let those who read ``value`` read ``source``."""
        if value == integer:
            return []
        if value in self.scene.pinned:
            return [self.scene.made("Identity", [source], value, self.scene.readers[integer][0])]
        self.names[value] = source
        return []

    def _is_twin(self, reader: Any, node: Any) -> bool:
        """Whether the other node rounds in the same way: some tools make a pair for each reader."""
        if reader is node:
            return True
        if reader.op_type not in ROUNDS or id(reader) not in self.outlook.viable:
            return False
        own, other = self.outlook.steps(node, (1, 2)), self.outlook.steps(reader, (1, 2))
        return own is not None and other is not None and own.same(other)

    def _rename(self, producer: Any, old: str, new: str) -> None:
        if not producer.name:
            producer.name = producer.output[0]
        for slot, name in enumerate(producer.output):
            if name == old:
                producer.output[slot] = new
        self.scene.producers[new] = producer

    def _rounded_constant(self, native: str, integer: str, value: str, steps: Steps) -> list[Any]:
        """Float weights that are rounded when the model runs."""
        scene = self.scene
        values = array(scene.constants[native])
        if steps is AT_RUN_TIME:
            encoding = measured(values, steps.encoding(value, True))
            scales, zeros = (np.asarray(part) for part in (encoding.scales, encoding.zero_points))
            steps = Steps(steps.dtype, scales, zeros)
        stored = steps.stored(values)
        scene.producers.pop(value, None)
        scene.rounded_constant(value, steps, stored)
        if value != integer:
            self.names[integer] = value
        return []

    # operators on integers

    def _read(self, node: Any, form: Form, place: int) -> tuple[str, Steps]:
        tensor, *slots = form.tensors[place]
        name, settings = node.input[tensor], attributes(node)
        steps = self.scene.steps(node.input, slots, name)
        assert steps is not None
        if name not in self.scene.constants:
            return self._named(name), steps
        rank = len(self.scene.constants[name].dims)
        axis = axis_of(form.kind, place, settings, rank)
        steps = Steps(steps.dtype, steps.scales.ravel(), steps.zeros.ravel(), axis)
        return self.scene.real_constant(name, steps, name), steps

    def _float(self, node: Any, form: Form) -> list[Any]:
        scene, settings = self.scene, attributes(node)
        read = [self._read(node, form, place) for place in range(len(form.tensors))]
        inputs = [name for name, _ in read]
        if form.bias is not None and (bias := given(node.input, form.bias)):
            scales = read[0][1].scales * read[1][1].scales.ravel() * float(settings.get("alpha", 1.0))
            steps = Steps("int32", np.asarray(scales, np.float32).ravel(), np.zeros(1, np.int64))
            inputs.append(scene.real_constant(bias, steps, bias))
        kept, axes = float_settings(form.kind, settings, scene.opset)
        if axes:
            inputs.append(scene.float_constant(f"{native_name(node)}/axes", np.asarray(axes, np.int64)))
        output = node.output[0]
        if form.result is None:
            return self._with_bias(node, form, inputs, kept)
        steps = self._result(node, form)
        value = self._value_name(output, steps)
        self.steps[output] = steps
        if value != output:
            self.names[output] = value
        scene.producers.pop(output, None)
        made = scene.made(form.kind, inputs, value, node, **kept)
        scene.encodings[value] = steps.encoding(value, False)
        if not (steps.clamps and self.signs.may_be_negative(value, made)):
            return [made]
        made.output[0] = scene.free(f"{value}/before_relu")
        scene.producers[made.output[0]] = made
        return [made, scene.made("Relu", [made.output[0]], value, node)]

    def _result(self, node: Any, form: Form) -> Steps:
        assert form.result is not None
        steps = self.outlook.steps(node, form.result)
        assert steps is not None
        return steps

    def _with_bias(self, node: Any, form: Form, inputs: list[str], settings: dict[str, Any]) -> list[Any]:
        """A product that is float behind it."""
        scene, output = self.scene, node.output[0]
        bias = given(node.input, form.added) if form.added is not None else ""
        if not bias:
            return [scene.made(form.kind, inputs, output, node, **settings)]
        product = scene.free(f"{output}/product")
        return [
            scene.made(form.kind, inputs, product, node, **settings),
            scene.made("Add", [product, bias], output, node),
        ]

    def _passed(self, node: Any) -> Any:
        """An operator that moves integers about, on what they stand for."""
        scene, source = self.scene, node.input[0]
        steps = self.steps[source]
        if node.op_type == "Pad":
            self._pad_with_real(node, steps)
        self._kept(node)
        if not node.name:
            node.name = node.output[0]
        for slot, integer in enumerate(node.output):
            self.steps[integer] = steps
            value = self._value_name(integer, steps)
            scene.encodings[value] = steps.encoding(value, False)
            if value != integer:
                self.names[integer] = value
                node.output[slot] = value
                scene.producers[value] = node
        return node

    def _pad_with_real(self, node: Any, steps: Steps) -> None:
        """The stored number that a picture is padded with, as a real one."""
        given_name = given(node.input, 2)
        if given_name and given_name not in self.scene.constants:
            return
        stored = array(self.scene.constants[given_name]) if given_name else np.zeros((), np.int64)
        name = self.scene.float_constant(f"{native_name(node)}/padding", steps.real(stored))
        while len(node.input) < 3:
            node.input.append("")
        node.input[2] = name
