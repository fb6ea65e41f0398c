"""Faults in settings of single operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from planting.kind import Kind, Place, Random, change, of_kind
from planting.network import Network, Operator
from planting.record import Change

Choices = Callable[[Network, Operator, Any], list[Any]]
CLIPS = {"clip_bound_removed": ("relu6", "relu"), "clip_bound_added": ("relu", "relu6")}


def setting(name: str, kinds: tuple[str, ...], key: str, choices: Choices, summary: str, **more: Any) -> Kind:
    """A kind that sets one attribute to one of the other values that ``choices`` gives."""

    def find(network: Network) -> list[Place]:
        found: list[Place] = []
        for place in of_kind(*kinds)(network):
            value = network.attribute(place.operator, key)
            if value is not None:
                others = [each for each in choices(network, place.operator, value) if each != value]
                found.extend(Place(place.operator, None, (value, other)) for other in others)
        return found

    def apply(network: Network, place: Place, random: Random) -> Change:
        expected, actual = place.choice
        network.set_attribute(place.operator, key, actual)
        return change(place, key, expected, actual, f"{key} of {place.operator.name}: {actual} instead of {expected}")

    return Kind(name, "hyperparameters", summary, find, apply, **more)


def equal_sized_axes(network: Network, operator: Operator, value: Any) -> list[Any]:
    """Other pairs of axes that leave a result of the same shape."""
    shape = network.shape(operator.inputs[0])
    axes = [each % len(shape) for each in np.atleast_1d(value)]
    if len(shape) != 4 or len(axes) != 2:
        return []
    pairs = [[1, 2], [1, 3], [2, 3]]
    rest = {tuple(pair): [size for axis, size in enumerate(shape) if axis not in pair] for pair in pairs}
    return [pair for pair in pairs if pair != sorted(axes) and rest[tuple(pair)] == rest[tuple(sorted(axes))]]


def other_axes(network: Network, operator: Operator, value: Any) -> list[Any]:
    rank = len(network.shape(operator.outputs[0])) or 2
    return [axis for axis in range(rank) if axis != value % rank]


def concat_axes(network: Network, operator: Operator, value: Any) -> list[Any]:
    rank = len(network.shape(operator.outputs[0]))
    return [axis for axis in range(1, rank) if rank and axis != value % rank]


def constantly(*values: Any) -> Choices:
    def choices(network: Network, operator: Operator, value: Any) -> list[Any]:
        return list(values)

    return choices


def flipped(network: Network, operator: Operator, value: Any) -> list[Any]:
    return [not value]


def epsilons(network: Network, operator: Operator, value: Any) -> list[Any]:
    return [1e-5] if value > 5e-5 else [1e-3]


def roundings(network: Network, operator: Operator, value: Any) -> list[Any]:
    return ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


def slopes(network: Network, operator: Operator, value: Any) -> list[Any]:
    return [each for each in (0.01, 0.2, 0.3) if abs(each - value) > 1e-3]


def shifted_pads(network: Network, operator: Operator, value: Any) -> list[Any]:
    """As much padding in total, elsewhere: an odd pixel on the other side, or all one pixel further."""
    flipped = tuple(each[::-1] for each in value)
    further = tuple((before - 1, after + 1) if before else (before, after) for before, after in value)
    return [flipped] if flipped != value else [further]


def clips(name: str) -> Kind:
    """A kind that changes relu6 to relu or back, alone or inside an operator."""
    before, after = CLIPS[name]

    def find(network: Network) -> list[Place]:
        return [Place(each) for each in network.operators() if before in (each.kind, network.fused(each))]

    def apply(network: Network, place: Place, random: Random) -> Change:
        if place.operator.kind == before:
            network.replace(place.operator, after)
        else:
            network.set_fused(place.operator, after)
        return change(place, "activation", before, after, f"{place.operator.name}: {after} instead of {before}")

    return Kind(name, "hyperparameters", f"{after} instead of {before}", find, apply)


def grouped(network: Network) -> list[Place]:
    """Convolutions over even numbers of channels in and out that could be split in two groups."""
    found = []
    for parameter in network.parameters():
        if parameter.kind == "conv" and parameter.role == "kernel":
            sizes = [parameter.shape[parameter.axis(letter)] for letter in ("I", "O")]
            operator = network.find(parameter.operator)
            whole = network.shape(operator.inputs[0])[network.channels] == sizes[0]
            if all(size % 2 == 0 for size in sizes) and whole:
                found.append(Place(operator, parameter))
    return found


def split_groups(network: Network, place: Place, random: Random) -> Change:
    """Keeps the halves of the kernel that two groups would have; the others' weights are lost."""
    weight = place.weight
    values = np.moveaxis(network.read(weight), weight.axis("I"), 0)
    half = values.shape[0] // 2
    network.regroup(place.operator, weight, np.moveaxis(values[:half], 0, weight.axis("I")))
    detail = "two groups, each with the first half of the sound kernel's input channels"
    return change(place, "groups", 1, 2, detail)


KINDS = (
    setting("softmax_axis", ("softmax",), "axis", other_axes, "softmax over another axis"),
    setting("concat_axis_changed", ("concat",), "axis", concat_axes, "joined along another axis"),
    setting("mean_axes_changed", ("mean",), "axes", equal_sized_axes, "the mean over other axes"),
    setting("leaky_slope_changed", ("leaky",), "slope", slopes, "another slope of the leaky relu"),
    setting("norm_epsilon_changed", ("norm",), "epsilon", epsilons, "another epsilon", smallest=1e-5),
    setting("pad_value_changed", ("pad",), "value", constantly(1.0, -1.0), "padded with another value"),
    setting("explicit_padding_moved", ("pad",), "pads", shifted_pads, "padding on the other side"),
    setting(
        "resize_coordinates_changed",
        ("resize",),
        "coordinates",
        constantly("half_pixel", "asymmetric", "align_corners"),
        "another way from the output's pixels to the input's",
    ),
    setting("resize_method_changed", ("resize",), "method", constantly("nearest", "linear"), "another interpolation"),
    setting("resize_rounding_changed", ("resize",), "rounding", roundings, "another rounding of nearest pixels"),
    clips("clip_bound_removed"),
    clips("clip_bound_added"),
    Kind("group_count_changed", "hyperparameters", "two groups instead of one", grouped, split_groups),
)
