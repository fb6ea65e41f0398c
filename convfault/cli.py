"""The console script: every command, in the order in which the help lists them.

Exit codes: 0: the models agree · 1: they differ · 2: wrong usage, unreadable input or missing package · 3: a defect of
convfault · 130: interrupted.
"""

from __future__ import annotations

from convfault.commands import (  # isort: skip - the order of the help
    diff,
    localize,
    repair,
    apply,
    judge,
    listing,
    doctor,
    cache,
    environment,
    report_schema,
    matrix,
    regress,
)
from convfault.commands.application import app

__all__ = [
    "app", "apply", "cache", "diff", "doctor", "environment", "judge", "listing", "localize", "main", "matrix",
    "regress", "repair", "report_schema",
]  # fmt: skip


def main() -> None:
    """The console script."""
    app()
