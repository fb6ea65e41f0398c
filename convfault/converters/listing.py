"""What ``convfault list`` shows of converters and routes, as rows of plain values."""

from __future__ import annotations

from typing import Any

from convfault.converters import CONVERTERS
from convfault.converters.base import Converter, Option
from convfault.converters.options import print_value
from convfault.converters.route import FRAMEWORKS, all_routes
from convfault.errors import MissingPackageError

Rows = list[dict[str, Any]]


def converters() -> Rows:
    """Every converter: tool, frameworks, version (or how to install it), formats that it reads, options."""
    return [
        {
            "tool": item.tool,
            "from": item.source,
            "to": item.target,
            "version": version(item),
            "reads": ", ".join(item.formats),
            "options": ", ".join(item.options),
        }
        for item in CONVERTERS.values()
    ]


def options() -> Rows:
    """Every option of every tool: what it does, its default, its values."""
    found = {}
    for item in CONVERTERS.values():
        for name, option in item.options.items():
            found[f"{item.tool}.{name}"] = {
                "option": f"{item.tool}.{name}",
                "default": _default(option),
                "values": ", ".join(map(str, option.choices)) or option.kind,
                "description": option.description,
            }
    return list(found.values())


def routes(max_hops: int = 3) -> Rows:
    """Every route between two frameworks; ``default`` marks the one that is taken when none is named."""
    rows = []
    for source in FRAMEWORKS:
        for target in FRAMEWORKS:
            for index, route in enumerate(all_routes(source, target, max_hops)):
                rows.append({"from": source, "to": target, "route": str(route), "default": "yes" if index == 0 else ""})
    return rows


def version(converter: Converter) -> str:
    """The tool's version, or "not installed: pip install …"."""
    try:
        return converter.versions()[converter.package]
    except MissingPackageError as error:
        return f"not installed: {str(error).rpartition(': ')[2]}"


def _default(option: Option) -> str:
    return "the tool's own" if option.default is None else print_value(option.default)
