"""One layer by itself: what its own runtime made of what it was given, and what the graph makes of the very same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convfault.errors import ShapeError, UnknownNameError, UsageError
from convfault.localization.activations import (
    MARGIN,
    ROUNDING,
    Lookup,
    computed,
    relative_error,
    rounding,
    size,
    watched,
)
from convfault.localization.case import Subject
from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rounding import STORED, as_read, step

KERNEL_PICTURES = 2


@dataclass(frozen=True, eq=False)
class Alone:
    """A layer on a few pictures: its ``inputs`` by layer id, the ``native`` output and the one ``expected``.

    Inputs are the native runtime's own values, computed on from there through layers that it does not show.
    """

    layer: Layer
    inputs: Mapping[str, Array]
    expected: Array
    native: Array


def alone(subject: Subject, layer: Layer, seen: Lookup, pictures: int = KERNEL_PICTURES) -> Alone | None:
    """None where the runtime does not show the layer's output, or its inputs cannot be known.

    Nor of a layer that mixes pictures: what it answers depends on which of them came together.
    """
    native = None if layer.kind in {"input", "opaque", "constant"} else seen(layer.id)
    if native is None or mixes_pictures(layer):
        return None
    try:
        inputs = computed(subject.graph, layer.inputs, lambda name: _first(seen(name), pictures))
        expected = evaluate(layer, [as_read(subject.graph[name], inputs[name]) for name in layer.inputs])
    except (UsageError, ShapeError, UnknownNameError, IndexError):
        return None
    return Alone(layer, inputs, expected, like(native[:pictures], expected))


def kernel_errors(subject: Subject, pictures: int = KERNEL_PICTURES) -> list[tuple[str, float]]:
    """Layers whose native output is not what we compute from the very same native inputs: (id, relative error).

    Only what rounding cannot explain is listed, in the graph's order: a runtime's wrong kernel, or a wrong import.
    Layers that the runtime does not show are taken together with the next one that it does.
    """
    found = []
    seen = watched(subject)
    for layer in subject.graph:
        known = alone(subject, layer, seen, pictures)
        if known is None:
            continue
        noise = _noise(subject.graph, known, subject)
        error = relative_error(known.expected, known.native, noise)
        if error > 0:
            found.append((layer.id, error))
    return found


def mixes_pictures(layer: Layer) -> bool:
    """Whether the layer computes along the batch, such as a softmax over axis 0."""
    axis, axes = layer.hyperparameters.get("axis"), layer.hyperparameters.get("axes") or ()
    return bool(layer.shape) and (axis in {0, -len(layer.shape)} or 0 in axes)


def like(actual: Array, expected: Array) -> Array:
    """The values in the shape of the other side, where only axes of length 1 are more or less."""
    squeezed = [tuple(side for side in value.shape[1:] if side != 1) for value in (actual, expected)]
    rows = actual.shape[:1] == expected.shape[:1] or not (actual.ndim and expected.ndim)
    return actual.reshape(expected.shape) if squeezed[0] == squeezed[1] and rows else actual


def _first(value: Array | None, pictures: int) -> Array | None:
    return None if value is None else value[:pictures]


def _noise(graph: Graph, known: Alone, subject: Subject) -> float:
    """Rounding of the layer, of those that the runtime keeps to itself before it, and of an integer encoding."""
    layer = known.layer
    noise = rounding(layer, known.inputs.values(), known.expected)
    for name in layer.inputs:
        if subject.native(name) is None and graph[name].kind != "input" and "weights" in graph[name].parameters:
            # the hidden layer's own sum is rounded, too, by its terms, which are about as large as its value
            noise += MARGIN * ROUNDING * size(known.inputs[name])
    encoding = graph.encodings.get(str(layer.native.tensor))
    stored = encoding is not None and encoding.dtype in STORED
    return noise + (step(encoding, known.expected) if encoding is not None and stored else 0.0)
