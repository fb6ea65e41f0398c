"""``scripts/benchmark crashes [--models mobilenetv2]``: the matrix's crashing cells through localize and repair.

Which conversions crash is read from benchmarks/matrix.json. Every cell is on disk at once (``--work``), and a killed
run goes on. Written are benchmarks/crashes.{json,md}: what is named as the cause, and whether another way is found.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timing import CONVFAULT, ROOT, machine, publish

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "keras": ".keras", "tf": "", "torch": ".pt2"}
LONGEST = 160
"""Characters of an explanation in the table."""


def main(flags: Sequence[str]) -> None:
    """Run what is not on disk yet, and write both files."""
    parser = parser_of("crashes", __doc__, 50)
    arguments = parser.parse_args(flags)
    arguments.work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.seconds
    cells = json.loads((ROOT / "benchmarks/matrix.json").read_text())["cells"]
    for model in arguments.models.split(","):
        for cell in cells:
            place = place_of(cell, arguments.work)
            if cell["model"] != model or cell["status"] != "crash" or place.exists() or time.monotonic() > deadline:
                continue
            place.write_text(json.dumps(found(cell, arguments.limit, arguments.work), indent=1) + "\n")
    done = [json.loads(path.read_text()) for path in sorted(arguments.work.glob("*.json"))]
    command = f"scripts/benchmark crashes --models {arguments.models}"
    results = {"machine": machine(), "command": command, "cells": done}
    publish("crashes", results, table(results))


def parser_of(name: str, description: str | None, limit: int) -> argparse.ArgumentParser:
    """The flags of a benchmark that goes through cells of the matrix."""
    parser = argparse.ArgumentParser(prog=f"scripts/benchmark {name}", description=description)
    parser.add_argument("--models", default="mobilenetv2,inceptionv3,resnet101")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, with what there is")
    parser.add_argument("--work", type=Path, default=ROOT / f"{name}-benchmark")
    parser.add_argument("--limit", type=int, default=limit, help="pictures")
    return parser


def place_of(cell: Mapping[str, Any], work: Path) -> Path:
    """Where what is found of a cell is kept."""
    return work / f"{cell['model']}-{re.sub('[^a-z0-9_]+', '-', cell['route'])}.json"


def found(cell: Mapping[str, Any], limit: int, work: Path) -> dict[str, Any]:
    """What localize says of a cell, and what repair makes of it."""
    what = ["--model", cell["model"], "--route", cell["route"], "--limit", str(limit), "-q"]
    located, seconds = told("localize", what, work)
    mended, more = told("repair", [*what, "--out", str(work / f"mended{SUFFIXES[cell['target']]}")], work)
    faults = located.get("faults") or [{}]
    repaired = mended.get("repaired")
    chosen = next((item["edit"] for item in mended.get("repairs", ()) if item["accepted"]), None)
    return {
        "model": cell["model"],
        "route": cell["route"],
        "crash": cell["cause"],
        "verdict": located.get("comparison", {}).get("verdict"),
        "kind": faults[0].get("kind"),
        "cause": faults[0].get("cause"),
        "explanation": faults[0].get("explanation", ""),
        "evidence": {key: value for key, value in faults[0].get("evidence", {}).items() if len(str(value)) < 400},
        "seconds": seconds,
        "repaired": bool(repaired and repaired["reached"]),
        "repair": chosen,
        "repair_seconds": more,
        "errors": [one["error"] for one in (located, mended) if "error" in one],
    }


def told(command: str, flags: Sequence[str], work: Path) -> tuple[dict[str, Any], float]:
    """The report of a command, or under ``error`` why there is none; and seconds."""
    report = work / "report" / f"{command}.json"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    line = [*CONVFAULT, command, *flags, "--json", str(report)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    if not report.exists():
        return {"error": done.stderr.strip()[-400:]}, time.monotonic() - begun
    found: dict[str, Any] = json.loads(report.read_text())
    return found, time.monotonic() - begun


def table(results: Mapping[str, Any]) -> str:
    cells = results["cells"]
    named = sum(bool(cell["cause"]) for cell in cells)
    mended = sum(cell["repaired"] for cell in cells)
    head = (
        f"# Crashing conversions of the matrix\n\nMade by `{results['command']}`: {len(cells)} crashing cells of "
        f"benchmarks/matrix.json, {named} with a cause, {mended} replaced by a target that agrees with its source.\n\n"
        "| model | route | cause | what is said | seconds | repair | seconds |\n|---|---|---|---|---:|---|---:|\n"
    )
    return head + "\n".join(row(cell) for cell in cells) + "\n"


def row(cell: Mapping[str, Any]) -> str:
    said = " ".join(cell["explanation"].split()).replace("|", "/")
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]} …"
    repair = cell["repair"] if cell["repaired"] else "none"
    values = [cell["model"], f"`{cell['route']}`", cell["cause"] or "none", said, f"{cell['seconds']:.0f}", repair]
    return "| " + " | ".join([*values, f"{cell['repair_seconds']:.0f}"]) + " |"
