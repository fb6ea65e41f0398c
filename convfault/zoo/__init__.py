"""The named models: ``catalogue`` knows them, ``build`` makes them in their framework's own format."""

from convfault.zoo.build import build
from convfault.zoo.catalogue import Entry, find, names

__all__ = ["Entry", "build", "find", "names"]
