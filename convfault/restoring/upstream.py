"""Mends a model in the middle of the route and converts on from there, where the target itself cannot be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from convfault.comparison import AGREE
from convfault.errors import ConvfaultError
from convfault.measurement import Measurement, measure_pair
from convfault.model import Model
from convfault.preparation import following, inspected
from convfault.request import Context, Request
from convfault.restoring.onward import onward
from convfault.restoring.way import Way

Mend = Callable[[Measurement, Path], Model | None]
"""Repairs what was measured to a path; None where it cannot."""


def passages(found: Measurement, mend: Mend, folder: Path, request: Request, context: Context) -> Iterator[Way]:
    """Try the models between source and target, the last one first, until one does it."""
    conversion = found.pair.conversion
    if conversion is None:
        return
    for number in range(len(conversion.models) - 1, 0, -1):
        if number == len(conversion.route.hops):  # the target itself
            continue
        tool = conversion.route.hops[number - 1].converter.tool
        try:
            reason, measured = _tried(found, number, mend, folder / str(number), (request, context))
        except ConvfaultError as error:
            reason, measured = str(error), None
        edit = f"mend what hop {number} ({tool}) wrote, and convert on from there"
        yield Way(edit, not reason, reason or "what is converted from it agrees with the source", measured)
        if not reason:
            return


def _tried(
    found: Measurement, number: int, mend: Mend, folder: Path, work: tuple[Request, Context]
) -> tuple[str, Measurement | None]:
    """Why it does not help, empty where it does; and the measurement of the new target."""
    request, context = work
    conversion, pair = found.pair.conversion, found.pair
    assert conversion is not None
    model = following(pair.source, inspected(conversion.models[number], None, context), None)
    middle = measure_pair(replace(pair, target=model, conversion=None, failure=""), request, context)
    if middle.comparison.verdict == AGREE:
        return "it agrees with the source, so that there is nothing to mend in it", None
    folder.mkdir(parents=True)
    mended = mend(middle, folder / Path(model.path).name)
    if mended is None:
        return "it cannot be mended either", None
    reason, measured = onward(found, number, inspected(mended, None, context), request, context)
    return f"it was mended, but then: {reason}" if reason else "", measured
