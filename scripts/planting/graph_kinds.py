"""Faults in how operators hang together."""

from __future__ import annotations

from planting.kind import Kind, Place, Random, ancestors, change, of_kind, same_shape
from planting.network import Network, Operator
from planting.record import Change

POOLS = ("max_pool", "average_pool")


def additions(network: Network) -> list[Place]:
    found = of_kind("add")(network)
    return [each for each in found if len(each.operator.inputs) == 2]


def residuals(network: Network) -> list[Place]:
    found = [each for each in additions(network) if same_shape(network, *each.operator.inputs)]
    return [Place(each.operator, None, kept) for each in found for kept in (0, 1)]


def bypass_residual(network: Network, place: Place, random: Random) -> Change:
    kept, lost = place.operator.inputs[place.choice], place.operator.inputs[1 - place.choice]
    network.bypass(place.operator, place.choice)
    detail = f"the sum {place.operator.name} is missing: its readers read {kept} alone"
    return change(place, "operator", "add", None, detail, kept, lost)


def replace_addition(network: Network, place: Place, random: Random) -> Change:
    actual = str(random.choice(["mul", "sub", "max"]))
    network.replace(place.operator, actual)
    return change(place, "operator", "add", actual, f"{place.operator.name}: {actual} instead of add")


def replace_pool(network: Network, place: Place, random: Random) -> Change:
    actual = POOLS[1 - POOLS.index(place.operator.kind)]
    network.replace(place.operator, actual)
    return change(place, "operator", place.operator.kind, actual, f"{place.operator.name}: {actual}")


def joined(network: Network) -> list[Place]:
    """Neighbouring inputs of concatenations."""
    return [
        Place(each.operator, None, position)
        for each in of_kind("concat")(network)
        for position in range(len(each.operator.inputs) - 1)
        if each.operator.inputs[position] != each.operator.inputs[position + 1]
    ]


def swap_inputs(network: Network, place: Place, random: Random) -> Change:
    before, first = list(place.operator.inputs), place.choice
    after = [*before[:first], before[first + 1], before[first], *before[first + 2 :]]
    for position in (first, first + 1):
        network.rewire(network.find(place.operator.name), position, after[position])
    return change(
        place, "inputs", before, after, f"inputs {first} and {first + 1} of {place.operator.name} are swapped", *before
    )


def rewirable(network: Network) -> list[Place]:
    """Operators, and another tensor made before them that has the shape of what they read."""
    found: list[Place] = []
    operators = network.operators()
    for number, operator in enumerate(operators):
        if operator.kind == "other":
            continue
        for position, tensor in enumerate(operator.inputs):
            earlier = [each.outputs[0] for each in operators[max(0, number - 40) : number]]
            others = [each for each in earlier if each != tensor and same_shape(network, each, tensor)]
            cause = ancestors(network, tensor) if others else set()
            near = [each for each in others if network.made(each).name not in cause] or others
            found.extend(Place(operator, None, (position, other)) for other in near[-2:])
    return found


def rewire(network: Network, place: Place, random: Random) -> Change:
    position, other = place.choice
    before = place.operator.inputs[position]
    network.rewire(place.operator, position, other)
    return change(
        place, "inputs", before, other, f"{place.operator.name} reads {other} instead of {before}", before, other
    )


def pictures(network: Network) -> list[Place]:
    """Square pictures that operators make, behind which nothing notices that height and width are swapped."""
    found = []
    for each in network.operators():
        shape = network.shape(each.outputs[0])
        if len(shape) == 4 and shape[network.spatial[0]] == shape[network.spatial[1]] > 1:
            found.append(Place(each))
    return found


def swapped_axes(network: Network) -> list[int]:
    order = [0, 1, 2, 3]
    first, second = network.spatial
    order[first], order[second] = second, first
    return order


def insert_transpose(network: Network, place: Place, random: Random) -> Change:
    order = swapped_axes(network)
    made = network.insert_after(place.operator.outputs[0], "transpose", permutation=order)
    return change(place, "transpose", None, order, f"height and width swapped behind {place.operator.name}", made.name)


