"""The target's layers coloured by their error, for Google's Model Explorer ("Add per-node data").

Format: ``GraphNodeData`` of its ``node_data_builder.py``: ``results`` maps a node's id, or the name of any tensor that
it outputs, to a ``value`` and optional colours; ``thresholds``, ascending, colour all values up to theirs. The graph's
own name is left out: then Model Explorer takes the data for the graph that it shows, whatever that is called, while
data for a name that does not fit are ignored without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convfault.render.fault_groups import groups
from convfault.report import Report

LARGEST = 1e30
"""What stands for an error that is not finite, which JSON cannot hold."""
THRESHOLDS = (
    (1e-5, "#ffffff", "#14181f"),
    (1e-4, "#fff1e0", "#14181f"),
    (1e-3, "#ffdcb0", "#14181f"),
    (1e-2, "#ffbc7a", "#14181f"),
    (1e-1, "#f58d42", "#14181f"),
    (LARGEST, "#d2591b", "#ffffff"),
)
"""Error relative to the layer's largest value, and the colours up to it."""
FAULT = {"bgColor": "#8e1d4e", "textColor": "#ffffff"}
"""What a layer with a fault of its own looks like."""


def document(report: Report) -> str:
    """The node data as JSON; without results where the layers were not compared."""
    data = {
        "results": _results(report),
        "thresholds": [{"value": value, "bgColor": paper, "textColor": ink} for value, paper, ink in THRESHOLDS],
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _results(report: Report) -> dict[str, dict[str, Any]]:
    """Every name of a layer → its error; of layers that share a fused operator, the larger one."""
    faulty, steps = _faulty(report), (report.localization or {}).get("divergence", ())
    names = (report.localization or {}).get("target_nodes") or {}
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        value = _value(step)
        if value is None:
            continue
        colours = FAULT if step["target"] in faulty else {}
        for name in names.get(step["target"]) or [step["target_name"]]:
            known = found.get(name, {})
            larger = max([value, *([known["value"]] if known else [])])
            found[name] = {**known, **colours, "value": larger}
    return found


def _value(step: Mapping[str, Any]) -> float | None:
    """The larger one of the error and the layer's own; an infinite one as a number that JSON can hold."""
    if step.get("problem"):
        return LARGEST
    known = [value for value in (step.get("error"), step.get("local")) if value is not None]
    return max(known, default=None)


def _faulty(report: Report) -> set[str]:
    """Ids of the target's layers that have a fault, as far as these are known."""
    layers = (fault.evidence.get("layers") or {} for group in groups(report) for fault in group.faults)
    return {str(found["target"]) for found in layers if found.get("target")}
