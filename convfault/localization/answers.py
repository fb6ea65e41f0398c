"""The ``Deviation`` of a graph's answers from others, where they are seen and where they would be seen.

Behind a softmax or a sigmoid that is sure of itself, whatever goes wrong before it is invisible: the answers are 0 and
1 all the same. Other pictures are less certain, hence what such a layer is fed with is compared, too. A softmax turns
differences of its input that spread over d into differences of its output of d / 4 at most, a sigmoid d into d / 4, a
tanh d into d (the largest values of their derivatives).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from convfault.comparing.pairing import is_scores
from convfault.relax.graph import Array, Graph, Layer

TINY = float(np.finfo(np.float64).tiny)

STEEPEST: Mapping[str, Callable[[Array], Array]] = {
    "softmax": lambda gaps: (gaps.max(axis=-1) - gaps.min(axis=-1)) / 4,
    "sigmoid": lambda gaps: np.abs(gaps) / 4,
    "tanh": lambda gaps: np.abs(gaps),
}
"""Kind of a saturating layer → how far its output may differ at most, by the differences of its input, whose last axis
is the one that a softmax is taken along."""

ARRANGING = frozenset({"reshape", "transpose"})
"""What may stand between a saturating layer and the model's output."""


@dataclass(frozen=True, eq=False)
class Answer:
    """An output of a graph, with the saturating layer it comes from, if it does, and what that is fed with.

    ``name`` is that of the native tensor.
    """

    value: Array
    layer: Layer | None = None
    argument: Array | None = None
    name: str | None = None

    def of(self, rows: Array) -> Answer:
        """The answer to some of the pictures."""
        return replace(self, value=self.value[rows], argument=None if self.argument is None else self.argument[rows])


@dataclass(frozen=True)
class Deviation:
    """How far answers are from others on the chosen pictures: largest absolute error, share of other top labels.

    NaN or infinite values on one side only give an infinite error; ``top1_disagreement`` is None without scores.
    ``excess`` is the largest multiple of an output's tolerance, ``latent`` the one that pictures could show on which
    no layer is saturated. Both are None where no tolerances were given.
    """

    max_abs_error: float
    top1_disagreement: float | None
    excess: float | None = field(default=None, compare=False)
    latent: float | None = field(default=None, compare=False)


def deviation(
    found: Sequence[Answer], expected: Sequence[Answer], limits: Sequence[float] = (), by_name: bool = True
) -> Deviation:
    """How far the answers found are from those expected, whose tolerances are ``limits``; ``by_name`` where they are of
    two models, whose outputs of one name belong together."""
    pairs = paired(found, expected, by_name)
    if len(found) != len(expected) or len(pairs) < len(expected):
        beyond = float("inf") if limits else None
        return Deviation(float("inf"), None, beyond, beyond)
    largest, flips, excess, latent = 0.0, None, 0.0, 0.0
    for number, (one, other) in enumerate(pairs):
        error = _error(one.value, other.value)
        largest = max(largest, error)
        if number < len(limits):
            excess = max(excess, error / max(limits[number], TINY))
            latent = max(latent, excess, _hidden(one, other) / max(limits[number], TINY))
        if flips is None and is_scores(other.value.shape[1:]):
            flat = (values.reshape(len(values), -1).argmax(axis=1) for values in (one.value, other.value))
            flips = float(np.mean(np.not_equal(*flat)))
    return Deviation(largest, flips, excess, latent) if limits else Deviation(largest, flips)


def paired(found: Sequence[Answer], expected: Sequence[Answer], by_name: bool) -> list[tuple[Answer, Answer]]:
    """Answers with those expected, as ``comparing.pairing`` pairs outputs: by name, else in order, else by shape."""
    partner: dict[int, int] = {}

    def fits(one: int, other: int) -> bool:
        return found[one].value.shape == expected[other].value.shape

    for other, wanted in enumerate(expected if by_name else ()):
        same = [one for one, answer in enumerate(found) if answer.name == wanted.name and fits(one, other)]
        if wanted.name is not None and same:
            partner[other] = same[0]
    left = [other for other in range(len(expected)) if other not in partner]
    free = [one for one in range(len(found)) if one not in partner.values()]
    if len(left) == len(free) and all(fits(one, other) for one, other in zip(free, left, strict=True)):
        partner.update(zip(left, free, strict=True))
    else:
        for other in left:
            fitting = next((one for one in free if one not in partner.values() and fits(one, other)), None)
            if fitting is not None:
                partner[other] = fitting
    return [(found[partner[other]], wanted) for other, wanted in enumerate(expected) if other in partner]


def _error(one: Array, other: Array) -> float:
    """The largest absolute difference; infinite where one side alone is not finite."""
    same = (one == other) | (np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else one == other
    with np.errstate(invalid="ignore"):
        errors = np.where(same, 0.0, np.abs(one.astype(np.float64) - other.astype(np.float64)))
    return float(np.nan_to_num(errors, nan=np.inf).max(initial=0.0))


def answers(graph: Graph, values: Mapping[str, Array]) -> tuple[Answer, ...]:
    """A graph's outputs, as far as their values are known (layer id → value)."""
    return tuple(_answer(graph, values, name) for name in graph.outputs if name in values)


def arguments(graph: Graph) -> tuple[str, ...]:
    """The layers, beside the outputs, whose values ``answers`` looks at."""
    found = (_saturating(graph, name) for name in graph.outputs)
    return tuple(layer.inputs[0] for layer in found if layer is not None)


def _answer(graph: Graph, values: Mapping[str, Array], name: str) -> Answer:
    layer, tensor = _saturating(graph, name), graph[name].native.tensor
    if layer is None or layer.inputs[0] not in values:
        return Answer(values[name], name=tensor)
    return Answer(values[name], layer, values[layer.inputs[0]], tensor)


def _saturating(graph: Graph, name: str) -> Layer | None:
    """The saturating layer that an output comes from, through what only arranges its values."""
    layer = graph[name]
    while layer.kind in ARRANGING and layer.inputs:
        layer = graph[layer.inputs[0]]
    return layer if layer.kind in STEEPEST else None


def _hidden(one: Answer, other: Answer) -> float:
    """How far the outputs could differ for what is different before a saturating layer."""
    if one.layer is None or other.layer is None or one.layer.kind != other.layer.kind:
        return 0.0
    if one.argument is None or other.argument is None or one.argument.shape != other.argument.shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        gaps = one.argument.astype(np.float64) - other.argument
        along = int(one.layer.hyperparameters.get("axis", -1))
        found = STEEPEST[one.layer.kind](np.moveaxis(gaps, along, -1))
    return float(np.nan_to_num(found, nan=0.0, posinf=0.0).max(initial=0.0))
