"""A matrix as comma-separated values: one row for each cell, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from convfault.matrix.cells import CellOutcome, Matrix
from convfault.render import wording

COLUMNS: dict[str, Callable[[CellOutcome], Any]] = {
    "model": lambda outcome: outcome.cell.model,
    "source": lambda outcome: outcome.cell.source,
    "target": lambda outcome: outcome.cell.target,
    "route": lambda outcome: outcome.cell.route,
    "weights": lambda outcome: outcome.cell.weights,
    "status": lambda outcome: outcome.status,
    "rank": lambda outcome: None,
    "top1_disagreement": lambda outcome: outcome.top1_disagreement,
    "top5_disagreement": lambda outcome: outcome.top5_disagreement,
    "kendall_tau": lambda outcome: outcome.kendall_tau,
    "max_abs_error": lambda outcome: outcome.max_abs_error,
    "tolerance": lambda outcome: outcome.tolerance,
    "images": lambda outcome: outcome.images,
    "size_bytes": lambda outcome: outcome.size_bytes,
    "seconds": lambda outcome: outcome.seconds,
    "conversion_seconds": lambda outcome: outcome.conversion_seconds,
    "peak_megabytes": lambda outcome: outcome.peak_megabytes,
    "stage": lambda outcome: outcome.stage,
    "hop": lambda outcome: outcome.hop,
    "tool": lambda outcome: outcome.tool,
    "tool_version": lambda outcome: outcome.tool_version,
    "cause": lambda outcome: outcome.cause,
    "message": lambda outcome: outcome.message,
    "versions": lambda outcome: "; ".join(f"{tool} {version}" for tool, version in outcome.versions.items()),
    "cached": lambda outcome: outcome.cached,
    "report": lambda outcome: outcome.report,
    "key": lambda outcome: outcome.cell.key,
}
"""The columns in their order, which stays: new ones are added at the end. Units are those of ``CellOutcome``."""

FORMULA = ("=", "+", "-", "@")
"""How a text begins that a spreadsheet would take for a formula (OWASP, CSV injection)."""


def table(matrix: Matrix) -> str:
    """A row for each cell, in the order of the matrix, under a row of names; figures that do not apply are empty.

    ``rank`` is the place of the route among those of its pair, from 1; 1 is the recommended one. Text that would be a
    formula has an apostrophe before it, text of several lines becomes one line.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(COLUMNS)
    ranks = _ranks(matrix)
    for outcome in matrix.outcomes:
        values = {name: value(outcome) for name, value in COLUMNS.items()} | {"rank": ranks.get(outcome.cell.key)}
        writer.writerow(_text(value) if isinstance(value, str) else value for value in values.values())
    return content.getvalue()


def _ranks(matrix: Matrix) -> dict[str, int]:
    """The rank of every cell whose target answered, by its key."""
    return {
        outcome.cell.key: rank
        for pair in matrix.pairs
        for rank, outcome in enumerate(matrix.pair(*pair), 1)
        if outcome.compared
    }


def _text(text: str) -> str:
    line = " ".join(wording.printable(text).split())
    return f"'{line}" if line.startswith(FORMULA) else line
