"""Where the values of a parameter differ, and by how much, drawn from the figures that localization keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from convfault.render import drawing, wording

FIELD, GAP = 14.0, 1.0
BARS = (360.0, 130.0)
"""Width and height of the histogram."""


def heat(picture: Mapping[str, Any], name: str) -> Markup:
    """The largest error of each field; columns are filters. Empty without figures."""
    rows: Sequence[Sequence[float | None]] = picture.get("heat") or ()
    if not rows or not rows[0]:
        return Markup()
    most = max((value for row in rows for value in row if value is not None), default=0.0)
    shape = " × ".join(str(side) for side in picture.get("shape", ()))
    said = f"Errors of the {picture.get('parameter')} ({shape}): the darkest field is off by {wording.number(most)}."
    size = (max(len(rows[0]) * FIELD + 24, 80.0), len(rows) * FIELD + 22)
    ends = [
        drawing.label(24, size[1] - 5, "filters →", class_="tick"),
        drawing.label(-22, 14, "inputs →", class_="tick", transform="rotate(-90)", text_anchor="end"),
    ]
    return drawing.picture(name, said, size, *_fields(rows, most), *(ends if len(rows) > 4 else ends[:1]), natural=True)


def histogram(picture: Mapping[str, Any], name: str) -> Markup:
    """How many values are off by how much, to either side; empty without figures."""
    counts = picture.get("counts") or ()
    if not counts or not max(counts):
        return Markup()
    low, high = picture["edges"]
    width, height = BARS
    bar, base = width / len(counts), height - 22
    marks = []
    for number, count in enumerate(counts):
        tall = (base - 6) * count / max(counts)
        begin, end = (low + (high - low) * place / len(counts) for place in (number, number + 1))
        title = f"{wording.plural(count, 'value')} off by {wording.number(begin)} to {wording.number(end)}"
        box = drawing.element("rect", x=number * bar + 0.5, y=base - tall, width=bar - 1, height=tall, class_="bar")
        area = drawing.element("rect", x=number * bar, y=0, width=bar, height=base, class_="area")
        marks.append(drawing.titled(title, box, area))
    marks.append(drawing.line((0, base), (width, base), class_="axis"))
    for x, anchor, value in ((0.0, "start", low), (width / 2, "middle", 0.0), (width, "end", high)):
        marks.append(drawing.label(x, height - 6, wording.number(value), text_anchor=anchor, class_="tick"))
    said = f"Histogram of actual less expected {picture.get('parameter')}, {wording.number(low)} to "
    return drawing.picture(name, f"{said}{wording.number(high)}.", (width, height), *marks)


def _fields(rows: Sequence[Sequence[float | None]], most: float) -> Iterator[str]:
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            shade = 1.0 if value is None else value / most if most else 0.0
            place = {"x": 22 + x * FIELD, "y": y * FIELD, "width": FIELD - GAP, "height": FIELD - GAP}
            words = "NaN or infinite" if value is None else f"off by {wording.number(value)}"
            field = drawing.element("rect", **place, class_="field")
            tint = drawing.element("rect", **place, class_="tint", fill_opacity=round(shade, 3))
            yield drawing.titled(words, field, tint)
