"""Plants known faults in converted models, localizes them and scores the answers: benchmarks/localization.{json,md}.

Every case is on disk at once (``--work``), and a killed run goes on. Called by ``scripts/benchmark localization``.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import benchmark_repair
import numpy as np
from planting import KINDS, Record, Unfit, formats_of, plant
from right_causes import right_causes
from timing import ROOT, machine

from convfault.comparison import DIFFER
from convfault.investigation import Findings, investigate
from convfault.localization.aligning.align import align
from convfault.localization.faults import native_names
from convfault.localization.gather import chosen, gather
from convfault.measurement import Measurement, measure, measure_pair
from convfault.model import Model
from convfault.preparation import following, inspected
from convfault.relax import store
from convfault.render.fault_groups import gathered
from convfault.request import Context, Request

PAIRS = ("tf>tflite", "tf>onnx", "tflite>onnx", "keras>tflite", "torch>onnx", "keras>tf", "tf>torch", "keras>onnx")
PICTURES = 6
SINGLE_SHARE = 2 / 3
"""Of the cases carry one fault, the others two or three."""

DRAWS = 20
"""Kinds are drawn so often until some fit the model."""

LOOSE: Mapping[str, frozenset[str]] = {
    "input": frozenset({"input", "graph", "parameters", "hyperparameters"}),
    "tool": frozenset({"tool", "graph", "parameters", "hyperparameters"}),
}
"""Kinds that count as right for a family whose faults are edits of the graph as well."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=300, help="how many cases to plant")
    parser.add_argument("--models", default="mobilenetv2,inceptionv3,resnet101")
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, with what there is")
    parser.add_argument("--work", type=Path, help="a folder that keeps each case; default: beside the scripts")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/localization")
    parser.add_argument("--repair", action="store_true", help="repair each case, too: repair.{json,md} beside --out")
    chosen = parser.parse_args(arguments)
    chosen.work = chosen.work or ROOT / f"{'repair' if chosen.repair else 'localization'}-benchmark"
    chosen.work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + chosen.seconds
    cells = [(model, pair) for model in chosen.models.split(",") for pair in chosen.pairs.split(",")]
    for number in range(chosen.faults + len(cells)):
        if time.monotonic() > deadline:
            break
        # The sound pairs first, then faults turn by turn, so that a run cut short has some of everything
        cell = cells[number % len(cells)]
        _case(*cell, None if number < len(cells) else number - len(cells), chosen.work, chosen.repair)
    found = [json.loads(path.read_text()) for path in sorted(chosen.work.glob("*.json"))]
    results = {"machine": machine(), "cases": found}
    chosen.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    chosen.out.with_suffix(".md").write_text(table(found))
    print(table(found))
    if chosen.repair:
        print(benchmark_repair.write(found, chosen.out.with_name("repair")))


def _case(model: str, pair: str, seed: int | None, work: Path, repair: bool) -> None:
    """One case: the sound pair when ``seed`` is None, else with faults from this seed."""
    place = work / f"{model}-{pair.replace('>', '-')}-{'sound' if seed is None else f'{seed:04d}'}.json"
    if place.exists():
        return
    begun = time.monotonic()
    record: dict[str, Any] = {"model": model, "pair": pair, "seed": seed, "planted": []}
    try:
        record |= _localized(model, pair, seed, work, repair)
    except Unfit as reason:
        record["unfit"] = str(reason)
    except Exception as error:
        record["error"] = f"{type(error).__name__}: {error}"[:500]
    record["seconds"] = round(time.monotonic() - begun, 1)
    place.write_text(json.dumps(record, indent=1) + "\n")
    print(place.stem, _told(record), f"{record['seconds']} s", flush=True)


