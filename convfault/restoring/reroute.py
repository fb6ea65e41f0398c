"""Takes another way to the target: another tool, route or option, where the file itself cannot be mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from convfault.comparison import AGREE
from convfault.detour import taken, ways
from convfault.errors import ConvfaultError, UsageError
from convfault.measurement import Measurement
from convfault.model import Model
from convfault.request import Context, Request
from convfault.restoring.proof import Proof
from convfault.restoring.respelling import respellings
from convfault.restoring.way import Way

TRIES, RUNS, AGAIN = 12, 5, 3
"""How many other ways are taken at most, how many of them to the end, as a conversion that fails does so soon, and how
many of those that fail are taken again."""

CONVERT = "convert by"


def detours(found: Measurement, guilty: int | None, folder: Path, request: Request, context: Context) -> Iterator[Way]:
    """Take one other way after the other, until one agrees. ``guilty`` is the hop to avoid, where it is known.

    Where none does, those whose tools failed are taken again, with other options of the tool, and with models
    that it failed on in plainer words (written below ``folder``, which is made).
    """
    failed: list[tuple[str, Measurement]] = []
    first = [str(way) for way in ways(found, guilty)][:TRIES]
    left = RUNS
    for text in first:
        way = _gone(found, text, request, context)
        yield way
        left -= way.found is not None and bool(way.found.traces)
        if way.accepted or left == 0:
            return
        if way.found is not None and not way.found.traces:
            failed.append((text, way.found))
    for number, (text, crashed) in enumerate(failed[:AGAIN]):
        for way in chain(
            respellings(crashed, None, folder / str(number), request, context),
            (_gone(found, other, request, context) for other in _with_other_options(crashed) if other not in first),
        ):
            yield way if way.edit.startswith(CONVERT) else replace(way, edit=f"{CONVERT} {text}; {way.edit}")
            if way.accepted:
                return


def _gone(found: Measurement, text: str, request: Request, context: Context) -> Way:
    edit = f"{CONVERT} {text}"
    try:
        measured = taken(found, text, request, context)
    except (UsageError, ConvfaultError) as error:
        return Way(edit, False, str(error))
    comparison = measured.comparison
    if comparison.verdict == AGREE:
        return Way(edit, True, "what it gives agrees with the source", measured)
    return Way(edit, False, "; ".join(comparison.reasons) or f"the verdict is {comparison.verdict}", measured)


def _with_other_options(found: Measurement) -> list[str]:
    """The way that failed, with options of the tool that failed which are worth a trial."""
    conversion = found.pair.conversion
    assert conversion is not None
    tools = [hop.converter.tool for hop in conversion.route.hops]
    others = (way.route for way in ways(found, len(conversion.hops) - 1))
    return [str(route) for route in others if [hop.converter.tool for hop in route.hops] == tools]


def copied(target: Model, found: Measurement, place: Path) -> Proof:
    """A model that was measured, copied to ``place`` with all that lies beside it."""
    for path in target.files:
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, place if path == target.files[0] else place.with_name(path.name))
    return Proof(target.at(place), found)


def giving(way: Way, wanted: str) -> Way:
    """The way, refused where what it gave is of another format than the one that is wanted."""
    target = way.found.pair.target if way.found else None
    if way.accepted and (target is None or target.format != wanted):
        return replace(way, accepted=False, reason=f"it gives no {wanted}")
    return way
