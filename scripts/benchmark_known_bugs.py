"""Localizes every verified fault of a list of them on a small model: benchmarks/known_bugs.{json,md}.

Called by ``scripts/benchmark known-bugs``; with ``--repair`` every fault is mended, too, in the target's own file or by
another way of converting. Converters with an environment of their own get it made on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from known_bugs.bug import Shown
from known_bugs.catalogue import ABSENT, SHOWN
from timing import ROOT, machine

import convfault
from convfault.errors import ConvfaultError

PICTURES = 12


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="identifiers of entries, with commas between")
    parser.add_argument("--catalogue", type=Path, required=True, help="the YAML list of verified bugs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/known_bugs")
    parser.add_argument("--reports", type=Path, help="a folder to keep each report in")
    parser.add_argument("--repair", action="store_true", help="repair each one, too")
    chosen = parser.parse_args(arguments)
    listed = yaml.safe_load(chosen.catalogue.read_text(encoding="utf-8"))
    entries = {entry["id"]: entry for entry in listed["bugs"] if entry["status"] == "verified"}
    wanted = set(chosen.only.split(",")) if chosen.only else set(entries)
    rows = _earlier(chosen.out.with_suffix(".json"), wanted)
    for shown in (item for item in SHOWN if item.id in wanted):
        rows.append(_row(shown, entries[shown.id], chosen.reports, chosen.repair))
        print(_line(rows[-1]), flush=True)
    rows += [_missing(entries[name]) for name in entries if name in wanted and name not in {i.id for i in SHOWN}]
    order = list(entries)
    rows.sort(key=lambda row: (order.index(row["id"]), row["route"]))
    content = json.dumps({"machine": machine(), "bugs": rows}, indent=1)
    content = content.replace(f"{ROOT}/", "").replace(str(Path.home()), "~")
    chosen.out.with_suffix(".json").write_text(content + "\n", encoding="utf-8")
    chosen.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")


def _earlier(path: Path, wanted: set[str]) -> list[dict[str, Any]]:
    """The rows of an earlier run that this one does not do again."""
    if not path.is_file():
        return []
    return [row for row in json.loads(path.read_text(encoding="utf-8"))["bugs"] if row["id"] not in wanted]


def _row(shown: Shown, entry: Mapping[str, Any], reports: Path | None, repair: bool) -> dict[str, Any]:
    begun = time.monotonic()
    repair = repair and not shown.sound
    row: dict[str, Any] = {"id": shown.id, "class": entry["class"], "route": shown.route, "as": shown.difference}
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = shown.build(Path(folder))
            target = None if shown.target is None else shown.target(Path(folder))
            request = {"route": shown.route or None, "limit": PICTURES}
            if repair:
                order = convfault.Order(out=_place(Path(folder), shown.route))
                report = convfault.repair(source, target, order, **request).to_record()
            else:
                report = convfault.localize(source, target, **request).to_record()
    except ConvfaultError as error:
        return {**row, "reason": str(error), "seconds": round(time.monotonic() - begun, 1)}
    row["seconds"] = round(time.monotonic() - begun, 1)
    if reports is not None:
        reports.mkdir(parents=True, exist_ok=True)
        name = f"{shown.id}-{shown.route.rpartition(':')[2].partition('[')[0]}.json"
        (reports / name).write_text(json.dumps(report, indent=1), encoding="utf-8")
    versions = [f"{hop['tool']} {hop['tool_version']}" for hop in report["route"]]
    first = [_told(fault) for fault in report["faults"] if not fault["harmless"]][:3]
    notes = (report.get("attribution") or {}).get("notes", [])
    verdict = report["comparison"]["verdict"]
    judged = shown.judged(entry, report)
    row |= {"versions": versions, "verdict": verdict, "judged": judged, "faults": first, "notes": notes}
    return {**row, "repair": _repair(report)} if repair else row


def _place(folder: Path, route: str) -> Path:
    """Where the mended target goes, named as the last framework of the route wants it."""
    suffixes = {"torch": ".pt2", "keras": ".keras", "tf": "", "tflite": ".tflite", "onnx": ".onnx"}
    return folder / f"mended{suffixes[route.rpartition('>')[2].partition(':')[0]]}"


def _repair(report: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the target was mended, by which strategies and edits, and why not by others."""
    result, accepted = report["repaired"], [item for item in report["repairs"] if item["accepted"]]
    return {
        "reached": bool(result and result["reached"]),
        "written": result is not None,
        "strategies": list(dict.fromkeys(item["strategy"] for item in accepted)) if result else [],
        "edits": [item["edit"] for item in accepted] if result else [],
        "reasons": [f"{item['edit']}: {item['reason']}" for item in report["repairs"] if not item["accepted"]],
        "notes": result["notes"] if result else [],
        "seconds": report["seconds"].get("repair"),
    }


