"""How figures, names and outcomes are put into words, alike in the terminal, on the page and in CI."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convfault.comparison import AGREE, CRASH, DIFFER, Comparison, WorstPicture
from convfault.report import Report

VERDICTS = {AGREE: "AGREE", DIFFER: "DIFFER", CRASH: "CRASH"}
SIGNS = {AGREE: "✓", DIFFER: "≠", CRASH: "✕"}
NONE = "–"
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories that are not seen, or that change how their neighbours are seen."""


@dataclass(frozen=True)
class Figure:
    """One line of the summary; ``bad`` when it speaks against the target."""

    name: str
    value: str
    note: str = ""
    bad: bool = False


def printable(text: str) -> str:
    """The text with control characters, direction marks and broken Unicode as visible escapes; line ends stay."""
    text = text.expandtabs(4)
    return "".join(c if c == "\n" or unicodedata.category(c) not in HIDDEN else _escape(c) for c in text)


def figures(comparison: Comparison) -> tuple[Figure, ...]:
    """What a person wants to know first; what does not apply to these models is left out."""
    if comparison.verdict == CRASH:
        return ()
    lines = [
        Figure("pictures", f"{comparison.images:,}"),
        _rate("top-1 disagreement", comparison.top1_disagreement, comparison),
        _rate("top-5 disagreement", comparison.top5_disagreement, comparison),
        None
        if comparison.kendall_tau is None
        else Figure("Kendall's tau", f"{comparison.kendall_tau:.4f}", "1: same order"),
        Figure("max abs error", _largest_error(comparison), _tolerance(comparison), comparison.verdict == DIFFER),
        _accuracy(comparison),
        Figure("NaN or infinite", f"{comparison.nonfinite:,}", "values", comparison.nonfinite > 0),
    ]
    return tuple(line for line in lines if line is not None)


def headline(report: Report) -> str:
    """The verdict as a sentence."""
    comparison, pictures = report.comparison, plural(report.comparison.images, "picture")
    flips = count(comparison.top1_disagreement, comparison.images)
    if comparison.verdict == CRASH:
        hop = crashed_hop(report)
        where = f"{hop['tool']} could not convert {hop['from']} to {hop['to']}" if hop else "The target cannot be run"
        return f"{where}: there is nothing to compare."
    if comparison.verdict == AGREE:
        flipped = f"; {plural(flips, 'flip')} of top labels within the tolerance" if flips else ""
        return f"The target answers as the source does on {pictures}{flipped}."
    if flips:
        return f"The target gives another top label on {flips:,} of {pictures}."
    same = "; no top label changes" if comparison.top1_disagreement is not None else ""
    return f"Over {pictures}, the target's values are not the source's within the tolerance{same}."


def beside_histogram(comparison: Comparison) -> str:
    """The pictures that have no place on a logarithmic axis."""
    counts = {name: sum(comparison.histogram.get(name, ())) for name in ("zero", "unmatched")}
    words = {"zero": "without any error", "unmatched": "NaN or infinite on one side only"}
    said = [f"{plural(round(counts[name]), 'picture')} {words[name]}" for name in words if counts[name]]
    return f"Beside these: {', '.join(said)}." if said else ""


def title(report: Report) -> str:
    """Which model from where to where."""
    name = report.source.get("name") or "model"
    return f"{name}: {report.source['framework']} → {report.target['framework']}"


def crashed_hop(report: Report) -> Mapping[str, Any] | None:
    """The hop whose tool failed, if any."""
    return next((hop for hop in report.route if hop["status"] == "crash"), None)


def hop_state(hop: Mapping[str, Any]) -> str:
    """``crashed``, ``cached`` or ``ok``."""
    return "crashed" if hop["status"] == "crash" else "cached" if hop.get("cached") else "ok"


def hop_message(hop: Mapping[str, Any]) -> str:
    """The tool's own words: its message, or the last line of its log."""
    lines = [line.strip() for line in (hop.get("log") or "").splitlines() if line.strip()]
    return str(hop.get("message") or (lines[-1] if lines else "it left no message"))


