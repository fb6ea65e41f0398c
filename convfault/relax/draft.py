"""A graph under construction: what the extraction fills and the normalization rules rewrite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convfault.errors import ConvfaultError
from convfault.relax.graph import Graph, Layer, Native, Parameter, ordered

STEPS_PER_LAYER = 100
NOTHING: Mapping[str, Any] = {}


class Draft:
    """Layers by id, who reads whom, and the model's inputs and outputs; changed in place."""

    def __init__(self, layout: str = "NHWC") -> None:
        self.layers: dict[str, Layer] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.layout = layout
        self._readers: dict[str, dict[str, None]] = {}  # as ordered sets: the result must not vary
        self.made = 0

    @classmethod
    def of(cls, graph: Graph) -> Draft:
        """A draft that holds a graph's layers."""
        draft = cls(graph.layout)
        draft.inputs, draft.outputs = list(graph.inputs), list(graph.outputs)
        for layer in graph:
            draft.put(layer)
            draft.made = max(draft.made, _number(layer.id))
        return draft

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        hyperparameters: Mapping[str, Any] = NOTHING,
        parameters: Mapping[str, Parameter] = NOTHING,
        native: Native | None = None,
        dtype: str = "float32",
        details: Mapping[str, Any] = NOTHING,
    ) -> Layer:
        """Make a layer with a new id."""
        self.made += 1
        layer = Layer(
            f"{kind}~{self.made}",
            kind,
            tuple(inputs),
            tuple(int(side) for side in shape),
            dtype,
            dict(hyperparameters),
            dict(parameters),
            native or Native(),
            dict(details),
        )
        self.put(layer)
        return layer

    def put(self, layer: Layer) -> None:
        """Add a layer, or put it in the place of the one with its id."""
        if layer.id in self.layers:
            for source in self.layers[layer.id].inputs:
                self._readers[source].pop(layer.id, None)
        self.layers[layer.id] = layer
        self._readers.setdefault(layer.id, {})
        for source in layer.inputs:
            self._readers.setdefault(source, {})[layer.id] = None

    def readers(self, layer_id: str) -> tuple[str, ...]:
        """Ids of the layers that read this one."""
        return tuple(self._readers.get(layer_id, ()))

    def single(self, layer_id: str) -> bool:
        """Whether exactly one layer reads this one, which is no output of the model either."""
        return len(self._readers.get(layer_id, ())) == 1 and layer_id not in self.outputs

    def input_of(self, layer: Layer, index: int = 0) -> Layer:
        """The layer that ``layer`` reads as its input number ``index``."""
        return self.layers[layer.inputs[index]]

    def redirect(self, old: str, new: str) -> None:
        """Let all who read ``old`` read ``new``, and remove ``old``, whose native operators go to ``new``."""
        for reader in self.readers(old):
            layer = self.layers[reader]
            self.put(replace(layer, inputs=tuple(new if item == old else item for item in layer.inputs)))
        target, gone = self.layers[new], self.layers[old]
        if target.kind not in {"input", "constant"}:
            native = gone_into(target.native, gone.native)
            other = gone.native.tensor is not None or gone.native.permutation != native.permutation
            if old in self.outputs and new not in self.outputs and other:  # it is looked at as the old one was
                native = replace(native, tensor=gone.native.tensor, permutation=gone.native.permutation)
            self.layers[new] = replace(target, native=native)
        self.outputs = [new if item == old else item for item in self.outputs]
        self.remove(old)

    def remove(self, layer_id: str) -> None:
        """Remove a layer that nobody reads."""
        layer = self.layers.pop(layer_id)
        for source in layer.inputs:
            self._readers[source].pop(layer_id, None)
        del self._readers[layer_id]

    def collect(self, names: Iterable[str]) -> list[str]:
        """Remove those of these layers that nobody reads, and what only they read; ids of what has a reader less."""
        pending, left = list(names), list[str]()
        while pending:
            name = pending.pop()
            if name in self.layers and not self._readers[name] and name not in self.outputs and name not in self.inputs:
                pending.extend(self.layers[name].inputs)
                left.extend(self.layers[name].inputs)
                self.remove(name)
        return [name for name in left if name in self.layers]

    def since(self, made: int) -> list[str]:
        """Ids of the layers added since the counter stood at ``made``."""
        found: list[str] = []
        for name in reversed(self.layers):
            if 0 < _number(name) <= made:
                break
            if _number(name) > made:
                found.append(name)
        return found

    def prune(self) -> None:
        """Remove every layer that no output depends on, except the inputs."""
        needed = set(self.inputs)
        pending = list(self.outputs)
        while pending:
            name = pending.pop()
            if name not in needed or name in self.inputs:
                needed.add(name)
                pending.extend(item for item in self.layers[name].inputs if item not in needed)
        for layer in reversed(ordered(tuple(self.layers.values()))):
            if layer.id not in needed:
                self.remove(layer.id)

    def graph(self, **rest: Any) -> Graph:
        """The finished graph: pruned, in topological order, layers numbered by kind."""
        self.prune()
        layers = ordered(tuple(self.layers.values()))
        counts: dict[str, int] = {}
        names: dict[str, str] = {}
        for layer in layers:
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            names[layer.id] = f"{layer.kind}_{counts[layer.kind]}"
        renamed = (replace(item, id=names[item.id], inputs=tuple(names[i] for i in item.inputs)) for item in layers)
        inputs, outputs = (tuple(names[item] for item in side) for side in (self.inputs, self.outputs))
        return Graph(tuple(renamed), inputs, outputs, self.layout, **rest)


