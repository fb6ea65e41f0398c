"""The layers of a Keras network and their calls, models inside of models opened up: stored and live, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from convfault.native.keras_files import layer_of
from convfault.relax.graph import Array
from convfault.repairing.writers.keras.reference import Argument, Place, Reference, arguments, places

ARITHMETIC = {
    "math.add": "Add", "__operators__.add": "Add", "math.subtract": "Sub", "math.multiply": "Mul",
    "math.divide": "Div", "math.truediv": "Div", "Add": "Add", "Subtract": "Sub", "Multiply": "Mul",
    "Divide": "Div", "TrueDivide": "Div",
}  # fmt: skip
"""Functions of TensorFlow and operations of Keras 3 → what ``arithmetic`` calls them."""


@dataclass(eq=False)
class Stored:
    """One layer of the file: ``entry`` is its part of the configuration, ``path`` the models that it is in and itself.

    ``name`` is what it is called when the configuration is written anew; ``weights`` are names and values.
    """

    entry: dict[str, Any]
    path: tuple[str, ...]
    name: str
    weights: list[tuple[str, Array]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.entry["config"]
        return found

    @property
    def type(self) -> str:
        """The class of a layer, what an arithmetic operation does, or the function of TensorFlow that it calls."""
        kind = str(self.entry["class_name"])
        if kind == "TFOpLambda":
            function = str(self.settings.get("function"))
            return ARITHMETIC.get(function, function)
        operation = ".ops." in str(self.entry.get("module"))
        return ARITHMETIC.get(kind, kind) if operation else kind


@dataclass(eq=False)
class Call:
    """One call of a layer: what it is given, as stored in ``template`` (None in a ``Sequential`` model).

    ``arguments`` are the places in the template where the node's first inputs stand.
    """

    stored: Stored
    template: Any = None
    arguments: list[Argument] = field(default_factory=list)


@dataclass(frozen=True)
class Met:
    """A call as the walk over a network meets it: ``inputs`` are tensors of the walk, None for constants."""

    live: Any
    call: Call
    inputs: list[str | None]
    outputs: int


Meet = Callable[[Met], list[str]]
"""Takes a call, gives the names of its outputs."""


def walk(network: Any, config: dict[str, Any], given: list[str], old: bool, meet: Meet) -> list[str]:
    """Meet all calls of a network in the order in which they run; ``config`` is its own, inside the entry.

    ``given``: the tensors that it reads. Returns its outputs.
    """
    return _walk(network, config, (), given, old, meet)


def _walk(
    network: Any, config: dict[str, Any], path: tuple[str, ...], given: list[str], old: bool, meet: Meet
) -> list[str]:
    if "input_layers" not in config:
        return _walk_chain(network, config, path, given, old, meet)
    entries = {str(entry["name"]): entry for entry in config["layers"]}
    stored: dict[str, Stored] = {}
    known = _matched(network, entries)
    made: dict[Place, str] = {}
    names = [str(layer_of(tensor).name) for tensor in network.inputs]
    made.update({(name, 0, 0): tensor for name, tensor in zip(names, given, strict=True)})
    for layer, index in _ordered(network):
        name = known[id(layer)]
        entry = entries[name]
        template = entry["inbound_nodes"][index]
        call = Call(stored.setdefault(name, Stored(entry, (*path, name), name)), template)
        call.arguments = arguments(template, frozenset(entries), call.stored.type in ARITHMETIC.values())
        inputs = [_read(made, each, entries, old) for each in call.arguments]
        if "layers" in entry["config"]:
            read = [tensor for tensor in inputs if tensor is not None]
            found = _walk(layer, entry["config"], (*path, name), read, old, meet)
        else:
            found = meet(Met(layer, call, inputs, outputs_of(layer, index)))
        made.update({(name, index, position): tensor for position, tensor in enumerate(found)})
    return [made[_counted(place, entries, old, True)] for place in places(config["output_layers"])]


def _matched(network: Any, entries: dict[str, Any]) -> dict[int, str]:
    """``id`` of each live layer → the name of its entry: its own, unless its settings do not tell it a name."""
    layers = getattr(network, "operations", None) or network.layers
    nameless = {name: entry["class_name"] for name, entry in entries.items() if entry["config"].get("name") is None}
    found = {id(layer): str(layer.name) for layer in layers if layer.name in entries.keys() - nameless.keys()}
    for layer in layers:
        if id(layer) not in found:
            name = next(name for name, kind in nameless.items() if kind == type(layer).__name__)
            found[id(layer)] = name
            del nameless[name]
    return found


def _read(made: dict[Place, str], argument: Argument, entries: dict[str, Any], old: bool) -> str | None:
    return made[_counted(argument.place, entries, old, False)] if isinstance(argument, Reference) else None


def _counted(place: Place, entries: dict[str, Any], old: bool, output: bool) -> Place:
    """The place with calls counted from 0: a model's own call of itself is the first in some of Keras' lists."""
    config = entries[place[0]]["config"]
    inside = "layers" in config and (old or (output and "input_layers" in config))
    return (place[0], place[1] - inside, place[2])


def _walk_chain(
    network: Any, config: dict[str, Any], path: tuple[str, ...], given: list[str], old: bool, meet: Meet
) -> list[str]:
    """The layers of a ``Sequential`` model, each on what the one before it returns."""
    entries = {str(entry["config"].get("name", entry.get("name"))): entry for entry in config["layers"]}
    for layer in network.layers:
        entry = entries.get(layer.name)
        if entry is None or entry["class_name"] == "InputLayer":
            continue
        if "layers" in entry["config"]:
            given = _walk(layer, entry["config"], (*path, layer.name), given, old, meet)
        else:
            call = Call(Stored(entry, (*path, layer.name), layer.name))
            given = meet(Met(layer, call, [*given], 1))
    return given


def _ordered(network: Any) -> Iterator[tuple[Any, int]]:
    """The layers of a functional model as they run, and which of its own calls of them it is."""
    by_depth = network._nodes_by_depth
    known = {id(node) for nodes in by_depth.values() for node in nodes}
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            layer = getattr(node, "operation", None) or getattr(node, "layer", None)
            if node.is_input or layer is None:
                continue
            own = [each for each in layer._inbound_nodes if id(each) in known]
            yield layer, own.index(node)


def outputs_of(layer: Any, index: int) -> int:
    """How many tensors a call returns."""
    import tensorflow as tf

    nodes = layer._inbound_nodes
    return len(tf.nest.flatten(nodes[min(index, len(nodes) - 1)].outputs))


@dataclass(frozen=True)
class Run:
    """A layer that ran while a network was traced: the TensorFlow operations that it made, and the tensors."""

    place: str
    operations: tuple[str, ...]
    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


@contextmanager
def watching(network: Any) -> Iterator[dict[int, list[Run]]]:
    """While it is open, what every layer and operation of ``network`` makes is noted under its ``id``, in order."""
    found: dict[int, list[Run]] = {}
    path: list[str] = []

    def watched(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        def run(*arguments: Any, **options: Any) -> Any:
            graph = tf.compat.v1.get_default_graph()
            before = len(graph.get_operations())
            path.append(layer.name)
            result = call(*arguments, **options)
            place = "/".join(path)
            path.pop()
            values = [value for value in tf.nest.flatten(result) if hasattr(value, "shape")]
            names = tuple(operation.name for operation in graph.get_operations()[before:])
            shapes = tuple(tuple(side or 1 for side in value.shape) for value in values)
            tensors = tuple(str(value.name) for value in values)
            found.setdefault(id(layer), []).append(Run(place, names, tensors, shapes))
            return result

        return run

    with ExitStack() as undo:
        for layer in _computing(network):
            for method in ("call", "quantized_call"):
                if hasattr(layer, method):
                    undo.callback(_put_back, layer, method, vars(layer).get(method))
                    vars(layer)[method] = watched(layer, getattr(layer, method))
        yield found


def _computing(network: Any) -> list[Any]:
    """All layers at any depth, and the operations that are no layers."""
    found = {id(layer): layer for layer in network._flatten_layers(include_self=False, recursive=True)}
    for model in [network, *found.values()]:
        found = {**found, **{id(each): each for each in getattr(model, "operations", ())}}
    return [layer for layer in found.values() if type(layer).__name__ != "InputLayer"]


def _put_back(layer: Any, method: str, own: Any) -> None:
    if own is None:
        del vars(layer)[method]
    else:
        vars(layer)[method] = own
