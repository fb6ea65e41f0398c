"""Where the data that convfault ships lies: inside the package when installed, in the project's root in a checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from convfault.errors import ConvfaultError

PACKAGE = Path(__file__).resolve().parent


def folder(kind: str) -> Path:
    """The folder ``models`` or ``datasets``, each with one sub-folder for every named item."""
    for place in (PACKAGE / "_shipped" / kind, PACKAGE.parent / kind):
        if place.is_dir():
            return place
    raise ConvfaultError(f"the folder '{kind}' that convfault ships is missing: install convfault again")


def names(kind: str) -> tuple[str, ...]:
    """The names of all items of a kind that have a description, sorted."""
    return tuple(sorted(path.parent.name for path in folder(kind).glob("*/*.toml")))


def description(kind: str, name: str) -> dict[str, Any]:
    """The content of ``<kind>/<name>/<model or dataset>.toml``."""
    path = folder(kind) / name / f"{kind.removesuffix('s')}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConvfaultError(f"{path} cannot be read ({error}): install convfault again") from error
