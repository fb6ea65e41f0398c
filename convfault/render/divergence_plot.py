"""How far the layers are apart along the network, drawn: errors, what rounding explains, and where the faults are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from convfault.fault import Fault
from convfault.render import drawing, fault_wording, wording
from convfault.render.fault_groups import Group, groups
from convfault.report import Report

WIDTH, HEIGHT = 1000.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 990.0, 40.0, 290.0
NUMBER = 22.0
"""Width of a fault's number with what parts it from the next."""
LEAST, MOST = -9, 3
"""Powers of ten that are drawn at most; what is smaller lies on the axis."""

Step = Mapping[str, Any]


def plot(report: Report) -> Markup:
    """The drawing; empty where no layer was compared."""
    steps = [step for step in (report.localization or {}).get("divergence", ()) if step.get("kind") != "constant"]
    figures = [value for step in steps for value in (step.get("error"), step.get("local")) if value]
    if not any(step.get("error") is not None or step.get("problem") for step in steps):
        return Markup()
    axes = Axes.around([*figures, *(step["noise"] for step in steps if step.get("noise"))], len(steps))
    marks = [*_grid(axes, steps), _noise(axes, steps), *_errors(axes, steps), *_local(axes, steps)]
    marks += _faults(axes, steps, groups(report))
    divergent = sum(bool(step.get("divergent")) for step in steps)
    said = f"Error of {len(steps)} aligned layers along the network; {divergent} are apart by more than rounding."
    return drawing.picture("divergence", said, (WIDTH, HEIGHT), *marks)


@dataclass(frozen=True)
class Axes:
    """From powers of ten and places in the network to points of the drawing."""

    low: int
    high: int
    count: int

    @classmethod
    def around(cls, values: Sequence[float], count: int) -> Axes:
        powers = [math.log10(value) for value in values if value > 0]
        low = max(LEAST, math.floor(min(powers, default=-8)))
        return cls(low, max(low + 2, min(MOST, math.ceil(max(powers, default=0)))), count)

    def x(self, number: float) -> float:
        return LEFT + (RIGHT - LEFT) * (number + 0.5) / max(self.count, 1)

    def y(self, value: float) -> float:
        exponent = math.log10(value) if value > 0 else self.low
        share = (min(max(exponent, self.low), self.high) - self.low) / (self.high - self.low)
        return BOTTOM - (BOTTOM - TOP) * share


def _grid(axes: Axes, steps: Sequence[Step]) -> Iterator[str]:
    step = 1 if axes.high - axes.low <= 7 else 2
    for exponent in range(axes.low, axes.high + 1, step):
        y = axes.y(10.0**exponent)
        yield drawing.line((LEFT, y), (RIGHT, y), class_="grid")
        yield drawing.label(LEFT - 8, y + 4, drawing.power(exponent), text_anchor="end", class_="tick")
    yield drawing.label(LEFT, BOTTOM + 20, "input", class_="tick")
    yield drawing.label(RIGHT, BOTTOM + 20, "output", text_anchor="end", class_="tick")
    middle = f"{len(steps)} aligned layers, in the source's order"
    yield drawing.label((LEFT + RIGHT) / 2, BOTTOM + 20, middle, text_anchor="middle", class_="tick")


def _noise(axes: Axes, steps: Sequence[Step]) -> str:
    """The band of what rounding explains."""
    points = [(axes.x(number), axes.y(step.get("noise") or 0.0)) for number, step in enumerate(steps)]
    return drawing.line((points[0][0], BOTTOM), *points, (points[-1][0], BOTTOM), class_="noise")


def _errors(axes: Axes, steps: Sequence[Step]) -> Iterator[str]:
    known = [(number, step) for number, step in enumerate(steps) if step.get("error") is not None]
    points = [(axes.x(number), axes.y(step["error"])) for number, step in known]
    yield drawing.line(*points, class_="errors") if len(points) > 1 else ""
    for (x, y), (_, step) in zip(points, known, strict=True):
        dot = drawing.element("circle", cx=x, cy=y, r=3.2)
        area = drawing.element("circle", cx=x, cy=y, r=8, class_="area")
        yield drawing.titled(_words(step), dot, area, class_="error divergent" if step.get("divergent") else "error")
    for number, step in enumerate(steps):
        if step.get("problem"):
            x = axes.x(number)
            cross = f"M{x - 5:.1f} {TOP - 5}l10 10m0 -10l-10 10"
            yield drawing.titled(_words(step), drawing.element("path", d=cross), class_="problem")


def _local(axes: Axes, steps: Sequence[Step]) -> Iterator[str]:
    """Small squares: what each layer alone makes wrong, where that is beyond rounding."""
    for number, step in enumerate(steps):
        if step.get("erring") and step.get("local") is not None:
            x, y = axes.x(number), axes.y(step["local"])
            square = drawing.element("rect", x=x - 3, y=y - 3, width=6, height=6)
            yield drawing.titled(_words(step), square, class_="local")


def _faults(axes: Axes, steps: Sequence[Step], found: Sequence[Group]) -> Iterator[str]:
    """A line for every fault at its layer, with the number of its row over the worst of them."""
    placed: list[float] = []
    for group in reversed(found):
        for fault in reversed(group.faults):
            x = _place(axes, steps, fault)
            if x is None:
                continue
            first = fault is group.first
            marks = [drawing.line((x, TOP - 8), (x, BOTTOM), class_="fault-line" if first else "fault-line alike")]
            if first:
                beside = x + NUMBER * sum(abs(x - other) < NUMBER for other in placed)
                placed.append(x)
                marks.append(drawing.element("circle", cx=beside, cy=TOP - 18, r=10, class_="fault-number"))
                number = str(group.number)
                marks.append(drawing.label(beside, TOP - 14, number, text_anchor="middle", class_="fault-digit"))
            title = f"{group.number}: {group.title}, {fault_wording.place(fault, 90)}"
            yield drawing.titled(title, *marks)


def _place(axes: Axes, steps: Sequence[Step], fault: Fault) -> float | None:
    """Where the fault's layer stands, or, before the next one, where it would; None where that is not known."""
    layers = fault.evidence.get("layers") or {}
    for key, side, shift in (("source", "source", 0.0), ("target", "target", 0.0), ("before", "source", -0.5)):
        wanted = layers.get(key)
        for number, step in enumerate(steps):
            if wanted is not None and step.get(side) == wanted:
                return axes.x(number + shift)
    return None


def _words(step: Step) -> str:
    """What is known of a layer, in lines."""
    problems = {"shape": "shapes differ", "nonfinite": "NaN or infinite values on one side"}
    lines = [
        f"{step.get('source_name')} ({step.get('kind')})",
        f"→ {step.get('target_name')}",
        _figure("error", step.get("error")) + _figure(", rounding explains", step.get("noise") or None),
        _figure("of its own", step.get("local")) + _figure(", rounding explains", step.get("local_noise") or None),
        _figure("cosine", step.get("cosine")),
        problems.get(str(step.get("problem")), ""),
    ]
    return "\n".join(line for line in lines if line)


def _figure(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {wording.number(value)}"
