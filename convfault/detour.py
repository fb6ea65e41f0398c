"""Another way to the target: which ones there are, and what comes of one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from convfault.cache import Cache
from convfault.converters import route as routes
from convfault.converters.environment import KIND, MARKER
from convfault.converters.route import Route
from convfault.errors import UsageError
from convfault.localization.tool import analyzer as tool
from convfault.localization.tool.analyzer import Alternative
from convfault.measurement import Measurement, measure_pair
from convfault.preparation import converted_pair
from convfault.request import Context, Request


def ways(found: Measurement, guilty: int | None) -> tuple[Alternative, ...]:
    """Other ways than the one that was taken, the most promising first; ``guilty`` is the hop to avoid, if known.

    For a target that was converted elsewhere, all ways; none where no tool leads from the source to its framework.
    """
    conversion = found.pair.conversion
    if conversion is not None:
        return tool.alternatives(conversion.route, guilty, conversion.source.format)
    source, target = found.pair.source, found.pair.target
    if target is None or source.framework == target.framework:
        return ()
    try:
        first = routes.default(source.framework, target.framework, source.format)
    except UsageError:
        return ()
    return (Alternative(first, "by the default route"), *tool.alternatives(first, None, source.format))


def releases(route: Route, guilty: int, cache: Cache) -> Iterator[Alternative]:
    """The same route with other releases of the guilty hop's tool, of those whose environments are made already."""
    hop = route.hops[guilty]
    package = hop.converter.package
    for marker in sorted((cache.root / KIND).glob(f"{package}-*/{MARKER}")):
        release = str(json.loads(marker.read_text(encoding="utf-8"))["name"]).removeprefix(f"{package}-")
        if release == hop.converter.version:
            continue
        other = replace(hop, converter=replace(hop.converter, version=release))
        try:
            home = other.converter.home()
        except UsageError:  # the name was no release
            continue
        if home is not None and home.installed(cache):
            changed = Route((*route.hops[:guilty], other, *route.hops[guilty + 1 :]))
            yield Alternative(changed, f"by release {release} of {hop.converter.tool}")


def taken(
    found: Measurement, way: str, request: Request, context: Context, rows: Sequence[int] | None = None
) -> Measurement:
    """The source converted along ``way`` instead, and what that target answers to all pictures, or to some ``rows``.

    A tool that fails gives the verdict ``crash``. Raises ``UsageError`` for a way that cannot be gone, such as one
    whose tool is not installed.
    """
    pair = found.pair
    asked = replace(request, target=None, dst=None, route=way, tool_options=())
    made = converted_pair(asked, pair.source, pair.dataset, context, pair.assumptions)
    if rows is not None:
        made = replace(made, dataset=pair.dataset.taking(rows))
    return measure_pair(made, request, context)
