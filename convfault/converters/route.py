"""A route: the chain of converters from one framework to another, as a value with a readable form.

``tf>onnx:tf2onnx>torch:onnx2torch`` names each framework on the way and the tool that reaches it; options stand in
brackets, a tool's release behind its name: ``torch>onnx:torch_onnx[opset=17]``, ``tf>onnx:tf2onnx==1.13.0``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convfault.converters import CONVERTERS
from convfault.converters.base import Converter
from convfault.converters.options import ToolOptions, parse_options, parse_value, print_value, split, tools
from convfault.converters.release import parse_release
from convfault.errors import RouteError, UnknownNameError, UsageError
from convfault.model import FRAMEWORK_OF_FORMAT

__all__ = ["Hop", "Route", "all_routes", "check_framework", "default", "parse", "parse_options"]

FRAMEWORKS = tuple(dict.fromkeys(FRAMEWORK_OF_FORMAT.values()))


@dataclass(frozen=True)
class Hop:
    """One converter with the options that were given for it (not the defaults)."""

    converter: Converter
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ",".join(f"{name}={print_value(value)}" for name, value in self.options.items())
        version = f"=={self.converter.version}" if self.converter.version else ""
        return f"{self.converter.target}:{self.converter.tool}{version}" + (f"[{given}]" if given else "")


@dataclass(frozen=True)
class Route:
    """The hops in order, at least one; each reads a format that the one before it writes."""

    hops: tuple[Hop, ...]

    @property
    def source(self) -> str:
        """The framework that it starts from."""
        return self.hops[0].converter.source

    @property
    def target(self) -> str:
        """The framework that it leads to."""
        return self.hops[-1].converter.target

    def __str__(self) -> str:
        return ">".join([self.source, *map(str, self.hops)])

    @classmethod
    def parse(cls, text: str) -> Route:
        """``parse(text)``."""
        return parse(text)

    @classmethod
    def default(cls, source: str, target: str, source_format: str | None = None) -> Route:
        """``default(source, target, source_format)``."""
        return default(source, target, source_format)

    def with_options(self, options: ToolOptions) -> Route:
        """The same route with options by tool, added to those of every hop by that tool that has them.

        Raises ``UsageError`` for a tool that is not in the route.
        """
        for tool, values in options.items():
            for name in values:
                if not any(hop.converter.tool == tool and name in hop.converter.options for hop in self.hops):
                    raise UsageError(f"{tool}.{name} was given, but no hop of the route {self} takes it")
        return Route(tuple(_with_options(hop, options.get(hop.converter.tool, {})) for hop in self.hops))

    def with_versions(self, versions: Mapping[str, str]) -> Route:
        """The same route with releases by tool (``{"tf2onnx": "1.13.0"}``); raises ``UsageError`` for another tool."""
        for tool, version in versions.items():
            if not any(hop.converter.tool == tool for hop in self.hops):
                raise UsageError(f"{tool}=={version} was asked for, but no hop of the route {self} takes {tool}")
        return Route(tuple(_with_version(hop, versions.get(hop.converter.tool)) for hop in self.hops))


def _with_version(hop: Hop, version: str | None) -> Hop:
    return replace(hop, converter=replace(hop.converter, version=version)) if version else hop


def _with_options(hop: Hop, values: Mapping[str, Any]) -> Hop:
    known = {name: value for name, value in values.items() if name in hop.converter.options}
    return replace(hop, options={**hop.options, **known})


def parse(text: str) -> Route:
    """Read a route as ``str(route)`` writes it; a tool that is left out is the preferred one for its hop.

    Raises ``UnknownNameError`` for a framework, tool or option, ``RouteError`` when a hop cannot be taken.
    """
    first, *rest = [part.strip() for part in split(text, ">")] or [""]
    check_framework(first)
    if not rest:
        raise RouteError(f"the route '{text}' has no hop: write for example {first}>onnx")
    hops: list[Hop] = []
    for part in rest:
        hops.append(_parse_hop(part, hops[-1].converter if hops else None, first))
    return Route(tuple(hops))


def _parse_hop(text: str, before: Converter | None, first: str) -> Hop:
    name, bracket, inside = text.partition("[")
    target, _, release = (part.strip() for part in name.partition(":"))
    tool, version = parse_release(release)
    check_framework(target)
    converter = _choose(before.target if before else first, target, tool)
    if before is not None and before.target_format not in converter.formats:
        raise RouteError(f"{converter.tool} does not read the {before.target_format} that {before.tool} writes")
    if bracket and not inside.endswith("]"):
        raise UsageError(f"'{text}' opens a bracket and does not close it")
    return _with_version(Hop(converter, _parse_hop_options(converter, inside[:-1] if bracket else "")), version)


def _parse_hop_options(converter: Converter, text: str) -> dict[str, Any]:
    found = {}
    for pair in split(text, ","):
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"'{pair}' is not of the form option=value, e.g. opset=17")
        if name not in converter.options:
            raise UnknownNameError(f"option of {converter.tool}", name, converter.options)
        found[name] = converter.options[name].read(f"{converter.tool}.{name}", parse_value(value))
    return found


def _choose(source: str, target: str, tool: str) -> Converter:
    """The converter of one hop, by the tool's name or else the preferred one."""
    fitting = [item for item in CONVERTERS.values() if (item.source, item.target) == (source, target)]
    if tool and tool not in tools():
        raise UnknownNameError("tool", tool, tools(), hint="(convfault list converters)")
    if not fitting:
        raise _no_direct_hop(source, target)
    chosen = next((item for item in fitting if tool in {"", item.tool}), None)
    if chosen is None:
        names = ", ".join(item.tool for item in fitting)
        raise RouteError(f"{tool} does not convert {source} to {target}; what does: {names}")
    return chosen


