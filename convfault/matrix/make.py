"""From what was asked for to a matrix: subjects, plan, execution, and what it all happened on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from convfault.cache import hash_path, key
from convfault.converters import CONVERTERS
from convfault.dataset import Dataset
from convfault.errors import ConvfaultError, UsageError
from convfault.frameworks import FRAMEWORKS
from convfault.matrix import subjects
from convfault.matrix.cells import CellOutcome, Matrix
from convfault.matrix.executor import Settings, execute
from convfault.matrix.plan import Subject, Task, plan
from convfault.matrix.selection import Selection, Work
from convfault.request import Context
from convfault.version import __version__

FILENAME = "matrix.json"


def make(
    selection: Selection, work: Work, context: Context, function: str, check: Callable[[Matrix], None] | None = None
) -> Matrix:
    """Try every cell that was chosen, by ``function`` (``"module:function"``), and keep all in ``work.out``.

    ``check`` gets the matrix before any cell is tried, and raises when it shall not be made. Raises ``UsageError`` for
    what cannot be read or done at all; whatever one cell meets is its outcome.
    """
    started, begun = datetime.now(UTC), time.monotonic()
    dataset = Dataset.open(selection.data, limit=selection.pictures, seed=selection.seed)
    chosen, hashes = _subjects(selection, context)
    packages = versions()
    empty = Matrix(
        command="matrix",
        convfault_version=__version__,
        started=started.isoformat(timespec="seconds"),
        outcomes=(),
        models=hashes,
        dataset={name: value for name, value in dataset.to_record().items() if name != "class_names"},
        settings=selection.to_record(),
        environment={"python": platform.python_version(), "platform": platform.platform()},
    )
    if check is not None:
        check(empty)
    tasks = plan(selection, chosen, key(_content(selection, dataset), hashes, packages))
    if not tasks:
        raise UsageError("nothing is left to try: no route leads through what was chosen; drop some of the choices")
    outcomes = execute(tasks, _settings(selection, work, context, function), context.progress)
    seconds = _seconds(outcomes, time.monotonic() - begun)
    matrix = replace(empty, outcomes=outcomes, seconds=seconds, versions={**packages, **_tools(outcomes)})
    matrix.write(work.out / FILENAME)
    return matrix


def planned(selection: Selection, context: Context) -> tuple[Task, ...]:
    """The cells that ``make`` would try, without trying any."""
    return plan(selection, _subjects(selection, context)[0], "")


def _subjects(selection: Selection, context: Context) -> tuple[list[Subject], dict[str, str | None]]:
    """The models, and the hash of each one's file (None for a named model, which its name decides)."""
    if selection.source is not None:
        subject, sha256 = subjects.of_file(selection, context.cache)
        return [subject], {subject.model: sha256}
    found = list(subjects.named(selection))
    return found, {subject.model: None for subject in found}


def _content(selection: Selection, dataset: Dataset) -> list[Any]:
    """What all cells depend on beside their models and tools."""
    texts = [selection.preprocessing, selection.weights]
    files = [hash_path(Path(text)) for text in texts if text is not None and Path(text).is_file()]
    beside = subjects.settings_beside(selection.source) if selection.source is not None else []
    return [__version__, dataset.sha256, selection.seed, selection.tolerance, texts, files, beside]


def _settings(selection: Selection, work: Work, context: Context, function: str) -> Settings:
    limits = (context.seconds, context.megabytes)
    arguments = {
        "selection": selection.absolute().to_record(),
        "cache": str(context.cache.root),
        "seconds": context.seconds,
        "megabytes": context.megabytes,
        "page": work.pages,
    }
    return Settings(
        function,
        work.out,
        arguments,
        jobs=work.jobs,
        megabytes=work.budget,
        stall_seconds=4 * max(context.seconds, 900.0),  # a cell speaks at least once a hop
        limits=limits,
        cluster=work.cluster,
        pages=work.pages,
        fresh=context.fresh,
    )


def _seconds(outcomes: Iterable[CellOutcome], total: float) -> dict[str, float]:
    """Wall seconds of this invocation, and the sum over the cells that it tried and that it found."""
    tried = sum(outcome.seconds for outcome in outcomes if not outcome.cached)
    found = sum(outcome.seconds for outcome in outcomes if outcome.cached)
    return {"total": round(total, 3), "cells": round(tried, 3), "cells_found": round(found, 3)}


def versions() -> dict[str, str]:
    """Of the frameworks that are installed."""
    found = {}
    for adapter in FRAMEWORKS.values():
        try:
            found[adapter.package] = adapter.version()
        except ConvfaultError:
            continue
    return found


def _tools(outcomes: Iterable[CellOutcome]) -> Mapping[str, str]:
    """Of the tools that were used, under the names of their packages."""
    packages = {converter.tool: converter.package for converter in CONVERTERS.values()}
    used = {tool: version for outcome in outcomes for tool, version in outcome.versions.items()}
    return {packages.get(tool, tool): version for tool, version in sorted(used.items())}
