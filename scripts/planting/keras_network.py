"""Keras models (``.keras``), edited as their configuration and their layers' weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from planting import keras_tables as tables
from planting.keras_archive import save_plainly
from planting.network import NO_PADS, Network, Operator, Parameter, Unfit, Window, same_pads


def tensors(part: Any) -> Iterator[dict[str, Any]]:
    """The configurations of all Keras tensors among a call's arguments, in order."""
    if isinstance(part, dict) and part.get("class_name") == "__keras_tensor__":
        yield part["config"]
    elif isinstance(part, dict | list | tuple):
        for each in part.values() if isinstance(part, dict) else part:
            yield from tensors(each)


class KerasNetwork(Network):
    """A functional model. Tensors go by the layer that makes them."""

    format = "keras"
    layout = "NHWC"

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras

        self.keras = keras
        model = keras.saving.load_model(path, compile=False)
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs, model.outputs, name=model.name)
        self.config = keras.saving.serialize_keras_object(model)
        self.layers: list[dict[str, Any]] = self.config["config"]["layers"]
        self.weights = {each.name: [(w.name, np.array(w)) for w in each.weights] for each in model.layers}
        self.shapes = {each.name: self._output_shape(each) for each in model.operations}

    def _output_shape(self, layer: Any) -> tuple[int, ...]:
        shape = getattr(getattr(layer, "output", None), "shape", None)
        return tuple(-1 if size is None else int(size) for size in shape or ())

    # reading

    def _operator(self, entry: dict[str, Any]) -> Operator:
        kind = tables.kind_of(entry["class_name"], entry["config"])
        nodes = entry["inbound_nodes"]
        data = tuple(each["keras_history"][0] for each in tensors(nodes[0])) if nodes else ()
        if len(nodes) != 1:
            kind = "other"
        return Operator(entry["name"], kind, entry["class_name"], data, (entry["name"],), entry)

    def operators(self) -> list[Operator]:
        return [self._operator(each) for each in self.layers if each["class_name"] != "InputLayer"]

    def _ends(self, key: str) -> list[list[Any]]:
        listed = self.config["config"][key]
        return [list(listed)] if listed and isinstance(listed[0], str) else [list(each) for each in listed]

    def inputs(self) -> list[str]:
        return [each[0] for each in self._ends("input_layers")]

    def outputs(self) -> list[str]:
        return [each[0] for each in self._ends("output_layers")]

    def set_outputs(self, tensors: list[str]) -> None:
        self.config["config"]["output_layers"] = [[each, 0, 0] for each in tensors]

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.shapes.get(tensor, ())

    # parameters

    def parameters(self) -> list[Parameter]:
        found = []
        for operator in self.operators():
            for name, values in self.weights.get(operator.name, []):
                if (operator.kind, name) in tables.ROLES:
                    role, axes = tables.ROLES[operator.kind, name]
                    tensor = f"{operator.name}/{name}"
                    found.append(Parameter(operator.name, operator.kind, tensor, role, axes, values.shape))
        return found

    def read(self, parameter: Parameter) -> np.ndarray:
        name = parameter.tensor.rsplit("/", 1)[1]
        return np.array(dict(self.weights[parameter.operator])[name], np.float32)

    def write(self, parameter: Parameter, values: np.ndarray) -> None:
        name = parameter.tensor.rsplit("/", 1)[1]
        kept = self.weights[parameter.operator]
        self.weights[parameter.operator] = [(each, values if each == name else old) for each, old in kept]

    def drop(self, parameter: Parameter) -> None:
        self.find(parameter.operator).handle["config"]["use_bias"] = False
        kept = self.weights[parameter.operator]
        self.weights[parameter.operator] = [each for each in kept if each[0] != "bias"]

    def regroup(self, operator: Operator, weight: Parameter, values: np.ndarray) -> None:
        operator.handle["config"]["groups"] = 2
        self.write(weight, values)

    # settings

    def window(self, operator: Operator) -> Window:
        settings = operator.handle["config"]
        if settings.get("data_format") == "channels_first":
            raise Unfit("the layer is of another layout")
        kernel = tuple(settings.get("kernel_size") or settings["pool_size"])
        dilations = tuple(settings.get("dilation_rate") or (1, 1))
        window = Window(kernel, tuple(settings["strides"]), dilations, NO_PADS)
        if settings["padding"] == "same":
            return window.with_pads(same_pads(window, self.size(operator.inputs[0])))
        return window

    def put_window(self, operator: Operator, window: Window) -> bool:
        if window.pads not in (same_pads(window, self.size(operator.inputs[0])), NO_PADS):
            return False
        settings = operator.handle["config"]
        settings["padding"] = "valid" if window.pads == NO_PADS else "same"
        settings["strides"] = list(window.strides)
        if operator.kind.endswith("pool"):
            settings["pool_size"] = list(window.kernel)
        else:
            settings["dilation_rate"] = list(window.dilations)
        return True

    def attribute(self, operator: Operator, name: str) -> Any:
        value = operator.handle["config"].get(tables.SETTINGS.get((operator.type, name), ""))
        if name == "method":
            return {"bilinear": "linear"}.get(value, value)
        return tuple(map(tuple, value)) if name == "pads" and value is not None else value

    def set_attribute(self, operator: Operator, name: str, value: Any) -> None:
        stored = {"linear": "bilinear"}.get(value, value) if name == "method" else value
        operator.handle["config"][tables.SETTINGS[operator.type, name]] = stored

    def fused(self, operator: Operator) -> str | None:
        activation = operator.handle["config"].get("activation")
        return activation if operator.kind in ("conv", "depthwise", "dense") and activation in tables.FUSED else None

    def set_fused(self, operator: Operator, activation: str | None) -> None:
        if "activation" not in operator.handle["config"]:
            raise Unfit(f"{operator.type} has no activation inside")
        operator.handle["config"]["activation"] = activation or "linear"

    # the graph

    def rewire(self, operator: Operator, position: int, tensor: str) -> None:
        slot = list(tensors(operator.handle["inbound_nodes"][0]))[position]
        slot["keras_history"] = [tensor, 0, 0]
        known = self.shapes.get(tensor, ())
        slot["shape"] = [None if size < 0 else size for size in known] or slot["shape"]

    def _entry(self, layer: Any, sources: list[str]) -> dict[str, Any]:
        entry: dict[str, Any] = self.keras.saving.serialize_keras_object(layer)
        shapes = [[None if size < 0 else size for size in self.shapes[each]] for each in sources]
        pairs = zip(sources, shapes, strict=True)
        arguments: list[Any] = [
            {
                "class_name": "__keras_tensor__",
                "config": {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]},
            }
            for name, shape in pairs
        ]
        entry["name"] = layer.name
        entry["inbound_nodes"] = [{"args": [arguments] if len(sources) > 1 else arguments, "kwargs": {}}]
        return entry

    def create(self, kind: str, tensor: str, **settings: Any) -> str:
        taken = {each["name"] for each in self.layers}
        names = (f"{tensor}_{kind}{number or ''}" for number in range(len(taken) + 1))
        layer = tables.layer(self.keras, kind, settings, next(each for each in names if each not in taken))
        entry = self._entry(layer, [tensor])
        place = next(number for number, each in enumerate(self.layers) if each["name"] == tensor)
        self.layers.insert(place + 1, entry)
        source = self.keras.KerasTensor([None if size < 0 else size for size in self.shapes[tensor]])
        made = layer.compute_output_spec(source).shape
        self.shapes[layer.name] = tuple(-1 if size is None else int(size) for size in made)
        return str(layer.name)

    def replace(self, operator: Operator, kind: str) -> None:
        entry = operator.handle
        if operator.kind.endswith("pool"):
            entry["class_name"] = {"max_pool": "MaxPooling2D", "average_pool": "AveragePooling2D"}[kind]
            entry["registered_name"] = None
            return
        made = self._entry(tables.layer(self.keras, kind, {}, operator.name), list(operator.inputs))
        nodes = copy.deepcopy(entry["inbound_nodes"])
        entry.clear()
        entry.update(made, inbound_nodes=nodes)

    def remove(self, operator: Operator) -> None:
        self.layers[:] = [each for each in self.layers if each["name"] != operator.name]
        self.weights.pop(operator.name, None)

    def save(self, path: Path) -> None:
        self._order()
        model = self.keras.saving.deserialize_keras_object(self.config)
        for layer in model.layers:
            if self.weights.get(layer.name):
                layer.set_weights([values for _, values in self.weights[layer.name]])
        save_plainly(model, path)

    def _order(self) -> None:
        """Puts each layer behind those that it reads."""
        done: set[str] = set()
        rest, ordered = list(self.layers), []
        while rest:
            ready = [each for each in rest if set(self._operator(each).inputs) <= done]
            if not ready:
                raise Unfit("the layers would read each other")
            ordered.extend(ready)
            done.update(each["name"] for each in ready)
            rest = [each for each in rest if each["name"] not in done]
        self.layers[:] = ordered
