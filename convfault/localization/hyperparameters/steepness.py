"""A hard sigmoid that is steeper or flatter than the source's: seen in the weights before it, which hold its slope.

``clip(a·x + ½, 0, 1)`` behind a convolution is, in the normal form, a convolution with weights a times as large and a
clip. Another slope makes the weights, and the bias' distance from the middle between the bounds, as many times larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convfault.localization.case import Case
from convfault.localization.counterparts import Counterparts
from convfault.localization.hyperparameters.attribute import Attribute, differs
from convfault.relax.edits import SetParameters
from convfault.relax.graph import Array, Graph, Layer

EXACT = 1e-4
"""What is left of a difference, relative to the largest value, when it was explained."""

USUAL = {1.2: "0.2 (Keras 2, ONNX) and 1/6 (torch, Keras 3)", 1 / 1.2: "1/6 (torch, Keras 3) and 0.2 (Keras 2, ONNX)"}
"""Ratios of the slopes in use: target's and source's."""


@dataclass(frozen=True)
class Steepness:
    """The hard sigmoid behind a layer in the target, and how many times as steep it is as the source's."""

    clip: Layer
    ratio: float
    pair: Counterparts

    @property
    def attribute(self) -> Attribute:
        usual = next((text for ratio, text in USUAL.items() if abs(self.ratio / ratio - 1) < EXACT), None)
        hint = f": slopes in use are {usual}" if usual else ""
        phrase = f"The hard sigmoid is {self.ratio:.4g} times as steep as the source's{hint}."
        evidence = {"ratio": self.ratio, "layer": self.pair.target.id}
        expected, actual = "the source's slope", f"{self.ratio:.4g} times the source's slope"
        return Attribute("hard_sigmoid_slope", "slope", {}, expected, actual, phrase, evidence)

    @property
    def edit(self) -> SetParameters:
        return SetParameters(self.pair.target.id, dict(self.pair.wanted))


def steepness(case: Case, pair: Counterparts) -> Steepness | None:
    """What makes the weights or scales of two matched layers differ, when it is a hard sigmoid's slope behind them."""
    names = ("scale", "shift") if "scale" in pair.differing else ("weights", "bias")
    if names[0] not in pair.differing or not set(pair.differing) <= set(names):
        return None
    wanted, clip = _clip(case.source.graph, pair.source), _clip(case.target.graph, pair.target)
    if wanted is None or clip is None or any(differs(wanted[name], clip[name]) for name in ("minimum", "maximum")):
        return None
    ratio = _ratio(pair.differing[names[0]].expected, pair.differing[names[0]].actual)
    if ratio is None or names[1] not in pair.differences:
        return None
    middle, offset = (clip["minimum"] + clip["maximum"]) / 2, pair.differences[names[1]]
    left = offset.actual - middle - ratio * (offset.expected - middle)
    moved = abs(ratio - 1) * np.abs(offset.expected - middle).max(initial=0.0)
    explained = np.abs(left).max(initial=0.0) <= EXACT * max(moved, float(np.abs(offset.actual).max(initial=0.0)))
    return Steepness(clip, ratio, pair) if explained else None


def _clip(graph: Graph, layer: Layer) -> Layer | None:
    """The one reader, where it cuts both ends off."""
    readers = graph.readers[layer.id]
    reader = graph[readers[0]] if len(readers) == 1 and layer.id not in graph.outputs else None
    if reader is None or reader.kind != "clip":
        return None
    return reader if np.isfinite([reader["minimum"], reader["maximum"]]).all() else None


def _ratio(expected: Array, actual: Array) -> float | None:
    """The one positive number that all values were multiplied by; None where it is one, or there is none."""
    power = float((expected.astype(np.float64) ** 2).sum())
    if not power:
        return None
    ratio = float((expected.astype(np.float64) * actual).sum() / power)
    exact = np.abs(actual - ratio * expected).max() <= EXACT * np.abs(actual).max()
    return ratio if exact and ratio > 0 and abs(ratio - 1) > EXACT else None
