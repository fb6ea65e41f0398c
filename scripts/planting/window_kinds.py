"""Faults in what a convolution or a pool slides: padding, strides, dilation, size, and what padding counts for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planting.kind import Kind, Place, Random, change, of_kind
from planting.network import NO_PADS, Network, Pads, Unfit, Window
from planting.record import Change

SLIDING = ("conv", "depthwise", "max_pool", "average_pool")
Alternatives = Callable[[Network, Place, Window], list[Window]]


def both(window: Window, pads: list[list[tuple[int, int]]]) -> list[Window]:
    return [window.with_pads((height, width)) for height in pads[0] for width in pads[1]]


def moved(network: Network, place: Place, window: Window) -> list[Window]:
    """The same padding in total, the odd pixel on the other side; or a pixel that no window reaches moved behind."""
    flipped: Pads = (window.pads[0][::-1], window.pads[1][::-1])
    return [window.with_pads(flipped)] if flipped != window.pads else []


def uneven(network: Network, place: Place, window: Window) -> list[Window]:
    """Symmetric padding as TensorFlow's SAME would have it, or the other way round, where the stride allows."""
    size = network.size(place.operator.inputs[0])
    choices = []
    for before, after in window.pads:
        both_ways = [(before - 1, after)] if before == after > 0 else [(after, after)] if after == before + 1 else []
        choices.append(both_ways or [(before, after)])
    found = [each for each in both(window, choices) if each.pads != window.pads]
    return [each for each in found if each.extent(size) == window.extent(size)]


