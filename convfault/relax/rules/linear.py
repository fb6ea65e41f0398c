"""Weights as parameters of their layer; products and 1x1 convolutions in one form."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from math import prod
from operator import mul

import numpy as np

from convfault.relax.draft import Draft, Rule
from convfault.relax.graph import Layer, Parameter
from convfault.relax.rules.shape import in_place


def absorb_weights(draft: Draft, layer: Layer) -> Layer | None:
    """A convolution or product with a constant has weights, and a bias of zeros until one is folded in."""
    if len(layer.inputs) < 2 or draft.input_of(layer, 1).kind != "constant":
        return None
    weights = draft.input_of(layer, 1).parameters["values"]
    if layer.kind == "matmul" and weights.values.ndim != 2:
        return None
    kind = "dense" if layer.kind == "matmul" else layer.kind
    parameters = {"weights": weights, "bias": Parameter(np.zeros(layer.shape[-1], np.float32))}
    return replace(layer, kind=kind, inputs=layer.inputs[:1], parameters=parameters)


def absorb_slopes(draft: Draft, layer: Layer) -> Layer | None:
    """PReLU with constant slopes; with one slope for all it is a leaky relu."""
    if len(layer.inputs) < 2 or draft.input_of(layer, 1).kind != "constant":
        return None
    slopes = draft.input_of(layer, 1).parameters["values"]
    if np.all(slopes.values == slopes.values.flat[0]):
        values = {"slope": float(slopes.values.flat[0])}
        return replace(layer, kind="leaky_relu", inputs=layer.inputs[:1], hyperparameters=values)
    if slopes.values.size == slopes.values.shape[-1]:
        slopes = slopes.with_values(slopes.values.reshape(-1))
    return replace(layer, inputs=layer.inputs[:1], parameters={"slopes": slopes})


def convolution_to_dense(draft: Draft, layer: Layer) -> Layer | None:
    """A 1x1 convolution of a 1x1 picture is a product."""
    source = draft.input_of(layer)
    weights = layer.parameters.get("weights")
    if weights is None or layer["groups"] != 1 or source.shape[1:3] != (1, 1) or weights.values.shape[:2] != (1, 1):
        return None
    count, depth = source.shape[0], source.shape[3]
    flat = draft.add("reshape", (source.id,), (count, depth), native=source.native.shown, dtype=source.dtype)
    parameters = {**layer.parameters, "weights": weights.with_values(weights.values[0, 0])}
    native = layer.native if layer.native.permutation is None else replace(layer.native, permutation=None)
    early = draft.add("dense", (flat.id,), (count, layer.shape[3]), {}, parameters, native, layer.dtype, layer.details)
    return Layer(layer.id, "reshape", (early.id,), layer.shape, layer.dtype, native=layer.native.shown)


def dense_to_convolution(draft: Draft, layer: Layer) -> Layer | None:
    """A product along the channels of a picture is a 1x1 convolution."""
    if len(layer.shape) != 4:
        return None
    weights = layer.parameters["weights"]
    values = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    parameters = {**layer.parameters, "weights": weights.with_values(weights.values[None, None])}
    return replace(layer, kind="convolution", hyperparameters=values, parameters=parameters)


def sink_reshape_through_product(draft: Draft, layer: Layer) -> Layer | None:
    """A product along the last axis, which a reshape before it keeps, comes before the reshape.

    A picture of one pixel stays flat: its product is that of a row.
    """
    flat = draft.input_of(layer)
    source = draft.input_of(flat) if flat.kind == "reshape" else None
    if source is None or source.kind == "constant" or len(source.shape) < 2 or source.shape[-1] != flat.shape[-1]:
        return None
    if source.shape == flat.shape or _is_pixel(source.shape):
        return None
    shape = (*source.shape[:-1], layer.shape[-1])
    early = draft.add("dense", (source.id,), shape, {}, layer.parameters, in_place(layer), layer.dtype, layer.details)
    return Layer(layer.id, "reshape", (early.id,), layer.shape, layer.dtype, native=layer.native.shown)


def stack_rows(draft: Draft, layer: Layer) -> Layer | None:
    """A product of rows that were put under each other reads them as they stood, each as long as it is wanted."""
    flat = draft.input_of(layer)
    source = draft.input_of(flat) if flat.kind == "reshape" else None
    if source is None or source.kind == "constant":
        return None
    sizes = accumulate(source.shape, mul)
    length = next((place for place, size in enumerate(sizes, 1) if size == prod(flat.shape[:-1])), None)
    if length is None or source.shape[:length] == flat.shape[:-1]:
        return None
    stack = source.shape[:length]
    rows = draft.add("reshape", (source.id,), (*stack, flat.shape[-1]), native=in_place(flat), dtype=flat.dtype)
    shape = (*stack, layer.shape[-1])
    early = draft.add("dense", (rows.id,), shape, {}, layer.parameters, in_place(layer), layer.dtype, layer.details)
    return Layer(layer.id, "reshape", (early.id,), layer.shape, layer.dtype, native=layer.native.shown)


def _is_pixel(shape: tuple[int, ...]) -> bool:
    """Whether it is that of pictures of one pixel."""
    return len(shape) == 4 and shape[1:3] == (1, 1)


def take_flattening_order(draft: Draft, layer: Layer) -> Layer | None:
    """A product of a picture flattened with channels first takes it with channels last, its rows in another order."""
    flat = draft.input_of(layer)
    turned = draft.input_of(flat) if flat.kind == "reshape" else None
    if turned is None or turned.kind != "transpose" or len(flat.shape) != 2 or turned.shape[0] != flat.shape[0]:
        return None
    order = turned["order"]
    if order[0] != 0:
        return None
    source = draft.input_of(turned)
    weights = layer.parameters["weights"]
    rows = np.arange(flat.shape[1]).reshape(turned.shape[1:])
    back = tuple(order.index(axis) - 1 for axis in range(1, len(order)))
    chosen = weights.with_values(weights.values[rows.transpose(back).reshape(-1)])
    straight = draft.add("reshape", (source.id,), flat.shape, dtype=flat.dtype)
    details = {**layer.details, "flattening_order": order}
    return replace(layer, inputs=(straight.id,), parameters={**layer.parameters, "weights": chosen}, details=details)


RULES = (
    Rule("absorb_weights", frozenset({"convolution", "transposed_convolution", "matmul"}), absorb_weights),
    Rule("absorb_slopes", frozenset({"prelu"}), absorb_slopes),
    Rule("convolution_to_dense", frozenset({"convolution"}), convolution_to_dense),
    Rule("dense_to_convolution", frozenset({"dense"}), dense_to_convolution),
    Rule("sink_reshape_through_product", frozenset({"dense"}), sink_reshape_through_product),
    Rule("stack_rows", frozenset({"dense"}), stack_rows),
    Rule("take_flattening_order", frozenset({"dense"}), take_flattening_order),
)