def reasons(report: Report) -> tuple[str, ...]:
    """Why the verdict is not ``agree``, less what the crashed hop says itself."""
    hop = crashed_hop(report)
    return tuple(reason for reason in report.comparison.reasons if not hop or hop_message(hop) not in reason)


def tail(log: str | None, lines: int = 8) -> str:
    """The last lines of a log, where the tools say what went wrong."""
    return "\n".join((log or "").rstrip().splitlines()[-lines:])


def label(report: Report, class_: int | None) -> str:
    """A class by its name, or by its number where it has none."""
    names = report.dataset.get("class_names") or ()
    if class_ is None:
        return NONE
    return str(names[class_]) if 0 <= class_ < len(names) else f"class {class_}"


def versions(side: Mapping[str, Any]) -> str:
    """``tensorflow 2.21.0``: the framework's own package, which comes first."""
    found = side.get("versions") or {}
    return next((f"{package} {version}" for package, version in found.items() if version), "")


def options(hop: Mapping[str, Any]) -> str:
    """``optimizations=DEFAULT``: the options that were given, empty ones left out."""
    given = {name: value for name, value in (hop.get("options") or {}).items() if value not in (None, [], {}, "")}
    return " ".join(f"{name}={value_text(value)}" for name, value in given.items())


def value_text(value: Any) -> str:
    """Any JSON value, short enough to stand in a line."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, float):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is not there."""
    return NONE if value is None else f"{value:.3g}"


def score(value: float | None) -> str:
    """A class's score; one that is NaN or infinite arrives as None."""
    return "NaN/inf" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def picture_error(picture: WorstPicture) -> str:
    """How far off one picture's values are."""
    return "NaN or infinite" if picture.max_abs_error is None else f"off by {number(picture.max_abs_error)}"


def percent(rate: float) -> str:
    """Fine enough that a single flip in ten thousand is not rounded away."""
    shown = f"{100 * rate:.1f}" if rate >= 0.001 or rate == 0 else f"{100 * rate:.2g}"
    return f"{'99.9' if shown == '100.0' and rate < 1 else shown.removesuffix('.0')} %"


def count(rate: float | None, images: int) -> int:
    """How many pictures a rate stands for."""
    return round((rate or 0) * images)


def duration(seconds: float | None) -> str:
    """``0.3 s``, ``2 min 05 s``."""
    if seconds is None:
        return NONE
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def size(bytes_: int | None) -> str:
    """``95.3 MB``."""
    if bytes_ is None:
        return NONE
    for unit in ("B", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} B" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000  # type: ignore[assignment]
    return f"{bytes_:.2f} GB"


def plural(many: int, noun: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def _rate(name: str, rate: float | None, comparison: Comparison) -> Figure | None:
    if rate is None:
        return None
    note = f"{count(rate, comparison.images):,} of {comparison.images:,}"
    return Figure(name, percent(rate), note, rate > 0 and comparison.verdict == DIFFER)


def _largest_error(comparison: Comparison) -> str:
    return "not finite" if comparison.max_abs_error is None else number(comparison.max_abs_error)


def _tolerance(comparison: Comparison) -> str:
    tolerances = [output.tolerance for output in comparison.outputs]
    if not tolerances:
        return ""
    values = sorted({number(tolerance.value) for tolerance in tolerances}, key=float)
    given = "" if tolerances[0].origin == "derived" else " (given)"
    return f"tolerance {values[0] if len(values) == 1 else f'{values[0]} to {values[-1]}'}{given}"


def _accuracy(comparison: Comparison) -> Figure | None:
    source, target = comparison.accuracy.get("source"), comparison.accuracy.get("target")
    if source is None or target is None:
        return None
    change = 100 * (target - source)
    note = "source → target" + (f", {change:+.1f} points" if abs(change) >= 0.05 else "")
    return Figure(
        "top-1 accuracy",
        f"{percent(source)} → {percent(target)}",
        note,
        target < source and comparison.verdict == DIFFER,
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
