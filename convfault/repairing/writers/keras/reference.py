"""What a layer is called with, in a stored configuration: references to other layers' outputs, and constants.

Keras 3 stores ``{"args": [...], "kwargs": {...}}`` with a ``__keras_tensor__`` for each reference; Keras 2 nested lists
of ``[layer, call, output, {keywords}]``, in whose keywords ``[layer, call, output]`` is one, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfault.relax.graph import Array

CONSTANT = "_CONSTANT_VALUE"
Place = tuple[str, int, int]
"""A layer's name, which of its calls, and which output of that."""


@dataclass(eq=False)
class Reference:
    """One reference; ``holder`` is the dictionary or list that it stands in."""

    holder: Any

    @property
    def place(self) -> Place:
        history = self.holder["config"]["keras_history"] if isinstance(self.holder, dict) else self.holder
        return str(history[0]), int(history[1]), int(history[2])

    def point(self, place: Place, shape: tuple[int, ...] | None) -> None:
        """Refer to another output, of ``shape``, batch first."""
        if isinstance(self.holder, list):
            self.holder[:3] = list(place)
            return
        config = self.holder["config"]
        config["keras_history"] = list(place)
        if shape is not None and len(shape) > 0:
            config["shape"] = [(config.get("shape") or [None])[0], *shape[1:]]


@dataclass(eq=False)
class Constant:
    """Numbers stored at ``holder[key]``."""

    holder: Any
    key: Any

    @property
    def values(self) -> Array:
        found = np.asarray(self.holder[self.key])
        return found.astype(np.float32) if found.dtype == np.float64 else found

    def put(self, values: Array) -> None:
        """Store other numbers, as those before were: an array, nested lists or a plain number."""
        array = isinstance(self.holder[self.key], np.ndarray)
        self.holder[self.key] = values if array else np.asarray(values).tolist()


Argument = Reference | Constant


def arguments(template: Any, names: frozenset[str], numbers: bool = False) -> list[Argument]:
    """All references (to layers of ``names``) and arrays in the arguments of one call, in order.

    ``numbers``: single ones are constants, too.
    """
    return list(_arguments(template, names, numbers))


def _arguments(value: Any, names: frozenset[str], numbers: bool) -> Iterator[Argument]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield Reference(value)
            return
        if value.get("class_name") == "__numpy__":
            yield Constant(value["config"], "value")
            return
    if isinstance(value, list) and _is_place(value, names):
        yield Reference(value)
        value = value[3] if len(value) > 3 else {}
    elif isinstance(value, list) and value and isinstance(value[0], str) and value[0] == CONSTANT:
        yield Constant(value, 2)
        value = value[3] if len(value) > 3 else {}
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if _is_constant(part, numbers):
            yield Constant(value, key)
        elif isinstance(part, dict | list):
            yield from _arguments(part, names, numbers)


def _is_place(value: list[Any], names: frozenset[str]) -> bool:
    if len(value) not in {3, 4} or not isinstance(value[0], str) or value[0] not in names:
        return False
    return all(isinstance(part, int) and not isinstance(part, bool) for part in value[1:3])


def _is_constant(value: Any, numbers: bool) -> bool:
    """Whether it is an array, a nested list of numbers with a point, or a number where ``numbers`` count."""
    if isinstance(value, np.ndarray):
        return True
    if not isinstance(value, list):
        return numbers and isinstance(value, int | float) and not isinstance(value, bool)
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, float)


def template_for(old: bool) -> Any:
    """The arguments of a call with one tensor, to be pointed somewhere."""
    if old:
        return [["", 0, 0, {}]]
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32", "keras_history": []}}
    return {"args": [tensor], "kwargs": {}}


def places(structure: Any) -> list[Place]:
    """The places in ``input_layers`` or ``output_layers``, in order."""
    return [(str(each[0]), int(each[1]), int(each[2])) for each in _leaves(structure)]


def with_places(structure: Any, found: list[Place]) -> Any:
    """The structure with other places; a plain list where their number differs."""
    old = _leaves(structure)
    if len(old) != len(found):
        return [list(place) for place in found]
    for leaf, place in zip(old, found, strict=True):
        leaf[:] = list(place)
    return structure


def _leaves(structure: Any) -> list[list[Any]]:
    if isinstance(structure, list) and structure and isinstance(structure[0], str):
        return [structure]
    parts = structure.values() if isinstance(structure, dict) else structure
    return [leaf for part in parts for leaf in _leaves(part)]