def _localized(model: str, pair: str, seed: int | None, work: Path, repair: bool) -> dict[str, Any]:
    source, target = pair.split(">")
    pictures = benchmark_repair.PICTURES if repair else PICTURES
    request, context = Request(model=model, src=source, dst=target, limit=pictures), Context()
    sound = measure(request, context)
    if seed is None:
        return {"verdict": sound.comparison.verdict, **_answer(investigate(sound, context))}
    assert sound.pair.target is not None
    path = Path(sound.pair.target.path)
    faulty = work / f"faulty{path.suffix}"
    batch = sound.sides[1].batches
    assert sound.pair.target.signature is not None
    inputs = batch.inputs(0, 2, sound.pair.target.signature, sound.sides[1].preprocessing)
    planted = _planted(path, seed, faulty, np.asarray(next(iter(inputs.values()))))
    wrong = following(sound.pair.source, inspected(Model.from_path(str(faulty)), None, context), None)
    damaged = replace(sound.pair, target=wrong, conversion=None)
    found = measure_pair(damaged, request, context)
    more: dict[str, Any] = {}
    if repair and found.comparison.verdict == DIFFER:
        out = work / f"repaired{path.suffix}"
        findings, more["repair"] = benchmark_repair.repaired(found, out, request, context)
    else:
        findings = investigate(found, context)
    return {
        "planted": [{**each.to_json(), "source_names": _source_names(each, sound, context)} for each in planted],
        "verdict": found.comparison.verdict,
        **_answer(findings),
        **more,
    }


def _planted(path: Path, seed: int, faulty: Path, pictures: Any) -> list[Record]:
    """Faults of the first drawn kinds that this model has a place for."""
    for draw in range(DRAWS):
        try:
            return plant(path, drawn(seed + draw * 100_003, _format(path)), seed, faulty, pictures=pictures)
        except Unfit as reason:
            refusal = reason
    raise refusal


def _source_names(planted: Record, sound: Measurement, context: Context) -> list[str]:
    """What the place of a fault is called in the source, by the alignment of the sound pair: a node that is missing has
    no other name."""
    rows = chosen(sound.traces, sound.comparison)
    material = gather(sound.sides, sound.traces, rows, context.cache, context.progress)
    source, target = (store.read(view) for view in material.views)
    touched = {layer.id for name in {planted.location, *planted.names} for layer in target.by_native(name)}
    matches = [match for match in align(source, target).matches if match.target in touched]
    return sorted({name for match in matches for name in native_names(source[match.source])})


def _format(path: Path) -> str:
    suffixes = {".tflite": "tflite", ".onnx": "onnx", ".keras": "keras", ".pt2": "torch"}
    return suffixes.get(path.suffix, "tensorflow")


def drawn(seed: int, model_format: str) -> list[str]:
    """Kinds of fault for a case, families in turn."""
    random = np.random.default_rng(seed)
    fitting = [name for name in KINDS if model_format in formats_of(name)]
    count = 1 if random.random() < SINGLE_SHARE else int(random.integers(2, 4))
    return [str(name) for name in random.choice(fitting, count, replace=False)]


def _answer(found: Findings) -> dict[str, Any]:
    details = found.localization or {}
    return {
        "faults": [fault.to_record() for fault in found.faults],
        "alignment": details.get("alignment"),
        "refused": details.get("refused"),
        "left": details.get("max_abs_error_left"),
        "examine_seconds": dict(found.seconds),
    }


def _told(case: Mapping[str, Any]) -> str:
    if "unfit" in case or "error" in case:
        return str(case.get("unfit") or case.get("error"))[:150]
    planted = ", ".join(f"{each['kind']} at {each['location']}" for each in case["planted"]) or "sound"
    found = ", ".join(f"{f['cause']} at {f['target_location']}" for f in _harmful(case)[:3])
    mended = f" -> {benchmark_repair.told(case['repair'])}" if "repair" in case else ""
    return f"{planted} -> {found or 'nothing'}{mended}"


