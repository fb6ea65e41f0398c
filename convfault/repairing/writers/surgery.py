"""Carries edits out in a ``Document``: from what differs between the graph before and after, whatever edits made it.

A changed layer is *patched* where its own operators can express it. Otherwise it is *computed anew* by operators that
write to the tensor which held it, so that everybody who reads that tensor gets the new value, under the old name. A
layer that only reads another one has its operators connected to that one's tensor. At the end operators that nobody
reads any more go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from convfault.relax.graph import Graph, Layer
from convfault.relax.kinds import WINDOWED
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.constants import put_constant
from convfault.repairing.writers.document import Document, Value
from convfault.repairing.writers.flattening import keeps_rows
from convfault.repairing.writers.layers import LayerRefusal, describe, refusals, same
from convfault.repairing.writers.outputs import set_outputs
from convfault.repairing.writers.spelled_out import spelled_out


class Surgery:
    """One graph turned into another in a document. ``perform`` is called once."""

    def __init__(self, document: Document, before: Graph, after: Graph) -> None:
        self.document, self.before, self.after = document, before, after
        self.anew: set[str] = set()
        self.owners: dict[str, str] = {}
        """Native tensor → the layer that is computed anew and written to it."""
        self.moved: dict[str, str] = {}
        """Native tensor that gets a new value → where its old value is now."""
        self.behind: dict[str, set[str]] = {}
        """Native tensor that gets a new value → the layers that depend on the new one."""
        self.spared: set[int] = set()
        """Identities of the operators that nobody read from the beginning."""
        self.values: dict[str, Value] = {}

    def perform(self) -> None:
        self.spared = self.document.dead()
        self._keep_floats()
        self._patch()
        self._close()
        self._set_shapes()
        self._move_aside()
        for layer in self.after:
            if layer.id in self.anew:
                self._compute(layer)
        self._connect()
        set_outputs(self)
        if self.document.structural:
            self.document.prune(self.spared)
            self.document.sort()

    # what is no longer rounded

    def _keep_floats(self) -> None:
        kept: dict[str, Layer] = {}
        for layer in self.after:
            old = self._old(layer.id)
            if old is not None and old.rounding is not None and old.rounding is not layer.rounding:
                kept.setdefault(old.rounding.tensor, layer)
        roundings = [layer.rounding.tensor for layer in self.before if layer.rounding is not None]
        self.document.held = frozenset({*roundings, *(str(layer.native.tensor) for layer in self.before)})
        for tensor, layer in kept.items():
            with refusals(layer):
                self.document.keep_float(tensor)

    # what must be computed anew

    def _patch(self) -> None:
        for layer in self.after:
            old = self._old(layer.id)
            if old is None:
                self.anew.add(layer.id)
            elif not self._same(old, layer) and not self._patched(old, layer):
                if layer.kind in {"input", "opaque"}:
                    raise LayerRefusal(layer.id, f"a layer of kind {layer.kind} cannot be changed in a file")
                self.anew.add(layer.id)

    def _same(self, old: Layer, layer: Layer) -> bool:
        """Whether a layer is as it was; a window also depends on the size of what it slides over,
        and the rows of a product on the shape of what is flattened before it."""
        if old.kind in WINDOWED and layer.inputs:
            sizes = (self.before[old.inputs[0]].shape, self.after[layer.inputs[0]].shape)
            return sizes[0] == sizes[1] and same(old, layer)
        return keeps_rows(self.before, self.after, old, layer) and same(old, layer)

    def _old(self, layer_id: str) -> Layer | None:
        """The layer before the edits."""
        found = self.before[layer_id] if layer_id in self.before else None  # noqa: SIM401 - a Graph has no get
        return found

    def _patched(self, old: Layer, layer: Layer) -> bool:
        if old.kind != layer.kind:
            return False
        with refusals(layer):
            if layer.kind == "constant":
                return put_constant(self.document, self.before, old, layer)
            return self.document.patch(self.before, self.after, old, replace(layer, native=old.native))

    def _close(self) -> None:
        """Add the layers whose own operators cannot be connected to what they are to read."""
        pending = True
        while pending:
            pending = False
            self._find_owners()
            for layer in self.after:
                if layer.id not in self.anew and not self._connectable(layer):
                    self.anew.add(layer.id)
                    pending = True
        for layer in self.after:
            for name in layer.inputs if layer.id in self.anew else ():
                if name not in self.anew:
                    self.tensor_of(name, split=True)

    def _find_owners(self) -> None:
        self.owners = {}
        for layer in self.after:
            tensor = self.tensor_of(layer.id) if layer.id in self.anew else None
            # a layer that only shows a model input otherwise is computed beside it, and its readers are connected anew
            if tensor is not None and tensor not in self.document.inputs:
                self.owners[tensor] = layer.id
        self.behind = {tensor: self.after.descendants({owner}) for tensor, owner in self.owners.items()}

    def tensor_of(self, layer_id: str, split: bool = False) -> str | None:
        """The native tensor that held the layer; with ``split`` fused operators are taken apart where that shows it."""
        if layer_id not in self.before:
            return None
        layer = self.before[layer_id]
        if layer.kind == "constant":
            return None
        found = layer.native.tensor or self.document.exposed.get(layer_id)
        return self.document.expose(self.before, layer) if found is None and split else found

    def _permutation(self, layer_id: str) -> tuple[int, ...] | None:
        return self.before[layer_id].native.permutation

    def _settled(self, layer_id: str) -> str | None:
        """Where the layer's final value will be, None when that is decided later."""
        tensor = self.tensor_of(layer_id)
        if tensor is None or layer_id not in self.anew:
            return None if tensor is None else self._now(tensor, layer_id)
        return tensor if self.owners.get(tensor) == layer_id else None

    def _now(self, tensor: str, layer_id: str) -> str | None:
        """The name of a kept layer's tensor: its own, or what it is called after it was moved aside."""
        if tensor in self.owners and layer_id not in self.behind[tensor]:
            return self.moved.get(tensor)
        return tensor

    def _connectable(self, layer: Layer) -> bool:
        old = self.before[layer.id]
        if len(old.inputs) != len(layer.inputs):
            return False
        for position, (was, now) in enumerate(zip(old.inputs, layer.inputs, strict=True)):
            if self.after[now].kind == "constant" and was == now and now not in self.anew:
                continue
            tensor = self.tensor_of(was, split=was != now)
            moves = was != now or self._settled(now) != tensor
            if tensor is None and (was != now or now in self.anew):
                return False
            if tensor is not None and moves and self._slot(old, position, tensor) is None:
                return False
        return True

    def _slot(self, old: Layer, position: int, tensor: str) -> tuple[object, int] | None:
        """The operator and input by which a layer reads ``tensor`` as its input ``position``."""
        slots = [
            (node, slot) for node in self.document.of(old) for slot, name in enumerate(node.inputs) if name == tensor
        ]
        if len(slots) > 1:  # a patch may have led the layer past one of its operators, which goes at the end
            gone = self.document.dead(self.spared)
            slots = [(node, slot) for node, slot in slots if id(node) not in gone]
        count = sum(name == old.inputs[position] for name in old.inputs[:position])
        return slots[count] if count < len(slots) else None

    # values

    def _move_aside(self) -> None:
        """Give the old value of every tensor that is written anew a name of its own."""
        for tensor in self.owners:
            producer = self.document.producer(tensor)
            if producer is None:
                raise LayerRefusal(self.owners[tensor], f"'{tensor}' is not computed by an operator")
            shape = self.document.shape(tensor) or self.before[self.owners[tensor]].shape
            aside = self.document.blank(f"{tensor}/replaced", shape, tensor)
            producer.outputs[producer.outputs.index(tensor)] = aside
            self.moved[tensor] = aside
            self.document.structural = True

    def value(self, layer_id: str) -> Value:
        """A tensor that holds a layer of the edited graph, made if there is none."""
        if layer_id in self.values:
            return self.values[layer_id]
        layer, tensor = self.after[layer_id], self.tensor_of(layer_id)
        if layer.kind == "constant":
            found = Value(self.document.add_constant(f"{layer_id}/values", layer.parameters["values"].values))
        elif tensor is not None and layer_id not in self.anew:
            held = self._now(tensor, layer_id) or tensor
            found = Value(self.document.computed(held), self._permutation(layer_id))
        else:
            found = self._emitted(layer)
        self.values[layer_id] = found
        return found

    def _emitted(self, layer: Layer) -> Value:
        if layer.kind in {"input", "opaque"}:
            raise LayerRefusal(layer.id, f"{layer.kind} '{layer.native.tensor}' cannot be computed anew")
        inputs = {name: (self.value(name), self.after[name].shape) for name in layer.inputs}
        with refusals(layer):
            try:
                return self._operator(layer, inputs)
            except Refusal:
                parts = spelled_out(layer, self.after[layer.inputs[0]].shape) if layer.inputs else ()
                if not parts:
                    raise
            for part in parts:
                inputs[part.id] = (self._operator(part, inputs), part.shape)
            return inputs[parts[-1].id][0]

    def _operator(self, layer: Layer, inputs: Mapping[str, tuple[Value, tuple[int, ...]]]) -> Value:
        read = [inputs[name] for name in layer.inputs]
        return self.document.emit(layer, [value for value, _ in read], [shape for _, shape in read])

    def _compute(self, layer: Layer) -> None:
        """Compute a layer anew, in the tensor that held it if it was the last to do so."""
        value = self.value(layer.id)
        tensor = self.tensor_of(layer.id)
        old = self._old(layer.id)
        if old is None or tensor is None or self.owners.get(tensor) != layer.id:
            self.document.note(value.tensor, layer.kind, "", "computed anew" if old else "added")
            return
        native = self.native_shape(tensor, old, layer.shape)
        form = Value(tensor, old.native.permutation)
        made = self.document.into_form(value, layer.shape, form, native)
        self.document.copy(made, tensor)
        if self.document.producer(made) is None:  # it is called ``tensor`` now
            self.values = {k: Value(tensor, v.permutation) if v.tensor == made else v for k, v in self.values.items()}
        self.document.set_shape(tensor, native)
        self.document.inherit(tensor, self.moved[tensor])
        self.document.note(tensor, layer.kind, describe(old, layer), describe(layer, old))
        self.values[layer.id] = Value(self.document.computed(tensor), old.native.permutation)

    def native_shape(self, tensor: str, old: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a native tensor when the layer that it shows is of ``shape``."""
        found, order = self.document.shape(tensor), old.native.permutation
        if found is not None and (shape == old.shape or len(found) != len(shape)):
            if int(np.prod(found[1:])) == int(np.prod(shape[1:])):
                return found
            if len(found) != len(shape):  # of the same rank, what the file says is a guess behind an open batch
                raise LayerRefusal(old.id, f"'{tensor}' has another rank than the layer whose shape changes")
        return shape if order is None else tuple(shape[order.index(axis)] for axis in range(len(order)))

    # who reads what

    def _connect(self) -> None:
        for layer in self.after:
            if layer.id in self.anew:
                continue
            old = self.before[layer.id]
            slots = []
            for position, (was, now) in enumerate(zip(old.inputs, layer.inputs, strict=True)):
                tensor = self.tensor_of(was)
                if tensor is None or (was == now and self._settled(now) == tensor):
                    continue
                found = self._slot(old, position, tensor)
                if found is not None:
                    slots.append((found, self.as_tensor(was, now, tensor)))
            for (node, slot), name in slots:
                if node.inputs[slot] != name:  # type: ignore[attr-defined]
                    self.document.connect(node, slot, name)  # type: ignore[arg-type]

    def as_tensor(self, was: str, now: str, tensor: str) -> str:
        """The layer ``now`` in the form in which ``tensor`` shows ``was``."""
        shape, old = self.after[now].shape, self.before[was]
        form = Value(tensor, old.native.permutation)
        kept = self.tensor_of(now) if now not in self.anew else None
        if kept is not None and self._permutation(now) == form.permutation:
            held = self._now(kept, now) or kept  # as it is stored, de-quantization and all
            if self.document.shape(held) == self.document.shape(tensor) or shape != old.shape:
                return held
        return self.document.into_form(self.value(now), shape, form, self.native_shape(tensor, old, shape))

    def _set_shapes(self) -> None:
        """Note the sizes of what was patched, before others read it."""
        for layer in self.after:
            if layer.id in self.anew or layer.id not in self.before or layer.kind == "constant":
                continue
            tensor, old = self.tensor_of(layer.id), self.before[layer.id]
            if tensor is not None and layer.shape != old.shape:
                self.document.set_shape(tensor, self.native_shape(tensor, old, layer.shape))
