"""The faults of a report as the page shows them: rows, what each cause is about, its evidence and drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from convfault.fault import Fault
from convfault.render import cause_titles, divergence_plot, fault_wording, graph_plot, weights_plot, wording
from convfault.render.fault_groups import Group, groups, harmless, without_effect
from convfault.render.fault_tables import TABLED, SmallTable, of_fault, of_report
from convfault.report import Report

TOLD_ELSEWHERE = {"group", "layers", "native_names", "neighbourhood", "picture", "program", *TABLED}
"""Evidence that has a place of its own on the page, or none."""
ABOUT = (
    ("finds", "What it finds"),
    ("arises", "How it arises"),
    ("example", "Example"),
    ("repair", "How it is repaired"),
)
LISTED = 200
"""Alike faults that are listed one by one."""


@dataclass(frozen=True)
class Member:
    """One of alike faults, as a row of their table."""

    id: str
    place: str
    caused: str
    after: str


@dataclass(frozen=True)
class Drawing:
    """A heading and its SVG."""

    heading: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A fault, or alike ones. ``facts``: name and value; ``tables``: heading, head and rows of texts.

    ``open_tables`` are those that are shown without being asked for.
    """

    number: int
    anchor: str
    kind: str
    title: str
    places: str
    caused: tuple[str, ...]
    after: tuple[str, ...]
    explanation: str
    suggestion: str
    about: tuple[tuple[str, str], ...]
    locations: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Mapping[str, Any], ...]
    open_tables: tuple[SmallTable, ...]
    members: tuple[Member, ...]
    unlisted: int
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Section:
    """All that the page says about faults and layers; ``harmless`` is a line and its rows."""

    heading: str
    rows: tuple[Row, ...]
    lines: tuple[str, ...]
    tables: tuple[SmallTable, ...]
    harmless: str
    harmless_rows: tuple[tuple[str, str, str], ...]
    divergence: Markup
    unsupported: tuple[Mapping[str, str], ...]


def section(report: Report) -> Section | None:
    """None for a report whose models were only compared."""
    heading = fault_wording.heading(report)
    if not heading:
        return None
    without = harmless(report)
    return Section(
        heading=heading,
        rows=tuple(_row(report, group) for group in groups(report)),
        lines=(*fault_wording.lines(report), *fault_wording.notes(report)),
        tables=of_report(report),
        harmless=without_effect(report),
        harmless_rows=tuple(
            (cause_titles.title(fault), fault_wording.place(fault, 90), fault.explanation) for fault in without[:LISTED]
        ),
        divergence=divergence_plot.plot(report),
        unsupported=tuple((report.localization or {}).get("unsupported", ())),
    )


def _row(report: Report, group: Group) -> Row:
    fault = group.first
    return Row(
        number=group.number,
        anchor=f"fault-{group.number}",
        kind=fault.kind,
        title=group.title,
        places=fault_wording.places(group, 60),
        caused=fault_wording.effect(report, group, "caused"),
        after=fault_wording.effect(report, group, "after"),
        explanation=fault_wording.punctuated(fault.explanation),
        suggestion=fault_wording.punctuated(fault.suggestion),
        about=_about(report, fault),
        locations=_locations(fault),
        facts=_facts(report, fault),
        tables=tuple(_tables(fault.evidence)),
        open_tables=of_fault(fault),
        members=tuple(_member(report, member) for member in group.faults[:LISTED]) if group.folded else (),
        unlisted=max(0, len(group.faults) - LISTED) if group.folded else 0,
        drawings=_drawings(group),
    )


def _about(report: Report, fault: Fault) -> tuple[tuple[str, str], ...]:
    """What the analyzer's own table tells about the cause."""
    known = ((report.localization or {}).get("causes") or {}).get(fault.kind, {}).get(fault.cause, {})
    return tuple((heading, known[name]) for name, heading in ABOUT if known.get(name))


def _locations(fault: Fault) -> tuple[tuple[str, str], ...]:
    """Everything that the places are called, whole."""
    found = [
        ("in the source", fault.source_location),
        ("in the target", fault.target_location),
        ("attribute", fault.attribute),
    ]
    lines = [("in the program", str(line)) for line in fault.evidence.get("program") or ()]
    return tuple((name, value) for name, value in (*found, *lines) if value)


def _facts(report: Report, fault: Fault) -> tuple[tuple[str, str], ...]:
    """The plain figures: expected and actual, the effect, and what of the evidence fits in a line."""
    alone = Group(0, (fault,))
    found = [
        ("expected", _text(fault.expected)),
        ("actual", _text(fault.actual)),
        ("as the target is", "; ".join(fault_wording.effect(report, alone, "before"))),
        ("left in alone", "; ".join(fault_wording.effect(report, alone, "caused"))),
        ("undone alone", "; ".join(fault_wording.effect(report, alone, "after"))),
        *((_name(name), _text(value)) for name, value in fault.evidence.items() if _plain(name, value)),
        ("confidence", wording.percent(fault.confidence)),
    ]
    return tuple((name, value) for name, value in found if value)


def _tables(evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists of records, and records of figures, as small tables."""
    found = []
    for name, value in evidence.items():
        if name in TOLD_ELSEWHERE or value is None or _plain(name, value):
            continue
        rows = value if isinstance(value, list) else [{"": key, "value": v} for key, v in value.items() if _text(v)]
        if not all(isinstance(row, Mapping) for row in rows):
            rows = [{"": _text(row)} for row in rows]
        head = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[_text(row.get(key)) for key in head] for row in rows[:LISTED]]
        found.append({"heading": _name(name), "head": [_name(key) for key in head], "rows": cells})
    return found


def _plain(name: str, value: Any) -> bool:
    """Whether a piece of evidence fits in a line."""
    if name in TOLD_ELSEWHERE or value is None:
        return False
    if isinstance(value, Mapping):
        return not value
    return not isinstance(value, list) or (len(value) <= 8 and not any(isinstance(i, list | Mapping) for i in value))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return "" if value is None else wording.value_text(value)


def _name(key: str) -> str:
    return str(key).replace("_", " ")


def _member(report: Report, fault: Fault) -> Member:
    alone = Group(0, (fault,))
    caused, after = ("; ".join(fault_wording.effect(report, alone, name)) for name in ("caused", "after"))
    return Member(fault.id, fault_wording.place(fault, 80), caused, after)


def _drawings(group: Group) -> tuple[Drawing, ...]:
    """Of the first fault that has any."""
    evidence: Mapping[str, Any] = next((f.evidence for f in group.faults if "neighbourhood" in f.evidence), {})
    evidence = evidence or group.first.evidence
    number, found = group.number, list[Drawing]()
    if graph := evidence.get("neighbourhood"):
        found.append(Drawing("The layers round it", graph_plot.plot(graph, f"graph-{number}")))
    if weights := evidence.get("picture"):
        what = f"{weights.get('parameter')} ({' × '.join(str(side) for side in weights.get('shape', ()))})"
        found.append(Drawing(f"Where the {what} differ", weights_plot.heat(weights, f"heat-{number}")))
        found.append(Drawing("Actual less expected", weights_plot.histogram(weights, f"histogram-{number}")))
    return tuple(drawing for drawing in found if drawing.svg)
