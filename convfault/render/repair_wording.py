"""What a repair came to, in sentences: the headline, the proof on other pictures, how to do the same again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convfault.comparison import AGREE, CRASH, Comparison
from convfault.render import wording
from convfault.render.fault_wording import punctuated
from convfault.report import Report

COMMAND = "repair"
LABELS = "labels"
"""The goal of a repair that keeps the target quantized."""
REPAIRED, IMPROVED, FAILED, NEEDLESS = "repaired", "improved", "failed", "needless"
WORDS = {REPAIRED: "REPAIRED", IMPROVED: "IMPROVED, NOT REPAIRED", FAILED: "NOT REPAIRED", NEEDLESS: "AGREE"}
SIGNS = {REPAIRED: "✓", IMPROVED: "≠", FAILED: "✕", NEEDLESS: "✓"}


@dataclass(frozen=True)
class Banner:
    """What stands at the top. ``state`` is the outcome of a repair, or else the verdict of the comparison."""

    state: str
    sign: str
    word: str
    headline: str


def banner(report: Report) -> Banner:
    """What a repair came to; the verdict where none was tried."""
    if tried(report):
        state = outcome(report)
        return Banner(state, SIGNS[state], WORDS[state], headline(report))
    state = report.comparison.verdict
    return Banner(state, wording.SIGNS[state], wording.VERDICTS[state], wording.headline(report))


def tried(report: Report) -> bool:
    """Whether a repair is what this report is about."""
    return report.command == COMMAND or report.repaired is not None or bool(report.repairs)


def mended(report: Report) -> bool:
    """Whether a file was written that is not the target as it came."""
    return report.repaired is not None and outcome(report) != NEEDLESS


def outcome(report: Report) -> str:
    """``repaired``, ``improved``, ``failed``, or ``needless`` where the models agreed from the start."""
    if report.comparison.verdict == AGREE and not (report.repaired or {}).get("changes"):
        return NEEDLESS
    if report.verified:
        return REPAIRED
    found = after(report)
    return IMPROVED if found and _distance(found) < _distance(report.comparison) else FAILED


def after(report: Report) -> Comparison | None:
    """The source against the file that was written; None when there is none."""
    return Comparison.from_record(report.repaired["comparison"]) if report.repaired else None


def headline(report: Report) -> str:
    """What the target did and what the repaired file does."""
    state, found = outcome(report), after(report)
    if state == NEEDLESS:
        return f"{wording.headline(report)} There is nothing to repair."
    if found is None:
        return f"{_before(report)} {_nothing_written(report)}"
    if state == REPAIRED:
        warning = "" if holds(report) else " On pictures held out it does not."
        return f"{_before(report)} {_success(report, found)}{warning}"
    nearer = "is nearer to the source, but" if state == IMPROVED else "is no better:"
    return f"{_before(report)} The file that was written {nearer} {_still(found)}."


def held_out(report: Report) -> str:
    """How the repaired file does on pictures that the repair did not look at; empty where there were none."""
    known = (report.repaired or {}).get("held_out")
    if not known:
        return ""
    rate, error, images = known["top1_disagreement"], known["max_abs_error"], known["images"]
    flips = wording.count(rate, images)
    said = []
    if rate is not None:
        said.append(f"gives another top label on {flips:,}" if flips else "gives the source's top label on every one")
    off = "has values that are NaN or infinite" if error is None else f"is off by {wording.number(error)} at most"
    start = f"On {wording.plural(images, 'picture')} that the repair did not look at, the repaired file"
    end = ": the repair does not hold for other pictures." if report.verified and not known["reached"] else "."
    return f"{start} {' and '.join([*said, off])}{end}"


def holds(report: Report) -> bool:
    """Whether nothing speaks against the repair on the pictures held out."""
    known = (report.repaired or {}).get("held_out")
    return not known or bool(known["reached"])


def left(error: float | None, rate: float | None) -> str:
    """What an edit leaves: empty where nothing was measured; an error beside labels that is None is not finite."""
    flips = "" if rate is None else f"{wording.percent(rate)} of labels flip" if rate else "no label flips"
    off = "" if rate is None else "NaN or infinite"
    size = off if error is None else f"off by {wording.number(error)}"
    return "; ".join(text for text in (flips, size) if text)


def reasons(report: Report) -> tuple[str, ...]:
    """Why the file that was written did not reach its goal, where the headline does not say it all."""
    found = after(report)
    if found is None or report.verified:
        return ()
    # where only labels are asked for, values are off and may be
    return found.reasons if (report.repaired or {})["goal"] != LABELS or found.verdict == CRASH else ()


def notes(report: Report) -> tuple[str, ...]:
    """What else the repair has to say."""
    said = dict.fromkeys((*report.notes, *(report.repaired or {}).get("notes", ())))
    return tuple(punctuated(note) for note in said if not (report.repaired is None and note == _reason(report)))


def replay(report: Report) -> str:
    """The shell line that makes the same repair on the target, or on another copy of it; empty without a patch."""
    repaired: Mapping[str, Any] = report.repaired or {}
    if not repaired.get("patch"):
        return ""
    # what was converted here lies in the cache: nobody has a copy of that very file
    target = "TARGET" if report.route else str(report.target["path"])
    return shlex.join(["convfault", "apply", repaired["patch"], target, "--out", repaired["path"]])


def full_size(report: Report) -> int | None:
    """Size of the file with every layer restored; None where that was not tried."""
    curve = (report.repaired or {}).get("curve") or ()
    return max(curve, key=lambda point: point["restored"])["size_bytes"] if len(curve) > 1 else None


def _distance(comparison: Comparison) -> tuple[float, float, int]:
    """How far off a target is: by its labels, then by its values; a crash is farthest."""
    if comparison.verdict == CRASH:
        return math.inf, math.inf, 0
    error = comparison.max_abs_error
    return comparison.top1_disagreement or 0.0, math.inf if error is None else error, comparison.nonfinite


def _before(report: Report) -> str:
    comparison, pictures = report.comparison, wording.plural(report.comparison.images, "picture")
    if comparison.verdict == CRASH:
        hop = wording.crashed_hop(report)
        return f"{hop['tool']} could not convert {hop['from']} to {hop['to']}." if hop else "The target could not run."
    if comparison.verdict == AGREE:
        return f"The target answered as the source does on {pictures}."
    if flips := wording.count(comparison.top1_disagreement, comparison.images):
        return f"The target gave another top label on {flips:,} of {pictures}."
    return f"Over {pictures}, the target's values were not the source's within the tolerance."


def _success(report: Report, found: Comparison) -> str:
    flips = wording.count(found.top1_disagreement, found.images)
    if (report.repaired or {})["goal"] == LABELS:
        where = f"all but {flips:,} of {found.images:,} pictures" if flips else "every picture"
        return f"The repaired file is still quantized and gives the source's top label on {where}."
    ties = f"; {wording.plural(flips, 'flip')} of top labels within the tolerance" if flips else ""
    return f"The repaired file answers as the source does{ties}."


def _still(found: Comparison) -> str:
    pictures = wording.plural(found.images, "picture")
    if found.verdict == CRASH:
        return "it cannot be run"
    if flips := wording.count(found.top1_disagreement, found.images):
        return f"it gives another top label on {flips:,} of {pictures}"
    if found.max_abs_error is None:
        return "it has values that are NaN or infinite"
    return f"its values are off by up to {wording.number(found.max_abs_error)} over {pictures}"


def _reason(report: Report) -> str:
    """Why no edit was tried; empty where one was, or where nobody knows."""
    return report.notes[0] if report.notes and not report.repairs else ""


def _nothing_written(report: Report) -> str:
    if reason := _reason(report):
        return f"Nothing was written: {reason.removesuffix('.')}."
    if not report.repairs:
        return "There was no edit to try: nothing was written."
    if any(repair["accepted"] for repair in report.repairs):
        return "No edit held up in a file that was written and run: nothing was kept."
    return f"Of {wording.plural(len(report.repairs), 'edit')} tried none helps: nothing was written."
