"""A matrix as grids of squares, one for each model, and how its cells are put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convfault.comparison import AGREE, CRASH, DIFFER
from convfault.matrix.cells import DEFECT, MEMORY, NO_ROUTE, TIMEOUT, Cause, Cell, CellOutcome, Matrix
from convfault.render import wording

UNTRIED = "untried"
"""The status of a square that nobody asked for, those from a framework to itself among them."""
SIGNS = wording.SIGNS | {TIMEOUT: "✕", MEMORY: "✕", DEFECT: "!", NO_ROUTE: wording.NONE, UNTRIED: ""}
WORDS = {
    AGREE: "agree",
    DIFFER: "differ",
    CRASH: "crash",
    TIMEOUT: "timeout",
    MEMORY: "memory",
    DEFECT: "defect",
    NO_ROUTE: "no route",
    UNTRIED: "",
}
MEANINGS = {
    AGREE: "agrees by the best route",
    DIFFER: "differs even by the best route",
    CRASH: "every route crashes, hangs or runs out of memory",
    DEFECT: "convfault itself failed",
    NO_ROUTE: "no route is known",
}
"""What the sign of a square means, for a legend."""
VERDICTS = {AGREE: "EVERY PAIR AGREES", DIFFER: "NOT EVERY PAIR AGREES", CRASH: "DEFECT OF CONVFAULT"}
"""The matrix in a few words; see ``verdict``."""
FAILURES = (DEFECT, CRASH, TIMEOUT, MEMORY)
"""How a route can fail, what weighs most in a square first."""


@dataclass(frozen=True)
class Square:
    """All routes of one pair of a model, the best first."""

    model: str
    source: str
    target: str
    outcomes: tuple[CellOutcome, ...] = ()

    @property
    def best(self) -> CellOutcome | None:
        """The route to recommend; None when no target answered."""
        return next((outcome for outcome in self.outcomes if outcome.compared), None)

    @property
    def status(self) -> str:
        """Of the best route; where none answered, the gravest of what happened."""
        if self.best is not None:
            return self.best.status
        found = {outcome.status for outcome in self.outcomes}
        return next((status for status in (*FAILURES, NO_ROUTE) if status in found), UNTRIED)

    @property
    def failure(self) -> CellOutcome | None:
        """The route whose failure weighs most; None where one answered."""
        found = (outcome for outcome in self.outcomes if outcome.status == self.status)
        return next(found, None) if self.best is None else None

    @property
    def tried(self) -> int:
        return sum(outcome.status != NO_ROUTE for outcome in self.outcomes)

    @property
    def agreeing(self) -> int:
        return sum(outcome.status == AGREE for outcome in self.outcomes)

    @property
    def sign(self) -> str:
        return SIGNS[self.status]

    @property
    def figure(self) -> str:
        """What stands beside the sign: the best route's disagreement, or how they fail."""
        return WORDS[self.status] if self.best is None else figure(self.best)

    @property
    def share(self) -> str:
        """``2/3``: how many of the routes that were tried agree."""
        return f"{self.agreeing}/{self.tried}" if self.tried else ""

    @property
    def title(self) -> str:
        """``tf → tflite``."""
        return f"{self.source} → {self.target}"

    @property
    def sentence(self) -> str:
        """For those who cannot see the square."""
        if self.status == UNTRIED:
            return f"{self.title}: not tried"
        if self.best is None:
            return f"{self.title}: {WORDS[self.status]} on {wording.plural(self.tried, 'route')}"
        verb = "agrees" if self.best.status == AGREE else "differs"
        routes = f"{self.agreeing} of {wording.plural(self.tried, 'route')} agree{'s' * (self.agreeing == 1)}"
        return f"{self.title}: the best route {verb}, {measure(self.best)}; {routes}"


@dataclass(frozen=True)
class Grid:
    """The squares of one model: ``rows`` has one row for each of ``sources``, as long as ``targets``."""

    model: str
    title: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    rows: tuple[tuple[Square, ...], ...]

    @property
    def squares(self) -> tuple[Square, ...]:
        """Those that were asked for, row by row."""
        return tuple(square for row in self.rows for square in row if square.outcomes)


def grids(matrix: Matrix) -> tuple[Grid, ...]:
    """The grid of each model, in the order of the cells."""
    models = dict.fromkeys(outcome.cell.model for outcome in matrix.outcomes)
    return tuple(_grid(matrix, model, matrix.titles[model]) for model in models)