def dilated(network: Network, place: Place, window: Window) -> list[Window]:
    """Dilation doubled or undone, the padding grown so that the output keeps its size."""
    if max(window.strides) > 1 or min(window.kernel) < 2 or place.operator.kind not in ("conv", "depthwise"):
        return []
    found = []
    for dilation in {1, 2} - set(window.dilations):
        extra = [(k - 1) * (dilation - d) for k, d in zip(window.kernel, window.dilations, strict=True)]
        pads = tuple((a + e // 2, b + e - e // 2) for (a, b), e in zip(window.pads, extra, strict=True))
        if min(min(each) for each in pads) >= 0:
            found.append(replace(window, dilations=(dilation, dilation), pads=pads))  # type: ignore[arg-type]
    return found


def strided(network: Network, place: Place, window: Window) -> list[Window]:
    """Another stride; whatever comes behind must take the other size."""
    size = network.size(place.operator.inputs[0])
    others = [replace(window, strides=(stride, stride)) for stride in (1, 2, 3) if (stride, stride) != window.strides]
    return [each for each in others if min(each.extent(size)) > 0]


def resized(network: Network, place: Place, window: Window) -> list[Window]:
    """A pool over more or fewer pixels, padded so that the output keeps its size."""
    size, found = network.size(place.operator.inputs[0]), []
    for grown in (-1, 1):
        kernel = (window.kernel[0] + grown, window.kernel[1] + grown)
        behind = tuple((before, max(0, after + grown)) for before, after in window.pads)
        for pads in {window.pads, behind}:
            other = replace(window, kernel=kernel, pads=pads)  # type: ignore[arg-type]
            if min(kernel) > 1 and other.extent(size) == window.extent(size):
                found.append(other)
    return found


def rounded_up(network: Network, place: Place, window: Window) -> list[Window]:
    """The size rounded up instead of down, or down instead of up: padding behind, as much as the last window lacks."""
    size = network.size(place.operator.inputs[0])
    extra = []
    for axis in (0, 1):
        reach = window.kernel[axis] + (window.extent(size)[axis]) * window.strides[axis]
        extra.append(max(0, reach - size[axis] - sum(window.pads[axis])))
    if not all(0 < each < kernel for each, kernel in zip(extra, window.kernel, strict=True)):
        return []
    pads = tuple((before, after + each) for (before, after), each in zip(window.pads, extra, strict=True))
    return [window.with_pads(pads)]  # type: ignore[arg-type]


def tell(window: Window) -> dict[str, list[object]]:
    return {
        "kernel": [*window.kernel],
        "strides": [*window.strides],
        "dilations": [*window.dilations],
        "pads": [*window.pads],
    }


def sliding(name: str, kinds: tuple[str, ...], alternatives: Alternatives, attribute: str, summary: str) -> Kind:
    """A kind that puts another window in place of an operator's own."""

    def find(network: Network) -> list[Place]:
        found: list[Place] = []
        for place in of_kind(*kinds)(network):
            if len(network.shape(place.operator.inputs[0])) == 4:
                others = alternatives(network, place, network.window(place.operator))
                found.extend(Place(place.operator, None, other) for other in others)
        return found

    def apply(network: Network, place: Place, random: Random) -> Change:
        before = tell(network.window(place.operator))
        network.set_window(place.operator, place.choice)
        after = tell(place.choice)
        differing = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        detail = "; ".join(f"{key} {new} instead of {old}" for key, (old, new) in differing.items())
        return change(place, attribute, before[attribute], after[attribute], detail)

    return Kind(name, "hyperparameters", summary, find, apply)


def switches(network: Network, key: str, kinds: tuple[str, ...]) -> list[Place]:
    """Operators with padding, for a setting of their own or for padding put before them."""
    found = [each for each in of_kind(*kinds)(network) if len(network.shape(each.operator.inputs[0])) == 4]
    return [each for each in found if network.window(each.operator).pads != NO_PADS]


def padded_averages(network: Network) -> list[Place]:
    return switches(network, "count_include_pad", ("average_pool",))


def count_padding(network: Network, place: Place, random: Random) -> Change:
    """Flips the setting, or, in formats that never count padding, puts zeros before a pool without any."""
    counted = network.attribute(place.operator, "count_include_pad")
    if counted is not None:
        network.set_attribute(place.operator, "count_include_pad", not counted)
    else:
        pad_explicitly(network, place)
    detail = f"padding {'no longer' if counted else 'now'} counts in the divisor of {place.operator.name}"
    return change(place, "count_include_pad", bool(counted), not counted, detail)


def pad_explicitly(network: Network, place: Place, value: float = 0.0) -> str:
    window = network.window(place.operator)
    if not network.put_window(place.operator, window.with_pads(NO_PADS)):
        raise Unfit("the pool cannot go without padding")
    return network.insert_before(network.find(place.operator.name), 0, "pad", pads=window.pads, value=value).name


def padded_maxima(network: Network) -> list[Place]:
    return switches(network, "value", ("max_pool",))


def zero_pad(network: Network, place: Place, random: Random) -> Change:
    # onnxruntime's optimizer takes a Pad with zeros into the pool as if it were the pool's own: so, nearly zero
    made = pad_explicitly(network, place, 1e-12 if network.format == "onnx" else 0.0)
    return change(place, "pad value", "-inf", 0.0, f"{place.operator.name} is padded with zeros, by {made}", made)


def padded_convolutions(network: Network) -> list[Place]:
    return switches(network, "value", ("conv", "depthwise"))


def pad_with_one(network: Network, place: Place, random: Random) -> Change:
    made = pad_explicitly(network, place, 1.0)
    return change(place, "pad value", 0.0, 1.0, f"{place.operator.name} is padded with ones, by {made}", made)


POOLS = ("max_pool", "average_pool")
CAN_PAD_ANYTHING = ("tflite", "onnx", "torch", "tensorflow")

KINDS = (
    sliding("padding_moved", ("conv", "depthwise"), moved, "pads", "asymmetric padding on the other side"),
    sliding("padding_symmetry", ("conv", "depthwise"), uneven, "pads", "SAME against symmetric padding"),
    sliding("dilation_changed", ("conv", "depthwise"), dilated, "dilations", "another dilation"),
    sliding("stride_changed", SLIDING, strided, "strides", "another stride"),
    sliding("pool_size_changed", POOLS, resized, "kernel", "a pool over more or fewer pixels"),
    sliding("pool_rounding_changed", POOLS, rounded_up, "pads", "the output's size rounded up instead of down"),
    Kind(
        "average_pool_padding_counted", "hyperparameters", "count_include_pad flipped", padded_averages, count_padding
    ),
    Kind("max_pool_zero_padded", "hyperparameters", "a maximum over padding of zero", padded_maxima, zero_pad),
    Kind(
        "convolution_padded_with_one",
        "hyperparameters",
        "padded with ones",
        padded_convolutions,
        pad_with_one,
        CAN_PAD_ANYTHING,
    ),
)
