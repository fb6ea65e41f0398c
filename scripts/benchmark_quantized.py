"""``scripts/benchmark quantized [--models mobilenetv2]``: dynamic-range conversions repaired on many pictures.

Each conversion is repaired twice: still quantized, and with every layer restored. Beside the sizes stands that of the
same route's float file. Every repair is on disk at once (``--work``), and a killed run goes on. Written are
benchmarks/quantized.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_crashes import told
from timing import ROOT, machine, publish

OPTION = "[optimizations=DEFAULT]"
ROUTES = (
    "tf>tflite:tflite_converter",
    "keras>tflite:tflite_converter",
    "tf>tflite:tflite_converter>onnx:tf2onnx",
)
"""Float; the first hop gets the option that rounds the weights."""

WAYS: Mapping[str, tuple[str, ...]] = {"still quantized": (), "every layer restored": ("--strategy", "weights")}


def main(flags: Sequence[str]) -> None:
    """Run what is not on disk yet, and write both files."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark quantized", description=__doc__)
    parser.add_argument("--models", default="mobilenetv2,inceptionv3,resnet101")
    parser.add_argument("--routes", default=",".join(ROUTES), help="of these float routes")
    parser.add_argument("--limit", type=int, default=1000, help="pictures")
    parser.add_argument("--work", type=Path, default=ROOT / "quantized-benchmark")
    arguments = parser.parse_args(flags)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for model in arguments.models.split(","):
        for route in arguments.routes.split(","):
            for way in WAYS:
                place = arguments.work / f"{re.sub('[^a-z0-9]+', '-', f'{model} {route} {way}')}.json"
                if not place.exists():
                    found = repaired(model, route, way, arguments.limit, arguments.work)
                    place.write_text(json.dumps(found, indent=1) + "\n")
                    print(row(found), flush=True)
    done = [json.loads(path.read_text()) for path in sorted(arguments.work.glob("*.json"))]
    command = f"scripts/benchmark quantized --limit {arguments.limit}"
    results = {"machine": machine(), "command": command, "repairs": done}
    publish("quantized", results, table(results))


def repaired(model: str, route: str, way: str, limit: int, work: Path) -> dict[str, Any]:
    """One repair, and the size of the float file of the same route."""
    first, *rest = route.split(">", 2)
    hops = ">".join([first, rest[0] + OPTION, *rest[1:]])
    suffix = ".onnx" if route.endswith("tf2onnx") else ".tflite"
    place = work / f"{model}-repaired{suffix}"
    place.unlink(missing_ok=True)
    what = ["--model", model, "-q"]
    found, seconds = told(
        "repair", [*what, "--route", hops, "--limit", str(limit), *WAYS[way], "--out", str(place)], work
    )
    sound, _ = told("diff", [*what, "--route", route, "--limit", "2"], work)
    after = found.get("repaired") or {}
    return {
        "model": model,
        "route": hops,
        "way": way,
        "pictures": limit,
        "seconds": seconds,
        "phases": found.get("seconds"),
        "before": found.get("comparison", {}).get("top1_disagreement"),
        "after": after.get("comparison", {}).get("top1_disagreement"),
        "max_abs_error": next((out["max_abs_error"] for out in after.get("comparison", {}).get("outputs", ())), None),
        "reached": bool(after.get("reached")),
        "size_before": after.get("size_bytes_before"),
        "size": after.get("size_bytes"),
        "float_size": sound.get("target", {}).get("size_bytes"),
        "kept_edits": sum(item["accepted"] for item in found.get("repairs", ())),
        "error": found.get("error"),
    }


def table(results: Mapping[str, Any]) -> str:
    head = (
        f"# Repair of dynamic-range conversions\n\nMade by `{results['command']}`. A label that differs is a flip; "
        "sizes are those of the target as it came, of the repaired file, and of the float file of the same route.\n\n"
        "| model | route | repair | pictures | flips before | after | off by | MB before | after | float | seconds |\n"
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    return head + "\n".join(row(found) for found in results["repairs"]) + "\n"


def row(found: Mapping[str, Any]) -> str:
    flips = [_count(found[key], found["pictures"]) for key in ("before", "after")]
    sizes = [_megabytes(found[key]) for key in ("size_before", "size", "float_size")]
    error = "" if found["max_abs_error"] is None else f"{found['max_abs_error']:.2g}"
    way = found["way"] if found["reached"] else f"{found['way']}: not reached"
    values = [found["model"], f"`{found['route']}`", way, str(found["pictures"]), *flips, error, *sizes]
    return "| " + " | ".join([*values, f"{found['seconds']:.0f}"]) + " |"


def _count(share: float | None, pictures: int) -> str:
    return "" if share is None else f"{share * pictures:.0f}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f}"
