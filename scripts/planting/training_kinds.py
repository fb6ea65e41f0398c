"""Faults of a model exported as it trains: batch norms and dropouts that are not in inference mode."""

from __future__ import annotations

from planting.kind import Kind, Place, Random, change, of_kind
from planting.network import Network
from planting.record import Change


def training(name: str, kind: str, summary: str, formats: tuple[str, ...]) -> Kind:
    """A kind that puts operators of one sort into training mode."""

    def find(network: Network) -> list[Place]:
        found = of_kind(kind)(network)
        return [each for each in found if network.attribute(each.operator, "training") is False]

    def apply(network: Network, place: Place, random: Random) -> Change:
        network.set_attribute(place.operator, "training", True)
        return change(place, "training", False, True, f"{place.operator.name} is in training mode")

    return Kind(name, "graph", summary, find, apply, formats)


KINDS = (
    training("norm_training_mode", "norm", "batch normalization uses the batch's statistics", ("torch", "tensorflow")),
    training("dropout_training_mode", "dropout", "dropout drops at inference", ("torch",)),
)
