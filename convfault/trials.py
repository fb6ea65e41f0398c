"""Tries other ways to convert a model whose conversion is at fault: which of them avoids the fault?

Every way is converted and run on a few pictures: the worst, and some that agree. What takes long is not tried unless it
is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convfault.comparison import AGREE, CRASH
from convfault.detour import releases, taken, ways
from convfault.errors import ConvfaultError, UsageError
from convfault.fault import Fault
from convfault.localization.gather import AGREEING, chosen
from convfault.localization.tool.analyzer import Alternative, value_options
from convfault.measurement import Measurement
from convfault.request import Context, Request

AVOIDS, DIFFERS_TOO, DIFFERS, CRASHES, NOT_TRIED = "avoids it", "differs, too", "differs", "crashes", "not tried"

OVERHEAD = 4.0
"""Seconds that a trial takes beside the conversion: to load the target's framework and run a few pictures."""

NAMED = 4
"""Ways that cannot be gone here which are listed at most."""

OTHER_WAYS = " Other ways:"
"""What the advice on a crash lists untried ways behind."""


@dataclass(frozen=True)
class Plan:
    """``count``: how many ways to try at most; ``seconds``: for all of them (None: each up to the conversions' limit).

    With ``seconds``, a way is only begun when it can be expected to fit, by what the conversion at fault took, and
    nothing more is tried once a way avoids the fault.
    """

    count: int
    seconds: float | None = None


UNASKED = Plan(3, 20.0)
"""What is done when nobody says: a small model's other ways are tried, a large one's are only named."""


@dataclass(frozen=True)
class Trial:
    """What became of one way; ``difference`` says what is other about it, ``reason`` why it fails or was not tried."""

    way: str
    difference: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    max_abs_error: float | None = None
    top1_disagreement: float | None = None

    def to_record(self) -> dict[str, Any]:
        """As evidence of a fault."""
        return {**vars(self), "seconds": round(self.seconds, 3)}


def with_trials(
    faults: Sequence[Fault], found: Measurement, request: Request, context: Context, plan: Plan = UNASKED
) -> tuple[Fault, ...]:
    """The faults; the one that the conversion is to blame for with what other ways come to, and advice by that."""
    place = next((number for number, fault in enumerate(faults) if _is_to_try(fault, found)), None)
    if place is None or plan.count == 0:
        return tuple(faults)
    fault = faults[place]
    rows = _rows(found)
    tried = _Trying(found, request, context, plan).run(_guilty(fault, found), rows)
    if not tried:
        return tuple(faults)
    evidence = {**fault.evidence, "trials": [trial.to_record() for trial in tried], "tried_on": len(rows)}
    changed = replace(fault, evidence=evidence, suggestion=advice(fault.suggestion, tried, len(rows)))
    return (*faults[:place], changed, *faults[place + 1 :])


def advice(before: str, tried: Sequence[Trial], pictures: int) -> str:
    """The suggestion, with the ways that were tried in the place of those that were only named."""
    avoiding = [trial for trial in tried if trial.outcome == AVOIDS]
    failing = [trial for trial in tried if trial.outcome not in {AVOIDS, NOT_TRIED}]
    if not avoiding and not failing:
        reasons = {trial.reason for trial in tried}
        return f"{before} None was tried: {reasons.pop()}." if len(reasons) == 1 else before
    head, *named = before.split(OTHER_WAYS)
    what = f"{head} " if named else ""
    if avoiding:
        others = f", as {'does' if len(avoiding) == 2 else 'do'} {_listed(avoiding[1:])}" if avoiding[1:] else ""
        on = f"{pictures} picture{'s' if pictures != 1 else ''}"
        return f"{what}Convert by {avoiding[0].way}, which avoids it (tried on {on}){others}."
    return f"{what or 'Try another release. '}Of the other ways that were tried none avoids it: {_listed(failing)}."


def _listed(trials: Sequence[Trial]) -> str:
    return "; ".join(trial.way if trial.outcome == AVOIDS else f"{trial.way} {trial.outcome}" for trial in trials)


def _is_to_try(fault: Fault, found: Measurement) -> bool:
    """Whether other ways may avoid it: a crash, or what a hop of the route did."""
    if found.pair.conversion is None or found.comparison.verdict == AGREE:
        return False
    return not found.traces or (fault.kind == "tool" and "hop" in fault.evidence)


