"""Localizes conversions that are known to be sound, where no fault is to be found: benchmarks/sound.{json,md}.

Networks of torchvision between ``.pt2`` and torch's two ONNX exporters, networks of Keras through TFLite and tf2onnx,
all with lively random weights. Every pair is on disk at once (``--work``), and a killed run goes on. Called by
``scripts/benchmark sound``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import lively
from timing import ROOT, machine

from convfault.investigation import investigate
from convfault.measurement import measure
from convfault.request import Context, Request

PICTURES = 4
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "torch": (
        ("model.pt2", "dynamo.onnx"),
        ("model.pt2", "torchscript.onnx"),
        ("dynamo.onnx", "torchscript.onnx"),
    ),
    "keras": (("model.keras", "model.tflite"), ("model.keras", "model.onnx"), ("model.tflite", "model.onnx")),
}
ENOUGH = 0.95
"""Share of the target's layers that must be aligned and compared."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", help="only these, as torch-googlenet,keras-Xception")
    parser.add_argument("--pairs", type=int, default=3, help="how many pairs of each network")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, with what there is")
    parser.add_argument("--work", type=Path, default=ROOT / "sound-benchmark")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/sound")
    chosen = parser.parse_args(arguments)
    deadline = time.monotonic() + chosen.seconds
    wanted = None if chosen.networks is None else chosen.networks.split(",")
    for framework, name in lively.networks():
        folder = chosen.work / f"{framework}-{name}"
        if wanted is not None and folder.name not in wanted:
            continue
        for source, target in PAIRS[framework][: chosen.pairs]:
            place = folder / f"{source}-{target}.json"
            if place.exists() or time.monotonic() > deadline:
                continue
            built(framework, name, folder)
            place.write_text(json.dumps(_case(name, folder / source, folder / target), indent=1) + "\n")
    found = [json.loads(path.read_text()) for path in sorted(chosen.work.glob("*/*.json"))]
    results = {"machine": machine(), "cases": found}
    chosen.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    chosen.out.with_suffix(".md").write_text(table(found))
    print(table(found))


def built(framework: str, name: str, folder: Path) -> None:
    """The network's files in the folder, made by a process of their own, since frameworks do not share one well."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "measuring.lively", framework, name, str(folder)]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{framework} {name} could not be built:\n{done.stderr[-2000:]}")
    (folder / "done").touch()


def _case(name: str, source: Path, target: Path) -> dict[str, Any]:
    begun = time.monotonic()
    record: dict[str, Any] = {"network": name, "source": source.name, "target": target.name}
    try:
        record |= _localized(source, target)
    except Exception as error:
        record["error"] = f"{type(error).__name__}: {error}"[:500]
    record["seconds"] = round(time.monotonic() - begun, 1)
    print(name, source.name, target.name, _told(record), f"{record['seconds']} s", flush=True)
    return record


def _localized(source: Path, target: Path) -> dict[str, Any]:
    request, context = Request(source=str(source), target=str(target), limit=PICTURES), Context()
    measured = measure(request, context)
    found = investigate(measured, context)
    details = found.localization or {}
    steps = details.get("divergence", [])
    compared = [step for step in steps if step["error"] is not None or step["local"] is not None]
    output = measured.comparison.outputs[0]
    return {
        "verdict": measured.comparison.verdict,
        "max_abs_error": output.max_abs_error,
        "largest_value": output.largest_value,
        "tolerance": output.tolerance.value,
        "refused": details.get("refused"),
        "alignment": details.get("alignment"),
        "unsupported": details.get("unsupported"),
        "compared": len(compared),
        "steps": len(steps),
        "largest_local_error": max((step["local"] for step in steps if step["local"] is not None), default=None),
        "faults": [fault.to_record() for fault in found.faults],
        "examine_seconds": dict(found.seconds),
    }


def shares(case: Mapping[str, Any]) -> tuple[float, float]:
    """Which share of the target's layers was aligned, and which was aligned and compared."""
    alignment = case["alignment"]
    count = alignment["target_layers"]
    aligned = alignment["matched"] / count
    return aligned, aligned * case["compared"] / case["steps"] if case["steps"] else 0.0


def sound(case: Mapping[str, Any]) -> bool:
    """Whether nothing is said against the pair, and enough of it was looked at."""
    complete = "error" not in case and not case["refused"] and case["alignment"] is not None
    return complete and not case["faults"] and min(shares(case)) >= ENOUGH


def _told(case: Mapping[str, Any]) -> str:
    if "error" in case or case["refused"]:
        return str(case.get("error") or case["refused"])
    faults = "; ".join(f"{fault['cause']} at {fault['target_location']}" for fault in case["faults"][:3])
    aligned, compared = shares(case)
    return f"{case['verdict']}, {aligned:.1%} aligned, {compared:.1%} compared, {faults or 'no fault'}"


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_lines(cases)) + "\n"


def _lines(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "# Sound conversions\n"
    yield f"Pairs: {len(cases)}; without a fault and with at least {ENOUGH:.0%} of the target's layers aligned and "
    yield f"compared: {sum(map(sound, cases))}. Errors of the output are relative to its largest value.\n"
    yield "| network | source | target | layers | aligned | compared | faults | error of output | of a layer alone |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|"
    for case in cases:
        names = f"| {case['network']} | {case['source']} | {case['target']} |"
        if "error" in case or case["refused"] or case["alignment"] is None:
            yield f"{names} {case.get('error') or case['refused']} | | | | | |"
            continue
        aligned, compared = shares(case)
        error = (case["max_abs_error"] or 0.0) / (case["largest_value"] or 1.0)
        local = case["largest_local_error"]
        yield (
            f"{names} {case['alignment']['target_layers']} | {aligned:.1%} | {compared:.1%} | {len(case['faults'])} "
            f"| {error:.1e} | {'' if local is None else f'{local:.1e}'} |"
        )
    if any("error" not in case and case["faults"] for case in cases):
        yield "\n## Alarms\n"
    for case in cases:
        for fault in () if "error" in case else case["faults"]:
            harmless = " (harmless)" if fault["harmless"] else ""
            yield f"- {case['network']} {case['source']} → {case['target']}: {fault['explanation']}{harmless}"
