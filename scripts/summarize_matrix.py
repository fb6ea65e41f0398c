#!/usr/bin/env python3
"""Boils the JSON of ``convfault matrix`` down to what a reader wants: benchmarks/matrix.{json,md}, without logs.

Usage: scripts/summarize_matrix.py matrix.json [benchmarks/matrix]
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FIGURES = ("images", "top1_disagreement", "max_abs_error")
PLACES = re.compile(r"(/[\w.@+-]+){3,}/")
FOLDERS = re.compile(r" --(out|json|html|csv|plot) \S+")


def main() -> None:
    given = Path(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent.parent / "benchmarks/matrix")
    matrix = json.loads(given.read_text(encoding="utf-8"))
    cells = [cell(outcome) for outcome in matrix["outcomes"]]
    summary = {
        "command": FOLDERS.sub("", matrix["command_line"]),
        "started": matrix["started"],
        "seconds": matrix["seconds"],
        "dataset": matrix["dataset"],
        "versions": matrix["versions"],
        "cells": cells,
    }
    out.parent.mkdir(exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(table(summary), encoding="utf-8")


def cell(outcome: dict[str, Any]) -> dict[str, Any]:
    """One cell without its log."""
    known = outcome["cell"]
    comparison = outcome.get("comparison") or {}
    figures = {name: outcome.get(name, comparison.get(name)) for name in FIGURES}
    told = {"cause": PLACES.sub("…/", outcome["cause"])} if outcome.get("cause") else {}
    names = {name: known[name] for name in ("model", "source", "target", "route")}
    return {**names, "status": outcome["status"], "seconds": round(outcome["seconds"], 1), **figures, **told}


def table(summary: dict[str, Any]) -> str:
    """Routes against models, then the causes of what failed."""
    models = sorted({item["model"] for item in summary["cells"]})
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    causes: dict[str, list[str]] = defaultdict(list)
    for item in summary["cells"]:
        error = item["max_abs_error"]
        figure = f" {error:.1e}" if item["status"] == "agree" and error is not None else ""
        rows[item["route"]][item["model"]] = item["status"] + figure
        if "cause" in item:
            causes[item["cause"]].append(f"{item['model']} {item['source']}→{item['target']}")
    lines = [f"`{summary['command']}`", "", f"| route | {' | '.join(models)} |", "|---|" + "---|" * len(models)]
    lines += [f"| `{route}` | {' | '.join(found.get(m, '–') for m in models)} |" for route, found in rows.items()]
    lines += ["", "| cells | cause |", "|---|---|"]
    for cause, where in sorted(causes.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"| {len(where)}: {', '.join(where)} | {cause} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
