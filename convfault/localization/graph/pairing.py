"""The alignment by which wiring is compared: pairs of one kind, the gaps closed where nothing speaks against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from convfault.localization.aligning.alignment import Alignment, Match
from convfault.relax import fingerprint
from convfault.relax.graph import Graph, Layer
from convfault.relax.kinds import COMMUTATIVE

CLOSE = 1e-3
"""Parameters nearer than this, relative to the largest, are one layer's: rounding and float16 stay below."""


class Pairing:
    """The alignment as the graph analyzer needs it: same kinds only, gaps closed where nothing speaks against it."""

    def __init__(self, source: Graph, target: Graph, alignment: Alignment) -> None:
        self.source, self.target = source, target
        self.to_target: dict[str, Match] = {}
        self.to_source: dict[str, Match] = {}
        for match in alignment.matches:
            if source[match.source].kind == target[match.target].kind:
                self._add(match)
        for name in [layer.id for layer in target if layer.id in self.to_source]:
            self._shift(name)
        self._close(source.layers, self._candidates_behind)
        self._close(source.layers[::-1], self._candidates_before)

    def _add(self, match: Match) -> None:
        self.to_target[match.source] = match
        self.to_source[match.target] = match

    def _shift(self, name: str) -> None:
        """Of a layer that the target applies twice in a row the first is the counterpart, the second is too much."""
        layer, match = self.target[name], self.to_source[name]
        before = self.target[layer.inputs[0]] if len(layer.inputs) == 1 else layer
        if before.id in self.to_source or match.order is not None or self.target.readers[before.id] != (name,):
            return
        if before.inputs and before.id not in self.target.outputs and _alike(layer, before):
            del self.to_source[name]
            self._add(replace(match, target=before.id))

    def _close(self, layers: Iterable[Layer], candidates: Callable[[Layer], list[str]]) -> None:
        if len(self.to_source) == len(self.target):
            return
        for layer in layers:
            if layer.id not in self.to_target:
                for name in candidates(layer):
                    if name not in self.to_source and _alike(layer, self.target[name]):
                        self._add(Match(layer.id, name, 0.5, "position"))
                        break

    def _candidates_behind(self, layer: Layer) -> list[str]:
        """Target layers that read just what this source layer reads."""
        images = self.images(layer.inputs)
        if not images or None in images:
            return []
        return [
            name for name in self.target.readers[str(images[0])] if self._reads(self.target[name], tuple(images), layer)
        ]

    def _reads(self, layer: Layer, images: tuple[str | None, ...], source: Layer) -> bool:
        turned = source.kind in COMMUTATIVE and sorted(layer.inputs) == sorted(map(str, images))
        return turned or layer.inputs == images

    def _candidates_before(self, layer: Layer) -> list[str]:
        """The target layer that is read where this source layer is, by everybody who reads either."""
        readers, found = set(self.source.readers[layer.id]), set()
        for reader in readers:
            match = self.to_target.get(reader)
            if match is None:
                return []
            index = self.source[reader].inputs.index(layer.id)
            inputs = self.target[match.target].inputs
            found.add(inputs[index] if len(inputs) == len(self.source[reader].inputs) else None)
        for index, output in enumerate(self.source.outputs):
            if output == layer.id and len(self.target.outputs) == len(self.source.outputs):
                found.add(self.target.outputs[index])
        name = found.pop() if len(found) == 1 else None
        if name is None or not all(reader in self.to_source for reader in self.target.readers[name]):
            return []
        return [name]

    def images(self, source_ids: Iterable[str]) -> list[str | None]:
        """The counterparts of source layers, None for each that has none."""
        return [self.to_target[name].target if name in self.to_target else None for name in source_ids]

    @cached_property
    def source_anchors(self) -> Mapping[str, frozenset[str]]:
        """Source layer id → *target* ids of the nearest matched layers that it depends on, itself if it is one."""
        found: dict[str, frozenset[str]] = {}
        for layer in self.source:
            match = self.to_target.get(layer.id)
            inner = frozenset().union(*(found[name] for name in layer.inputs)) if layer.inputs else frozenset()
            found[layer.id] = inner if match is None else frozenset({match.target})
        return found

    @cached_property
    def target_anchors(self) -> Mapping[str, frozenset[str]]:
        """The same of target layers."""
        found: dict[str, frozenset[str]] = {}
        for layer in self.target:
            inner = frozenset().union(*(found[name] for name in layer.inputs)) if layer.inputs else frozenset()
            found[layer.id] = frozenset({layer.id}) if layer.id in self.to_source else inner
        return found

    def paired(self, expected: list[str], actual: list[str]) -> list[tuple[int, int]]:
        """Which of some source layers goes with which target layer: its counterpart, else what hangs on the same."""
        left, right, pairs = list(range(len(expected))), list(range(len(actual))), []

        def take(i: int, j: int) -> None:
            pairs.append((i, j))
            left.remove(i)
            right.remove(j)

        for i, image in enumerate(self.images(expected)):
            j = next((j for j in right if actual[j] == image), None)
            if j is not None:
                take(i, j)
        for i in list(left):
            near = self.source_anchors[expected[i]]
            j = max(right, key=lambda j: len(near & self.target_anchors[actual[j]]), default=None)
            if j is not None and near & self.target_anchors[actual[j]]:
                take(i, j)
        for i, j in list(zip(left, right, strict=False)):
            take(i, j)
        return sorted(pairs)


def _alike(layer: Layer, other: Layer) -> bool:
    """Whether two layers without a match of their own are one by all that can be seen of them."""
    if fingerprint.description(layer) != fingerprint.description(other) or layer.kind in {"input", "opaque"}:
        return False
    return fingerprint.distance(layer, other) < CLOSE