def squares(matrix: Matrix) -> tuple[Square, ...]:
    """Every pair of every model."""
    return tuple(square for grid in grids(matrix) for square in grid.squares)


def _grid(matrix: Matrix, model: str, title: str) -> Grid:
    pairs = [(source, target) for name, source, target in matrix.pairs if name == model]
    sources = tuple(dict.fromkeys(source for source, _ in pairs))
    asked = {target for _, target in pairs}
    # in the order of the sources, so that the diagonal is where a reader looks for it
    targets = tuple(name for name in dict.fromkeys([*sources, *(target for _, target in pairs)]) if name in asked)
    rows = tuple(
        tuple(Square(model, source, target, matrix.pair(model, source, target)) for target in targets)
        for source in sources
    )
    return Grid(model, title, sources, targets, rows)


def figure(outcome: CellOutcome) -> str:
    """The disagreement of a cell that answered; without classes its largest error."""
    if outcome.top1_disagreement is not None:
        return wording.percent(outcome.top1_disagreement)
    return "NaN/inf" if outcome.max_abs_error is None else wording.number(outcome.max_abs_error)


def measure(outcome: CellOutcome) -> str:
    """``figure`` with what it is a figure of."""
    if outcome.top1_disagreement is not None:
        return f"{figure(outcome)} of the top labels differ"
    return f"off by up to {figure(outcome)}"


def route(cell: Cell) -> str:
    """A cell's route; the pair where none is known."""
    return cell.route or f"{cell.source} → {cell.target}"


def versions(outcomes: Iterable[CellOutcome]) -> str:
    """The versions of the tools that failed."""
    return ", ".join(dict.fromkeys(outcome.tool_version for outcome in outcomes if outcome.tool_version))


def places(cause: Cause, titles: Mapping[str, str]) -> str:
    """``mobilenetv2: tf → keras, tflite → keras; resnet101: …``: where a cause strikes; models by their ``titles``."""
    found: dict[str, dict[str, None]] = {}
    for outcome in cause.outcomes:
        found.setdefault(titles[outcome.cell.model], {})[f"{outcome.cell.source} → {outcome.cell.target}"] = None
    pairs: dict[str, list[str]] = {}
    for model, arrows in found.items():  # models that fail alike are named together
        pairs.setdefault(", ".join(arrows), []).append(model)
    return "; ".join(f"{', '.join(models)}: {arrows}" for arrows, models in pairs.items())


def counts(matrix: Matrix) -> Counter[str]:
    """How many cells ended how."""
    return Counter(outcome.status for outcome in matrix.outcomes)


def verdict(matrix: Matrix) -> str:
    """Of all pairs together: ``crash`` for a defect of convfault, else whether each has a route that agrees."""
    if matrix.exit_code == 3:
        return CRASH
    return AGREE if all(square.status in {AGREE, NO_ROUTE} for square in squares(matrix)) else DIFFER


def headline(matrix: Matrix) -> str:
    """The whole matrix as a sentence."""
    found = Counter(square.status for square in squares(matrix))
    if not found:
        return "No cell was tried."
    failed = sum(found[status] for status in FAILURES)
    parts = [
        f"{found[AGREE]} of {wording.plural(found.total(), 'pair')} can be converted by a route that agrees",
        f"{found[DIFFER]} only by one that differs" if found[DIFFER] else "",
        f"{failed} by none that works" if failed else "",
        f"{found[NO_ROUTE]} by no known route" if found[NO_ROUTE] else "",
    ]
    return ", ".join(part for part in parts if part) + "."


def title(matrix: Matrix) -> str:
    """How much was tried."""
    models = [grid.title for grid in grids(matrix)]
    name = models[0] if len(models) == 1 else wording.plural(len(models), "model")
    pairs = wording.plural(len(matrix.pairs), "pair")
    return f"{name}, {pairs}, {wording.plural(len(matrix.outcomes), 'cell')}"


def time_taken(matrix: Matrix) -> str:
    """Wall time, the sum over the cells, and how much an earlier invocation had done already."""
    total, cells = matrix.seconds.get("total"), matrix.seconds.get("cells")
    cached = sum(outcome.cached for outcome in matrix.outcomes)
    many = len(matrix.outcomes)
    parts = [
        wording.duration(total) if total is not None else "",
        f"cells {wording.duration(cells)}" if cells is not None else "",
        f"{cached} of {many} cells from an earlier run" if many else "",
    ]
    return ", ".join(part for part in parts if part)
