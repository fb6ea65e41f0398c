"""The data sets that convfault ships: generated, so any number of pictures and nothing to download."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from convfault import shipped
from convfault.sources.base import Decode, Listing, Source
from convfault.sources.fractals import HELD_OUT, Fractals

GENERATOR_VERSION = 1
"""Raise it when a change to ``fractals.py`` changes a pixel."""


@dataclass(frozen=True)
class Embedded(Source):
    """``count`` held-out pictures of a shipped set; picture i is of class ``i % classes``."""

    name: str
    fractals: Fractals
    count: int
    seed: int = 0

    @classmethod
    def open(cls, name: str, limit: int | None, seed: int) -> Embedded:
        description = shipped.description("datasets", name)
        return cls(name, Fractals(description), limit or int(description["count"]), seed)

    def listing(self) -> Listing:
        classes = self.fractals.classes
        class_names = tuple(f"fractal {label:0{len(str(classes - 1))}d}" for label in range(classes))
        labels = tuple(index % classes for index in range(self.count))
        names = tuple(f"{class_names[label]}, picture {index // classes}" for index, label in enumerate(labels))
        return Listing(names, labels, class_names)

    def digest(self, rows: Sequence[int]) -> str:
        parts = [self.fractals.description, GENERATOR_VERSION, self.seed, list(rows)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def decoders(self, rows: Sequence[int]) -> Iterator[Decode]:
        classes = self.fractals.classes
        return (
            partial(self.fractals.render, row % classes, row // classes, stream=HELD_OUT, seed=self.seed)
            for row in rows
        )