def flattened(network: Network) -> list[Place]:
    """Reshapes that flatten a picture of more than one pixel."""
    found = []
    for place in of_kind("reshape")(network):
        shape, result = network.shape(place.operator.inputs[0]), network.shape(place.operator.outputs[0])
        if len(shape) == 4 and len(result) in (0, 2) and shape[network.spatial[0]] > 1:
            found.append(place)
    return found


def reorder_flatten(network: Network, place: Place, random: Random) -> Change:
    """Flattens in the other layout's order; a transposition changes what the following layer reads."""
    order = [0, 3, 1, 2] if network.layout == "NHWC" else [0, 2, 3, 1]
    made = network.insert_before(place.operator, 0, "transpose", permutation=order)
    other = "NCHW" if network.layout == "NHWC" else "NHWC"
    detail = f"{place.operator.name} flattens in the order {other}"
    return change(place, "order", network.layout, other, detail, made.name)


def several_outputs(network: Network) -> list[Place]:
    outputs = network.outputs()
    makers = [network.producer(each) for each in outputs]
    return [Place(each) for each in makers[:1] if each is not None and len(outputs) > 1]


def reorder_outputs(network: Network, place: Place, random: Random) -> Change:
    before = network.outputs()
    after = [*before[1:], before[0]]
    network.set_outputs(after)
    return change(place, "outputs", before, after, "the model's outputs come in another order", *before)


def inner(network: Network) -> list[Place]:
    layers = of_kind("conv", "depthwise", "dense", "norm")(network)
    return [each for each in layers if each.operator.outputs[0] not in network.outputs()]


def expose(network: Network, place: Place, random: Random) -> Change:
    before = network.outputs()
    after = [*before, place.operator.outputs[0]]
    network.set_outputs(after)
    detail = f"the model answers with {place.operator.outputs[0]} too"
    return change(place, "outputs", before, after, detail, *before)


def unchanging(kinds: tuple[str, ...], network: Network) -> list[Place]:
    """Layers whose result has the shape of what they read."""
    found = of_kind(*kinds)(network)
    return [each for each in found if same_shape(network, each.operator.inputs[0], each.operator.outputs[0])]


def layers(network: Network) -> list[Place]:
    return unchanging(("conv", "depthwise", "dense", "max_pool", "average_pool"), network)


def norms(network: Network) -> list[Place]:
    return unchanging(("norm",), network)


def skip(network: Network, place: Place, random: Random) -> Change:
    operator: Operator = place.operator
    network.bypass(operator)
    detail = f"the {operator.kind} {operator.name} is missing: its readers read {operator.inputs[0]}"
    return change(place, "operator", operator.kind, None, detail, operator.inputs[0])


NAMED = ("tflite", "onnx", "torch", "keras")
"""The formats that list their outputs; a GraphDef's are the nodes that nobody reads."""

KINDS = (
    Kind("residual_bypassed", "graph", "one side of a sum is lost", residuals, bypass_residual),
    Kind("addition_replaced", "graph", "another operator instead of a sum", additions, replace_addition),
    Kind("pool_replaced", "graph", "maximum instead of average or the other way round", of_kind(*POOLS), replace_pool),
    Kind("concat_inputs_swapped", "graph", "joined in another order", joined, swap_inputs),
    Kind("branch_rewired", "graph", "reads another tensor of the same shape", rewirable, rewire),
    Kind("transpose_inserted", "graph", "height and width swapped on the way", pictures, insert_transpose),
    Kind("flatten_order", "graph", "flattened in the other layout's order", flattened, reorder_flatten),
    Kind(
        "outputs_reordered", "graph", "outputs in another order", several_outputs, reorder_outputs, NAMED, shaped=False
    ),
    Kind("output_extra", "graph", "an inner tensor is an output too", inner, expose, NAMED, shaped=False),
    Kind("layer_missing", "graph", "a layer is missing", layers, skip),
    Kind("norm_missing", "graph", "a batch normalization is missing", norms, skip),
)