def _number(layer_id: str) -> int:
    """The number that ``Draft.add`` gave, 0 for an id from elsewhere."""
    number = layer_id.partition("~")[2]
    return int(number) if number.isdigit() else 0


def gone_into(kept: Native, gone: Native) -> Native:
    """The native side of a layer that another one of equal value was dropped for."""
    seen = set(kept.names)
    more = tuple(operator for operator in gone.operators if operator.node not in seen)
    if kept.tensor is None and gone.tensor is not None:
        return Native(gone.tensor, gone.permutation, (*kept.operators, *more))
    return replace(kept, operators=(*kept.operators, *more))


@dataclass(frozen=True)
class Rule:
    """One normalization: ``rewrite(draft, layer)`` for layers of ``kinds`` (empty: all).

    It returns None when it does not apply; the layer that takes this one's place, with the same id, perhaps after
    adding others to the draft; or the id of another layer that has the same value already.
    """

    name: str
    kinds: frozenset[str]
    rewrite: Callable[[Draft, Layer], Layer | str | None]


def apply(draft: Draft, rules: Sequence[Rule]) -> bool:
    """Apply the rules until none applies any more; whether any did.

    Raises ``ConvfaultError`` when they undo each other for ever, which is a defect of the rules.
    """
    by_kind: dict[str, list[Rule]] = {}
    left = steps = STEPS_PER_LAYER * (len(draft.layers) + 10)
    pending = _all(draft)
    while pending:
        before = left
        while pending:
            name, _ = pending.popitem()
            if name not in draft.layers:
                continue
            layer = draft.layers[name]
            if layer.kind not in by_kind:
                by_kind[layer.kind] = [rule for rule in rules if not rule.kinds or layer.kind in rule.kinds]
            if any(_tried(draft, layer, rule, pending) for rule in by_kind[layer.kind]):
                left -= 1
                if not left:
                    raise ConvfaultError(
                        f"the normalization of the graph does not end: it is at layer {name} ({layer.kind})"
                    )
        draft.prune()
        pending = _all(draft) if left < before else {}  # a rule may look further than to what stands around
    return left < steps


def _all(draft: Draft) -> dict[str, None]:
    """Every layer, the last one first: they are taken from the end."""
    return dict.fromkeys(layer.id for layer in reversed(ordered(tuple(draft.layers.values()))))


def _tried(draft: Draft, layer: Layer, rule: Rule, pending: dict[str, None]) -> bool:
    """Try one rule on one layer; what stands around a change is to be looked at again."""
    made = draft.made
    found = rule.rewrite(draft, layer)
    if found is None:
        return False
    around = [*layer.inputs, *draft.readers(layer.id)]
    if isinstance(found, str):
        around += [found, *draft.readers(found)]
        draft.redirect(layer.id, found)
    else:
        draft.put(found)
        around += [found.id, *found.inputs]
        around += [reader for source in found.inputs for reader in draft.readers(source)]
    around += draft.since(made)
    for name in draft.collect(around):  # may have a single reader by now
        around += [name, *draft.readers(name)]
    for name in around:
        if name in draft.layers:
            pending.pop(name, None)
            pending[name] = None
    return True
