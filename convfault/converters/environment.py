"""An environment: a Python with pinned packages, for a converter that cannot live beside the others.

It is described by one file, ``environments/<name>.toml``: the Python, what is asked for (``requirements``), the exact
version of everything that this brings along (``constraints``), the releases of tools that it is known to fit
(``releases``), and environment variables. It is made on first use, in the user's cache folder.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache as remembered
from pathlib import Path
from typing import Any

from convfault import cache as caching
from convfault.cache import Cache
from convfault.errors import ConvfaultError, UnknownNameError

KIND = "environments"
DESCRIPTIONS = Path(__file__).resolve().parent / "environments"
MARKER = "installed.json"
"""Written last: what is in a folder without it was left half-made."""


@dataclass(frozen=True)
class Environment:
    """What an environment is made of. ``python`` is a minor version ("3.11"), ``about`` says why it exists.

    ``requirements`` are pip's, ``constraints`` pins of what they bring along; ``releases`` maps a package to the
    versions ("<1.17") that work with these requirements; ``variables`` are set while a tool runs in it.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    about: str = ""
    releases: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Of what is installed: other pins are another environment."""
        return caching.key(self.python, self.requirements, self.constraints)[:12]

    @property
    def pins(self) -> dict[str, str]:
        """Package → exact version, of all that the description fixes."""
        return pinned((*self.constraints, *self.requirements))

    @property
    def title(self) -> str:
        """What it is for, in words: its requirements with their versions."""
        return ", ".join(" ".join(re.split("==", text)) for text in self.requirements)

    def folder(self, cache: Cache) -> Path:
        """Where it is, or would be."""
        return cache.root / KIND / f"{self.name}-{self.key}"

    def interpreter(self, cache: Cache) -> Path:
        """Its Python, once it is made."""
        return self.folder(cache) / "bin" / "python"

    def installed(self, cache: Cache) -> dict[str, Any] | None:
        """What is in it (``packages``, ``python``, ``bytes``, ``seconds``); None while it is not completely made."""
        marker = self.folder(cache) / MARKER
        if not marker.is_file() or not self.interpreter(cache).exists():
            return None
        content: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        return content

    def to_record(self) -> dict[str, Any]:
        """JSON form, which crosses process boundaries; ``from_record`` reads it back."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Environment:
        """Read back what ``to_record`` wrote, or what a description holds."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        return cls(**values)


def package_name(text: str) -> str:
    """The name in the one spelling that package indexes compare by."""
    return re.sub(r"[-_.]+", "-", text).lower()


def pinned(requirements: Iterable[str]) -> dict[str, str]:
    """Package → version, of those requirements that name exactly one."""
    found = {}
    for text in requirements:
        name, equals, version = text.partition("==")
        if equals:
            found[package_name(name.partition("[")[0].strip())] = version.partition(";")[0].strip()
    return found


def names() -> tuple[str, ...]:
    """Of every environment that convfault describes, sorted."""
    return tuple(sorted(path.stem for path in DESCRIPTIONS.glob("*.toml")))


@remembered
def find(name: str) -> Environment:
    """The described environment of this name; raises ``UnknownNameError``."""
    if name not in names():
        raise UnknownNameError("environment", name, names(), hint="(convfault list environments)")
    path = DESCRIPTIONS / f"{name}.toml"
    try:
        return Environment.from_record({"name": name, **tomllib.loads(path.read_text(encoding="utf-8"))})
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ConvfaultError(f"{path} cannot be read ({error}): install convfault again") from error
