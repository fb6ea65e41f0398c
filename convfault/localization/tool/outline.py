"""The nodes of a model as a graph: which ones a fault names, and what stands round them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        """The nodes that a fault names on the source's side, the one at its heart first."""
        native = fault.evidence.get("native_names", {}).get("source", [])
        found = []
        for wanted in (fault.source_location, *native):
            found += [n for n, (_, name) in enumerate(self.nodes) if wanted and wanted in (name, *self.tensors[n])]
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
