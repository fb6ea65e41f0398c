"""Faults at the model's input: preprocessing baked in that the source does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from planting.graph_kinds import swapped_axes
from planting.kind import Kind, Place, Random, change
from planting.network import Network, Operator
from planting.record import Change

Steps = Callable[[Network], list[tuple[str, dict[str, Any]]]]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def entry(network: Network) -> list[Place]:
    """The first input, if it takes coloured pictures; its first reader stands for it."""
    tensor = network.inputs()[0]
    shape, readers = network.shape(tensor), network.consumers(tensor)
    if len(shape) != 4 or shape[network.channels] != 3 or not readers:
        return []
    return [Place(Operator(tensor, "input", "input", (), (tensor,)))]


def spread(network: Network, values: tuple[float, ...]) -> np.ndarray:
    """One value a channel, shaped as the network's pictures are."""
    shape = [1, 1, 1, 1]
    shape[network.channels] = len(values)
    return np.asarray(values, np.float32).reshape(shape)


def scaling(network: Network) -> list[tuple[str, dict[str, Any]]]:
    return [("scale", {"values": spread(network, (1 / 127.5,) * 3)})]


def centring(network: Network) -> list[tuple[str, dict[str, Any]]]:
    return [("shift", {"values": spread(network, tuple(-each for each in MEAN))})]


def reversing(network: Network) -> list[tuple[str, dict[str, Any]]]:
    return [("reverse", {"axis": network.channels})]


def normalizing(network: Network) -> list[tuple[str, dict[str, Any]]]:
    shift = spread(network, tuple(-each for each in MEAN))
    return [("shift", {"values": shift}), ("scale", {"values": spread(network, tuple(1 / each for each in DEVIATION))})]


def transposing(network: Network) -> list[tuple[str, dict[str, Any]]]:
    return [("transpose", {"permutation": swapped_axes(network)})]


def baked(name: str, steps: Steps, attribute: str, expected: Any, actual: Any, summary: str) -> Kind:
    """A kind that puts operators between the input and its readers."""

    def apply(network: Network, place: Place, random: Random) -> Change:
        tensor, names = place.operator.name, []
        for kind, settings in steps(network):
            made = network.insert_after(tensor, kind, **settings)
            tensor = made.outputs[0]
            names.append(made.name)
        detail = f"{summary}, between the input {place.operator.name} and its readers"
        return change(place, attribute, expected, actual, detail, *names)

    return Kind(name, "input", summary, entry, apply)


KINDS = (
    baked("input_scaled", scaling, "scale", 1.0, 1 / 127.5, "pictures are divided by 127.5 once more"),
    baked(
        "input_mean_subtracted", centring, "mean", [0.0] * 3, [*MEAN], "a mean is subtracted that the source has not"
    ),
    baked("input_channels_reversed", reversing, "channel_order", "RGB", "BGR", "blue and red are swapped"),
    baked("input_normalized_twice", normalizing, "normalization", 1, 2, "mean and deviation are applied once more"),
    baked("input_height_width_swapped", transposing, "layout", "HW", "WH", "pictures are transposed"),
)
