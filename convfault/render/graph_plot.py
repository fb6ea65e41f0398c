"""The layers round a fault, source on the left and target on the right, what belongs together in one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from convfault.render import drawing, fault_wording

SIDE, BETWEEN, EDGE = 410.0, 60.0, 40.0
"""Widths of one side, of what is between both, and of the margins."""
LINE, SPACE, GAP = 15.0, 26.0, 12.0
"""Heights of a line of text and between two rows; width between two layers of a row."""
ATTRIBUTES = 4
"""Lines at most about what differs."""

Record = Mapping[str, Any]


def plot(record: Record, name: str) -> Markup:
    """The drawing of a ``neighbourhood`` of the report; empty for one without layers."""
    plan = Plan(record)
    if not plan.rows:
        return Markup()
    marks = [*_edges(plan), *_matches(plan), *_heads(), *_layers(plan)]
    said = f"{len(plan.layers['source'])} layers of the source and {len(plan.layers['target'])} of the target."
    return drawing.picture(name, said, (2 * (EDGE + SIDE) + BETWEEN, plan.height), *marks)


@dataclass(frozen=True)
class Box:
    """A layer as it is drawn, ``x`` and ``y`` being its upper left corner."""

    layer: Record
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


class Plan:
    """Which layer stands where: matched layers in one row, every layer below those that it reads."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.layers = {side: {layer["id"]: layer for layer in record[side]["layers"]} for side in ("source", "target")}
        to_source = {target: source for source, target in record.get("matches", ())}
        self.node = {
            **{("source", name): ("source", name) for name in self.layers["source"]},
            **{
                ("target", name): ("source", to_source[name]) if name in to_source else ("target", name)
                for name in self.layers["target"]
            },
        }
        self.others = {("target", t): s for t, s in to_source.items()} | {
            ("source", s): t for t, s in to_source.items()
        }

    @cached_property
    def rows(self) -> dict[tuple[str, str], int]:
        """Row of each layer, the longest way from above; what goes round in a circle is cut."""
        before: dict[tuple[str, str], set[tuple[str, str]]] = {node: set() for node in self.node.values()}
        for side in self.layers:
            for one, other in self.record[side]["edges"]:
                first, second = self.node[side, one], self.node[side, other]
                if first != second and not _leads(before, second, first):
                    before[second].add(first)
        depth: dict[tuple[str, str], int] = {}

        def row(node: tuple[str, str]) -> int:
            if node not in depth:
                depth[node] = 1 + max((row(item) for item in sorted(before[node])), default=-1)
            return depth[node]

        return {key: row(node) for key, node in self.node.items()}

    @cached_property
    def boxes(self) -> dict[tuple[str, str], Box]:
        found, y = dict[tuple[str, str], Box](), 24.0 + SPACE
        for number in range(max(self.rows.values(), default=-1) + 1):
            height = max(_height(self.layers[side][name]) for (side, name), row in self.rows.items() if row == number)
            for side, start in (("source", EDGE), ("target", EDGE + SIDE + BETWEEN)):
                names = [name for name in self.layers[side] if self.rows[side, name] == number]
                width = min(320.0, (SIDE - GAP * (len(names) - 1)) / max(len(names), 1))
                used = width * len(names) + GAP * (len(names) - 1)
                for place, name in enumerate(names):
                    x = start + (SIDE - used) / 2 + place * (width + GAP)
                    found[side, name] = Box(self.layers[side][name], x, y, width, height)
            y += height + SPACE
        return found

    @property
    def height(self) -> float:
        return max(box.y + box.height for box in self.boxes.values()) + SPACE

    def other(self, side: str, name: str) -> Record | None:
        """The layer on the other side that belongs to this one."""
        found = self.others.get((side, name))
        return None if found is None else self.layers["target" if side == "source" else "source"].get(found)


def _leads(
    before: Mapping[tuple[str, str], set[tuple[str, str]]], start: tuple[str, str], end: tuple[str, str]
) -> bool:
    """Whether ``end`` lies below ``start``."""
    stack, seen = [end], set[tuple[str, str]]()
    while stack:
        node = stack.pop()
        if node == start:
            return True
        if node not in seen:
            seen.add(node)
            stack += before[node]
    return False


def _height(layer: Record) -> float:
    return 2 * LINE + 14 + LINE * min(len(layer["differs"]), ATTRIBUTES)


def _heads() -> Iterator[str]:
    for start, word in ((EDGE, "source"), (EDGE + SIDE + BETWEEN, "target")):
        yield drawing.label(start + SIDE / 2, 18, word, text_anchor="middle", class_=f"side {word}")


def _edges(plan: Plan) -> Iterator[str]:
    for side in plan.layers:
        long = 0
        for one, other in plan.record[side]["edges"]:
            first, second = plan.boxes[side, one], plan.boxes[side, other]
            if _free(plan, side, plan.rows[side, one], plan.rows[side, other]):
                yield from _straight(first, second)
            else:
                yield from _round(plan, side, (one, other), long)
                long += 1
        for key, above in (("reads_more", True), ("read_by_more", False)):
            for name in plan.record[side].get(key, ()):
                box = plan.boxes[side, name]
                x, y = box.x + 16, box.y if above else box.y + box.height
                yield drawing.line((x, y), (x, y + (-14 if above else 14)), class_="stub")


