"""The small tables of a fault: how the runtimes voted on its layer, and what other ways to convert come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convfault.fault import Fault
from convfault.render import wording
from convfault.report import Report

Records = Sequence[Mapping[str, Any]]

TABLED = frozenset({"votes", "trials"})
"""Evidence that these tables show."""

REASON = 90
"""Characters of a reason, the rest being in the JSON report."""

RUNS = {"operator": "the operator", "layer": "the layer as read"}
SIDES = {"native": "native run", "graph": "convfault", "neither": "neither"}


@dataclass(frozen=True)
class SmallTable:
    """A heading, what stands above the columns, and rows of texts."""

    heading: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def of_fault(fault: Fault) -> tuple[SmallTable, ...]:
    """Those that the fault has evidence for."""
    found = (votes(fault.evidence.get("votes") or ()), trials(fault.evidence.get("trials") or ()))
    return tuple(table for table in found if table is not None)


def of_report(report: Report) -> tuple[SmallTable, ...]:
    """Votes on layers that no fault tells of, since it is not the runtime that they found wrong."""
    known = (report.attribution or {}).get("replays", ())
    tables = (votes(replay["votes"], str(replay["place"])) for replay in known if replay["outcome"] != "runtime")
    return tuple(table for table in tables if table is not None)


def votes(records: Records, place: str = "") -> SmallTable | None:
    """None without votes."""
    if not records:
        return None
    heading = f"'{place}' alone, on the same input" if place else "The layer alone, on the same input"
    head = ("runtime", "given", "off native run", "off convfault", "sides with")
    return SmallTable(heading, head, tuple(_vote(record) for record in records))


def _vote(record: Mapping[str, Any]) -> tuple[str, ...]:
    side = record["sides_with"]
    errors = (_error(record, name) for name in ("from_native", "from_graph"))
    said = SIDES.get(str(side), str(side)) if side else f"cannot run it: {_short(record)}"
    return (str(record["runtime"]), RUNS.get(record["runs"], str(record["runs"])), *errors, said)


def trials(records: Records) -> SmallTable | None:
    """None without trials, and where none was tried for one reason, which the advice tells."""
    told = {(record["outcome"], record.get("reason")) for record in records}
    if not records or (len(told) == 1 and records[0]["outcome"] == "not tried"):
        return None
    rows = tuple((_way(record), _outcome(record), _error(record, "max_abs_error")) for record in records)
    return SmallTable("Other ways to convert", ("way", "what comes of it", "largest error"), rows)


def _way(record: Mapping[str, Any]) -> str:
    """What is different about it where that tells, which is shorter than the route: by the same tools."""
    difference = str(record.get("difference") or "")
    return difference if difference.startswith(("with", "by release")) else str(record["way"])


def _outcome(record: Mapping[str, Any]) -> str:
    reason = _short(record)
    return f"{record['outcome']}: {reason}" if reason else str(record["outcome"])


def _short(record: Mapping[str, Any]) -> str:
    reason = str(record.get("reason") or "")
    return reason if len(reason) <= REASON else f"{reason[: REASON - 1]}…"


def _error(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    return wording.number(value)
