"""Writes the files that a command was asked for and prints the summary."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convfault.cache import write_aside
from convfault.errors import UsageError
from convfault.flags import Outputs
from convfault.matrix.cells import Matrix
from convfault.matrix.regress import Regression
from convfault.matrix.selection import Work
from convfault.report import Report

if TYPE_CHECKING:
    from convfault.render.matrix_html import Reports

Written = tuple[Path | None, Callable[[], str | bytes]]
PICTURES = (".svg", ".png")
"""How the name of a heat map ends."""


def report(found: Report, outputs: Outputs, node_data: Path | None = None) -> None:
    """A comparison of two models; ``node_data`` is a file for Model Explorer."""
    from convfault.render import html, junit, model_explorer, terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: html.page(found)),
        (outputs.junit, lambda: junit.document(found)),
        (node_data, lambda: model_explorer.document(found)),
    )
    if not outputs.quiet:
        terminal.show(found, written=written)


def check_picture(path: Path | None) -> None:
    """Complain of a heat map of an unknown kind before any work is done."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise UsageError(f"cannot draw the heat map as {path}: name a file that ends in {' or '.join(PICTURES)}")


def _picture(found: Matrix, path: Path | None) -> str | bytes:
    from convfault.render import matrix_plots

    png = path is not None and path.suffix.lower() == ".png"
    return matrix_plots.heatmap_png(found) if png else matrix_plots.heatmap_svg(found)


def matrix(found: Matrix, work: Work, outputs: Outputs, csv: Path | None, plot: Path | None) -> None:
    """``work`` is how the matrix was made: the reports of its cells are in ``work.out``, where a page links to them."""
    from convfault.render import matrix_csv, matrix_html, matrix_junit, matrix_terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: matrix_html.page(found, _reports(work, outputs.html))),
        (outputs.junit, lambda: matrix_junit.document(found)),
        (csv, lambda: matrix_csv.table(found)),
        (plot, lambda: _picture(found, plot)),
    )
    if not outputs.quiet:
        matrix_terminal.show(found, written=written)


def regression(found: Regression, work: Work, outputs: Outputs, baseline: Path | None, plot: Path | None) -> None:
    """The changes since the old baseline; ``baseline`` is where the new one was written, ``plot`` shows today."""
    from convfault.render import matrix_html, matrix_junit, regression_terminal

    written = _write(
        (outputs.json, lambda: json.dumps(found.to_record(), indent=1, allow_nan=False) + "\n"),
        (outputs.html, lambda: matrix_html.regression_page(found, _reports(work, outputs.html))),
        (outputs.junit, lambda: matrix_junit.regression_document(found)),
        (plot, lambda: _picture(found.matrix, plot)),
    )
    if not outputs.quiet:
        regression_terminal.show(found, written=[*written, *([baseline] if baseline else [])])


def _reports(work: Work, page: Path | None) -> Reports:
    """Where the cells' own reports lie, seen from the folder of ``page``, and whether they are pages, too."""
    from convfault.render.matrix_html import Reports

    folder = (page or work.out).absolute().parent
    return Reports(Path(os.path.relpath(work.out.absolute(), folder)).as_posix(), work.pages)


def _write(*wanted: Written) -> list[Path]:
    return list(_written(wanted))


def _written(wanted: tuple[Written, ...]) -> Iterator[Path]:
    for path, content in wanted:
        if path is not None:
            write_aside(path, content())
            yield path
