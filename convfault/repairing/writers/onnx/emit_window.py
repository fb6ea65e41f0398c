"""Canonical layers with a window as ONNX operators: convolutions, pools, resizing; pictures channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfault.relax.graph import Array, Layer
from convfault.repairing.writers.borders import borders
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.onnx.document import OnnxDocument
from convfault.repairing.writers.resizing import picks
from convfault.repairing.writers.shares import plain_pool

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
Shapes = Sequence[tuple[int, ...]]
Emitter = Callable[[OnnxDocument, Layer, Sequence[Value], Shapes], Value]


def _first(document: OnnxDocument, value: Value, shape: tuple[int, ...]) -> str:
    """A picture with its channels first."""
    native = document.shape(value.tensor)
    if value.permutation == TO_LAST and native is not None and native[1:] == (shape[3], *shape[1:3]):
        return value.tensor
    return document.transpose(document.as_layer(value, shape), TO_FIRST)


def _native(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in TO_FIRST)


def _picture(document: OnnxDocument, layer: Layer, kind: str, inputs: list[str], settings: dict[str, Any]) -> Value:
    return Value(document.make(kind, inputs, _native(layer.shape), settings), TO_LAST)


def bias(layer: Layer) -> Array:
    return np.ascontiguousarray(layer.parameters["bias"].values, np.float32)


def window_settings(layer: Layer) -> dict[str, Any]:
    """Strides, dilations and paddings of a window as ONNX has them."""
    (top, bottom), (left, right) = layer["padding"]
    return {
        "strides": [int(step) for step in layer["strides"]],
        "dilations": [int(step) for step in layer["dilation"]],
        "pads": [int(top), int(left), int(bottom), int(right)],
    }


def convolution(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    weights = layer.parameters["weights"].values.astype(np.float32)
    kernel = document.add_constant(f"{layer.id}/weights", np.ascontiguousarray(weights.transpose(3, 2, 0, 1)))
    shift = document.add_constant(f"{layer.id}/bias", bias(layer))
    settings = window_settings(layer) | {"group": int(layer["groups"]), "kernel_shape": list(weights.shape[:2])}
    return _picture(document, layer, "Conv", [_first(document, values[0], shapes[0]), kernel, shift], settings)


def transposed_convolution(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    weights = layer.parameters["weights"].values.astype(np.float32)
    (top, bottom), (left, right) = layer["padding"]
    if min(top, left, bottom, right) < 0:
        raise Refusal("output padding of a transposed convolution is not written")
    kernel = document.add_constant(f"{layer.id}/weights", np.ascontiguousarray(weights.transpose(3, 2, 0, 1)))
    shift = document.add_constant(f"{layer.id}/bias", bias(layer))
    settings = window_settings(layer) | {"group": int(layer["groups"]), "kernel_shape": list(weights.shape[:2])}
    return _picture(document, layer, "ConvTranspose", [_first(document, values[0], shapes[0]), kernel, shift], settings)


def pool_settings(document: OnnxDocument, layer: Layer) -> dict[str, Any]:
    """All attributes of a pool; raises ``Refusal`` for what ONNX's pools cannot do."""
    settings = window_settings(layer) | {"kernel_shape": [int(side) for side in layer["size"]]}
    if layer.kind == "average_pool":
        settings["count_include_pad"] = int(bool(layer["count_padding"]))
    if settings["dilations"] == [1, 1]:
        del settings["dilations"]
    else:
        document.needs(19 if layer.kind == "average_pool" else 10, "a dilated pool")
    return settings


def pool(kind: str) -> Emitter:
    def convert(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
        source = _first(document, values[0], shapes[0])
        plain, share = plain_pool(layer, shapes[0][1:3])
        found = _picture(document, plain, kind, [source], pool_settings(document, plain))
        if share is None:
            return found
        factor = document.add_constant("share", share.transpose(2, 0, 1)[None] if share.ndim else share)
        return _picture(document, plain, "Mul", [found.tensor, factor], {})

    return convert


def resize(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    given, before = layer.hyperparameters.get("scales"), shapes[0][1:3]
    if given and None not in given and [int(a * b) for a, b in zip(before, given, strict=True)] != [*layer["size"]]:
        return _gathered(document, layer, _first(document, values[0], shapes[0]), shapes[0])
    document.needs(11, "Resize")
    mode = {"linear": "linear", "nearest_neighbor": "nearest", "cubic": "cubic"}[layer["method"]]
    coordinates, rounding = layer["coordinates"], str(layer["rounding"] or "")
    if (coordinates, rounding) == ("tf_half_pixel_for_nn", "floor"):  # the same, and newer opsets lack that name
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    settings: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        settings["nearest_mode"] = {"round": "round_prefer_ceil", "": "floor"}.get(rounding, rounding)
    if mode == "cubic":
        settings["cubic_coeff_a"] = float(layer["cubic_alpha"])
    if layer.hyperparameters.get("antialias"):
        document.needs(18, "antialiased Resize")
        settings["antialias"] = 1
    if mode != "nearest" and layer.hyperparameters.get("exclude_outside", "antialias" in settings):
        settings["exclude_outside"] = 1
    native = _native(layer.shape)
    source = _first(document, values[0], shapes[0])
    factors = given if given and None not in given else [a / b for a, b in zip(layer["size"], before, strict=True)]
    scales = document.add_constant("scales", np.asarray([1, 1, *factors], np.float32))
    empty = "" if document.opset >= 13 else document.add_constant("roi", np.zeros(0, np.float32))
    return Value(document.make("Resize", [source, empty, scales], native, settings), TO_LAST)


def _gathered(document: OnnxDocument, layer: Layer, picture: str, shape: tuple[int, ...]) -> Value:
    """Rows, then columns, picked one by one: the factors that ONNX is told give another size."""
    for axis, places in enumerate(picks(layer, shape[1:3]), 1):
        shape = (*shape[:axis], len(places), *shape[axis + 1 :])
        chosen = document.add_constant("places", places.astype(np.int64))
        picture = document.make("Gather", [picture, chosen], _native(shape), {"axis": axis + 1})
    return Value(picture, TO_LAST)


def pad(document: OnnxDocument, layer: Layer, values: Sequence[Value], shapes: Shapes) -> Value:
    value, order = values[0], values[0].permutation
    if order is None or len(document.shape(value.tensor) or ()) != len(order):
        value, order = Value(document.as_layer(value, shapes[0])), tuple(range(len(layer.shape)))
    if layer["mode"] == "symmetric":
        found = document.as_layer(values[0], shapes[0])
        for axis, places, shape in borders(layer, shapes[0]):
            found = document.make("Gather", [found, document.add_constant("places", places)], shape, {"axis": axis})
        return Value(found)
    pairs = [layer["padding"][order.index(axis)] for axis in range(len(order))]
    widths = [int(pair[0]) for pair in pairs] + [int(pair[1]) for pair in pairs]
    mode = {"replicate": "edge"}.get(layer["mode"], layer["mode"])
    native = tuple(layer.shape[order.index(axis)] for axis in range(len(order)))
    if document.opset < 11:
        settings = {"pads": widths, "mode": mode, "value": float(layer["value"])}
        return Value(document.make("Pad", [value.tensor], native, settings), value.permutation)
    inputs = [value.tensor, document.add_constant("pads", np.asarray(widths, np.int64))]
    if layer["value"]:
        inputs.append(document.add_constant("value", np.asarray(layer["value"], np.float32)))
    return Value(document.make("Pad", inputs, native, {"mode": mode}), value.permutation)
