"""What a known bug must be found as: the model that shows it, the way there, and the words of a right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES: Mapping[str, frozenset[str]] = {
    "conversion_tool": frozenset({"tool"}),
    "parameters": frozenset({"parameters"}),
    "hyperparameters": frozenset({"hyperparameters"}),
    "graph": frozenset({"graph"}),
    "input": frozenset({"input"}),
    "runtime": frozenset({"runtime"}),
}
"""A class of known_bugs.yaml → the kinds of fault that a report may give it."""


@dataclass(frozen=True)
class Shown:
    """One verified entry and how it is shown here.

    ``build`` writes the source model into a folder; ``route`` converts it. ``operator`` and ``attribute`` list
    spellings of which one must stand in the fault that is named first. ``sound`` marks an entry whose defect is TVM's,
    not a converter's: nothing may be blamed on the conversion. ``difference`` says how this differs from the entry.
    ``target`` writes a sound target where no converter is meant.
    """

    id: str
    build: Callable[[Path], Path]
    route: str
    operator: tuple[str, ...] = ()
    attribute: tuple[str, ...] = ()
    sound: bool = False
    difference: str = ""
    target: Callable[[Path], Path] | None = None

    def judged(self, entry: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, bool]:
        """What of the entry is found and right in a report of ``localize``."""
        faults = [fault for fault in report["faults"] if not fault["harmless"]]
        if self.sound:
            compared = "alignment" in (report["localization"] or {})
            clean = compared and not faults and report["comparison"]["verdict"] == "agree"
            return {"found": clean, "class": clean, "operator": clean, "attribute": clean}
        first = next((fault for fault in faults if fault["cause"] not in {"hop", "worse_hop", "option"}), None)
        if first is None:
            return {"found": False, "class": False, "operator": False, "attribute": False}
        return {
            "found": True,
            "class": first["kind"] in CLASSES[entry["class"]],
            "operator": _mentions(_place(first), self.operator),
            "attribute": _mentions(f"{first['attribute']} {first['cause']} {first['explanation']}", self.attribute),
        }


def _place(fault: Mapping[str, Any]) -> str:
    evidence = fault["evidence"]
    told = (fault["explanation"], fault["source_location"], fault["target_location"], evidence.get("operator"))
    return " ".join(str(text) for text in (*told, evidence.get("native_names", "")))


def _mentions(text: str, spellings: tuple[str, ...]) -> bool:
    return not spellings or any(spelling.lower() in text.lower() for spelling in spellings)