def _guilty(fault: Fault, found: Measurement) -> int:
    assert found.pair.conversion is not None
    return int(fault.evidence.get("hop", len(found.pair.conversion.hops) - 1))


def _rows(found: Measurement) -> tuple[int, ...]:
    if found.traces:
        return chosen(found.traces, found.comparison)
    return tuple(range(min(AGREEING, found.pair.dataset.count)))


def _changes_values(way: Alternative) -> bool:
    """Whether a tool is given an option that changes what a model answers."""
    hops = way.route.hops
    return any(value_options({"tool": hop.converter.tool, "options": hop.options}) for hop in hops)


class _Trying:
    def __init__(self, found: Measurement, request: Request, context: Context, plan: Plan) -> None:
        self.found, self.context, self.plan = found, context, plan
        assert found.pair.conversion is not None
        self.conversion = found.pair.conversion
        self.begun = time.monotonic()
        self.expected = sum(hop.seconds for hop in self.conversion.hops) + OVERHEAD
        outputs = found.comparison.outputs
        known = outputs[0].tolerance.value if len(outputs) == 1 else None  # else derived anew, each output's own
        self.request = replace(request, tolerance=known) if request.tolerance is None else request

    def run(self, guilty: int, rows: Sequence[int]) -> list[Trial]:
        """The mildest first; ways that cannot be gone are told, too, and do not count."""
        tried, done = list[Trial](), 0
        for way in self._ways(guilty):
            if done == self.plan.count or len(tried) - done == NAMED:
                break
            hindrance = self._hindrance(way)
            trial = Trial(str(way), way.reason, NOT_TRIED, hindrance) if hindrance else self._tried(way, rows)
            tried.append(trial)
            done += trial.outcome != NOT_TRIED or hindrance == self._no_time()
            if trial.outcome == AVOIDS and self.plan.seconds is not None:
                break
        return tried

    def _ways(self, guilty: int) -> list[Alternative]:
        """The mildest first: without the options that change values, other releases, other options, other tools.

        Ways that keep an option that changes values come last where there are some without it.
        """
        route = self.conversion.route
        others = list(ways(self.found, guilty))
        tools = [hop.converter.tool for hop in route.hops]
        same = [way for way in others if [hop.converter.tool for hop in way.route.hops] == tools]
        plain = [way for way in same if not _changes_values(way)]
        first = plain if len(plain) < len(same) else []
        found = [*first, *releases(route, guilty, self.context.cache), *same, *others]
        return sorted({str(way): way for way in found}.values(), key=_changes_values)

    def _hindrance(self, way: Alternative) -> str:
        """Why a way is not tried, empty for one that is."""
        for hop in way.route.hops:
            home = hop.converter.home()
            if home is not None and home.installed(self.context.cache) is None:
                return f"the environment {home.name} is not installed (convfault environment install {home.name})"
        return self._no_time() if self._left() < self.expected else ""

    def _left(self) -> float:
        if self.plan.seconds is None:
            return float("inf")
        return self.plan.seconds - (time.monotonic() - self.begun)

    def _no_time(self) -> str:
        return f"it takes some {self.expected:.0f} s; --trials {self.plan.count} tries it all the same"

    def _tried(self, way: Alternative, rows: Sequence[int]) -> Trial:
        begun = time.monotonic()
        context = replace(self.context, seconds=min(self.context.seconds, self._left()))
        blank = Trial(str(way), way.reason, NOT_TRIED)
        try:
            measured = taken(self.found, str(way), self.request, context, rows)
        except UsageError as error:  # a package that is missing, an option that does not fit
            return replace(blank, reason=str(error))
        except ConvfaultError as error:
            return replace(blank, outcome=CRASHES, reason=str(error), seconds=time.monotonic() - begun)
        return replace(blank, **self._outcome(measured), seconds=time.monotonic() - begun)

    def _outcome(self, measured: Measurement) -> Mapping[str, Any]:
        comparison = measured.comparison
        differs = DIFFERS_TOO if self.found.traces else DIFFERS
        outcome = {AGREE: AVOIDS, CRASH: CRASHES}.get(comparison.verdict, differs)
        return {
            "outcome": outcome,
            "reason": "; ".join(comparison.reasons) if outcome == CRASHES else "",
            "max_abs_error": comparison.max_abs_error,
            "top1_disagreement": comparison.top1_disagreement,
        }
