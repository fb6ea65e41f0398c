"""``Origins``: all parameters of the source, to find whose values a target's tensor really has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convfault.localization.case import Case
from convfault.localization.counterparts import Counterparts
from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.relax.graph import Array, Layer


class Origins:
    """The source's parameters by name and shape."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._layers: dict[tuple[str, tuple[int, ...]], list[Layer]] = {}
        for layer in case.source.graph:
            for name, parameter in layer.parameters.items():
                self._layers.setdefault((name, parameter.values.shape), []).append(layer)

    def recognized(self, pair: Counterparts, name: str) -> Finding | None:
        """Another layer's values, or another parameter's of the same layer."""
        difference = pair.differing[name]
        if pair.target.kind == "transposed_convolution" or np.unique(difference.actual.reshape(-1)[:64]).size < 3:
            return None
        for other, values in self._others(pair, name):
            if difference.near(values) or _near_by_channel(difference, values):
                return self._finding(pair, other, name)
        for other_name, parameter in pair.source.parameters.items():
            if other_name != name and difference.near(np.asarray(parameter.values, np.float32)):
                phrase = f"are the source's {other_name}"
                return Finding("parameters_swapped", phrase, {"values_of": other_name})
        return None

    def _others(self, pair: Counterparts, name: str) -> Iterator[tuple[Layer, Array]]:
        shape = pair.wanted[name].shape
        for layer in self._layers.get((name, shape), []):
            if layer.id != pair.source.id:
                yield layer, np.asarray(layer.parameters[name].values, np.float32)

    def _finding(self, pair: Counterparts, other: Layer, name: str) -> Finding:
        native = next(iter(other.parameters[name].native), other.id)
        evidence = {"values_of": native, "tensors": list(other.parameters[name].native[:2])}
        match = self._case.alignment.to_target.get(other.id)
        partner = None if match is None else self._case.target.graph[match.target].parameters.get(name)
        wanted = pair.differing[name]
        if partner is not None and (_near(wanted, partner.values) or _alike(partner.values, wanted.expected)):
            return Finding("layers_swapped", f"are swapped with those of '{native}'", evidence)
        return Finding("layer_duplicated", f"are those of '{native}', which are there twice", evidence)


def _near_by_channel(difference: Difference, values: Array) -> bool:
    """Whether the target's filters are these, each with a scale of its own: kernels swapped, batch norms not."""
    if values.ndim < 2 or values[..., 0].size < 4 or values.shape != difference.actual.shape:
        return False
    first = Difference(difference.name, values[..., :1], difference.actual[..., :1], difference.bound[:1])
    pick = (..., slice(0, 1))
    if not np.all(np.abs(values[pick] * first.ratios - first.actual) <= difference.slack[pick]):
        return False
    ratios = Difference(difference.name, values, difference.actual, difference.bound).ratios
    return bool(np.all(ratios != 0)) and difference.near(values * ratios.astype(np.float32))


def _near(difference: Difference, values: Array) -> bool:
    """Whether the other layer of the target has what this one should have."""
    if values.shape != difference.expected.shape:
        return False
    return bool(np.all(np.abs(values - difference.expected) <= difference.slack.max()))


def _alike(a: Array, b: Array) -> bool:
    """Whether two tensors have proportional filters."""
    if a.shape != b.shape or a.ndim < 2 or a[..., 0].size < 4:
        return False
    axes = tuple(range(a.ndim - 1))
    products = (a.astype(np.float64) * b).sum(axis=axes)
    sizes = np.linalg.norm(a.reshape(-1, a.shape[-1]), axis=0) * np.linalg.norm(b.reshape(-1, b.shape[-1]), axis=0)
    return bool(np.all(np.abs(products) >= (1 - 1e-3) * sizes))
