"""Mends the planted faults of ``scripts/benchmark localization --repair``: benchmarks/repair.{json,md}.

The conversion is not done again in another way here: that would heal every planted fault, and show nothing.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from timing import machine

from convfault.comparison import AGREE
from convfault.investigation import Findings
from convfault.measurement import Measurement
from convfault.repairing.order import STRATEGIES, Order
from convfault.repairing.place import place_for
from convfault.request import Context, Request
from convfault.restoring.restore import Restoration, restore
from convfault.restoring.rounds import CANNOT_RUN

PICTURES = 12
"""Two of them are held out of the search."""

ORDER = Order(tuple(name for name in STRATEGIES if name != "tool"))
REASONS = 4
"""How many reasons of a miss are shown."""


def repaired(found: Measurement, out: Path, request: Request, context: Context) -> tuple[Findings, dict[str, Any]]:
    """What ``convfault repair`` finds and does with a target that differs; the written file is removed again."""
    target = found.pair.target
    assert target is not None
    place, begun = place_for(target, out, (found.pair.source,)), time.monotonic()
    done = restore(found, request, ORDER, place, context)
    seconds = time.monotonic() - begun
    for path in out.parent.glob(f"{out.name}*"):  # also what lies beside it
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return done.findings, outcome(found, done, seconds)


def outcome(found: Measurement, done: Restoration, seconds: float) -> dict[str, Any]:
    """What a case's record says of its repair."""
    result = done.repaired or {}
    accepted = {(item["round"], item["edit"]) for item in done.repairs if item["accepted"]} if result else set()
    rejected = [f"{item['edit']}: {item['reason']}" for item in done.repairs if not item["accepted"]]
    return {
        "before": _figures(found.comparison.to_record()),
        "after": _figures(result["comparison"]) if result else None,
        "reached": bool(result.get("reached")),
        "improved": bool(result),
        "goal": result.get("goal"),
        "held_out": result.get("held_out"),
        "edits": len(accepted),
        "rounds": max((number for number, _ in accepted), default=0),
        "unopened": sum(CANNOT_RUN in note for note in done.notes),
        "notes": list(done.notes),
        "rejected": rejected[:20],
        "seconds": round(seconds, 1),
    }


def _figures(comparison: Mapping[str, Any]) -> dict[str, Any]:
    return {name: comparison[name] for name in ("verdict", "max_abs_error", "top1_disagreement", "nonfinite")}


def told(repair: Mapping[str, Any]) -> str:
    """A repair in a few words."""
    state = "repaired" if repair["reached"] else "improved" if repair["improved"] else "not repaired"
    return f"{state} by {repair['edits']} edits in {repair['seconds']} s"


def write(cases: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Write both files; the Markdown page."""
    tried = [_short(case) for case in cases if "repair" in case]
    harmless = sum(bool(case["planted"]) and case.get("verdict") == AGREE for case in cases)
    text = "\n".join(_lines(tried, harmless)) + "\n"
    out.with_suffix(".json").write_text(json.dumps({"machine": machine(), "cases": tried}, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    return text


def _short(case: Mapping[str, Any]) -> dict[str, Any]:
    """A case without its faults, which the localization's file has."""
    names = ("kind", "family", "location", "attribute", "effect")
    planted = [{name: each[name] for name in names} for each in case["planted"]]
    return {**{name: case[name] for name in ("model", "pair", "seed", "repair")}, "planted": planted}


def _lines(cases: Sequence[Mapping[str, Any]], harmless: int) -> Iterator[str]:
    unopened = sum(case["repair"]["unopened"] for case in cases)
    yield "# Repair of planted faults\n"
    yield (
        "Made by `scripts/benchmark localization --repair`. Every target is mended in its own file and proven by its "
        "own runtime; converting anew is not allowed. Files that their runtime could not open or run: "
        f"{unopened}. Cases whose faults are too small to differ, left out: {harmless}.\n"
    )
    yield "| group | | cases | brought to zero | improved only | held out, too | edits per fault | seconds |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for (sort, name), group in sorted(_groups(cases).items()):
        yield f"| {sort} | {name} | {' | '.join(_row(group))} |"
    yield "\n## Not brought to zero\n"
    yield "| case | planted | at | before | after | why |"
    yield "|---|---|---|---|---|---|"
    for case in cases:
        if not case["repair"]["reached"]:
            yield _miss(case)


def _groups(cases: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for case in cases:
        families = {each["family"] for each in case["planted"]}
        faults = f"{len(case['planted'])} in one file"
        names = [("", "all"), ("pair", case["pair"]), ("model", case["model"]), ("faults", faults)]
        for group in (*names, *(("family", family) for family in families)):
            groups[group].append(case)
    return groups


def _row(group: Sequence[Mapping[str, Any]]) -> list[str]:
    repairs = [case["repair"] for case in group]
    proven = [each["held_out"]["reached"] for each in repairs if each["reached"] and each["held_out"]]
    reached = [case for case in group if case["repair"]["reached"]]
    faults = sum(len(case["planted"]) for case in reached)
    return [
        str(len(group)),
        _share(each["reached"] for each in repairs),
        _share(each["improved"] and not each["reached"] for each in repairs),
        _share(proven),
        f"{sum(case['repair']['edits'] for case in reached) / faults:.2f}" if faults else "",
        f"{statistics.median(each['seconds'] for each in repairs):.0f}",
    ]


def _share(found: Iterable[bool]) -> str:
    values = list(found)
    return f"{100 * sum(values) / len(values):.1f} %" if values else ""


def _miss(case: Mapping[str, Any]) -> str:
    repair, planted = case["repair"], case["planted"]
    why = [*repair["notes"], *repair["rejected"]]
    cells = [
        f"{case['model']} {case['pair']} {case['seed']}",
        ", ".join(each["kind"] for each in planted),
        ", ".join(f"`{each['location']}`" for each in planted),
        _error(repair["before"]),
        _error(repair["after"]) if repair["after"] else "nothing written",
        "; ".join(why[:REASONS]) or "there was no edit to try",
    ]
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "/")[:500] for cell in cells) + " |"


def _error(figures: Mapping[str, Any]) -> str:
    error, labels = figures["max_abs_error"], figures["top1_disagreement"]
    size = figures["verdict"] if error is None else f"{error:.2g}"
    return size if not labels else f"{size}, {labels:.0%} of labels"