def _told(fault: Mapping[str, Any]) -> dict[str, Any]:
    names = ("kind", "cause", "attribute", "expected", "actual", "source_location", "target_location", "explanation")
    return {name: fault[name] for name in names}


def _missing(entry: Mapping[str, Any]) -> dict[str, Any]:
    reason = ABSENT.get(entry["id"], "no model that shows it is written")
    return {"id": entry["id"], "class": entry["class"], "route": "", "as": "", "reason": reason, "seconds": 0.0}


def _right(row: Mapping[str, Any]) -> bool:
    return "judged" in row and all(row["judged"].values())


def _line(row: Mapping[str, Any]) -> str:
    if "judged" not in row:
        return f"{row['id']}: not run: {row['reason']}"
    wrong = [name for name, fine in row["judged"].items() if not fine]
    told = "; ".join(f"{fault['kind']} {fault['cause']} {fault['attribute']}" for fault in row["faults"])
    judgement = f"WRONG {', '.join(wrong)}" if wrong else "right"
    repair = row.get("repair")
    mended = "" if not repair else f" {'repaired' if repair['reached'] else 'not repaired'} {repair['strategies']}"
    return f"{row['id']} {row['route']}: {judgement}: {told}{mended} {row['seconds']} s"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown page."""
    return "\n".join([*_lines(rows), *_repair_lines(rows)]) + "\n"


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ran = [row for row in rows if "judged" in row]
    yield "# Known bugs of real converters\n"
    yield (
        "Every entry of `known_bugs.yaml` that was verified, shown on a small model by `scripts/benchmark known-bugs`: "
        f"{sum(map(_right, ran))} of {len(ran)} runs are found and named right (class, operator and attribute as "
        f"listed); {len(rows) - len(ran)} could not be run. The defects of TVM (`tvm-*`) are right when nothing is "
        "blamed on the sound conversion.\n"
    )
    yield "| bug | shown by | class | found | right | fault named first | seconds |"
    yield "|---|---|---|---|---|---|---:|"
    for row in rows:
        if "judged" not in row:
            yield f"| {row['id']} | | {row['class']} | not run | | {_cell(row['reason'])} | |"
            continue
        wrong = [name for name, fine in row["judged"].items() if not fine]
        found = "yes" if row["judged"]["found"] else "no"
        first = row["faults"][0] if row["faults"] else None
        told = (
            "nothing, as it should be"
            if first is None
            else f"{first['kind']}, {first['cause']}: {first['explanation']}"
        )
        yield (
            f"| {row['id']} | {_cell(', '.join(row['versions']))} {row['as']} | {row['class']} | {found} "
            f"| {'yes' if not wrong else 'not its ' + ', '.join(wrong)} | {_cell(told)} | {row['seconds']} |"
        )


def _repair_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    tried = [row for row in rows if "repair" in row]
    if not tried:
        return
    mended = sum(row["repair"]["reached"] for row in tried)
    yield "\n## Repair\n"
    yield f"{mended} of {len(tried)} targets answer as their source does after `convfault repair`.\n"
    yield "| bug | route | repaired | by | edits, or why not |"
    yield "|---|---|---|---|---|"
    for row in tried:
        repair = row["repair"]
        state = "yes" if repair["reached"] else "better, not right" if repair["written"] else "no"
        told = repair["edits"] if repair["reached"] else [*repair["notes"], *repair["reasons"]]
        cells = row["id"], row["route"], state, ", ".join(repair["strategies"]), "; ".join(told) or "no edit to try"
        yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:300]


if __name__ == "__main__":
    os.chdir(ROOT)
    import sys

    main(sys.argv[1:])