def _harmful(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [fault for fault in case.get("faults", ()) if not fault["harmless"]]


def score(case: Mapping[str, Any], planted: Mapping[str, Any]) -> dict[str, bool]:
    """What of a planted fault was found: at all, its kind and cause, its location at rank 1 and among the first three.

    Its rank is the number of wrong answers before it, plus one: rows of the report, where many faults of one kind are
    one, that are about no planted fault's place.
    """
    faults = _harmful(case)
    at = _about(faults, planted)
    right = at.union(*(_about(faults, other) for other in case["planted"]))
    rows = [set(row) for row in gathered(range(len(faults)), lambda number: _row(faults[number]))]
    first = next((row for row, numbers in enumerate(rows) if numbers & at), None)
    wrong = None if first is None else sum(not numbers & right for numbers in rows[:first])
    kinds = LOOSE.get(planted["family"], frozenset({planted["family"]}))
    return {
        "found": bool(faults),
        "rank 1": wrong is not None and wrong == 0,
        "rank 3": wrong is not None and wrong <= 2,
        "kind": any(faults[number]["kind"] in kinds for number in at),
        "cause": any(faults[number]["cause"] in right_causes(planted["kind"]) for number in at),
    }


def _about(faults: Sequence[Mapping[str, Any]], planted: Mapping[str, Any]) -> set[int]:
    """The numbers of the faults that name the place of a planted one."""
    names = _unscoped([planted["location"], *planted["names"]])
    origin = _unscoped(planted.get("source_names", ()))
    return {n for n, fault in enumerate(faults) if _names(fault, "target") & names or _missing(fault) & origin}


def _row(fault: Mapping[str, Any]) -> tuple[str, str, str]:
    return fault["kind"], fault["cause"], str(fault["evidence"].get("group"))


def _names(fault: Mapping[str, Any], side: str) -> set[str]:
    named = fault["evidence"].get("native_names", {}), fault["evidence"].get("region", {})
    return _unscoped([str(fault[f"{side}_location"]), *(name for names in named for name in names.get(side, ()))])


def _unscoped(names: Iterable[str]) -> set[str]:
    """Without the functions around a node, which TensorFlow wraps a graph in each time that it is saved, and without
    the number of a node's only output."""
    return {re.sub(r"^((Stateful)?PartitionedCall/)+|:0$", "", name) for name in names}


def _missing(fault: Mapping[str, Any]) -> set[str]:
    """The source's names of what the target lacks."""
    return _names(fault, "source") if fault["kind"] == "graph" else set()


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([*_summary(cases), "", *_misses(cases)]) + "\n"


def _summary(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    sound = [case for case in cases if case["seed"] is None and "error" not in case]
    alarms = [case for case in sound if _harmful(case)]
    yield "# Localization of planted faults\n"
    yield f"Sound conversions: {len(sound)}, with a false alarm: {len(alarms)}.\n"
    groups: dict[tuple[str, str], list[dict[str, bool]]] = defaultdict(list)
    for case in cases:
        for planted in case["planted"] if "faults" in case else ():
            scores = score(case, planted)
            for group in (("", "all"), ("family", planted["family"]), ("pair", case["pair"]), ("model", case["model"])):
                groups[group].append(scores)
    yield "| group | | faults | found | kind right | cause right | location at rank 1 | at rank 3 |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for (sort, name), scores in sorted(groups.items()):
        shares = [
            f"{100 * sum(item[key] for item in scores) / len(scores):.1f} %"
            for key in ("found", "kind", "cause", "rank 1", "rank 3")
        ]
        yield f"| {sort} | {name} | {len(scores)} | {' | '.join(shares)} |"
    skipped = Counter("unfit" if "unfit" in case else "error" for case in cases if "unfit" in case or "error" in case)
    yield f"\nCases that could not be planted: {skipped['unfit']}; that failed: {skipped['error']}."


def _misses(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Misses\n"
    yield "| case | planted | at | first answers |"
    yield "|---|---|---|---|"
    for case in cases:
        name = f"{case['model']} {case['pair']} {case['seed']}"
        if "error" in case:
            yield f"| {name} | | | {case['error']} |"
        for planted in case["planted"] if "faults" in case else ():
            if not all(score(case, planted).values()):
                first = "; ".join(f"{f['cause']} at `{f['target_location']}`" for f in _harmful(case)[:3])
                yield f"| {name} | {planted['kind']} | `{planted['location']}` | {first or 'nothing'} |"
