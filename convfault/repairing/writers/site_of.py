"""Finds the constants that a canonical layer's parameters come from, in the operators that were merged into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.arithmetic import step_of
from convfault.repairing.writers.document import Document, Node
from convfault.repairing.writers.folding import Put, Site, Step, solve


@dataclass(frozen=True)
class Linear:
    """A native convolution or product: the inputs of data, weights and bias (None: there is no place for one).

    ``canonical`` gives weights as the layer has them, unfolded; ``native`` the other way round.
    """

    node: Node
    data: int
    weights: int
    bias: int | None
    canonical: Callable[[Array], Array]
    native: Callable[[Array], Array]


def channels_first(node: Node, stored: tuple[int, ...], shape: tuple[int, ...]) -> Linear:
    """An operator with data, weights (filters, in, *window) and bias, whose layer has weights of ``shape``."""
    window = tuple(range(2, len(stored)))
    last = tuple(stored[axis] for axis in (*window, 1, 0))
    back = (len(window) + 1, len(window), *range(len(window)))
    return Linear(
        node,
        0,
        1,
        2,
        lambda values: values.transpose(*window, 1, 0).reshape(shape),
        lambda values: values.reshape(last).transpose(back),
    )


def puts_for(
    document: Document, linear: Callable[[Node], Linear | None], before: Layer, after: Layer
) -> list[Put] | None:
    """What to write so that a layer gets the parameters of ``after``: nothing where it has them; None if it cannot."""
    wanted = {name: parameter.values for name, parameter in after.parameters.items()}
    if all(np.array_equal(before.parameters[n].values, v, equal_nan=v.dtype.kind == "f") for n, v in wanted.items()):
        return []
    site = _affine_site(document, before) if before.kind == "affine" else _linear_site(document, linear, before)
    return None if site is None else solve(site, before, wanted)


def _linear_site(document: Document, linear: Callable[[Node], Linear | None], layer: Layer) -> Site | None:
    own = document.of(layer)
    found = [place for place in map(linear, own) if place is not None]
    if len(found) != 1 or not {"weights", "bias"} <= layer.parameters.keys():
        return None
    place, node = found[0], found[0].node
    native = document.constant(node.inputs[place.weights])
    if native is None or native.size != layer.parameters["weights"].values.size:
        return None
    filters, slot = int(layer.shape[-1]), place.bias
    stored = None
    if slot is not None and slot < len(node.inputs) and node.inputs[slot]:
        stored = document.constant(node.inputs[slot])
        if stored is None or stored.size not in {1, filters}:
            return None
    bias = np.zeros(filters) if stored is None else np.broadcast_to(stored.astype(np.float64).reshape(-1), (filters,))
    return Site(
        place.canonical(native).astype(np.float64),
        bias,
        _before(document, node, place.data, own),
        _behind(document, node, own, filters),
        put_weights=lambda values: [Put(node, place.weights, np.ascontiguousarray(place.native(values), np.float32))],
        put_bias=None if slot is None else lambda values: [Put(node, slot, values.astype(np.float32))],
    )


def _affine_site(document: Document, layer: Layer) -> Site | None:
    own, count = document.of(layer), int(layer.shape[-1])
    first = next((node for node in own if step_of(document, node, count) is not None), None)
    if first is None:
        return None
    found = step_of(document, first, count)
    assert found is not None
    return Site(None, np.zeros(count), (), [found[0], *_behind(document, first, own, count)])


def _behind(document: Document, node: Node, own: list[Node], count: int) -> list[Step]:
    """The arithmetic that follows an operator within the layer."""
    steps: list[Step] = []
    while not document.ends(node):
        readers = document.readers(node.outputs[0])
        if len(readers) != 1 or readers[0] not in own:
            break
        found = step_of(document, readers[0], count)
        if found is None and readers[0].type not in document.passive:
            break
        node = readers[0]
        steps += [found[0]] if found is not None else []
    return steps


def _before(document: Document, node: Node, slot: int, own: list[Node]) -> list[Step]:
    """The arithmetic that comes before an operator within the layer, first things first."""
    steps: list[Step] = []
    tensor = node.inputs[slot]
    while True:
        producer = document.producer(tensor)
        if producer is None or producer not in own or document.ends(producer):
            return steps[::-1]
        found = step_of(document, producer, document.channels(producer.outputs[0]))
        if found is None and producer.type not in document.passive:
            return steps[::-1]
        steps += [found[0]] if found is not None else []
        tensor = producer.inputs[found[1] if found is not None else 0]
