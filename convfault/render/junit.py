"""JUnit XML, as CI systems read it: a case for each conversion, the comparison, the repair and each fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from convfault.comparison import AGREE, CRASH
from convfault.render import fault_wording, repair_groups, repair_wording, wording
from convfault.render.fault_groups import Group, groups
from convfault.report import Report

Element = ElementTree.Element
EFFECTS = {"causes alone": "caused", "left when undone": "after"}
PLACE = 200
"""Letters of a place."""
KINDS = {"failure": "differ", "error": "crash"}


@dataclass(frozen=True)
class Case:
    """One case. ``outcome`` is ``passed``, ``failure``, ``error`` or ``skipped``; its details follow the message.

    ``kind`` says what sort of failure or error it is, where ``differ`` and ``crash`` do not.
    """

    group: str
    name: str
    seconds: float = 0.0
    outcome: str = "passed"
    message: str = ""
    details: str = ""
    output: str = ""
    kind: str = ""


def document(*reports: Report) -> str:
    """One suite with the cases of all ``reports``, which differ in model or route."""
    found = [case for report in reports for case in cases(report)]
    known = _properties(reports[0]) if len(reports) == 1 else {}
    return suite(reports[0].command, found, reports[0].started, known)


def suite(command: str, found: Sequence[Case], started: str, properties: Mapping[str, str]) -> str:
    """The document with one suite of the cases ``found``; ``started`` is an ISO 8601 time."""
    totals = _totals(found)
    root = ElementTree.Element("testsuites", {"name": "convfault", **totals})
    element = ElementTree.SubElement(root, "testsuite", {"name": f"convfault {command}", **totals})
    element.set("skipped", str(sum(case.outcome == "skipped" for case in found)))
    if stamp := re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", started):
        element.set("timestamp", stamp.group())
    if properties:
        parent = ElementTree.SubElement(element, "properties")
        for name, value in properties.items():
            about = {"name": wording.printable(name), "value": wording.printable(value)}
            ElementTree.SubElement(parent, "property", about)
    element.extend(_element(case) for case in found)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def cases(report: Report) -> Iterator[Case]:
    """The conversions, the comparison, the repair, then every fault that does harm, alike ones as one.

    Faults are left out if the models agree or the repair reached its goal. Names stay the same from one version of a
    tool to the next.
    """
    group = f"{str(report.source.get('name') or 'model').replace('.', '_')}.{_route(report)}"
    for hop in report.route:
        yield _conversion(group, hop, report.verified)
    yield _comparison(group, report)
    if repair_wording.tried(report):
        yield _repair(group, report)
    if report.exit_code != 0:
        for found in groups(report):
            yield _fault(group, report, found)


def _route(report: Report) -> str:
    """``tf>onnx:tf2onnx>torch:onnx2torch``, as ``--route`` takes it."""
    hops = [f"{hop['to']}:{hop['tool']}" for hop in report.route] or [report.target["framework"]]
    return ">".join([report.source["framework"], *hops])


def _conversion(group: str, hop: Mapping[str, Any], mended: bool) -> Case:
    """``mended``: a crash that the repair found a way round is no error any more."""
    crashed = hop["status"] == "crash"
    facts = [f"{hop['tool']} {hop['tool_version'] or ''}".strip(), wording.options(hop), wording.hop_state(hop)]
    return Case(
        group,
        f"convert {hop['from']} to {hop['to']} with {hop['tool']}",
        seconds=0.0 if hop.get("cached") else hop["seconds"] or 0.0,
        outcome="passed" if not crashed else "skipped" if mended else "error",
        message=wording.hop_message(hop) if crashed else "",
        details=hop.get("log") or "" if crashed else "",
        output="\n".join(fact for fact in facts if fact),
    )


def _comparison(group: str, report: Report) -> Case:
    comparison = report.comparison
    outcome = "passed" if report.exit_code == 0 else "failure"
    if comparison.verdict == CRASH and not report.verified:
        outcome = "skipped" if wording.crashed_hop(report) else "error"
    figures = [f"{figure.name}: {figure.value} {figure.note}".rstrip() for figure in wording.figures(comparison)]
    quiet = outcome == "passed" or comparison.verdict == AGREE
    return Case(
        group,
        f"compare {report.source['framework']} with {report.target['framework']}",
        seconds=sum(report.seconds.get(phase, 0.0) for phase in ("run", "compare")),
        outcome=outcome,
        message="" if quiet else wording.headline(report),
        details="" if quiet else "\n".join(comparison.reasons),
        output="\n".join(figures),
    )


def _repair(group: str, report: Report) -> Case:
    """Fails when the goal was not reached; what was left out on the way there is told, but is no failure."""
    state = repair_wording.outcome(report)
    failed = state in {repair_wording.IMPROVED, repair_wording.FAILED}
    left_out = [f"left out: {edit.title}: {edit.reason}" for edit in repair_groups.edits(report, accepted=False)]
    figures = [f"{row.name}: {row.before} → {row.after} {row.note}".rstrip() for row in repair_groups.rows(report)]
    changes = [f"changed: {group.title} {group.values}".rstrip() for group in repair_groups.changes(report)]
    told = (*figures, repair_wording.held_out(report), *changes, *repair_wording.notes(report), *left_out)
    return Case(
        group,
        "repaired file agrees",
        seconds=report.seconds.get("repair", 0.0),
        outcome="failure" if failed else "skipped" if state == repair_wording.NEEDLESS else "passed",
        message=repair_wording.headline(report) if failed or state == repair_wording.NEEDLESS else "",
        details="\n".join(repair_wording.reasons(report)),
        output="\n".join(line for line in told if line),
        kind="not-repaired" if failed else "",
    )


def _fault(group: str, report: Report, found: Group) -> Case:
    """A failing case; its name tells the cause and the place, but no figures."""
    fault = found.first
    # a tool's places are its release and a file somewhere: they are not the same the next time
    place = fault.attribute if fault.kind == "tool" else fault.target_location or fault.source_location
    where = "" if found.folded else place or ""
    effects = {name: "; ".join(fault_wording.effect(report, found, key)) for name, key in EFFECTS.items()}
    places = [fault_wording.place(member, PLACE) for member in found.faults]
    facts = [f"{name}: {text}" for name, text in effects.items() if text]
    return Case(
        group,
        f"{fault.kind} fault {fault.cause}" + (f" at {where}" if where else ""),
        outcome="failure",
        message=f"{found.title}: {fault.explanation}",
        details="\n".join(line for line in (fault.suggestion, *facts, *places) if line),
        kind=f"{fault.kind}.{fault.cause}",
    )


def _totals(found: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(found)),
        "failures": str(sum(case.outcome == "failure" for case in found)),
        "errors": str(sum(case.outcome == "error" for case in found)),
        "time": _seconds(sum(case.seconds for case in found)),
    }


def _properties(report: Report) -> dict[str, str]:
    known = {"convfault": report.convfault_version, "verdict": report.comparison.verdict}
    for role, side in (("source", report.source), ("target", report.target)):
        known |= {f"{role}.{package}": version or "" for package, version in side["versions"].items()}
        known |= {f"{role}.sha256": side["sha256"] or ""}
    return known | dict(report.environment)


def _element(case: Case) -> Element:
    element = ElementTree.Element(
        "testcase",
        {
            "classname": wording.printable(case.group),
            "name": wording.printable(case.name),
            "time": _seconds(case.seconds),
        },
    )
    if case.outcome != "passed":
        # one line: CI systems show the message beside the name
        problem = ElementTree.SubElement(
            element, case.outcome, {"message": " ".join(wording.printable(case.message).split())}
        )
        problem.text = wording.printable(case.details) or None
        if case.outcome != "skipped":
            problem.set("type", case.kind or KINDS[case.outcome])
    if case.output:
        ElementTree.SubElement(element, "system-out").text = wording.printable(case.output)
    return element


def _seconds(value: float) -> str:
    return f"{value:.3f}"
