"""``scripts/benchmark clean [--models resnet101]``: the matrix's agreeing cells, where localize is to name no fault.

Which conversions agree is read from benchmarks/matrix.json; those that took least come first. Every cell is on disk at
once (``--work``), and a killed run goes on. Written are benchmarks/clean.{json,md}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_crashes import parser_of, place_of, told
from benchmark_sound import ENOUGH, shares, sound
from timing import ROOT, machine, publish


def main(flags: Sequence[str]) -> None:
    """Run what is not on disk yet, and write both files."""
    parser = parser_of("clean", __doc__, 10)
    parser.add_argument("--without", default="", help="leave out routes with this tool, as onnx2tf")
    arguments = parser.parse_args(flags)
    arguments.work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.seconds
    cells = json.loads((ROOT / "benchmarks/matrix.json").read_text())["cells"]
    agreeing = [cell for cell in cells if cell["status"] == "agree"]
    chosen = [
        cell
        for cell in sorted(agreeing, key=lambda cell: float(cell["seconds"]))
        if cell["model"] in arguments.models.split(",")
        and not (arguments.without and arguments.without in cell["route"])
    ]
    for cell in chosen:
        place = place_of(cell, arguments.work)
        if not place.exists() and time.monotonic() < deadline:
            case = found(cell, arguments.limit, arguments.work)
            place.write_text(json.dumps(case, indent=1) + "\n")
            print(row(case), flush=True)
    done = [json.loads(path.read_text()) for path in sorted(arguments.work.glob("*.json"))]
    command = f"scripts/benchmark clean --limit {arguments.limit}"
    results = {"machine": machine(), "command": command, "of": len(agreeing), "cells": done}
    publish("clean", results, "\n".join(table(results)) + "\n")


def found(cell: Mapping[str, Any], limit: int, work: Path) -> dict[str, Any]:
    """What localize says of a cell, and how much of it was aligned and compared."""
    what = ["--model", cell["model"], "--route", cell["route"], "--limit", str(limit), "-q"]
    report, seconds = told("localize", what, work)
    case = {"model": cell["model"], "route": cell["route"], "seconds": round(seconds, 1), "refused": None}
    if "error" in report:
        return {**case, "error": report["error"], "faults": [], "harmless": []}
    details = report.get("localization") or {}
    steps = details.get("divergence", [])
    return {
        **case,
        "verdict": report["comparison"]["verdict"],
        "refused": details.get("refused"),
        "alignment": details.get("alignment"),
        "compared": sum(step["error"] is not None or step["local"] is not None for step in steps),
        "steps": len(steps),
        "faults": [told_of(fault) for fault in report.get("faults", ()) if not fault["harmless"]],
        "harmless": [told_of(fault) for fault in report.get("faults", ()) if fault["harmless"]],
    }


def told_of(fault: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a fault."""
    return {key: fault.get(key) for key in ("kind", "cause", "target_location", "explanation")}


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the Markdown page."""
    cells = results["cells"]
    yield "# Agreeing conversions of the matrix\n"
    yield f"Made by `{results['command']}`: {len(cells)} of {results['of']} agreeing cells of benchmarks/matrix.json;"
    yield f"without a fault and with at least {ENOUGH:.0%} of the target's layers aligned and compared: "
    yield f"{sum(map(sound, cells))}.\n"
    yield "| model | route | verdict | layers | aligned | compared | faults | differences without effect | seconds |"
    yield "|---|---|---|---:|---:|---:|---|---|---:|"
    yield from map(row, cells)


def row(case: Mapping[str, Any]) -> str:
    """A line of the table."""
    start = f"| {case['model']} | `{case['route']}` |"
    if "error" in case or case["refused"] or case["alignment"] is None:
        reason = " ".join(str(case.get("error") or case["refused"]).split())
        return f"{start} {reason} | | | | | | {case['seconds']:.0f} |"
    aligned, compared = shares(case)
    named, harmless = (
        "; ".join(f"{fault['cause']} at {fault['target_location']}" for fault in case[kind]) or "none"
        for kind in ("faults", "harmless")
    )
    counts = f"{case['alignment']['target_layers']} | {aligned:.1%} | {compared:.1%} | {named} | {harmless}"
    return f"{start} {case['verdict']} | {counts} | {case['seconds']:.0f} |"
