"""Faults that touch two tensors at once: a kernel with its bias, or two layers."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from planting.kind import Kind, Place, Random, change
from planting.network import Network, Parameter, Unfit
from planting.parameter_kinds import LAYERS, any_weight, has_bias, out_shape, places
from planting.record import Change


def bias_of(network: Network, weight: Parameter) -> Parameter | None:
    """The bias beside a kernel."""
    return next((each for each in network.parameters() if each.operator == weight.operator and has_bias(each)), None)


def kernels(network: Network) -> list[Place]:
    return places(network, any_weight)


def biased_kernels(network: Network) -> list[Place]:
    with_bias = {each.operator for each in network.parameters() if has_bias(each)}
    return [each for each in kernels(network) if each.operator.name in with_bias]


def biases(network: Network) -> list[Place]:
    return [each for each in places(network, has_bias) if network.droppable(each.weight)]


def pairs(network: Network) -> list[Place]:
    """Kernels with another kernel of the same shape and meaning."""
    groups: dict[tuple[object, ...], list[Place]] = defaultdict(list)
    for each in kernels(network):
        groups[each.weight.axes, each.weight.shape, each.operator.kind].append(each)
    return [
        Place(each.operator, each.weight, other.weight)
        for group in groups.values()
        for number, each in enumerate(group)
        for other in group[number + 1 : number + 4]
    ]


def swap(network: Network, place: Place, random: Random) -> Change:
    mine, other = network.read(place.weight), network.read(place.choice)
    network.write(place.weight, other)
    network.write(place.choice, mine)
    detail = f"{place.weight.tensor} and {place.choice.tensor} are swapped"
    names = (place.choice.operator, place.choice.tensor)
    return change(place, "kernel", place.weight.tensor, place.choice.tensor, detail, *names)


def drop(network: Network, place: Place, random: Random) -> Change:
    if not np.any(network.read(place.weight)):
        raise Unfit("the bias is zero already")
    network.drop(place.weight)
    return change(place, "bias", "a bias", "no bias", f"{place.operator.name} has lost its bias {place.weight.tensor}")


def channel_scaled(network: Network, place: Place, factors: np.ndarray) -> tuple[str, ...]:
    """Multiplies kernel and bias by one factor a channel; answers the bias' name."""
    network.write(
        place.weight, network.read(place.weight) * factors.astype(np.float32).reshape(out_shape(place.weight))
    )
    bias = bias_of(network, place.weight)
    if bias is not None:
        network.write(bias, network.read(bias) * factors.astype(np.float32))
    return (bias.tensor,) if bias else ()


def fold_epsilon(network: Network, place: Place, random: Random) -> Change:
    variance = 10 ** random.uniform(-3, 0, place.weight.shape[place.weight.axis("O")])
    names = channel_scaled(network, place, np.sqrt((variance + 1e-3) / (variance + 1e-5)))
    detail = "batch normalization folded with the wrong epsilon (variances of 0.001 to 1 assumed)"
    return change(place, "epsilon", 1e-3, 1e-5, detail, *names)


def fold_stale(network: Network, place: Place, random: Random) -> Change:
    names = channel_scaled(network, place, np.exp(random.normal(0, 0.3, place.weight.shape[place.weight.axis("O")])))
    detail = "batch normalization folded with the statistics of an earlier training step"
    return change(place, "kernel", "the source's statistics", "stale statistics", detail, *names)


def last_layer(network: Network) -> list[Place]:
    """The last dense or convolution of each output's path, and there only the last of the file."""
    found = [each for each in kernels(network) if each.operator.kind in ("conv", "dense")]
    return found[-1:]


def relabel(network: Network, place: Place, order: np.ndarray, actual: str) -> Change:
    weight, bias = place.weight, bias_of(network, place.weight)
    network.write(weight, network.read(weight).take(order, axis=weight.axis("O")))
    if bias is not None:
        network.write(bias, network.read(bias).take(order))
    names = (bias.tensor,) if bias else ()
    return change(place, "labels", "the source's order", actual, f"classes of {place.operator.name}: {actual}", *names)


def permute_labels(network: Network, place: Place, random: Random) -> Change:
    return relabel(network, place, random.permutation(place.weight.shape[place.weight.axis("O")]), "permuted")


def offset_labels(network: Network, place: Place, random: Random) -> Change:
    return relabel(network, place, np.roll(np.arange(place.weight.shape[place.weight.axis("O")]), 1), "offset by one")


def folded(network: Network) -> list[Place]:
    return [each for each in biased_kernels(network) if each.operator.kind in LAYERS[:2]]


KINDS = (
    Kind("layers_swapped", "parameters", "the weights of two layers of one shape are swapped", pairs, swap),
    Kind("bias_dropped", "parameters", "the layer has no bias any more", biases, drop),
    Kind("folding_epsilon", "parameters", "folded with another epsilon", folded, fold_epsilon, smallest=1e-4),
    Kind("folded_statistics_stale", "parameters", "folded with stale statistics", folded, fold_stale),
    Kind("label_permuted", "input", "classes of the last layer permuted", last_layer, permute_labels),
    Kind("label_offset", "input", "classes of the last layer offset by one", last_layer, offset_labels),
)
