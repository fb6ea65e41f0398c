"""A matrix as one self-contained page: heat maps that lead to each pair's routes, causes, the routes to take."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from convfault.comparison import AGREE, DIFFER
from convfault.matrix.cells import NO_ROUTE, Cause, Cell, CellOutcome, Matrix
from convfault.matrix.regress import Regression
from convfault.render import html, matrix_grid, matrix_palette, regression_wording, wording
from convfault.render.matrix_grid import Grid, Square
from convfault.render.wording import Figure


@dataclass(frozen=True)
class Reports:
    """Where the cells' own reports are: ``folder`` is the matrix', relative to the page; ``pages`` when they are
    there as pages too, beside their JSON.
    """

    folder: str = ""
    pages: bool = True

    def link(self, outcome: CellOutcome) -> str:
        """A relative address, whatever the text of the matrix holds; empty when the cell has no report."""
        if not outcome.report:
            return ""
        place = posixpath.splitext(outcome.report)[0] + ".html" if self.pages else outcome.report
        address = posixpath.join(self.folder, place.lstrip("/"))
        return f"./{quote(address, errors='replace')}"


@dataclass(frozen=True)
class Spot:
    """A square as it is drawn. ``shade``: class of its colour; ``anchor``: id of its section, empty for untried."""

    square: Square
    shade: str
    anchor: str


@dataclass(frozen=True)
class Map:
    """The heat map of one model: its rows are headed by their source."""

    grid: Grid
    rows: tuple[tuple[str, tuple[Spot, ...]], ...]

    @property
    def spots(self) -> tuple[Spot, ...]:
        """Those that were tried."""
        return tuple(spot for _, row in self.rows for spot in row if spot.anchor)


def page(matrix: Matrix, reports: Reports | None = None) -> str:
    """The matrix as one HTML file. All names come from models and tools and are escaped."""
    verdict = matrix_grid.verdict(matrix)
    return _page(matrix, reports, verdict, matrix_grid.VERDICTS[verdict], matrix_grid.headline(matrix))


def regression_page(regression: Regression, reports: Reports | None = None) -> str:
    """The page of a matrix with what became of its cells since the baseline before all else."""
    verdict = regression_wording.verdict(regression)
    word, headline = regression_wording.VERDICTS[verdict], regression_wording.sentence(regression)
    return _page(regression.matrix, reports, verdict, word, headline, regression)


def _page(
    matrix: Matrix,
    reports: Reports | None,
    verdict: str,
    word: str,
    headline: str,
    regression: Regression | None = None,
) -> str:
    template = html.environment().get_template("matrix.html.jinja")
    text = template.render(
        matrix=matrix,
        regression=regression,
        verdict=verdict,
        word=word,
        sign=wording.SIGNS[verdict],
        title=matrix_grid.title(matrix),
        headline=headline,
        command=matrix.command if regression is None else "regress",
        started=matrix.started,
        figures=figures(matrix),
        maps=tuple(_maps(matrix_grid.grids(matrix))),
        causes=matrix.causes(),
        steps=range(matrix_palette.STEPS + 1),
        bound=matrix_palette.bound,
        # our own rules, which hold nothing of the matrix
        shades=Markup(matrix_palette.style(whole=False)),
        words=matrix_grid,
        changes=regression_wording,
        link=(reports or Reports()).link,
        tone=tone,
        way=way,
        cause_tone=cause_tone,
        facts=_facts(matrix),
    )
    return str(text)


def figures(matrix: Matrix) -> tuple[Figure, ...]:
    """The tiles: how many pairs and cells ended well, what it took."""
    counts, squares = matrix_grid.counts(matrix), matrix_grid.squares(matrix)
    cells, cached = len(matrix.outcomes), sum(outcome.cached for outcome in matrix.outcomes)
    good = sum(square.status == AGREE for square in squares)
    failed = sum(counts[status] for status in matrix_grid.FAILURES)
    kinds = [f"{counts[status]} {matrix_grid.WORDS[status]}" for status in matrix_grid.FAILURES if counts[status]]
    none = f"; {counts[NO_ROUTE]} without a route" if counts[NO_ROUTE] else ""
    tiles = [
        Figure("pairs with a route that agrees", f"{good} of {len(squares)}", "", good < len(squares)),
        Figure("cells that agree", str(counts[AGREE]), f"of {cells}{none}"),
        Figure("cells that differ", str(counts[DIFFER]), "beyond the tolerance", counts[DIFFER] > 0),
        Figure("cells that failed", str(failed), ", ".join(kinds), failed > 0),
        Figure("from an earlier run", f"{cached} of {cells}", "cells"),
    ]
    if "total" in matrix.seconds:
        spent = wording.duration(matrix.seconds.get("cells"))
        tiles.insert(4, Figure("wall time", wording.duration(matrix.seconds["total"]), f"cells: {spent}"))
    return tuple(tiles)


def _maps(grids: tuple[Grid, ...]) -> Iterator[Map]:
    for number, grid in enumerate(grids, 1):
        rows = tuple(
            (source, tuple(_spot(square, f"pair-{number}-{row}-{column}") for column, square in enumerate(squares, 1)))
            for row, (source, squares) in enumerate(zip(grid.sources, grid.rows, strict=True), 1)
        )
        yield Map(grid, rows)


def _spot(square: Square, anchor: str) -> Spot:
    if not square.outcomes:
        return Spot(square, "untried", "")
    if square.best is not None:
        return Spot(square, f"shade{matrix_palette.shade(square.best)}", anchor)
    return Spot(square, "hatched" if square.status == NO_ROUTE else "crossed", anchor)


def tone(outcome: CellOutcome) -> str:
    """The class of a badge that says how a cell ended."""
    return {AGREE: "ok", NO_ROUTE: "plain"}.get(outcome.status, "crashed")


def way(cell: Cell) -> Markup:
    """A cell's route, which may be broken after each arrow and before options."""
    hops = wording.printable(matrix_grid.route(cell)).split(">")
    return Markup("&gt;<wbr>").join(Markup("<wbr>[").join(hop.split("[")) for hop in hops)


def cause_tone(cause: Cause) -> str:
    """The class of a badge that says how the cells of a cause ended."""
    return tone(cause.outcomes[0])


def _facts(matrix: Matrix) -> dict[str, dict[str, str]]:
    """Heading → name → value: what the results rest on."""
    found = {
        "models": {name: sha256 or "built here by its name" for name, sha256 in matrix.models.items()},
        "data": {name: wording.value_text(value) for name, value in matrix.dataset.items() if value is not None},
        "settings": {
            name: wording.value_text(value) for name, value in matrix.settings.items() if value not in (None, [])
        },
        "versions": {"convfault": matrix.convfault_version, **matrix.versions},
        "environment": dict(matrix.environment),
        "time": {phase: wording.duration(seconds) for phase, seconds in matrix.seconds.items()},
    }
    return {heading: facts for heading, facts in found.items() if facts}
