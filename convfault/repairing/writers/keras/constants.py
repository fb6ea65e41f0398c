"""The constants of a Keras model: weights of layers, numbers among settings, and arrays among a call's arguments."""

from __future__ import annotations

import copy

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.document import Document, Node, summary, unused
from convfault.repairing.writers.keras.call import Stored
from convfault.repairing.writers.keras.reference import Constant

PARTS = {
    "Conv2D": ("kernel", "bias"), "DepthwiseConv2D": ("kernel", "bias"), "Conv2DTranspose": ("kernel", "bias"),
    "Dense": ("kernel", "bias"), "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Rescaling": ("scale", "offset"), "LayerNormalization": ("gamma", "beta"), "Conv1D": ("kernel", "bias"),
}  # fmt: skip
"""Layers whose weights (of ``Rescaling``: settings) are read as inputs behind the data, in this order."""
SWITCHES = {"bias": ("use_bias", 0.0), "gamma": ("scale", 1.0), "beta": ("center", 0.0)}
"""Weight → the setting without which the layer lacks it, and what it then is."""


class KerasConstants(Document):
    """The part of a ``KerasDocument`` that holds its constants; each is an input behind the data of a call."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: dict[str, Array] = {}
        """Constants that were added, by name."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.weights: dict[str, tuple[Stored, str]] = {}
        """Input → the layer, and the name of its weight."""

    def weight_inputs(self, node: Node) -> list[str]:
        """Names for the weights of a layer, "" for a bias that it lacks."""
        stored: Stored = node.native.stored
        found = [name for name, _ in stored.weights]
        names = []
        for part in PARTS.get(stored.type, tuple(dict.fromkeys(found))):
            weight = next((name for name in found if name == part or name.endswith(f"_{part}")), part)
            tensor = f"{'/'.join(stored.path)}/{weight}"
            self.weights[tensor] = (stored, weight)
            names.append("" if part == "bias" and weight not in found else tensor)
        return names

    def constant(self, tensor: str) -> Array | None:
        if tensor in self.plain:
            return self.plain[tensor]
        if tensor in self.weights:
            stored, name = self.weights[tensor]
            if stored.type == "Rescaling":
                return setting(stored, name)
            missing = SWITCHES.get(name, ("", 0.0))[1]
            return dict(stored.weights).get(name, np.full(_filters(stored), missing, np.float32))
        held = self._held(tensor)
        return None if held is None else held.values

    def _held(self, tensor: str) -> Constant | None:
        """The place of a constant among a call's arguments."""
        for node in self.readers(tensor) if "#" in tensor else ():
            slot = node.inputs.index(tensor)
            found = node.native.arguments[slot] if slot < len(node.native.arguments) else None
            return found if isinstance(found, Constant) else None
        return None

    def add_constant(self, name: str, values: Array) -> str:
        name = unused(name, {*self.plain, *self.shapes})
        self.plain[name] = values
        self.shapes[name] = tuple(values.shape)
        return name

    def put(self, node: Node, slot: int, values: Array) -> None:
        tensor = node.inputs[slot] if slot < len(node.inputs) else ""
        before = self.constant(tensor) if tensor else None
        held = self._held(tensor) if tensor else None
        if held is not None:
            held.put(values)
            self.note(tensor, "values", summary(before), summary(values))
            return
        stored = self.own(node)
        if not tensor:
            tensor = node.inputs[slot] = f"{'/'.join(stored.path)}/bias"
            self.weights[tensor] = (stored, "bias")
        name = self.weights[node.inputs[slot]][1]
        self.note(tensor, "values", summary(before) if before is not None else "", summary(values))
        if stored.type == "Rescaling":
            stored.settings[name] = values.tolist() if np.ptp(values) else float(values.flat[0])
            return
        if name not in dict(stored.weights):
            stored.settings[SWITCHES[name][0]] = True
            stored.weights = _with(stored, name, np.asarray(values, np.float32))
        kind = np.float32 if before is None else before.dtype
        stored.weights = [(n, np.asarray(values, kind) if n == name else v) for n, v in stored.weights]

    def own(self, node: Node) -> Stored:
        """The layer of a call, made its own where other calls share it."""
        stored: Stored = node.native.stored
        if sum(each.native.stored is stored for each in self.nodes) < 2:
            return stored
        taken = {each.native.stored.name for each in self.nodes}
        name = unused(f"{stored.name}_own", taken)
        own = Stored(copy.deepcopy(stored.entry), (name,), name, list(stored.weights))
        node.native.stored = own
        count = len(node.inputs) - len(self.weight_inputs(node))
        node.inputs[count:] = self.weight_inputs(node)
        self.structural = True
        self.note(node.name, "layer", f"shared as {stored.name}", name)
        return own


def setting(stored: Stored, name: str) -> Array:
    """Numbers among a layer's settings."""
    found = stored.settings[name]
    while isinstance(found, dict):  # an array, as Keras stores it
        found = found["config"]["value"] if "value" in found["config"] else found["config"]
    return np.asarray(found, np.float32)


def _filters(stored: Stored) -> int:
    """How many values a weight by channel has."""
    return max((int(values.shape[-1]) for _, values in stored.weights if values.ndim), default=1)


def _with(stored: Stored, name: str, values: Array) -> list[tuple[str, Array]]:
    """The weights with one more, in the order in which the layer makes them."""
    order = [part for part in PARTS[stored.type] if part != "kernel"]
    before = order[: order.index(name)]
    place = sum(each in before or each.endswith("kernel") for each, _ in stored.weights)
    return [*stored.weights[:place], (name, values), *stored.weights[place:]]
