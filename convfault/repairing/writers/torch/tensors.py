"""The parameters, buffers and constants of an exported program as numbers, changed and new ones beside them."""

from __future__ import annotations

import keyword
import re
from typing import Any

import numpy as np

from convfault.relax.graph import Array
from convfault.repairing.writers.document import unused


class Tensors:
    """Values by name in the state dict. Changes stay in memory until ``store`` puts them into the program."""

    def __init__(self, program: Any) -> None:
        self.program = program
        self.changed: dict[str, Array] = {}
        """Numbers in place of the stored ones."""
        self.added: dict[str, Array] = {}
        """New buffers."""

    def __contains__(self, name: object) -> bool:
        return name in self.added or name in self.program.state_dict or name in self.program.constants

    def stored(self, name: str) -> Any:
        """The program's own tensor, None if it has none of this name."""
        found = self.program.state_dict.get(name)
        found = self.program.constants.get(name) if found is None else found
        return found if hasattr(found, "detach") else None

    def values(self, name: str) -> Array | None:
        """The numbers as they are to be; float32 for formats that numpy lacks."""
        for known in (self.added, self.changed):
            if name in known:
                return known[name]
        tensor = self.stored(name)
        if tensor is None:
            return None
        tensor = tensor.detach().cpu()
        return np.array((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())

    def aliases(self, name: str) -> list[str]:
        """All names under which the program keeps this tensor: tied weights have several."""
        tensor = self.stored(name)
        if tensor is None or not tensor.numel():
            return [name]
        place = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        known = {**self.program.state_dict, **self.program.constants}
        others = (key for key, each in known.items() if key != name and _place(each) == place)
        return [name, *others]

    def put(self, name: str, values: Array) -> None:
        """Other numbers of the same shape, under all of its names."""
        for each in self.aliases(name):
            self.changed[each] = values

    def add(self, name: str, values: Array) -> str:
        """A new buffer; its name, which is free and no module's."""
        plain = re.sub(r"\W", "_", name).strip("_")
        plain = f"value_{plain}" if not plain[:1].isalpha() or keyword.iskeyword(plain) else plain
        known = {*self.program.state_dict, *self.program.constants, *self.added}
        plain = unused(plain, known | {key.partition(".")[0] for key in known})
        kept = np.asarray(values, np.float32) if values.dtype == np.float64 else values
        self.added[plain] = np.ascontiguousarray(kept).reshape(kept.shape)
        return plain

    def store(self, used: set[str]) -> None:
        """Put the changed numbers into the program, and the new buffers that are ``used``."""
        import torch

        for name, values in self.changed.items():
            old = self.stored(name)
            tensor = torch.from_numpy(np.ascontiguousarray(values).reshape(values.shape)).to(old.dtype)
            kept = torch.nn.Parameter(tensor, old.requires_grad) if isinstance(old, torch.nn.Parameter) else tensor
            known = self.program.state_dict if name in self.program.state_dict else self.program.constants
            known[name] = kept
        for name, values in self.added.items():
            if name in used:
                self.program.state_dict[name] = torch.from_numpy(values.copy())


def _place(tensor: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    if not hasattr(tensor, "data_ptr"):
        return None
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())
