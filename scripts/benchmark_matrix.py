"""``scripts/benchmark matrix [flags of convfault matrix]``: what a matrix costs, in benchmarks/matrix_cost.{json,md}.

Three runs of the same cells. The first, one cell at a time on an empty cache (the environments are at hand), gives wall
time, the sum of its parts and what is left: the processes, plan and files that convfault adds. The second finds every
cell. The third makes them on an empty cache again, two at a time, and is weighed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timing import CONVFAULT, ROOT, machine, peak_megabytes, timed

DEFAULT = ("--models", "mobilenetv2")
WITHIN = ("run source", "run target")
"""Phases of a report that lie within another one."""


def main(flags: Sequence[str]) -> None:
    """Measure and write both files; ``flags`` choose the cells."""
    chosen = list(flags or DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        results = {"machine": machine(), "command": " ".join(["scripts/benchmark matrix", *chosen])}
        results |= measured(chosen, Path(folder))
    (ROOT / "benchmarks/matrix_cost.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "benchmarks/matrix_cost.md").write_text(table(results))
    print(table(results))


def measured(chosen: Sequence[str], folder: Path) -> dict[str, Any]:
    """Seconds of the three runs, and the peak of the third in megabytes."""
    command = [*CONVFAULT, "matrix", *chosen, "-q"]
    alone = [*command, "--jobs", "1", "--out", str(folder / "alone"), "--json", str(folder / "matrix.json")]
    cache = empty_cache(folder / "cache alone")
    wall, _ = timed(alone, CONVFAULT_CACHE=cache)
    matrix = read(folder / "matrix.json")
    parts = sum(work(outcome, folder / "alone") for outcome in matrix["outcomes"])
    again, _ = timed(alone, CONVFAULT_CACHE=cache)
    found = read(folder / "matrix.json")
    assert all(outcome["cached"] or outcome["status"] in {"no_route", "defect"} for outcome in found["outcomes"])
    start, _ = timed([*CONVFAULT, "--version"])
    pair = [*command, "--jobs", "2", "--out", str(folder / "pair"), "--json", str(folder / "pair.json")]
    peak = peak_megabytes(pair, CONVFAULT_CACHE=empty_cache(folder / "cache pair"))
    return {
        "cells": len(matrix["outcomes"]),
        "pictures": matrix["dataset"]["images"],
        "wall": wall,
        "parts": parts,
        "overhead": (wall - parts) / parts,
        "found": {"wall": again, "start": start, "cell": found["seconds"]["total"] / len(found["outcomes"])},
        "two_workers": {"wall": read(folder / "pair.json")["seconds"]["total"], "peak_megabytes": peak},
    }


def empty_cache(place: Path) -> str:
    """A cache with nothing but the environments that are there already."""
    from convfault.cache import Cache

    place.mkdir()
    made = Cache.default().root / "environments"
    made.mkdir(parents=True, exist_ok=True)
    (place / "environments").symlink_to(made, target_is_directory=True)
    return str(place)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def work(outcome: Mapping[str, Any], out: Path) -> float:
    """Seconds that a cell spent on building, converting, decoding, running and comparing."""
    if not outcome["report"]:
        return float(outcome["seconds"])
    phases = read(out / outcome["report"])["seconds"]
    return float(sum(seconds for phase, seconds in phases.items() if phase not in WITHIN))


def table(results: Mapping[str, Any]) -> str:
    found, pair = results["found"], results["two_workers"]
    rows = [
        ("one cell at a time, empty cache: wall time", f"{results['wall']:.0f} s", ""),
        ("the sum of its parts: build, convert, decode, run, compare", f"{results['parts']:.0f} s", ""),
        ("what convfault adds", f"{100 * results['overhead']:.1f} %", "10 %"),
        ("every cell found: the whole command", f"{found['wall']:.2f} s, of it {found['start']:.2f} s to start", ""),
        ("the same, for each cell", f"{found['cell']:.3f} s", "0.1 s"),
        ("two cells at a time, empty cache: wall time", f"{pair['wall']:.0f} s", ""),
        ("the same: peak memory of all processes", f"{pair['peak_megabytes'] / 1000:.1f} GB", "12 GB"),
    ]
    what = f"{results['cells']} cells, {results['pictures']} pictures each"
    head = (
        f"# What a matrix costs\n\nMade by `{results['command']}` on {results['machine']['cores']} cores: {what}.\n\n"
    )
    lines = [f"| {name} | {value} | {aim} |" for name, value, aim in rows]
    return head + "\n".join(["| what | measured | aim |", "|---|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
