"""Which models convfault knows by name, and what ``models/<name>/model.toml`` says about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault import shipped
from convfault.errors import UnknownNameError
from convfault.preprocessing import Preprocessing

MAKERS = {"torch": "torch", "keras": "keras", "tf": "keras", "tflite": "keras", "onnx": "torch"}
"""Framework → whose constructor, preprocessing and calibration a model for it comes from."""

ORIGINS = {"torch": "torch", "keras": "keras", "tf": "tf", "tflite": "tf", "onnx": "torch"}
"""Framework → the framework that the zoo builds for it; the rest of the way is a route."""


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: ``description`` is its ``model.toml``, ``folder`` where that lies."""

    name: str
    description: Mapping[str, Any]
    folder: Path

    @property
    def title(self) -> str:
        return str(self.description["title"])

    @property
    def aliases(self) -> tuple[str, ...]:
        """How frameworks spell the name."""
        return tuple(self.description["aliases"])

    @property
    def classes(self) -> int:
        """Number of classes with calibrated weights: those of the embedded set, in its order."""
        return int(self.description["classes"])

    def origin(self, framework: str) -> str:
        """The framework that this model is built in natively when it is wanted for ``framework``."""
        return _lookup(ORIGINS, framework)

    def preprocessing(self, framework: str) -> Preprocessing:
        """How pictures become this model's input in a framework; the published weights want the same."""
        return Preprocessing.from_record(self.description[_lookup(MAKERS, framework)]["preprocessing"])

    def calibration(self, framework: str) -> Path:
        """The shipped statistics and head of the calibrated weights."""
        return self.folder / f"calibration-{_lookup(MAKERS, framework)}.npz"


def names() -> tuple[str, ...]:
    """The names of all models."""
    return shipped.names("models")


def find(name: str) -> Entry:
    """The model of this name, or of this alias in any case and punctuation; raises ``UnknownNameError``."""
    wanted = _plain(name)
    for known in names():
        entry = Entry(known, shipped.description("models", known), shipped.folder("models") / known)
        if wanted in {_plain(known), *map(_plain, entry.aliases)}:
            return entry
    raise UnknownNameError("model", name, names())


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _lookup(table: Mapping[str, str], framework: str) -> str:
    if framework not in table:
        raise UnknownNameError("framework", framework, table)
    return table[framework]
