"""Mends a model in the middle of the route and converts on from there, where the target itself cannot be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from convfault.comparison import AGREE
from convfault.converters.convert import Limits, convert
from convfault.converters.install import showing
from convfault.converters.route import Route
from convfault.errors import ConvfaultError
from convfault.measurement import Measurement, measure_pair
from convfault.model import Model
from convfault.preparation import following, inspected
from convfault.request import Context, Request

Mend = Callable[[Measurement, Path], Model | None]
"""Repairs what was measured to a path; None where it cannot."""


@dataclass(frozen=True)
class Passage:
    """What became of mending the model that hop ``number`` wrote, and converting on; ``found`` where that worked."""

    number: int
    tool: str
    accepted: bool
    reason: str
    found: Measurement | None = None

    def to_record(self) -> dict[str, object]:
        """As an attempt of a report."""
        return {
            "fault_id": None,
            "strategy": "tool",
            "round": 1,
            "edit": f"mend what hop {self.number} ({self.tool}) wrote, and convert on from there",
            "accepted": self.accepted,
            "reason": self.reason,
            "max_abs_error_left": self.found.comparison.max_abs_error if self.found else None,
            "top1_disagreement_left": self.found.comparison.top1_disagreement if self.found else None,
            "size_bytes": None,
        }


def passages(found: Measurement, mend: Mend, folder: Path, request: Request, context: Context) -> Iterator[Passage]:
    """Try the models between source and target, the last one first, until one does it."""
    conversion = found.pair.conversion
    if conversion is None:
        return
    for number in range(len(conversion.models) - 1, 0, -1):
        if number == len(conversion.route.hops):  # the target itself
            continue
        tool = conversion.route.hops[number - 1].converter.tool
        try:
            reason, onward = _tried(found, number, mend, folder / str(number), (request, context))
        except ConvfaultError as error:
            reason, onward = str(error), None
        yield Passage(number, tool, not reason, reason or "what is converted from it agrees with the source", onward)
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
    mended = inspected(mended, None, context)
    rest = Route(conversion.route.hops[number:])
    limits = Limits(context.seconds, context.megabytes)
    onward = convert(rest, mended, {}, context.cache, limits=limits, on_event=showing(context.progress))
    if onward.target is None:
        return f"it was mended, but {onward.message}", None
    target = following(pair.source, inspected(onward.target, request.target_runtime, context), None)
    measured = measure_pair(replace(pair, target=target, conversion=onward, failure=""), request, context)
    agrees = measured.comparison.verdict == AGREE
    return "" if agrees else "it was mended, but what is converted from it still differs", measured
