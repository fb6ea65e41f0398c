"""The page's plots as inline SVG: no colours of their own, but the page's, so that they follow light and dark."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

from convfault.comparison import Comparison
from convfault.render import wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE, SOURCE, TARGET, BAD, GOOD = (f"#0{number}0{number}0{number}" for number in range(1, 8))
VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", SOURCE: "source", TARGET: "target", BAD: "bad", GOOD: "good"}
"""Colours that matplotlib draws with, and the variables of the page's style sheet that take their place."""

HISTOGRAM_SIZE, BARS_WIDTH = (4.2, 2.4), 2.9
"""Inches of 72 points: narrow, so that labels stay readable when a telephone shrinks the plot."""


def histogram(comparison: Comparison, name: str = "error-histogram") -> str:
    """How many pictures are off by how much, with the tolerance as a line; empty when nothing was measured.

    ``name`` is unique on the page.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    edges, counts = _bins(comparison)
    if not counts or not sum(counts):
        return ""
    tolerance = min((output.tolerance.value for output in comparison.outputs), default=0.0)
    beyond = sum(count for edge, count in zip(edges, counts, strict=False) if edge >= tolerance)
    with figure_and_axes(*HISTOGRAM_SIZE) as (figure, axes):
        axes.set_xscale("log")
        for left, right, count in zip(edges, edges[1:], counts, strict=False):
            colour, hatch = (BAD, "////") if left >= tolerance else (SOURCE, None)
            width = (right - left) * 0.94
            axes.bar(left, count, width, align="edge", color=colour, hatch=hatch, edgecolor=LINE, linewidth=0)
        _mark_tolerance(axes, tolerance, edges, max(counts))
        axes.set_xlabel("largest error of a picture")
        axes.set_ylabel("pictures")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
        axes.minorticks_off()
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        text = (
            f"Histogram of the largest error of each picture, from {wording.number(edges[0])} to "
            f"{wording.number(edges[-1])}; about {beyond:.0f} of {sum(counts):.0f} pictures lie beyond the "
            f"tolerance of {wording.number(tolerance)}."
        )
        return svg(figure, name, text)


def agreement(comparison: Comparison) -> str:
    """How many top labels and top-five sets are the same on both sides; empty for models without classes."""
    rates = {"top 1": comparison.top1_disagreement, "top 5": comparison.top5_disagreement}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if not known or not comparison.images:
        return ""
    with _bars(list(known)) as (figure, axes):
        for row, rate in enumerate(known.values()):
            differing = wording.count(rate, comparison.images)
            axes.barh(row, 1 - rate, color=GOOD, height=0.55)
            axes.barh(row, rate, left=1 - rate, color=BAD, hatch="////", edgecolor=LINE, linewidth=0, height=0.55)
            text = f"{differing:,} differ" if differing else "all the same"
            axes.text(1.02, row, text, va="center", ha="left", color=INK)
        said = "; ".join(f"{name}: {wording.percent(rate)} of the pictures differ" for name, rate in known.items())
        return svg(figure, "agreement", f"Agreement of the labels. {said}.")


def accuracy(comparison: Comparison) -> str:
    """Top-1 accuracy of both sides; empty where the labels are not known."""
    known = {side: rate for side in ("source", "target") if (rate := comparison.accuracy.get(side)) is not None}
    if not known:
        return ""
    with _bars(list(known)) as (figure, axes):
        for row, (side, rate) in enumerate(known.items()):
            axes.barh(row, 1, color=LINE, height=0.55)
            axes.barh(row, rate, color={"source": SOURCE, "target": TARGET}[side], height=0.55)
            axes.text(1.02, row, wording.percent(rate), va="center", ha="left", color=INK)
        said = ", ".join(f"{side} {wording.percent(rate)}" for side, rate in known.items())
        return svg(figure, "accuracy", f"Top-1 accuracy: {said}.")


def _bins(comparison: Comparison) -> tuple[list[float], list[float]]:
    """The bins that hold pictures and those between; edges beyond any number are left out with their bin."""
    edges, counts = comparison.histogram.get("edges", ()), comparison.histogram.get("counts", ())
    bins = [(pair, count) for pair, count in zip(itertools.pairwise(edges), counts, strict=False) if None not in pair]
    filled = [number for number, (_, count) in enumerate(bins) if count]
    bins = bins[filled[0] : filled[-1] + 1] if filled else []
    return ([bins[0][0][0], *(pair[1] for pair, _ in bins)] if bins else []), [count for _, count in bins]


def _power(value: float) -> str:
    """``10⁻⁵``: as one text, where matplotlib's own writing sets each character alone."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _mark_tolerance(axes: Axes, tolerance: float, edges: Sequence[float], top: float) -> None:
    axes.set_ylim(0, top * 1.22)
    if tolerance <= 0:  # has no place on a logarithmic axis
        return
    axes.axvline(tolerance, color=INK, linestyle=(0, (4, 2)), linewidth=1.2)
    # more room to the left or to the right of the line, in decades
    rightwards = edges[-1] / tolerance > tolerance / edges[0]
    axes.annotate(
        f"tolerance {wording.number(tolerance)}",
        (tolerance, top * 1.12),
        xytext=(5 if rightwards else -5, 0),
        textcoords="offset points",
        ha="left" if rightwards else "right",
        color=INK,
    )


@contextmanager
def figure_and_axes(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Axes in the page's manner; leaves matplotlib's settings as they were."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "convfault",
        "font.size": 9,
        "hatch.color": LINE,
        "hatch.linewidth": 0.8,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), SOFT),
        "axes.edgecolor": LINE,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.patch.set_visible(False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.minorticks_off()
        yield figure, axes


@contextmanager
def _bars(names: Sequence[str]) -> Iterator[tuple[Figure, Axes]]:
    """Rows of horizontal bars of length 0..1, with room for a word at the end of each."""
    with figure_and_axes(BARS_WIDTH, 0.36 * len(names) + 0.1) as (figure, axes):
        axes.set_xlim(0, 1.36)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        yield figure, axes


def svg(figure: Figure, name: str, description: str, variables: Mapping[str, str] = VARIABLES) -> str:
    """The figure as an ``svg`` element that may stand beside others on one page, with ``description`` for readers.

    ``variables``: colour that it is drawn with → the variable of a style sheet that takes its place.
    """
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    drawing = content.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", drawing)
    drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawing)
    drawing = re.sub(r"font-family: [^;\"]*;? ?", "", drawing)  # where the parts of a font stand apart
    for colour, variable in variables.items():
        drawing = drawing.replace(colour, f"var(--{variable})")
    drawing = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", drawing)
    drawing = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", drawing)
    head = f'<svg role="img" aria-labelledby="{name}-title" class="plot"'
    return drawing.replace("<svg", head, 1).replace(">", f'><title id="{name}-title">{escape(description)}</title>', 1)
