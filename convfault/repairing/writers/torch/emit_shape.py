"""Canonical layers that move values about as ATen operators: cutting, joining, picking, another type or shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convfault.relax.graph import Layer
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.torch.document import TorchDocument
from convfault.repairing.writers.torch.emit_window import Emitter, Shapes


def exact(make: Callable[[TorchDocument, Layer, list[str]], str]) -> Emitter:
    """For operators that compute on the layers' values exactly as they are."""

    def convert(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
        return Value(make(document, layer, tensors))

    return convert


def concat(document: TorchDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    orders, axis = {value.permutation for value in values}, int(layer["axis"])
    order = next(iter(orders))
    ranks = {len(document.shape(value.tensor) or ()) for value in values}
    if len(orders) == 1 and order is not None and ranks == {len(layer.shape)}:
        native = tuple(layer.shape[order.index(each)] for each in range(len(order)))
        made = document.make("cat.default", [value.tensor for value in values], native, {"dim": order[axis]})
        return Value(made, order)
    tensors = [document.as_layer(value, shape) for value, shape in zip(values, shapes, strict=True)]
    return Value(document.make("cat.default", tensors, layer.shape, {"dim": axis}))


def cut(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    """One cut an axis; torch cuts forwards only, so an axis that is read backwards is turned first."""
    found = tensors[0]
    for axis, (begin, end, step) in enumerate(zip(layer["begin"], layer["end"], layer["strides"], strict=True)):
        shape = document.shape(found) or layer.shape
        begin, end, side = int(begin), int(end), int(shape[axis])
        if step < 0:
            found = document.make("flip.default", [found], shape, {"dims": [axis]})
            begin, end = side - 1 - begin % side, side if end < 0 else side - 1 - end
        elif axis == 0 and begin == 0 and step == 1:
            continue
        if (begin, step) == (0, 1) and end >= side:
            continue
        shorter = tuple(layer.shape[place] if place <= axis else wide for place, wide in enumerate(shape))
        settings = {"dim": axis, "start": begin, "end": end, "step": abs(int(step))}
        found = document.make("slice.Tensor", [found], shorter, settings)
    return found if found != tensors[0] else document.make("clone.default", [found], layer.shape)


def cast(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    import torch

    return document.make("to.dtype", tensors, layer.shape, {"dtype": getattr(torch, str(layer["to"]))})


def take(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    axis, given = int(layer["axis"] or 0), document.shape(tensors[0]) or layer.shape
    flat = document.make("reshape.default", [tensors[1]], (-1,), {"shape": [-1]})
    places = document.make("to.dtype", [flat], (-1,), {"dtype": _long()})
    taken = (*given[:axis], -1, *given[axis + 1 :])
    return document.reshape(
        document.make("index_select.default", [tensors[0], places], taken, {"dim": axis}), layer.shape
    )


def _long() -> Any:
    import torch

    return torch.int64


def broadcast(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    given = document.shape(tensors[0]) or ()
    free = len(given) == len(layer.shape) and given[0] == layer.shape[0]
    sides = [-1 if free else layer.shape[0], *layer.shape[1:]]
    return document.make("expand.default", tensors, layer.shape, {"size": sides})


def tile(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    repeats = [int(count) for count in layer["repeats"]]
    return document.make("repeat.default", tensors, layer.shape, {"repeats": repeats})


def reshape(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    return document.reshape(tensors[0], layer.shape)


def transpose(document: TorchDocument, layer: Layer, tensors: list[str]) -> str:
    return document.transpose(tensors[0], tuple(layer["order"]))
