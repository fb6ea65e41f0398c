"""Faults of a whole tool: one mistake, made at every fitting place of the model."""

from __future__ import annotations

from planting import joint_parameter_kinds, window_kinds
from planting.hyperparameter_kinds import KINDS as HYPERPARAMETER_KINDS
from planting.kind import ALL, Kind, Place, Random, change
from planting.network import Network, Unfit
from planting.parameter_kinds import ROWS
from planting.record import Change
from planting.training_kinds import KINDS as TRAINING_KINDS

SINGLE = {
    each.name: each
    for each in (
        *(row.kind() for row in ROWS),
        *joint_parameter_kinds.KINDS,
        *HYPERPARAMETER_KINDS,
        *window_kinds.KINDS,
        *TRAINING_KINDS,
    )
}


def everywhere(name: str, of: str, least: int = 1, formats: tuple[str, ...] | None = None) -> Kind:
    """The kind ``of``, planted once at each operator that it fits."""
    single = SINGLE[of]

    def find(network: Network) -> list[Place]:
        first = {each.key[:2]: each for each in reversed(single.find(network))}
        places = list(reversed(first.values()))
        return [Place(places[0].operator, places[0].parameter, tuple(places))] if len(places) >= least else []

    def apply(network: Network, place: Place, random: Random) -> Change:
        changes = []
        for each in place.choice:
            try:
                fresh = Place(network.find(each.operator.name), each.parameter, each.choice)
                changes.append(single.apply(network, fresh, random))
            except Unfit:
                continue
        if not changes:
            raise Unfit(f"{of} fits nowhere")
        names = tuple(dict.fromkeys(name for each in changes for name in each.names))
        first = changes[0]
        detail = f"at {len(changes)} places: {single.summary}"
        return change(Place(place.operator), first.attribute, first.expected, first.actual, detail, *names)

    summary = f"everywhere: {single.summary}"
    return Kind(name, "tool", summary, find, apply, formats or single.formats, single.smallest, single.finite)


KINDS = (
    everywhere("tool_weights_int8", "weights_int8_per_tensor"),
    everywhere("tool_weights_float16", "weights_float16"),
    everywhere("tool_weights_initialized", "weights_initialized"),
    everywhere("tool_biases_zeroed", "bias_zeroed"),
    everywhere("tool_folding_epsilon", "folding_epsilon"),
    everywhere("tool_norm_epsilon", "norm_epsilon_changed", formats=tuple(each for each in ALL if each != "tflite")),
    everywhere("tool_clip_bounds_lost", "clip_bound_removed"),
    everywhere("tool_average_pools_count_padding", "average_pool_padding_counted"),
    everywhere("tool_padding_symmetry", "padding_symmetry"),
    everywhere("tool_padding_moved", "padding_moved"),
    everywhere("tool_training_mode", "norm_training_mode", formats=SINGLE["norm_training_mode"].formats),
)
