"""Is the target a conversion of the source at all? Where it is not, a repair would build the source inside it.

What it finds: of the layers with weights, how many have a counterpart of the same form in the other model, and how many
of those have weights of the same training.
How it arises: two files that were mixed up, another architecture or width under the same name, a checkpoint of another
training, weights that were never loaded.
Example: MobileNetV2 and ResNet101: of 53 layers with weights none corresponds, though all could be replaced.
How it is repaired: not at all. Weights alone are replaced where the strategy ``weights`` asks for it: whatever was done
to the source's values (rounded, scaled, transposed, permuted, lost) is recognized, and stays a matter of repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convfault.localization.case import Case
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Layer

LEAST = 0.5
"""Of all layers with weights, this share at least must correspond for a target to be a conversion of the source."""

WITHOUT_PATTERN = frozenset({"unrelated", "noise"})
"""Causes of parameters that say that nothing recognizable was done to the source's values."""

UNCORRELATED = 0.5
"""Weights that correlate less with the source's come from another training."""


@dataclass(frozen=True)
class Kinship:
    """How much of two models corresponds.

    ``layers`` are those with weights of the model that has fewer of them, ``alike`` those with a counterpart of equal
    kind and form, ``foreign`` those of the latter whose weights have nothing to do with the source's.
    """

    layers: int
    alike: int
    foreign: int

    def refusal(self, weights: bool) -> str | None:
        """Why the target is not to be repaired, None where it is; ``weights``: also those of another training."""
        least = LEAST * self.layers
        if self.alike < least:
            return f"not a conversion of this source: only {self.alike} of {self.layers} layers with weights correspond"
        if not weights and self.alike - self.foreign < least:
            return (
                "not a conversion of this source: its layers correspond, but the weights of "
                f"{self.foreign} of {self.layers} have nothing to do with the source's; "
                "to replace them all the same, give --strategy weights"
            )
        return None


def kinship(case: Case, suspects: Sequence[Suspect]) -> Kinship:
    """How much of source and target corresponds, by the alignment and what the analyzers said of the weights."""
    source, target = case.source.graph, case.target.graph
    weighty = [sum("weights" in layer.parameters for layer in graph) for graph in (source, target)]
    alike = {match.target for match in case.alignment.matches if _alike(source[match.source], target[match.target])}
    foreign = {suspect.target for suspect in suspects if _is_foreign(suspect)}
    return Kinship(min(weighty), len(alike), len(alike & foreign))


def _alike(source: Layer, target: Layer) -> bool:
    """Whether both have weights of one form, in whatever order of axes: a dense layer may be a convolution."""
    if "weights" not in source.parameters or "weights" not in target.parameters:
        return False
    shapes = [layer.parameters["weights"].values.shape for layer in (source, target)]
    forms = [sorted(side for side in shape if side != 1) for shape in shapes]
    return forms[0] == forms[1]


def _is_foreign(suspect: Suspect) -> bool:
    return (
        suspect.kind == "parameters"
        and suspect.cause in WITHOUT_PATTERN
        and "weights" in (suspect.attribute or "").split(", ")
        and suspect.evidence.get("correlation", 1.0) < UNCORRELATED
    )
