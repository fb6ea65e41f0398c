"""The heat map of a matrix as a picture that stands for itself: source × target for each model."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convfault.matrix.cells import NO_ROUTE, Matrix
from convfault.render import matrix_grid, matrix_palette, plots, wording
from convfault.render.matrix_grid import Grid, Square

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = (0.82, 0.5)
"""Inches that a square takes, across and down."""
LEFT, TOP, GAP, LEGEND = 0.62, 0.62, 0.3, 1.02
"""Inches for the names of the sources, for title and targets, between grids, and for the legend."""
INSET = 0.02
INNER = (SIDE[0] - 2 * INSET, SIDE[1] - 2 * INSET)
"""Inches that a square leaves free to each side, and what is left of it."""
ACROSS = 3
"""How many grids stand beside each other."""
NARROWEST = 6.1
"""Inches that the legend takes."""
RESOLUTION = 160
LONGEST = 48
"""Characters of a name."""
STYLE = "text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif; }"


Scale = tuple[str, Mapping[int, str], float, str]
"""What shades stand for: heading, words by shade, the inches that each one takes, unit."""
SHARES: Scale = (
    "top-1 disagreement of the best route, up to",
    {number: f"{100 * matrix_palette.bound(number):.0f}" for number in range(matrix_palette.STEPS + 1)},
    0.34,
    "%",
)
ERRORS: Scale = (
    "largest error of the best route",
    {0: "✓ within the tolerance", matrix_palette.STEPS: "≠ beyond"},
    1.4,
    "",
)
"""For models without classes."""


@dataclass(frozen=True)
class _Place:
    """A grid with its upper left corner, in inches from that of the picture."""

    grid: Grid
    left: float
    top: float


def heatmap_svg(matrix: Matrix) -> str:
    """The heat map as an SVG file, which follows light and dark; needs nothing else."""
    names = tuple(matrix_palette.palette())
    # each name is drawn in a colour of its own, which then gives way to a variable
    marks = {name: f"#0a{number:02x}a0" for number, name in enumerate(names, 16)}
    with _drawn(matrix, marks) as figure:
        words = f"Heat map of conversions: {matrix_grid.title(matrix)}. {matrix_grid.headline(matrix)}"
        text = wording.printable(words)
        drawing = plots.svg(figure, "heatmap", text, {mark: name for name, mark in marks.items()})
        width, height = figure.get_size_inches() * 72
    size = f'<svg width="{width:.0f}" height="{height:.0f}"'
    style = f"<style>\n{matrix_palette.style('svg')}\n{STYLE}\n</style>"
    return drawing.replace("<svg", size, 1).replace("</title>", f"</title>\n{style}", 1)


def heatmap_png(matrix: Matrix) -> bytes:
    """The heat map as a PNG file in the light colours."""
    content = io.BytesIO()
    with _drawn(matrix, matrix_palette.palette()) as figure:
        figure.savefig(content, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return content.getvalue()


@contextmanager
def _hatched_in(colour: str) -> Iterator[None]:
    """matplotlib takes the colour of hatches from its settings alone, when a shape is made."""
    import matplotlib

    with matplotlib.rc_context({"hatch.color": colour}):
        yield


@contextmanager
def _drawn(matrix: Matrix, colours: Mapping[str, str]) -> Iterator[Figure]:
    places = tuple(_places(matrix_grid.grids(matrix)))
    # whole points, so that no edge of the picture is half covered
    width = _whole(max([NARROWEST, *(place.left + _width(place.grid) for place in places)]) + 0.1)
    height = _whole(max([0.0, *(place.top + _height(place.grid) for place in places)]) + LEGEND)
    with plots.figure_and_axes(width, height) as (figure, axes), _hatched_in(colours["cross"]):
        figure.set_layout_engine("none")
        axes.set_position((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        figure.patch.set(visible=True, facecolor=colours["paper"])
        for place in places:
            _draw_grid(axes, place, colours)
        classes = any(outcome.top1_disagreement is not None for outcome in matrix.outcomes) or not matrix.outcomes
        _draw_scale(axes, height - LEGEND + 0.2, colours, SHARES if classes else ERRORS)
        _draw_signs(axes, height - LEGEND + 0.72, colours)
        yield figure


def _whole(inches: float) -> float:
    return math.ceil(inches * 72) / 72


def _places(grids: Iterable[Grid]) -> Iterator[_Place]:
    left = top = below = 0.0
    for number, grid in enumerate(grids):
        if number and number % ACROSS == 0:
            left, top = 0.0, below
        yield _Place(grid, left, top)
        left += _width(grid) + GAP
        below = max(below, top + _height(grid))


def _width(grid: Grid) -> float:
    return LEFT + SIDE[0] * len(grid.targets)


def _height(grid: Grid) -> float:
    return TOP + SIDE[1] * len(grid.sources)


def _draw_grid(axes: Axes, place: _Place, colours: Mapping[str, str]) -> None:
    grid, left, top = place.grid, place.left + LEFT, place.top + TOP
    _write(axes, left, place.top + 0.22, grid.title, colours["ink"], ha="left", weight="bold", size=11)
    for column, target in enumerate(grid.targets):
        _write(axes, left + (column + 0.5) * SIDE[0], top - 0.13, f"→ {target}", colours["soft"])
    for row, (source, squares) in enumerate(zip(grid.sources, grid.rows, strict=True)):
        _write(axes, left - 0.08, top + (row + 0.5) * SIDE[1], source, colours["soft"], ha="right")
        for column, square in enumerate(squares):
            _draw_square(axes, square, left + column * SIDE[0], top + row * SIDE[1], colours)


def _draw_square(axes: Axes, square: Square, left: float, top: float, colours: Mapping[str, str]) -> None:
    if not square.outcomes:
        return
    ink = colours["ink"]
    if square.best is not None:
        shade = matrix_palette.shade(square.best)
        ink = colours[f"on{shade}"]
        _box(axes, left, top, colours["paper"], facecolor=colours[f"shade{shade}"])
    else:
        hatch = "////" if square.status == NO_ROUTE else None
        _box(axes, left, top, colours["line"], facecolor=colours["paper"], hatch=hatch)
        if hatch is None:
            _cross(axes, (left + INSET, top + INSET), INNER, colours["cross"])
    middle = left + SIDE[0] / 2
    # what is crossed out must still be read
    look = {} if square.best is not None else {"bbox": {"facecolor": colours["paper"], "linewidth": 0, "pad": 1.2}}
    text = f"{square.sign} {square.figure}"
    size = 9 if square.best is not None else 8
    _write(axes, middle, top + (0.2 if square.share else 0.25), text, ink, weight="bold", size=size, **look)
    _write(axes, middle, top + 0.37, square.share, ink, size=7)


def _box(axes: Axes, left: float, top: float, edge: str, **look: Any) -> None:
    _patch(axes, left + INSET, top + INSET, INNER, edgecolor=edge, linewidth=1, **look)


def _patch(axes: Axes, left: float, top: float, size: tuple[float, float], **look: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, top), *size, **look))


def _cross(axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str) -> None:
    across, down = (corner[0], corner[0] + size[0]), (corner[1], corner[1] + size[1])
    axes.plot(across, down, color=colour, linewidth=1.2)
    axes.plot(across, down[::-1], color=colour, linewidth=1.2)


def _draw_scale(axes: Axes, top: float, colours: Mapping[str, str], scale: Scale) -> None:
    """The shades with what each stands for."""
    heading, words, wide, unit = scale
    _write(axes, LEFT, top, heading, colours["soft"], ha="left", size=8)
    for place, (number, word) in enumerate(words.items()):
        left = LEFT + place * wide
        _patch(axes, left, top + 0.12, (wide, 0.22), facecolor=colours[f"shade{number}"], linewidth=0)
        _write(axes, left + wide / 2, top + 0.23, word, colours[f"on{number}"], size=7)
    _write(axes, LEFT + len(words) * wide + 0.06, top + 0.23, unit, colours["soft"], ha="left", size=8)


def _draw_signs(axes: Axes, top: float, colours: Mapping[str, str]) -> None:
    """What is said without colour."""
    size, line = (0.3, 0.2), {"facecolor": colours["paper"], "edgecolor": colours["line"], "linewidth": 1}
    for left, words, hatch in ((LEFT, "every route fails", None), (2.25, "no route is known", "////")):
        _patch(axes, left, top - size[1] / 2, size, hatch=hatch, **line)
        if hatch is None:
            _cross(axes, (left, top - size[1] / 2), size, colours["cross"])
        _write(axes, left + 0.38, top, words, colours["soft"], ha="left", size=8)
    _write(axes, 3.92, top, "2/3: routes that agree, of those tried", colours["soft"], ha="left", size=8)


def _write(axes: Axes, left: float, top: float, text: str, colour: str, **look: Any) -> None:
    """Names are never read as formulas, which matplotlib takes between dollar signs."""
    if line := " ".join(wording.printable(text).split()):
        line = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
        look = {"ha": "center", "va": "center", "size": 9, **look}
        axes.text(left, top, line, color=colour, parse_math=False, **look)
