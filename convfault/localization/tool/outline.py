"""The nodes of a model as a graph: which ones a fault names, and what stands round them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convfault.fault import Fault
from convfault.localization.tool.reduction import Places

RADII = (1, 2, 4, 8)
"""How far from the nodes that a fault names its neighbours are taken along."""


@dataclass(frozen=True)
class Outline:
    """The nodes of a model, as ``reduction.Cut`` has them."""

    nodes: tuple[tuple[str, str], ...]
    tensors: tuple[tuple[str, ...], ...]
    reads: tuple[Places, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Outline:
        """Read back what ``pieces.Source`` tells of a model."""
        return cls(*(tuple(tuple(item) for item in record[name]) for name in ("nodes", "tensors", "reads")))

    def places(self, fault: Fault) -> Places:
        """The nodes that a fault names on the source's side, the one at its heart first.

        A model in the middle of a route has neither side's names: its nodes may end with those of the target's.
        """
        native = fault.evidence.get("native_names", {})
        wanted = self._named([fault.source_location or "", *native.get("source", ())])
        return wanted or self._named([part for name in native.get("target", ()) for part in name.split(";")])

    def _named(self, wanted: Sequence[str]) -> Places:
        found = [
            place
            for name in wanted
            for place, (_, own) in enumerate(self.nodes)
            if name and any(text == name or text.endswith(f"/{name}") for text in (own, *self.tensors[place]))
        ]
        return tuple(dict.fromkeys(found))

    def guesses(self, places: Places) -> Iterator[Places]:
        """Each of the nodes alone, all of them, and these with ever more neighbours.

        Each also with all that stands between its first and last node: some formats can be cut in no other way.
        """
        yield from ((place,) for place in places)
        grown = set(places)
        for radius in range(max(RADII) + 1):
            if not radius or radius in RADII:
                yield tuple(sorted(grown))
                yield tuple(range(min(grown), max(grown) + 1))
            near = {read for place in grown for read in self.reads[place]}
            grown |= near | {place for place, reads in enumerate(self.reads) if not grown.isdisjoint(reads)}
