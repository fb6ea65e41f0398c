"""Everything of one invocation as data; knows nothing of rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from convfault import schemas
from convfault.cache import write_aside
from convfault.comparison import AGREE, CRASH, Comparison
from convfault.fault import Fault

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """One invocation. The keys of its JSON form are the contract's; ``schema()`` gives the JSON Schema.

    ``source`` and ``target`` hold framework, path, sha256, versions and preprocessing; ``route`` a record for each
    hop; ``seconds`` the wall time of each phase; ``assumptions`` what was guessed rather than told.
    ``attribution`` says which of the four runs disagree, ``localization`` how the layers were aligned and how far each
    one deviates. ``command_line`` is the shell line that does it again, ``environment`` what it happened on (python,
    platform ...).
    ``notes`` are what a repair has to say beside its edits, also where nothing was written, a sentence each.
    ``thumbnails`` holds PNG or JPEG files by the names of the worst pictures, for the HTML page only.
    """

    command: str
    convfault_version: str
    started: str
    source: Mapping[str, Any]
    target: Mapping[str, Any]
    comparison: Comparison
    seconds: Mapping[str, float] = field(default_factory=dict)
    route: tuple[Mapping[str, Any], ...] = ()
    dataset: Mapping[str, Any] = field(default_factory=dict)
    attribution: Mapping[str, Any] | None = None
    localization: Mapping[str, Any] | None = None
    faults: tuple[Fault, ...] = ()
    repairs: tuple[Mapping[str, Any], ...] = ()
    repaired: Mapping[str, Any] | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    command_line: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, bytes] = field(default_factory=dict, compare=False)

    @property
    def exit_code(self) -> int:
        """0 when the models agree or the repaired file reached its goal, 1 when they differ or the target crashed."""
        return 0 if self.comparison.verdict == AGREE or self.verified else 1

    @property
    def verified(self) -> bool:
        """Whether a repaired file was written, run and found to reach its goal.

        The goal ``agree`` is answers within the tolerance and equal labels; ``labels`` keeps the target quantized and
        asks for equal labels only.
        """
        return self.repaired is not None and bool(self.repaired["reached"])

    @property
    def crashed(self) -> bool:
        return self.comparison.verdict == CRASH

    def judged(self, tolerance: float | None) -> Report:
        """The same report, judged again (under another tolerance) without running anything."""
        return replace(self, comparison=self.comparison.judged(tolerance), repaired=self._repaired_judged(tolerance))

    def _repaired_judged(self, tolerance: float | None) -> Mapping[str, Any] | None:
        if self.repaired is None:
            return None
        found = Comparison.from_record(self.repaired["comparison"]).judged(tolerance)
        labels = self.repaired["goal"] == "labels" and found.top1_disagreement == 0
        return {**self.repaired, "comparison": found.to_record(), "reached": found.verdict == AGREE or labels}

    def to_record(self) -> dict[str, Any]:
        """JSON form; thumbnails stay behind."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "command_line": self.command_line,
            "convfault_version": self.convfault_version,
            "started": self.started,
            "seconds": dict(self.seconds),
            "source": dict(self.source),
            "target": dict(self.target),
            "route": [dict(hop) for hop in self.route],
            "dataset": dict(self.dataset),
            "environment": dict(self.environment),
            "comparison": self.comparison.to_record(),
            "attribution": dict(self.attribution) if self.attribution else None,
            "localization": dict(self.localization) if self.localization else None,
            "faults": [fault.to_record() for fault in self.faults],
            "repairs": [dict(repair) for repair in self.repairs],
            "repaired": dict(self.repaired) if self.repaired else None,
            "notes": list(self.notes),
            "assumptions": list(self.assumptions),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Report:
        """Read back what ``to_record`` wrote; keys that a later convfault added are left out."""
        known = {item.name: record[item.name] for item in fields(cls) if item.name in record}
        return cls(
            **{
                **known,
                "thumbnails": {},
                "comparison": Comparison.from_record(record["comparison"]),
                "route": tuple(record["route"]),
                "faults": tuple(Fault.from_record(item) for item in record["faults"]),
                "repairs": tuple(record["repairs"]),
                "assumptions": tuple(record.get("assumptions", ())),
                "notes": tuple(record.get("notes", ())),
            }
        )

    def write(self, path: Path) -> None:
        """Write the JSON form, whole or not at all."""
        write_aside(path, json.dumps(self.to_record(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a JSON report; raises ``InputError`` when it is none, or of another schema version."""
        return cls.from_record(schemas.read("report", path))


def invalid(record: Any) -> str | None:
    """What is wrong with the JSON form of a report, in one sentence with its place; None when it is valid."""
    return schemas.invalid("report", record)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every JSON report validates against."""
    return schemas.schema("report")
