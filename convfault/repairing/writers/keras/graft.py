"""New calls in a Keras document: made by Keras itself in a little network of their own, then taken over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from convfault.relax.graph import Array
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Node, unused
from convfault.repairing.writers.keras.call import Met, walk
from convfault.repairing.writers.keras.file import reason, variables

if TYPE_CHECKING:
    from convfault.repairing.writers.keras.document import KerasDocument


def graft(document: KerasDocument, make: Callable[..., Any], inputs: Sequence[str]) -> str:
    """The calls that ``make(*tensors)`` makes, in the document; the tensor that it returns.

    Constants are given to it as arrays. Raises ``Refusal`` where Keras would not.
    """
    library = document.file.library
    given: list[Any] = []
    sources: list[tuple[str, Any]] = []
    for tensor in inputs:
        if tensor in document.plain:
            given.append(document.plain[tensor])
            continue
        shape = document.shapes[tensor]
        given.append(library.Input(shape[1:], name=f"given_{len(given)}"))
        sources.append((tensor, given[-1]))
    try:
        result = make(*given)
        network = library.Model([source for _, source in sources], result)
        config = json.loads(json.dumps(library.saving.serialize_keras_object(network)["config"]))
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise Refusal(f"Keras would not make it: {reason(error)}") from error
    document.structural = True
    sorted_names = [name for source in network.inputs for name, each in sources if each is source]
    taken = _Taker(document, sorted_names, _shapes(network, document.batch))
    return walk(network, config, sorted_names, document.file.old, taken.meet)[0]


class _Taker:
    """Takes each call of the little network over."""

    def __init__(self, document: KerasDocument, sources: list[str], shapes: dict[int, tuple[int, ...]]) -> None:
        self.document, self.sources, self.shapes = document, sources, shapes

    def meet(self, met: Met) -> list[str]:
        document, stored = self.document, met.call.stored
        names = {node.name for node in document.nodes}
        base = next((name for name in met.inputs if name is not None), "new")
        kind = str(stored.entry["class_name"]).lower()
        name = unused(f"{base}/{kind}", names | document.shapes.keys())
        stored.name = unused(_plain(name), {node.native.stored.name for node in document.nodes})
        stored.path = (stored.name,)
        stored.weights = variables(met.live)
        node = Node(name, stored.type, [], [name], met.call)
        for slot, source in enumerate(met.inputs):
            node.inputs.append(f"{name}#{slot}" if source is None else source)
        node.inputs += document.weight_inputs(node)
        document.nodes.append(node)
        document.made.add(id(node))
        document.same[name] = name
        document.shapes[name] = self.shapes.get(id(met.live), ())
        return [name]


def _shapes(network: Any, batch: int) -> dict[int, tuple[int, ...]]:
    """Shape of what each layer of the little network returns, by the layer's ``id``."""
    found = {}
    for layer in getattr(network, "operations", None) or network.layers:
        outputs = layer._inbound_nodes[0].outputs
        first = outputs[0] if isinstance(outputs, list | tuple) else outputs
        found[id(layer)] = tuple(batch if side is None else int(side) for side in first.shape)
    return found


def _plain(name: str) -> str:
    """A name that a layer may have."""
    return "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in name)


def split(document: KerasDocument, node: Node) -> str:
    """Make the activation inside a layer a layer of its own; the tensor before it."""
    stored = document.own(node)
    activation = stored.settings["activation"]
    stored.settings["activation"] = "linear"
    output, shape = node.outputs[0], document.shapes[node.outputs[0]]
    inner = document.blank(f"{output}/before_activation", shape, output)
    node.outputs[0] = inner
    document.shapes[inner] = shape
    made = document.make("Activation", [inner], shape, {"activation": "linear"})
    behind = document.nodes.pop()
    behind.native.stored.settings["activation"] = activation
    behind.outputs, behind.name = [output], made
    document.nodes.insert(document.nodes.index(node) + 1, behind)
    document.split[id(node)] = (behind, activation)
    node.name = inner
    return inner


def with_weights(layer: Any, weights: Sequence[Array]) -> Callable[..., Any]:
    """A call of a layer that then has these weights."""

    def call(tensor: Any) -> Any:
        found = layer(tensor)
        layer.set_weights(list(weights))
        return found

    return call
