"""Reports of ``localize`` as it makes them of small networks, for the tests of what shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from convfault.fault import Fault
from convfault.localization import divergence, effect, faults
from convfault.localization.case import Case
from convfault.localization.graph import analyzer as graph
from convfault.localization.hyperparameters import analyzer as hyperparameters
from convfault.localization.illustration import illustrated
from convfault.localization.knowledge import about
from convfault.localization.parameters import analyzer as parameters
from convfault.relax import evaluate
from convfault.relax.graph import Graph
from convfault.report import Report
from tests import samples
from tests.localization import wirings

ATTRIBUTION = {"source_native_vs_tvm": 2e-6, "target_native_vs_tvm": 3e-6, "tvm_vs_tvm": 0.4, "blame": "conversion"}


def several() -> Report:
    """A node that is missing, weights of one layer that are off, another padding."""
    return report_of(_damaged)


def rounded() -> Report:
    """All weights rounded to eight bits: alike faults."""
    return report_of(_rounded)


def harmless() -> Report:
    """Agreeing models with differences of no effect."""
    found = report_of(_rounded)
    mild = [replace(fault, harmless=True) for fault in found.faults]
    return replace(found, comparison=samples.agreeing().comparison, faults=tuple(mild), attribution=None)


def unexplained(blame: str = "conversion", **more: Any) -> Report:
    """Models that differ though no fault was found."""
    found = report_of(lambda source: source)
    localization = {**(found.localization or {}), **more}
    return replace(found, attribution={**ATTRIBUTION, "blame": blame}, localization=localization)


def hostile() -> Report:
    """Every text that comes from a model, as an attacker would choose it."""
    return Report.from_record(_poisoned(several().to_record(), wanted=(
        "source_location", "target_location", "explanation", "suggestion", "source_name", "target_name", "name",
        "attribute", "expected", "actual", "native_names", "missing", "extra", "read_by",
    )))  # fmt: skip


ALL = (several, rounded, harmless, unexplained, hostile)


@cache
def report_of(damage: Callable[[Graph], Graph]) -> Report:
    """What ``localize`` tells of a small network and what ``damage`` makes of it."""
    source = wirings.network()
    case = _case(source, damage(source))
    suspects = [item for look in (parameters, hyperparameters, graph) for item in look.examine(case)]
    effects = effect.measured(case, suspects)
    order = [suspect for suspect, _ in faults.ordered(case, suspects, effects)]
    found = illustrated(case, order, faults.ranked(case, suspects, effects))
    localization = {
        "alignment": {"matched": len(case.alignment.matches), "source_layers": len(case.source.graph),
                      "target_layers": len(case.target.graph), "confidence": 0.98},
        "divergence": [step.to_record() for step in divergence.divergence(case)],
        "pictures": ["a", "b", "c", "d"],
        "measured_on": effects.pictures,
        "max_abs_error_left": effects.left.max_abs_error,
        "top1_disagreement_left": effects.left.top1_disagreement,
        "unsupported": [],
        "target_nodes": {layer.id: faults.native_names(layer) for layer in case.target.graph},
        "causes": about(found),
    }  # fmt: skip
    report = replace(samples.differing(), command="localize", faults=tuple(found), attribution=ATTRIBUTION)
    record = replace(report, localization=localization).to_record()
    return replace(Report.from_record(json.loads(json.dumps(record))), thumbnails=report.thumbnails)


def fault(**more: Any) -> Fault:
    """A fault that was measured, alike to others made with the same cause."""
    figures = {"top1_disagreement": 0.25, "max_abs_error": 0.5}
    effects = {f"{name}_{when}": value for name, value in figures.items() for when in ("before", "after", "caused")}
    return replace(samples.fault(), **{"cause": "int8_rounding", "attribute": "weights", "effect": effects, **more})


def with_faults(found: Sequence[Fault], **localization: Any) -> Report:
    """A report of ``localize`` with these faults, ranked in their order."""
    ranked = (replace(item, id=f"F{rank}", rank=rank) for rank, item in enumerate(found, 1))
    known = {"measured_on": 8, **localization}
    return replace(_differing(), command="localize", faults=tuple(ranked), localization=known)


@cache
def _differing() -> Report:
    return samples.differing()


def _case(source: Graph, target: Graph) -> Case:
    start = {"picture": wirings.PICTURES}
    runs = [evaluate.run(side, start, tuple(layer.id for layer in side)) for side in (source, target)]
    natives = {
        name: {str(side[key].native.tensor or key): value for key, value in run.items()}
        for name, side, run in zip(("source", "target"), (source, target), runs, strict=True)
    }
    return wirings.case(source, target, natives=natives)


def _damaged(source: Graph) -> Graph:
    target = source.without("relu2").with_hyperparameters("pool", count_padding=True)
    weights = target["conv5"].parameters["weights"].values.copy()
    weights[:, :, 3] *= 1.5
    return target.with_parameters("conv5", weights=weights)


def _rounded(source: Graph) -> Graph:
    target = source
    for layer in source:
        if "weights" in layer.parameters:
            weights = layer.parameters["weights"].values
            steps = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0) / 127
            rounded = (np.round(weights / steps) * steps).astype(np.float32)
            target = target.with_parameters(layer.id, weights=rounded)
    return target


def _poisoned(value: Any, wanted: Sequence[str], bad: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _poisoned(item, wanted, bad or name in wanted) for name, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item, wanted, bad) for item in value]
    return samples.NASTY if bad and isinstance(value, str) else value
