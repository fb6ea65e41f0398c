"""File size against disagreement as precision is given back layer by layer, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convfault.render import plots, repair_wording, wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (4.6, 2.6)
"""Inches of 72 points, as wide as the histogram beside it."""
MEGABYTE = 1e6

Point = Mapping[str, Any]


def curve(points: Sequence[Point]) -> str:
    """The files that were tried, the chosen one, and the size with everything restored; empty below two points.

    Its measure is the disagreement of the top labels, or the largest error where the models have no classes.
    """
    classes = any(point["top1_disagreement"] is not None for point in points)
    measure = "top1_disagreement" if classes else "max_abs_error"
    drawn = sorted((point for point in points if point[measure] is not None), key=lambda point: point["size_bytes"])
    if len(drawn) < 2:
        return ""
    full = max(points, key=lambda point: point["restored"])
    with plots.figure_and_axes(*SIZE) as (figure, axes):
        sizes = [point["size_bytes"] / MEGABYTE for point in drawn]
        axes.plot(sizes, [_height(point, measure) for point in drawn], color=plots.SOURCE, linewidth=1.2, alpha=0.6)
        for point in drawn:
            _mark(axes, point, measure)
        _frame(axes, [*sizes, full["size_bytes"] / MEGABYTE], measure, [_height(point, measure) for point in drawn])
        _mark_full(axes, full["size_bytes"] / MEGABYTE)
        _name_chosen(axes, drawn, measure)
        return plots.svg(figure, "repair-curve", description(points))


def description(points: Sequence[Point]) -> str:
    """The curve in words."""
    first, last = points[0], max(points, key=lambda point: point["restored"])
    chosen = next((point for point in points if point["chosen"]), None)
    said = f"File size against disagreement: {_words(first)}, and {_words(last)}"
    return f"{said}. Chosen: {_words(chosen)}." if chosen else f"{said}. None was chosen."


def _words(point: Point) -> str:
    off = repair_wording.left(point["max_abs_error"], point["top1_disagreement"]) or "not measured"
    return f"with {wording.plural(point['restored'], 'layer')} restored {wording.size(point['size_bytes'])}, {off}"


def _height(point: Point, measure: str) -> float:
    value = float(point[measure])
    return 100 * value if measure == "top1_disagreement" else value


def _mark(axes: Axes, point: Point, measure: str) -> None:
    place = [point["size_bytes"] / MEGABYTE], [_height(point, measure)]
    if point["chosen"]:
        axes.plot(*place, marker="o", markersize=9, color=plots.GOOD, zorder=4, clip_on=False)
    else:
        axes.plot(*place, marker="o", markersize=4.5, color=plots.SOURCE, zorder=3, clip_on=False)


def _frame(axes: Axes, sizes: Sequence[float], measure: str, heights: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    room = (max(sizes) - min(sizes)) * 0.04 or max(sizes) * 0.05
    axes.set_xlim(min(sizes) - room, max(sizes) + room)
    axes.set_ylim(0, max(heights) * 1.25 or 1.0)
    axes.set_xlabel("file size in MB")
    axes.set_ylabel("% of labels flip" if measure == "top1_disagreement" else "max abs error")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", color=plots.LINE, linewidth=0.6)


def _mark_full(axes: Axes, size: float) -> None:
    low, high = axes.get_xlim()
    axes.axvline(size, color=plots.INK, linestyle=(0, (4, 2)), linewidth=1.2)
    rightwards = size < (low + high) / 2
    axes.annotate(
        f"everything restored {wording.size(round(size * MEGABYTE))}",
        (size, axes.get_ylim()[1] * 0.93),
        xytext=(5 if rightwards else -5, 0),
        textcoords="offset points",
        ha="left" if rightwards else "right",
        va="center",
        color=plots.INK,
    )


def _name_chosen(axes: Axes, drawn: Sequence[Point], measure: str) -> None:
    chosen = next((point for point in drawn if point["chosen"]), None)
    if chosen is None:
        return
    size, (low, high) = chosen["size_bytes"] / MEGABYTE, axes.get_xlim()
    rightwards = size < (low + high) / 2
    axes.annotate(
        f"chosen: {wording.plural(chosen['restored'], 'layer')} restored, {wording.size(chosen['size_bytes'])}",
        (size, _height(chosen, measure)),
        xytext=(4 if rightwards else -6, 12),
        textcoords="offset points",
        ha="left" if rightwards else "right",
        va="bottom",
        color=plots.INK,
    )
