"""Alike faults as one row: a converter's setting that rounds the weights of 94 layers is one thing to read, not 94."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from convfault.fault import Fault
from convfault.render.cause_titles import title
from convfault.render.wording import plural
from convfault.report import Report

Item = TypeVar("Item")
ALIKE = 3
"""So many faults of one cause make a row together."""


@dataclass(frozen=True)
class Group:
    """A row: one fault, or alike ones, the worst first. ``number`` counts the rows from 1."""

    number: int
    faults: tuple[Fault, ...]

    @property
    def first(self) -> Fault:
        """The one that causes most."""
        return self.faults[0]

    @property
    def folded(self) -> bool:
        return len(self.faults) > 1

    @property
    def title(self) -> str:
        """What is the matter, and in how many layers."""
        if not self.folded:
            return title(self.first)
        named = [(fault.attribute or "").split(", ") for fault in self.faults]
        shared = [name for name in named[0] if all(name in names for names in named)]
        return f"{len(self.faults)} layers: {title(replace(self.first, attribute=', '.join(shared) or None))}"

    def span(self, name: str) -> tuple[float, float] | None:
        """Smallest and largest of a figure of the effect; None where it was not measured of any."""
        found = [value for fault in self.faults if (value := fault.effect.get(name)) is not None]
        return (min(found), max(found)) if found else None

    def measured(self, name: str) -> bool:
        """Whether one of the effect's pairs of figures (``caused``, ``after``) was measured of any."""
        return any(self.span(f"{figure}_{name}") for figure in ("top1_disagreement", "max_abs_error"))

    def unbounded(self, name: str) -> bool:
        """Whether the error of any is NaN or infinite, which a report writes as no figure beside the labels'."""
        labels, error = f"top1_disagreement_{name}", f"max_abs_error_{name}"
        return any(f.effect.get(labels) is not None and f.effect.get(error) is None for f in self.faults)


def groups(report: Report) -> tuple[Group, ...]:
    """The rows of the faults that do harm, in order of their worst."""
    return tuple(Group(number, faults) for number, faults in enumerate(gathered(harmful(report), _kind), 1))


def harmful(report: Report) -> list[Fault]:
    """The faults without those that change no answer."""
    return sorted((fault for fault in report.faults if not fault.harmless), key=lambda fault: fault.rank)


def harmless(report: Report) -> list[Fault]:
    """Those that change no answer."""
    return [fault for fault in report.faults if fault.harmless]


def counted(faults: Sequence[Fault], words: Callable[[Fault], str] = title) -> str:
    """``int8 rounding (5), another epsilon (2)``: how many there are of each cause."""
    return ", ".join(f"{word} ({many})" for word, many in Counter(map(words, faults)).most_common())


def without_effect(report: Report) -> str:
    """The harmless ones in one line, empty if there are none."""
    found = harmless(report)
    return f"{plural(len(found), 'difference')} without effect: {counted(found)}." if found else ""


def gathered(items: Sequence[Item], kind: Callable[[Item], Hashable], alike: int = ALIKE) -> list[tuple[Item, ...]]:
    """Items of one kind together, at the place of the first; fewer than ``alike`` of a kind stay alone."""
    same: dict[Hashable, list[Item]] = {}
    for item in items:
        same.setdefault(kind(item), []).append(item)
    found: list[tuple[Item, ...]] = []
    for item in items:
        members = same[kind(item)]
        if len(members) < alike:
            found.append((item,))
        elif item is members[0]:
            found.append(tuple(members))
    return found


def _kind(fault: Fault) -> tuple[str, str, str]:
    return fault.kind, fault.cause, str(fault.evidence.get("group"))
