"""Faults in activations: missing, extra, another one, or in the wrong place."""

from __future__ import annotations

from planting.kind import Kind, Place, Random, change
from planting.network import ACTIVATIONS, Network, Operator, Unfit
from planting.record import Change

BEHIND = ("norm", "average_pool", "max_pool", "pad", "mean", "resize", "conv", "depthwise", "dense", "add")


def alone(network: Network) -> list[Operator]:
    return [each for each in network.operators() if each.kind in ACTIVATIONS and each.inputs]


def with_fused(network: Network) -> list[Operator]:
    return [each for each in network.operators() if network.fused(each) in ACTIVATIONS]


def activations(network: Network) -> list[Place]:
    return [Place(each) for each in [*alone(network), *with_fused(network)]]


def name_of(network: Network, operator: Operator) -> str:
    return operator.kind if operator.kind in ACTIVATIONS else str(network.fused(operator))


def take_out(network: Network, operator: Operator) -> None:
    if operator.kind in ACTIVATIONS:
        network.bypass(operator)
    else:
        network.set_fused(operator, None)


def miss(network: Network, place: Place, random: Random) -> Change:
    gone = name_of(network, place.operator)
    take_out(network, place.operator)
    names = place.operator.inputs if place.operator.kind in ACTIVATIONS else ()
    return change(place, "activation", gone, None, f"the {gone} of {place.operator.name} is missing", *names)


def bare(network: Network) -> list[Place]:
    """Layers that nobody's activation stands behind."""
    found = []
    for each in network.operators():
        if each.kind in ("conv", "depthwise", "dense", "norm", "add") and not network.fused(each):
            readers = network.consumers(each.outputs[0])
            if not any(reader.kind in (*ACTIVATIONS, "norm", "softmax") for reader in readers):
                found.append(Place(each))
    return found


def add_one(network: Network, place: Place, random: Random) -> Change:
    kind = str(random.choice(["relu", "relu6", "tanh"]))
    made = network.insert_after(place.operator.outputs[0], kind)
    return change(
        place, "activation", None, kind, f"a {kind} behind {place.operator.name} that is not the source's", made.name
    )


def another(network: Network, place: Place, random: Random) -> Change:
    before = name_of(network, place.operator)
    after = str(random.choice([each for each in ("tanh", "sigmoid") if each != before]))
    if place.operator.kind in ACTIVATIONS:
        network.replace(place.operator, after)
        names: tuple[str, ...] = ()
    else:
        network.set_fused(place.operator, None)
        names = (network.insert_after(place.operator.outputs[0], after).name,)
    return change(place, "activation", before, after, f"{after} instead of {before} at {place.operator.name}", *names)


def movable(network: Network) -> list[Place]:
    """Activations that one single operator reads, whose result has the same channels."""
    found = []
    for place in activations(network):
        tensor = place.operator.outputs[0]
        readers = network.consumers(tensor)
        if len(readers) != 1 or tensor in network.outputs():
            continue
        reader = readers[0]
        if reader.kind in BEHIND and network.fused(reader) is None and len(reader.inputs) == 1:
            found.append(Place(place.operator, None, reader.name))
    return found


def move(network: Network, place: Place, random: Random) -> Change:
    """Takes the activation out and puts it behind the operator that read it."""
    kind = name_of(network, place.operator)
    if kind == "leaky":
        raise Unfit("its slope would have to move too")
    take_out(network, place.operator)
    made = network.insert_after(network.find(place.choice).outputs[0], kind)
    detail = f"the {kind} of {place.operator.name} comes after {place.choice} instead of before"
    order = [place.operator.name, place.choice]
    return change(place, "order", order, order[::-1], detail, place.choice, made.name)


def last_softmax(network: Network) -> list[Place]:
    return [Place(each) for each in network.operators() if "softmax" in (each.kind, network.fused(each))]


def remove_softmax(network: Network, place: Place, random: Random) -> Change:
    if place.operator.kind == "softmax":
        network.bypass(place.operator)
    else:
        network.set_fused(place.operator, None)
    return change(place, "softmax", 1, 0, f"the softmax {place.operator.name} is missing", *place.operator.inputs)


def repeat_softmax(network: Network, place: Place, random: Random) -> Change:
    made = network.insert_after(place.operator.outputs[0], "softmax")
    return change(place, "softmax", 1, 2, f"a second softmax behind {place.operator.name}", made.name)


KINDS = (
    Kind("activation_missing", "graph", "an activation is missing", activations, miss),
    Kind("activation_extra", "graph", "an activation too many", bare, add_one),
    Kind("activation_replaced", "graph", "another activation", activations, another),
    Kind("activation_moved", "graph", "an activation behind the next operator", movable, move),
    Kind("softmax_removed", "graph", "the softmax is missing", last_softmax, remove_softmax),
    Kind("softmax_twice", "graph", "the softmax is applied twice", last_softmax, repeat_softmax),
)
