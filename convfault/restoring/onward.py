"""Converts on along the rest of a route, and measures what comes out against the route's source."""

from __future__ import annotations

from dataclasses import replace

from convfault.comparison import AGREE
from convfault.converters import route as routes
from convfault.converters.convert import Limits, convert
from convfault.converters.install import showing
from convfault.converters.route import Route
from convfault.measurement import Measurement, measure_pair
from convfault.model import Model
from convfault.preparation import following, inspected
from convfault.request import Context, Request


def onward(
    found: Measurement, number: int, model: Model, request: Request, context: Context
) -> tuple[str, Measurement | None]:
    """Put ``model`` in the place of the one that stands before hop ``number`` (from 0), and go on from there.

    Of another framework than that one it is converted by the same tools, which must know it.

    Why it does not help, empty where it does; and the measurement of the new target, where there is one.
    """
    pair, conversion = found.pair, found.pair.conversion
    assert conversion is not None
    rest = Route(conversion.route.hops[number:])
    if rest.source != model.framework:
        rest = routes.parse(">".join([model.framework, *map(str, rest.hops)]))
    limits = Limits(context.seconds, context.megabytes)
    converted = convert(rest, model, {}, context.cache, limits=limits, on_event=showing(context.progress))
    if converted.target is None:
        return converted.message, None
    target = following(pair.source, inspected(converted.target, request.target_runtime, context), None)
    measured = measure_pair(replace(pair, target=target, conversion=converted, failure=""), request, context)
    comparison = measured.comparison
    agrees = comparison.verdict == AGREE
    return "" if agrees else "; ".join(comparison.reasons) or f"the verdict is {comparison.verdict}", measured
