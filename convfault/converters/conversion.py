"""What became of a conversion: of every hop its status, message, log and file, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convfault.converters.route import Route
from convfault.model import Model

LOG_TAIL = 4000
MESSAGE_LENGTH = 400
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SUMMARY = "Exception summary"
"""torch.onnx puts the reason under this heading, after a page of advice."""
KERAS = "Exception encountered when calling"
"""Keras names the layer first and the reason in the next line."""
SIGNS_OF_MEMORY = ("MemoryError", "std::bad_alloc", "Cannot allocate memory", "DefaultCPUAllocator: can't allocate")


@dataclass(frozen=True)
class HopResult:
    """How one hop ended.

    ``status``: ``ok``, ``error`` (the tool raised, or wrote no model), ``crash``, ``timeout`` or ``memory``.

    ``message`` is the tool's own, in one line, ``log`` the tail of what it printed, ``path`` what it wrote (None when
    it failed). ``options`` are those that differ from their default, ``all_options`` all. ``cached``: it came from an
    earlier run; ``seconds`` and ``peak_megabytes`` are of the run that made it.
    """

    source: str
    target: str
    tool: str
    tool_version: str
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    status: str
    message: str = ""
    log: str = ""
    seconds: float = 0.0
    peak_megabytes: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False
    path: str | None = None
    all_options: Mapping[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """The report's form of a hop."""
        return {
            "from": self.source,
            "to": self.target,
            "tool": self.tool,
            "tool_version": self.tool_version,
            "versions": dict(self.versions),
            "options": dict(self.options),
            "all_options": dict(self.all_options),
            "seconds": round(self.seconds, 3),
            "peak_megabytes": round(self.peak_megabytes),
            "status": self.status,
            "message": self.message,
            "log": self.log,
            "notes": list(self.facts.get("notes", ())),
            "facts": dict(self.facts),
            "cached": self.cached,
            "path": self.path,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HopResult:
        """From the JSON that ``to_record`` wrote."""
        values = {name: value for name, value in record.items() if name not in {"from", "to", "notes"}}
        return cls(source=record["from"], target=record["to"], **values)


@dataclass(frozen=True)
class Conversion:
    """A route taken: the results of the hops up to the first that failed, and the model that each one wrote.

    ``models`` holds the source first, then what each successful hop wrote.
    """

    route: Route
    hops: tuple[HopResult, ...]
    models: tuple[Model, ...]

    @property
    def source(self) -> Model:
        return self.models[0]

    @property
    def target(self) -> Model | None:
        """The last hop's model; None when a hop failed."""
        return self.models[-1] if self.status == "ok" else None

    @property
    def status(self) -> str:
        """``ok``, or the status of the hop that failed."""
        return self.hops[-1].status

    @property
    def message(self) -> str:
        """Empty, or why the conversion failed: the hop, the tool with its version, and its message."""
        last = self.hops[-1]
        if last.status == "ok":
            return ""
        return f"{last.tool} {last.tool_version} ({last.source} to {last.target}): {last.message}"

    def to_records(self) -> list[dict[str, Any]]:
        """The report's ``route``: one record a hop; ``status`` is ``ok`` or ``crash`` there, ``ended`` says how."""
        return [_reported(hop.to_record()) for hop in self.hops]


def _reported(hop: Mapping[str, Any]) -> dict[str, Any]:
    return {**hop, "status": "ok" if hop["status"] == "ok" else "crash", "ended": hop["status"]}


def short_message(text: str) -> str:
    """The line of a tool's message that a person needs, without colours, at most 400 characters."""
    text = ESCAPES.sub("", text)
    kind = text.partition(":")[0].strip()
    if SUMMARY in text:
        text = text.partition(SUMMARY)[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no message"
    chosen = lines[0]
    if chosen.endswith(":") and len(lines) > 1:
        chosen = f"{chosen} {lines[1]}"
    elif KERAS in chosen and len(lines) > 1:
        chosen = f"{kind}: {lines[1]} (in{chosen.partition(KERAS)[2].rstrip('.')})"
    elif " error: " in text and " error: " not in chosen:  # MLIR names the operator in a later line
        chosen = f"{kind}: " + next(line for line in lines if " error: " in line).partition(" error: ")[2]
    return chosen if len(chosen) <= MESSAGE_LENGTH else chosen[: MESSAGE_LENGTH - 1] + "…"


def is_out_of_memory(message: str) -> bool:
    """Whether a tool's message says that memory ran out."""
    return any(sign in message for sign in SIGNS_OF_MEMORY)
