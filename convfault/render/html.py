"""One self-contained page: no network, no scripts, light and dark, fit for print."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convfault.comparison import DIFFER, Comparison, WorstPicture
from convfault.render import fault_html, plots, repair_groups, repair_html, repair_wording, wording
from convfault.report import Report

PICTURE_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
FORMATS: dict[str, Callable[..., str]] = {
    "change_text": repair_groups.change_text,
    "duration": wording.duration,
    "number": wording.number,
    "options": wording.options,
    "percent": wording.percent,
    "size": wording.size,
    "tail": wording.tail,
    "value_text": wording.value_text,
}
"""How the templates write figures, by the name of the filter."""


@dataclass(frozen=True)
class Plot:
    """A heading, its SVG element, and what the drawing cannot show."""

    heading: str
    svg: Markup
    note: str


@dataclass(frozen=True)
class Stop:
    """A model on the way. ``reached`` is False when a hop before it crashed."""

    role: str
    framework: str
    facts: tuple[str, ...]
    reached: bool = True


@dataclass(frozen=True)
class Answer:
    """One class of one side: ``share`` is the width of its bar in percent; ``right`` when it is the true label."""

    label: str
    score: str
    share: float
    right: bool


@dataclass(frozen=True)
class Picture:
    """A worst picture with both sides' answers; ``image`` is a data URI, empty when there is no picture."""

    name: str
    image: str
    error: str
    truth: str
    flipped: bool
    source: tuple[Answer, ...]
    target: tuple[Answer, ...]


def page(report: Report) -> str:
    """The report as one HTML file. All names come from models and are escaped."""
    comparison, banner = report.comparison, repair_wording.banner(report)
    text = (
        environment()
        .get_template("page.html.jinja")
        .render(
            report=report,
            comparison=comparison,
            title=wording.title(report),
            headline=banner.headline,
            verdict=banner.state,
            command=report.command,
            started=report.started,
            sign=banner.sign,
            word=banner.word,
            route=_route(report),
            figures=wording.figures(comparison),
            reasons=wording.reasons(report),
            plots=_plots(comparison),
            pictures=[_picture(report, picture) for picture in comparison.worst],
            pictures_heading="Worst pictures" if comparison.verdict == DIFFER else "Pictures that differ most",
            repair=repair_html.section(report),
            faults=fault_html.section(report),
            sides=(("source", report.source), ("target", report.target)),
        )
    )
    return str(text)


@cache
def environment() -> Environment:
    """Reads the templates; every text that they show is escaped and made visible."""
    found = Environment(
        loader=PackageLoader("convfault.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    found.filters |= FORMATS
    found.filters["json"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False, default=str)
    found.globals |= {"state": wording.hop_state, "message": wording.hop_message}
    return found


def _seen(value: Any) -> Any:
    """Every text on its way to the page: what cannot be seen, or cannot be written as UTF-8, is made visible."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return wording.printable(value)
    return value


def _route(report: Report) -> list[tuple[Stop, Mapping[str, Any] | None]]:
    """Each model on the way with the hop that leaves it; a hop is empty when the models were converted elsewhere."""
    stops: list[tuple[Stop, Mapping[str, Any] | None]] = []
    stop = _end("source", report.source)
    for hop in report.route or ({},):
        stops.append((stop, hop))
        facts = (wording.size(hop["size_bytes"]),) if hop.get("size_bytes") else ()
        stop = Stop("intermediate", hop.get("to", ""), facts, hop.get("status") != "crash")
    reached = stop.reached and (not report.crashed or bool(report.target.get("path")))
    target = _end("target", report.target)
    if stop.framework not in {"", target.framework}:  # the route broke off before the last hop
        stops.append((stop, None))
    return [*stops, (Stop("target", target.framework, target.facts, reached), None)]


def _end(role: str, side: Mapping[str, Any]) -> Stop:
    size = wording.size(side["size_bytes"]) if side.get("size_bytes") else ""
    facts = (wording.versions(side), size if side.get("path") else "never made")
    return Stop(role, side["framework"], tuple(fact for fact in facts if fact))


def _plots(comparison: Comparison) -> list[Plot]:
    drawn = (
        ("How far off the pictures are", plots.histogram(comparison), wording.beside_histogram(comparison)),
        ("Labels that both sides share", plots.agreement(comparison), ""),
        ("Top-1 accuracy", plots.accuracy(comparison), ""),
    )
    # our own drawings: what they say of the models is figures, and their titles are escaped
    return [Plot(heading, Markup(svg), note) for heading, svg, note in drawn if svg]


def _picture(report: Report, picture: WorstPicture) -> Picture:
    tops = picture.source_top, picture.target_top
    scores = [score for top in tops for _, score in top if score is not None]
    largest = max(scores, default=0.0)
    source, target = (_answers(report, top, picture.label, largest) for top in tops)
    return Picture(
        name=picture.image,
        image=_data_uri(report.thumbnails.get(picture.image)),
        error=wording.picture_error(picture),
        truth="" if picture.label is None else wording.label(report, picture.label),
        flipped=[class_ for class_, _ in tops[0][:1]] != [class_ for class_, _ in tops[1][:1]],
        source=source,
        target=target,
    )


def _answers(
    report: Report, top: Sequence[tuple[int, float | None]], truth: int | None, largest: float
) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            label=wording.label(report, class_),
            score=wording.score(score),
            share=round(max(0.0, 100 * (score or 0.0) / largest), 1) if largest > 0 else 0.0,
            right=class_ == truth,
        )
        for class_, score in top
    )


def _data_uri(content: bytes | None) -> str:
    """The picture inside the page; what is neither PNG nor JPEG stays out."""
    kind = next((kind for head, kind in PICTURE_TYPES.items() if content and content.startswith(head)), None)
    return f"data:{kind};base64,{base64.b64encode(content).decode()}" if kind and content else ""