def _straight(first: Box, second: Box) -> Iterator[str]:
    """With nothing between."""
    x, y, end = first.middle, first.y + first.height, second.middle
    bend = (second.y - y) / 2
    way = f"M{x:.1f} {y:.1f}C{x:.1f} {y + bend:.1f} {end:.1f} {second.y - bend:.1f} {end:.1f} {second.y:.1f}"
    yield drawing.element("path", d=way, class_="edge")
    yield drawing.element("path", d=f"M{end - 4:.1f} {second.y - 7:.1f}l4 7l4 -7", class_="arrow")


def _round(plan: Plan, side: str, edge: tuple[str, str], number: int) -> Iterator[str]:
    """Past the rows between, on the outer side; ``number`` tells such edges of one side apart."""
    rows = sorted(plan.rows[side, name] for name in edge)
    passed = [
        box for (where, name), box in plan.boxes.items() if where == side and _within(plan.rows[side, name], rows)
    ]
    first, second = (plan.boxes[side, name] for name in edge)
    out = 10 + 5 * (number % 5)
    if side == "source":
        lane, start, end, turn = min(box.x for box in passed) - out, first.x, second.x, 5
    else:
        lane, turn = max(box.x + box.width for box in passed) + out, -5
        start, end = first.x + first.width, second.x + second.width
    top, bottom = first.y + first.height * 0.7, second.y + second.height * 0.3
    bend = 10 if bottom > top else -10
    way = f"M{start:.1f} {top:.1f}Q{lane:.1f} {top:.1f} {lane:.1f} {top + bend:.1f}"
    way += f"V{bottom - bend:.1f}Q{lane:.1f} {bottom:.1f} {end:.1f} {bottom:.1f}"
    yield drawing.element("path", d=way, class_="edge")
    head = f"M{end - 1.4 * turn:.1f} {bottom - 4:.1f}L{end:.1f} {bottom:.1f}l{-1.4 * turn:.1f} 4"
    yield drawing.element("path", d=head, class_="arrow")


def _free(plan: Plan, side: str, above: int, below: int) -> bool:
    """Whether ``below`` is the next row downwards in which this side has a layer."""
    between = (row for (where, _), row in plan.rows.items() if where == side and above < row < below)
    return above < below and not any(True for _ in between)


def _within(row: int, rows: Sequence[int]) -> bool:
    return rows[0] <= row <= rows[1]


def _matches(plan: Plan) -> Iterator[str]:
    for source, target in plan.record.get("matches", ()):
        left, right = plan.boxes["source", source], plan.boxes["target", target]
        ends = (left.x + left.width, left.y + left.height / 2), (right.x, right.y + right.height / 2)
        same = not left.layer["differs"] and not right.layer["differs"]
        yield drawing.line(*ends, class_="match" if same else "match differs")


def _layers(plan: Plan) -> Iterator[str]:
    for (side, name), box in plan.boxes.items():
        layer, other = box.layer, plan.other(side, name)
        kinds = ["layer", "fault"] if layer["fault"] else ["layer"]
        kinds += [] if other is not None else ["alone"]
        shape = "×".join(str(size) for size in layer["shape"])
        head = f"{layer['kind'].replace('_', ' ')}  {shape}"
        like = str(other["name"]) if other else ""
        room = int((box.width - 20) / 6.7)
        lines = [
            drawing.label(box.x + 10, box.y + 19, drawing.shorten(head, int((box.width - 20) / 6.4)), class_="kind"),
            drawing.label(
                box.x + 10, box.y + 19 + LINE, fault_wording.shortened(layer["name"], room, like), class_="native"
            ),
        ]
        for number, text in enumerate(_differing(layer, other)):
            lines.append(
                drawing.label(
                    box.x + 10,
                    box.y + 19 + LINE * (2 + number),
                    text if len(text) <= room else f"{text[: room - 1]}…",
                    class_="differs",
                )
            )
        frame = drawing.element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=6)
        yield drawing.titled(_words(layer), frame, *lines, class_=" ".join(kinds))


def _differing(layer: Record, other: Record | None) -> Sequence[str]:
    """What this side has where the other has something else."""
    found = []
    for name in layer["differs"][:ATTRIBUTES]:
        mine = layer["attributes"].get(name)
        same = other is not None and other["attributes"].get(name) == mine
        if name in {"kind", "shape"}:
            found.append(f"another {name}")
        else:
            found.append(f"{name}: other values" if same else f"{name} {mine}")
    return found


def _words(layer: Record) -> str:
    """Everything that is known of a layer."""
    return "\n".join([layer["name"], *(f"{name}: {value}" for name, value in layer["attributes"].items())])
