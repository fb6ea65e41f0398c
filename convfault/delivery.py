"""Writes the files that a command was asked for and prints the summary."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convfault.cache import write_aside
from convfault.flags import Outputs
from convfault.matrix.cells import Matrix
from convfault.matrix.regress import Regression
from convfault.report import Report

if TYPE_CHECKING:
    from convfault.render.matrix_html import Reports

Written = tuple[Path | None, Callable[[], str]]


def report(found: Report, outputs: Outputs) -> None:
    """A comparison of two models."""
    from convfault.render import html, junit, terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: html.page(found)),
        (outputs.junit, lambda: junit.document(found)),
    )
    if not outputs.quiet:
        terminal.show(found, written=written)


def matrix(found: Matrix, out: Path, outputs: Outputs, csv: Path | None) -> None:
    """``out`` is the folder of the matrix, which its reports are named from; a page elsewhere links to them there."""
    from convfault.render import matrix_csv, matrix_html, matrix_junit, matrix_terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: matrix_html.page(found, _reports(out, outputs.html))),
        (outputs.junit, lambda: matrix_junit.document(found)),
        (csv, lambda: matrix_csv.table(found)),
    )
    if not outputs.quiet:
        matrix_terminal.show(found, written=written)


def regression(found: Regression, out: Path, outputs: Outputs, baseline: Path | None) -> None:
    """The changes since the old baseline; ``baseline`` is where the new one was written."""
    from convfault.render import matrix_html, matrix_junit, regression_terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: matrix_html.regression_page(found, _reports(out, outputs.html))),
        (outputs.junit, lambda: matrix_junit.regression_document(found)),
    )
    if not outputs.quiet:
        regression_terminal.show(found, written=[*written, *([baseline] if baseline else [])])


def _reports(out: Path, page: Path | None) -> Reports:
    """Where the cells' own pages lie, seen from the folder of ``page``."""
    from convfault.render.matrix_html import Reports

    folder = (page or out).absolute().parent
    return Reports(Path(os.path.relpath(out.absolute(), folder)).as_posix())


def _write(*wanted: Written) -> list[Path]:
    return list(_written(wanted))


def _written(wanted: tuple[Written, ...]) -> Iterator[Path]:
    for path, content in wanted:
        if path is not None:
            write_aside(path, content())
            yield path
