"""``scripts/benchmark speed [--skip-repair]``: what localize and repair cost, in benchmarks/speed.{json,md}.

The conversions are the dynamic-range ones, TF to TFLite, on a cache of their own that a first run fills: the models,
their views, the pictures and both models' answers are at hand then; whatever a command finds out, it finds out anew.
The repair also runs the file that it writes, once over all pictures. What it may take is measured beside it: four
passes of both runtimes over the same pictures, alone, and a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_matrix import empty_cache
from timing import CONVFAULT, ROOT, bare_passes, machine, peak_megabytes, timed

ROUNDED = ["--src", "tf", "--dst", "tflite", "--tool-option", "tflite_converter.optimizations=DEFAULT"]
AIMS = {"inceptionv3": 30.0, "mobilenetv2": 12.0}
LAYERS_AIM = 5.0
PASSES, SPARE = 4, 60.0
REPAIRED = "inceptionv3"


def main(flags: Sequence[str]) -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark speed", description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000, help="of the repair")
    parser.add_argument("--skip-repair", action="store_true", help="leave out the repair of InceptionV3 (minutes)")
    arguments = parser.parse_args(flags)
    results: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["scripts/benchmark speed", *flags]),
        "localize": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = empty_cache(Path(folder) / "cache")
        for model in AIMS:
            results["localize"].append(localized(model, Path(folder), cache))
        if not arguments.skip_repair:
            results["repair"] = repaired(arguments.pictures, Path(folder), cache)
    (ROOT / "benchmarks/speed.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "benchmarks/speed.md").write_text(table(results))
    print(table(results))


def localized(model: str, folder: Path, cache: str) -> dict[str, Any]:
    """Seconds of the first run and of the second one with its phases, and the peak of a third in megabytes."""
    report = folder / f"{model}.json"
    command = [*CONVFAULT, "localize", "--model", model, *ROUNDED, "--json", str(report), "-q"]
    first, _ = timed(command, CONVFAULT_CACHE=cache)
    wall, _ = timed(command, CONVFAULT_CACHE=cache)
    found = json.loads(report.read_text())
    peak = peak_megabytes(command, CONVFAULT_CACHE=cache)
    return {
        "model": model,
        "faults": len(found["faults"]),
        "first": first,
        "wall": wall,
        "phases": found["seconds"],
        "peak_megabytes": peak,
    }


def repaired(pictures: int, folder: Path, cache: str) -> dict[str, Any]:
    """Both repairs of InceptionV3, after a diff that fills the cache, and the bare passes."""
    what = ["--model", REPAIRED, *ROUNDED, "--limit", str(pictures), "-q"]
    diff = folder / "diff.json"
    timed([*CONVFAULT, "diff", *what, "--json", str(diff)], CONVFAULT_CACHE=cache)
    _, bare = bare_passes(diff, CONVFAULT_CACHE=cache)
    runs = []
    for title, flags in (("every layer restored", ["--strategy", "weights"]), ("still quantized", [])):
        report, out = folder / "repair.json", folder / f"{len(runs)}.tflite"
        command = [*CONVFAULT, "repair", *what, *flags, "--out", str(out), "--json", str(report)]
        wall, _ = timed(command, CONVFAULT_CACHE=cache)
        found = json.loads(report.read_text())
        after = found["repaired"] or {}
        runs.append(
            {
                "title": title,
                "wall": wall,
                "phases": found["seconds"],
                "reached": bool(after.get("reached")),
                "flips": after.get("comparison", {}).get("top1_disagreement"),
                "bytes": after.get("size_bytes"),
            }
        )
    return {"pictures": pictures, "pass": bare["loops"], "limit": PASSES * bare["loops"] + SPARE, "runs": runs}


def table(results: Mapping[str, Any]) -> str:
    rows = []
    for run in results["localize"]:
        model, layers = run["model"], run["phases"].get("compare layers", 0.0)
        rows.append((f"`localize` {model}: the whole command, warm", f"{run['wall']:.1f} s", f"{AIMS[model]:.0f} s"))
        rows.append(("the same, the cache empty", f"{run['first']:.1f} s", ""))
        rows.append(("the same, warm: comparing the layers' values", f"{layers:.1f} s", f"{LAYERS_AIM:.0f} s"))
        rows.append(("the same: peak memory of all processes", f"{run['peak_megabytes'] / 1000:.1f} GB", ""))
    found = results.get("repair")
    for run in found["runs"] if found else ():
        what = f"`repair` {REPAIRED}, {found['pictures']:,} pictures, {run['title']}"
        rows.append((what, f"{run['wall']:.0f} s", f"{found['limit']:.0f} s"))
        share = "not measured" if run["flips"] is None else f"{100 * run['flips']:.2g} %"
        size = f", {run['bytes'] / 1e6:.1f} MB" if run["bytes"] else ""
        rows.append(("the same: labels that differ afterwards", f"{share}{size}", "0 %"))
    if found:
        rows.append(("one pass of both runtimes over the same pictures, alone", f"{found['pass']:.0f} s", ""))
    head = (
        f"# Speed of `localize` and `repair`\n\nMade by `{results['command']}` on {results['machine']['cores']} cores: "
        "TF→TFLite with weights rounded to int8. The aim of a repair is four passes of both runtimes and 60 s.\n\n"
    )
    lines = [f"| {name} | {value} | {aim} |" for name, value, aim in rows]
    tables = [head + "\n".join(["| what | measured | aim |", "|---|---|---|", *lines]) + "\n"]
    tables += [phases(f"`localize` {run['model']}", run["phases"]) for run in results["localize"]]
    tables += [phases(f"`repair`, {run['title']}", run["phases"]) for run in (found["runs"] if found else ())]
    return "\n".join(tables)


def phases(title: str, seconds: Mapping[str, float]) -> str:
    """A table of phases that take a tenth of a second and more."""
    lines = [f"| {name} | {value:.1f} |" for name, value in seconds.items() if value >= 0.1]
    return f"## Phases of {title}\n\n" + "\n".join(["| phase | seconds |", "|---|---|", *lines]) + "\n"
