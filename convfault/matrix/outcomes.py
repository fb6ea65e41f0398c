"""What became of a cell, read from its report or from how its process ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convfault.comparison import CRASH, OutputComparison
from convfault.errors import (
    ConvfaultError,
    FormatError,
    MissingPackageError,
    RouteError,
    ShapeError,
    SubjectError,
    UsageError,
)
from convfault.matrix.causes import cause
from convfault.matrix.cells import BUILD, CONVERT, DEFECT, LOAD, MEMORY, NO_ROUTE, RUN, TIMEOUT, Cell, CellOutcome
from convfault.process import Outcome
from convfault.report import Report

DETAILS_LENGTH = 4000
FAILED = {"timeout": TIMEOUT, "memory": MEMORY}
SIGNS_OF_TIME = ("no end after", "no sign of life")
SIGNS_OF_MEMORY = ("used more than", "MemoryError", "out of memory", "bad_alloc", "SIGKILL")
"""Nobody but the kernel short of memory sends SIGKILL to a process of ours; our own limits say so themselves."""
SAID = {TIMEOUT: "no end in time", MEMORY: "out of memory"}


@dataclass(frozen=True)
class Attempt:
    """A cell that was tried: its outcome, its full report as a record, and that report as a page (None: none)."""

    outcome: CellOutcome
    report: Mapping[str, Any] | None = None
    page: str | None = None

    def to_record(self) -> dict[str, Any]:
        """JSON form, which crosses process boundaries."""
        return {"outcome": self.outcome.to_record(), "report": self.report, "page": self.page}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Attempt:
        """Read back what ``to_record`` wrote."""
        return cls(CellOutcome.from_record(record["outcome"]), record["report"], record["page"])


def from_report(cell: Cell, report: Report, seconds: float) -> CellOutcome:
    """The outcome that the report of a cell's diff tells; ``seconds`` is its wall time."""
    base = CellOutcome(
        cell,
        report.comparison.verdict,
        seconds=round(seconds, 3),
        conversion_seconds=round(sum(hop["seconds"] or 0.0 for hop in report.route), 3),
        peak_megabytes=max((hop.get("peak_megabytes") or 0.0 for hop in report.route), default=0.0),
        versions={str(hop["tool"]): str(hop["tool_version"]) for hop in report.route},
    )
    if report.comparison.verdict == CRASH:
        return _crashed(base, report)
    comparison = report.comparison
    return replace(
        base,
        message="; ".join(comparison.reasons),
        top1_disagreement=comparison.top1_disagreement,
        top5_disagreement=comparison.top5_disagreement,
        kendall_tau=comparison.kendall_tau,
        max_abs_error=comparison.to_record()["max_abs_error"],
        tolerance=max((output.tolerance.value for output in comparison.outputs), default=None),
        tolerance_ratio=_ratio(comparison.outputs),
        images=comparison.images,
        size_bytes=report.target.get("size_bytes"),
    )


def _ratio(outputs: Sequence[OutputComparison]) -> float | None:
    """How many times its tolerance the worst output is off; None where that is no number."""
    ratios = []
    for output in outputs:
        error, allowed = output.max_abs_error, output.tolerance.value
        if not output.comparable or output.unmatched or error is None or not math.isfinite(error):
            return None
        ratios.append(error / allowed if allowed else math.inf if error else 0.0)
    worst = max(ratios, default=math.inf)
    return worst if math.isfinite(worst) else None


def _crashed(base: CellOutcome, report: Report) -> CellOutcome:
    """The last hop failed, or all did their work and the target cannot be read or run: the fault of its maker."""
    last = report.route[-1] if report.route else {"tool": "", "tool_version": "", "status": "ok", "log": ""}
    made: dict[str, Any] = {
        "tool": last["tool"],
        "tool_version": str(last["tool_version"] or ""),
        "hop": len(report.route) - 1,
    }
    if last["status"] != "ok":
        return failed(base, CONVERT, last.get("ended", last["status"]), last["message"], last["log"], **made)
    message = report.comparison.reasons[0]
    return failed(base, report.comparison.stage, CRASH, message, size_bytes=report.target.get("size_bytes"), **made)


def failed(base: CellOutcome, stage: str, status: str, message: str, details: str = "", **values: Any) -> CellOutcome:
    """``base`` as a failure; time and memory are told from the ``message`` where the ``status`` does not say them."""
    status = FAILED.get(status) or _told(message)
    tool = values.get("tool", base.tool)
    text = f"{tool}: {SAID[status]}" if tool and status in SAID else SAID.get(status) or cause(tool, message)
    if stage in {LOAD, RUN}:
        text = f"{text} ({stage})"
    facts: dict[str, Any] = {"cause": text, "message": message, "details": (details or "")[-DETAILS_LENGTH:]}
    return replace(base, stage=stage, status=status, **facts, **values)


def _told(message: str) -> str:
    if any(sign in message for sign in SIGNS_OF_TIME):
        return TIMEOUT
    return MEMORY if any(sign in message for sign in SIGNS_OF_MEMORY) else CRASH


def no_route(cell: Cell, message: str) -> CellOutcome:
    """The outcome of a cell that cannot be tried here."""
    return CellOutcome(cell, NO_ROUTE, cause=cause("", message), message=message)


def conclude(cell: Cell, outcome: Outcome) -> Attempt:
    """What became of a cell whose process ended so.

    Raises the ``UsageError`` that all cells would meet alike (a full disk, data that cannot be used).
    """
    if outcome.status == "ok":
        return Attempt.from_record(outcome.value)
    base = CellOutcome(cell, CRASH, seconds=round(outcome.seconds, 3))
    error = outcome.error
    if isinstance(error, MissingPackageError | RouteError):
        return Attempt(no_route(cell, str(error)))
    if isinstance(error, SubjectError):
        return Attempt(failed(base, _stage(error.stage), error.status, str(error), error.log))
    if isinstance(error, FormatError | ShapeError):
        return Attempt(failed(base, LOAD, CRASH, str(error)))
    if isinstance(error, UsageError):
        raise error
    if outcome.status in FAILED or "SIGKILL" in outcome.message:
        return Attempt(failed(base, RUN, outcome.status, outcome.message, outcome.log))
    return Attempt(_defect(base, outcome, error))


def lost(cell: Cell, message: str) -> CellOutcome:
    """The outcome of a cell that took every worker of a cluster down that tried it."""
    return failed(CellOutcome(cell, CRASH), RUN, CRASH, f"the workers that tried it were lost: {message}")


def _defect(base: CellOutcome, outcome: Outcome, error: ConvfaultError | None) -> CellOutcome:
    """convfault itself failed; the log holds the traceback."""
    message = str(error) if error is not None else outcome.message
    text = cause("defect of convfault", message)
    return replace(base, status=DEFECT, cause=text, message=message, details=outcome.log[-DETAILS_LENGTH:])


def _stage(text: str) -> str:
    """Which of ``STAGES`` the stage of a process was: a job of convfault names it in its first words."""
    if text.startswith("build "):
        return BUILD
    if " read as " in text:
        return LOAD
    return RUN if text.startswith("run ") else CONVERT
