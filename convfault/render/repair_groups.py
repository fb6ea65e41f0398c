"""The rows of a repair's result: figures before and after, changes and edits with alike ones as one row, file sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convfault.render import fault_wording, repair_wording, wording
from convfault.render.fault_groups import gathered
from convfault.report import Report

NAMED = 3
"""Places or faults that a row of alike ones names."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A figure before and after; ``state`` is ``bad`` if it speaks against the repaired file, ``good`` if mended."""

    name: str
    before: str
    after: str
    note: str = ""
    state: str = ""


@dataclass(frozen=True)
class Changes:
    """A change of the file, or alike ones (``weights of 94 layers``); ``values`` may be the first of many."""

    title: str
    values: str
    places: str
    members: tuple[Record, ...]


@dataclass(frozen=True)
class Edits:
    """An edit that was tried, or alike ones: all kept, or all left out, for the same ``reason``."""

    title: str
    strategy: str
    round: int
    accepted: bool
    reason: str
    faults: str
    left: str
    cost: str
    members: tuple[Record, ...]


def rows(report: Report) -> tuple[Row, ...]:
    """What a person wants to know first, as it was and as it is; empty when nothing was mended."""
    mended = repair_wording.after(report)
    if mended is None or not repair_wording.mended(report):
        return ()
    was = {figure.name: figure for figure in wording.figures(report.comparison)}
    now = {figure.name: figure for figure in wording.figures(mended)}
    found = [_row(report, name, was.get(name), now.get(name)) for name in {**was, **now} if name != "top-1 accuracy"]
    told = [row for row in found if row.name not in {"pictures", "NaN or infinite"} or row.before != row.after]
    return (*told, *_accuracy(report), _size(report))


def changes(report: Report) -> tuple[Changes, ...]:
    """What differs from the target as it came, alike changes together."""
    found = (report.repaired or {}).get("changes", ())
    return tuple(_changes(members) for members in gathered(found, lambda change: change["attribute"]))


def edits(report: Report, accepted: bool) -> tuple[Edits, ...]:
    """Those that were kept, or those that were left out."""
    found = [repair for repair in report.repairs if repair["accepted"] == accepted]
    return tuple(_edits(members) for members in gathered(found, _kind))


def change_text(change: Record) -> str:
    """``[1, 1] → [0, 0]``."""
    before, after = ("" if change[when] is None else wording.value_text(change[when]) for when in ("before", "after"))
    if not before or not after:
        return f"added: {after}" if after else f"removed: {before}" if before else ""
    return f"{before} → {after}"


def point_text(point: Record) -> str:
    """How far off a file of the curve is."""
    return repair_wording.left(point["max_abs_error"], point["top1_disagreement"]) or "not measured"


def some(points: Sequence[Record], most: int) -> list[Record]:
    """The ends of the curve, the chosen file, and some of those between, in their order."""
    if len(points) <= most:
        return list(points)
    kept = {round(step * (len(points) - 1) / (most - 2)) for step in range(most - 1)}
    return [point for number, point in enumerate(points) if number in kept or point["chosen"]]


def _row(report: Report, name: str, was: wording.Figure | None, now: wording.Figure | None) -> Row:
    notes = dict.fromkeys(figure.note for figure in (was, now) if figure and figure.note)
    labels_only = (report.repaired or {})["goal"] == repair_wording.LABELS and name != "top-1 disagreement"
    bad = now is not None and now.bad and not report.verified and not labels_only
    state = "bad" if bad else "good" if was and was.bad and now and not now.bad else ""
    before, after = (figure.value if figure else wording.NONE for figure in (was, now))
    return Row(name, before, after, " → ".join(notes), state)


def _accuracy(report: Report) -> tuple[Row, ...]:
    mended = repair_wording.after(report)
    sides = (report.comparison, mended) if mended else ()
    was, now = (side.accuracy.get("target") for side in sides)
    source = next((rate for side in sides if (rate := side.accuracy.get("source")) is not None), None)
    if now is None or source is None:
        return ()
    before = wording.NONE if was is None else wording.percent(was)
    state = "bad" if now < source and not report.verified else "good" if was is not None and was < now else ""
    return (Row("top-1 accuracy", before, wording.percent(now), f"the source has {wording.percent(source)}", state),)


def _size(report: Report) -> Row:
    repaired = report.repaired or {}
    was, now, full = repaired["size_bytes_before"], repaired["size_bytes"], repair_wording.full_size(report)
    notes = [_growth(was, now)] if was else []
    if full and full != now:
        notes.append(f"everything restored: {wording.size(full)}")
    return Row("file size", wording.size(was), wording.size(now), ", ".join(note for note in notes if note))


def _growth(was: int, now: int) -> str:
    ratio = now / was
    if ratio >= 2:
        return f"{ratio:.1f} times"
    return "the same" if abs(ratio - 1) < 0.0005 else f"{100 * (ratio - 1):+.1f} %"


def _changes(members: tuple[Record, ...]) -> Changes:
    first, places = members[0], list(dict.fromkeys(change["place"] for change in members))
    attribute = first["attribute"]
    if len(members) == 1:
        title = attribute or "node"
    else:
        many = wording.plural(len(places), "layer")
        title = f"{attribute} of {many}" if attribute else many
    texts = list(dict.fromkeys(text for change in members if (text := change_text(change))))
    values = texts[0] if len(texts) == 1 else f"such as {texts[0]}" if texts else ""
    return Changes(title, values, _named(places), members)


def _kind(repair: Record) -> tuple[str, str, int]:
    return repair["strategy"], repair["reason"], repair["round"]


def _edits(members: tuple[Record, ...]) -> Edits:
    first = members[0]
    title = first["edit"] if len(members) == 1 else f"{len(members):,} edits, such as: {first['edit']}"
    faults = list(dict.fromkeys(repair["fault_id"] for repair in members if repair["fault_id"]))
    return Edits(
        title=title,
        strategy=first["strategy"],
        round=first["round"],
        accepted=first["accepted"],
        reason=fault_wording.punctuated(first["reason"]),
        faults=_named(faults),
        left=_left(members),
        cost=_cost(members),
        members=members,
    )


def _left(members: Sequence[Record]) -> str:
    """What the worst of them leaves."""
    errors, rates = (
        [value for repair in members if (value := repair[name]) is not None]
        for name in ("max_abs_error_left", "top1_disagreement_left")
    )
    return repair_wording.left(max(errors, default=None), max(rates, default=None))


def _cost(members: Sequence[Record]) -> str:
    """By how much all of them make the file larger."""
    bytes_ = sum(repair["size_bytes"] or 0 for repair in members)
    word = "adds" if members[0]["accepted"] else "would add"
    return f"{word} {wording.size(bytes_)}" if bytes_ else ""


def _named(names: Sequence[str]) -> str:
    """The first few of many."""
    shown = [fault_wording.shortened(name, 60) for name in names[:NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
