"""What ``convfault list`` shows of converters, their environments and routes, as rows of plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convfault.cache import Cache
from convfault.converters import CONVERTERS, environment
from convfault.converters.base import Converter, Option
from convfault.converters.environment import Environment, package_name
from convfault.converters.interpreter import find_python
from convfault.converters.options import print_value
from convfault.converters.route import FRAMEWORKS, all_routes
from convfault.errors import MissingPackageError, UsageError

Rows = list[dict[str, Any]]


def converters() -> Rows:
    """Every converter: tool, frameworks, version (or how to install it), formats that it reads, options."""
    return [
        {
            "tool": item.tool,
            "from": item.source,
            "to": item.target,
            "version": version(item),
            "environment": item.environment or "",
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


def environments(cache: Cache | None = None) -> Rows:
    """Every environment that is described, then the others that are there: Python, tools, whether it is made, size."""
    cache = cache or Cache.default()
    described = [environment.find(name) for name in environment.names()]
    rows = [_environment(item, item.installed(cache), _tools(item)) for item in described]
    known = {item.folder(cache) for item in described}
    for marker in sorted((cache.root / environment.KIND).glob(f"*/{environment.MARKER}")):
        if marker.parent not in known:
            content = json.loads(marker.read_text(encoding="utf-8"))
            made = Environment(content["name"], content["python"], tuple(content["requirements"]))
            rows.append(_environment(made, content, made.title))
    return rows


def _environment(item: Environment, content: Mapping[str, Any] | None, tools: str) -> dict[str, Any]:
    try:
        find_python(item.python)
        python = item.python
    except UsageError:
        python = f"{item.python} (not found)"
    return {
        "environment": item.name,
        "python": python,
        "tools": tools,
        "installed": "yes" if content else "no",
        "size": f"{content['bytes'] / 1e6:.0f} MB" if content else "",
        "about": item.about,
    }


def _tools(item: Environment) -> str:
    """The tools that run in it by default, and the releases that can be asked for."""
    found = {entry.tool: entry.package for entry in CONVERTERS.values() if entry.environment == item.name}
    usual = [f"{tool} {item.pins[package_name(package)]}" for tool, package in found.items()]
    return ", ".join([*usual, *(f"{package} {versions}" for package, versions in item.releases.items())])


def version(converter: Converter) -> str:
    """The tool's version, or "not installed: pip install …"."""
    try:
        return converter.versions()[converter.package]
    except MissingPackageError as error:
        return f"not installed: {str(error).rpartition(': ')[2]}"


def _default(option: Option) -> str:
    return "the tool's own" if option.default is None else print_value(option.default)