def _no_direct_hop(source: str, target: str) -> RouteError:
    try:
        return RouteError(f"no converter leads from {source} to {target} in one hop; write {default(source, target)}")
    except RouteError as error:
        return error


def default(source: str, target: str, source_format: str | None = None) -> Route:
    """The route with the fewest hops; among equals the one whose tools come first in the registry.

    ``source_format``: the first tool must read it. Raises ``RouteError`` when there is none.
    """
    shortest: Route | None = None
    for route in _simple_routes(source, target, len(FRAMEWORKS)):
        fits = source_format is None or source_format in route.hops[0].converter.formats
        if fits and (shortest is None or len(route.hops) < len(shortest.hops)):
            shortest = route
    if shortest is None:
        raise _unreachable(source, target)
    return shortest


def all_routes(source: str, target: str, max_hops: int = 3) -> tuple[Route, ...]:
    """Every path that passes no framework twice, by every tool, the default first; () when there is none."""
    return tuple(sorted(_simple_routes(source, target, max_hops), key=lambda route: len(route.hops)))


def _simple_routes(source: str, target: str, max_hops: int) -> Iterator[Route]:
    """Depth first in the registry's order; source and target may be the same framework (a round trip)."""
    check_framework(source)
    check_framework(target)
    yield from _extended((), source, target, max_hops)


def _extended(hops: tuple[Hop, ...], source: str, target: str, max_hops: int) -> Iterator[Route]:
    here = hops[-1].converter if hops else None
    visited = {source, *(hop.converter.target for hop in hops)}
    if len(hops) == max_hops:
        return
    for converter in CONVERTERS.values():
        if converter.source != (here.target if here else source):
            continue
        if here is not None and here.target_format not in converter.formats:
            continue
        longer = (*hops, Hop(converter))
        if converter.target == target:
            yield Route(longer)
        elif converter.target not in visited:
            yield from _extended(longer, source, target, max_hops)


def check_framework(name: str) -> None:
    """Raise ``UnknownNameError`` unless models of this framework can be converted."""
    if name not in FRAMEWORKS:
        raise UnknownNameError("framework", name, FRAMEWORKS)


def _unreachable(source: str, target: str) -> RouteError:
    return RouteError(
        f"no known chain of converters leads from {source} to {target}; "
        "convert it yourself and compare the two files: convfault diff SOURCE TARGET"
    )
