"""The folder of a matrix: every finished cell as a file of its own, so that a killed run loses none.

``cells/<key>.json`` holds a cell's outcome, ``reports/<key>.json`` its full report (``.html`` the same as a page).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault.cache import write_aside
from convfault.errors import UsageError
from convfault.matrix.cells import DEFECT, MEMORY, SCHEMA_VERSION, TIMEOUT, CellOutcome
from convfault.matrix.outcomes import Attempt
from convfault.matrix.plan import Task

LOCK = ".lock"


@dataclass(frozen=True)
class Store:
    """``folder`` is the matrix' own. ``limits`` are those under which cells are tried: seconds, megabytes.

    ``pages``: a cell counts as finished only when its report is there as a page, too.
    """

    folder: Path
    limits: tuple[float | None, ...] = ()
    pages: bool = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For this process alone; raises ``UsageError`` when another one works in the folder."""
        from filelock import FileLock, Timeout

        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                yield
        except Timeout:
            raise UsageError(
                f"another convfault works in {self.folder}: wait for it, or give another folder as --out"
            ) from None

    def find(self, task: Task) -> CellOutcome | None:
        """The outcome of a finished cell; None when there is none, or one that no longer holds.

        It holds when data, settings and versions are still the same. A defect of convfault is tried again, and a cell
        that ran out of time or memory when the limits have changed.
        """
        place = self.folder / "cells" / f"{task.cell.key}.json"
        try:
            record = json.loads(place.read_text(encoding="utf-8"))
            outcome = CellOutcome.from_record(record["outcome"])
            if (record["schema_version"], record["fingerprint"]) != (SCHEMA_VERSION, task.fingerprint):
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, half, or another's
            return None
        if outcome.cell != task.cell or outcome.status == DEFECT or not self._has_files(outcome):
            return None
        if outcome.status in {TIMEOUT, MEMORY} and tuple(record["limits"]) != self.limits:
            return None
        return replace(outcome, cached=True)

    def _has_files(self, outcome: CellOutcome) -> bool:
        if not outcome.report:
            return True
        report = self.folder / outcome.report
        return report.is_file() and (not self.pages or report.with_suffix(".html").is_file())

    def write(self, task: Task, attempt: Attempt) -> CellOutcome:
        """Keep a finished cell, its report before its outcome; the outcome with the place of its report."""
        outcome = attempt.outcome
        if attempt.report is not None:
            outcome = replace(outcome, report=f"reports/{task.cell.key}.json")
            _write(self.folder / outcome.report, attempt.report)
            if attempt.page is not None:
                write_aside((self.folder / outcome.report).with_suffix(".html"), attempt.page)
        record = {"schema_version": SCHEMA_VERSION, "fingerprint": task.fingerprint, "limits": list(self.limits)}
        _write(self.folder / "cells" / f"{task.cell.key}.json", {**record, "outcome": outcome.to_record()})
        return outcome


def _write(path: Path, record: Any) -> None:
    write_aside(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
