"""The nouns of a matrix: a cell to be tried, what became of it, and all of them together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from convfault import cache, schemas
from convfault.comparison import AGREE, CRASH, CRASH_STAGES, DIFFER

SCHEMA_VERSION = 1

TIMEOUT, MEMORY, DEFECT, NO_ROUTE = "timeout", "memory", "defect", "no_route"
STATUSES = (AGREE, DIFFER, CRASH, TIMEOUT, MEMORY, DEFECT, NO_ROUTE)
"""How a cell can end: the models agree or differ; the conversion or the target crashed, hung or ran out of memory;
convfault itself failed; no chain of converters that are known and installed leads there."""

BUILD, CONVERT, LOAD, RUN = "build", *CRASH_STAGES
STAGES = ("", BUILD, CONVERT, LOAD, RUN)
"""Where a cell failed: nowhere; making the source; converting; reading the target; running source or target."""

COMPARED = (AGREE, DIFFER)
"""The statuses of cells whose target answered."""


@dataclass(frozen=True)
class Cell:
    """One conversion to try. ``model`` is a zoo name or a path as the user wrote it; ``source`` and ``target`` are
    frameworks; ``route`` is text as ``--route`` takes it, with options in brackets and perhaps versions of tools
    (empty: no route is known); ``weights`` as in ``--weights``.
    """

    model: str
    source: str
    target: str
    route: str
    weights: str = "calibrated"

    @property
    def key(self) -> str:
        """Names the cell's files: readable, unique, the same on every machine."""
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", self.title)[:40]
        content = cache.key(self.model, self.source, self.target, self.route, self.weights)
        return f"{name}-{self.source}-{self.target}-{content[:12]}"

    @property
    def title(self) -> str:
        """The model's name, of a file without its folders."""
        return self.model if ":" in self.model else Path(self.model).name

    def __str__(self) -> str:
        return f"{self.title} {self.route or f'{self.source}>{self.target}'}"

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        return {"key": self.key, **asdict(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Cell:
        """Read back what ``to_record`` wrote."""
        return cls(**{item.name: record[item.name] for item in fields(cls)})


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell. ``status`` is one of ``STATUSES``, ``stage`` one of ``STAGES``.

    ``tool`` and ``tool_version`` are of the hop that failed, the ``hop``-th of the route from 0; ``cause`` is short
    and stable, so that cells with one cause group together, ``message`` says it in full, ``details`` is the end of a
    log or a defect's traceback.
    Rates are fractions 0..1, errors and ``tolerance`` (the widest of the outputs') absolute in the output's unit; None
    where they do not apply. ``tolerance_ratio`` is how many times its tolerance the worst output is off, None also
    where one is off beyond any number or has no counterpart.
    ``seconds`` is the wall time of the cell when it was run, ``conversion_seconds`` of its converters when they were;
    ``size_bytes`` is the target's. ``versions``: tool → version, for each hop that was taken. ``report`` is the file of
    the cell's own report, relative to the matrix' folder (empty: none). ``cached``: an earlier invocation tried it.
    """

    cell: Cell
    status: str
    stage: str = ""
    tool: str = ""
    tool_version: str = ""
    hop: int | None = None
    cause: str = ""
    message: str = ""
    details: str = ""
    top1_disagreement: float | None = None
    top5_disagreement: float | None = None
    kendall_tau: float | None = None
    max_abs_error: float | None = None
    tolerance: float | None = None
    tolerance_ratio: float | None = None
    images: int = 0
    seconds: float = 0.0
    conversion_seconds: float = 0.0
    peak_megabytes: float = 0.0
    size_bytes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    report: str = ""
    cached: bool = field(default=False, compare=False)

    @property
    def compared(self) -> bool:
        """Whether the target answered, so that there are figures."""
        return self.status in COMPARED

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts outcomes of one pair, the best first: agree, differ by disagreement; by size; by seconds; failed last.

        The disagreement is that of the top labels, of a model without classes the largest error.
        """
        order = COMPARED.index(self.status) if self.compared else len(COMPARED)
        disagreement = self.max_abs_error if self.top1_disagreement is None else self.top1_disagreement
        size = math.inf if self.size_bytes is None else self.size_bytes
        known = math.inf if disagreement is None else disagreement
        return (order, known if self.status == DIFFER else 0.0, size, self.conversion_seconds)

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "cell": self.cell.to_record(), "versions": dict(self.versions)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CellOutcome:
        """Read back what ``to_record`` wrote; keys that a later convfault added are left out."""
        known = {item.name: record[item.name] for item in fields(cls) if item.name in record}
        return cls(**{**known, "cell": Cell.from_record(record["cell"])})


@dataclass(frozen=True)
class Cause:
    """A reason that cells failed for: its stable text, and the outcomes that share it."""

    text: str
    status: str
    stage: str
    outcomes: tuple[CellOutcome, ...]


@dataclass(frozen=True)
class Matrix:
    """All cells of one invocation. ``models`` maps each model to the SHA-256 of its file (None for a named model);
    ``settings`` holds what else decides the results (weights, tolerance, data); ``seconds`` the wall time by
    phase, with ``cells`` the sum over the cells; ``versions`` are of packages, ``environment`` of the machine.
    """

    command: str
    convfault_version: str
    started: str
    outcomes: tuple[CellOutcome, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str | None] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command_line: str = ""

    @property
    def exit_code(self) -> int:
        """3 when a cell met a defect of convfault, 1 when one does not agree, else 0; no route is no failure."""
        statuses = {outcome.status for outcome in self.outcomes}
        if DEFECT in statuses:
            return 3
        return 1 if statuses - {AGREE, NO_ROUTE} else 0

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Each model's title; see ``titles``."""
        return titles([*self.models, *(outcome.cell.model for outcome in self.outcomes)])

    @cached_property
    def pairs(self) -> tuple[tuple[str, str, str], ...]:
        """Every (model, source, target) once, in the order of the cells."""
        cells = (outcome.cell for outcome in self.outcomes)
        return tuple(dict.fromkeys((cell.model, cell.source, cell.target) for cell in cells))

    def pair(self, model: str, source: str, target: str) -> tuple[CellOutcome, ...]:
        """The outcomes of one pair, the best first; () when it has no cell."""
        wanted = (model, source, target)
        found = [o for o in self.outcomes if (o.cell.model, o.cell.source, o.cell.target) == wanted]
        return tuple(sorted(found, key=lambda outcome: (outcome.rank, outcome.cell.route)))

    def recommendation(self, model: str, source: str, target: str) -> CellOutcome | None:
        """The best route of a pair: by disagreement, then size, then speed; None when no target answered."""
        best = next(iter(self.pair(model, source, target)), None)
        return best if best is not None and best.compared else None

    def causes(self) -> tuple[Cause, ...]:
        """The failures by cause, the commonest first; defects of convfault before all others."""
        groups: dict[tuple[str, str, str], list[CellOutcome]] = {}
        for outcome in self.outcomes:
            if outcome.cause:
                groups.setdefault((outcome.cause, outcome.status, outcome.stage), []).append(outcome)
        found = [Cause(*names, tuple(outcomes)) for names, outcomes in groups.items()]
        return tuple(sorted(found, key=lambda cause: (cause.status != DEFECT, -len(cause.outcomes), cause.text)))

    def with_outcomes(self, outcomes: Iterable[CellOutcome]) -> Matrix:
        """The same invocation with other outcomes."""
        return replace(self, outcomes=tuple(outcomes))

    def to_record(self) -> dict[str, Any]:
        """JSON form; ``schema()`` describes it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        outcomes = [outcome.to_record() for outcome in self.outcomes]
        return {"schema_version": SCHEMA_VERSION, **plain, "outcomes": outcomes}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Matrix:
        """Read back what ``to_record`` wrote; keys that a later convfault added are left out."""
        known = {item.name: record[item.name] for item in fields(cls) if item.name in record}
        return cls(**{**known, "outcomes": tuple(CellOutcome.from_record(item) for item in record["outcomes"])})

    def write(self, path: Path) -> None:
        """Write the JSON form, whole or not at all."""
        cache.write_aside(path, json.dumps(self.to_record(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Matrix:
        """Read a JSON matrix; raises ``InputError`` when it is none, or of another schema version."""
        return cls.from_record(schemas.read("matrix", path))


def titles(models: Iterable[str]) -> dict[str, str]:
    """What each model is called: a file by its name, with as many of its folders as tell it from the others."""
    parts = {model: (model,) if ":" in model else PurePath(model).parts for model in models}
    return {model: _title(model, parts) for model in parts}


def _title(model: str, parts: Mapping[str, tuple[str, ...]]) -> str:
    others = [found for name, found in parts.items() if name != model]
    for count in range(1, len(parts[model]) + 1):
        tail = parts[model][-count:]
        if all(other[-count:] != tail for other in others):
            return str(PurePath(*tail))
    return model


def invalid(record: Any) -> str | None:
    """What is wrong with the JSON form of a matrix, in one sentence with its place; None when it is valid."""
    return schemas.invalid("matrix", record)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every JSON matrix validates against."""
    return schemas.schema("matrix")
