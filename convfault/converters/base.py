"""A converter: one hop from one framework's format to another's, by one tool.

A converter is one file ``<target>_from_<source>.py`` with a ``CONVERTER`` value and a function
``convert(source, target, options)``. That function runs in a process of its own, perhaps in an environment where
only the tool is installed: the file imports the standard library and this module at its top, all else inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convfault.model import Model

Convert = Callable[[Model, str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Option:
    """An option of a tool: what it does, its default, and the values that it takes when they are few."""

    description: str
    default: Any = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Converter:
    """One hop by one tool.

    ``tool`` is the name that users write; ``source`` and ``target`` are frameworks; ``formats`` are the source formats
    that it reads and ``target_format`` the one that it writes, as a file or folder called ``filename``.
    ``package`` is the distribution whose version is the tool's. ``convert`` is ``"module:function"``: it takes the
    source ``Model`` (signature filled in), the path to write and all options, and writes the target or raises.
    ``megabytes`` estimates the memory: what it takes for each megabyte of the source file, for the scheduler.
    """

    tool: str
    source: str
    target: str
    formats: tuple[str, ...]
    target_format: str
    filename: str
    package: str
    convert: str
    extra: str
    options: Mapping[str, Option] = field(default_factory=dict)
    environment: str | None = None
    memory_factor: float = 30.0


def run(convert: str, source: Mapping[str, Any], target: str, options: Mapping[str, Any]) -> None:
    """Job: run one converter's function in this process."""
    import importlib

    module, _, function = convert.partition(":")
    getattr(importlib.import_module(module), function)(Model.from_record(source), target, options)
