"""The one ``Registry``: named things that are imported only when somebody asks for them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from convfault.errors import ConvfaultError, UnknownNameError

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Ordered names → values, each given as ``"module:attribute"`` and imported on first use.

    Third parties add to it by an entry point of the group ``convfault.<kind>s``, whose value has the same form.
    ``kind`` is the noun that error messages use. Raises ``UnknownNameError`` for a name that is not in it.
    """

    def __init__(self, kind: str, places: Mapping[str, str], expected: type[Any] | None = None) -> None:
        self.kind = kind
        self._builtin = dict(places)
        self._expected = expected
        self._loaded: dict[str, Item] = {}

    @cached_property
    def _places(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=f"convfault.{self.kind}s")}
        return {**found, **self._builtin}

    def names(self) -> tuple[str, ...]:
        """All names, the built-in ones first, in their order."""
        return (*self._builtin, *(name for name in self._places if name not in self._builtin))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Item:
        if name not in self._places:
            raise UnknownNameError(self.kind, name, self.names())
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            value = getattr(importlib.import_module(module), attribute)
            if self._expected is not None and not isinstance(value, self._expected):
                raise ConvfaultError(f"{self.kind} '{name}' at {self._places[name]} is not a {self._expected.__name__}")
            self._loaded[name] = value
        return self._loaded[name]

    def values(self) -> Iterator[Item]:
        """All values, in the order of ``names()``; imports each one's file."""
        return (self[name] for name in self.names())
