"""JUnit XML of a matrix and of a regression: a case for each cell."""

from __future__ import annotations

from convfault.comparison import AGREE, DIFFER
from convfault.matrix.cells import DEFECT, NO_ROUTE, Cell, CellOutcome, Matrix
from convfault.matrix.regress import ALARMS, PASSED, Change, Regression
from convfault.render import junit, matrix_grid, wording
from convfault.render.junit import Case

OUTCOMES = {AGREE: "passed", DIFFER: "failure", NO_ROUTE: "skipped"}
"""What CI makes of the end of a cell; of any other, an error."""


def document(matrix: Matrix) -> str:
    """A suite with a case for each cell: a failure where it differs, an error where it crashes, hangs or runs out of
    memory, skipped where there is no route. Names stay the same from one version of a tool to the next.
    """
    return junit.suite(
        matrix.command,
        [_case(outcome, matrix.titles[outcome.cell.model]) for outcome in matrix.outcomes],
        matrix.started,
        _about(matrix),
    )


def regression_document(regression: Regression) -> str:
    """A suite with a case for each cell of either side: a failure where it is an alarm, skipped where nothing
    is known.
    """
    cases = [_change(change, regression.title(change)) for change in regression.changes]
    return junit.suite("regress", cases, regression.matrix.started, _about(regression.matrix))


def _about(matrix: Matrix) -> dict[str, str]:
    return {"convfault": matrix.convfault_version, **matrix.versions, **matrix.environment}


def _case(outcome: CellOutcome, title: str) -> Case:
    result = OUTCOMES.get(outcome.status, "error")
    group, name = _names(outcome.cell, title)
    return Case(
        group,
        name,
        seconds=0.0 if outcome.cached else outcome.seconds,
        outcome=result,
        message="" if result == "passed" else outcome.message or outcome.cause,
        details="" if result == "passed" else "\n".join(text for text in (outcome.cause, outcome.details) if text),
        output=_figures(outcome),
        kind=outcome.status,
    )


def _change(change: Change, title: str) -> Case:
    result = _result(change)
    group, name = _names(change.cell, title)
    sides = (("baseline", change.before), ("now", change.after))
    figures = "\n".join(f"{side}: {outcome.status}\n{_figures(outcome)}" for side, outcome in sides if outcome)
    return Case(
        group,
        name,
        seconds=change.after.seconds if change.after is not None and not change.after.cached else 0.0,
        outcome=result,
        message="" if result == "passed" else change.reason,
        output=f"{change.kind}: {change.reason}\n{figures}".rstrip(),
        kind=change.kind,
    )


def _result(change: Change) -> str:
    """A defect of convfault is no pass, even when the baseline met it, too."""
    if change.after is not None and change.after.status == DEFECT:
        return "error"
    return "failure" if change.kind in ALARMS else "passed" if change.kind in PASSED else "skipped"


def _names(cell: Cell, title: str) -> tuple[str, str]:
    """Class and name of a case. Dots part packages from classes, so that names of models keep none."""
    weights = "" if cell.weights == "calibrated" else f" with weights {cell.weights}"
    return f"{title.replace('.', '_')}.{cell.source}>{cell.target}", f"{matrix_grid.route(cell)}{weights}"


def _figures(outcome: CellOutcome) -> str:
    lines = [f"{tool} {version}".rstrip() for tool, version in outcome.versions.items()]
    if outcome.compared:
        lines += [
            f"{matrix_grid.measure(outcome)}",
            f"max abs error: {wording.number(outcome.max_abs_error)}, tolerance {wording.number(outcome.tolerance)}",
            f"size: {wording.size(outcome.size_bytes)}",
        ]
    return "\n".join(lines)
