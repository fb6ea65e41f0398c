"""Which cells there are, what each one needs made, and what of that it shares with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from convfault.cache import key
from convfault.converters import route as routes
from convfault.converters.options import ToolOptions, parse_options, tools
from convfault.converters.route import Route
from convfault.errors import ConvfaultError, RouteError, UnknownNameError, UsageError
from convfault.matrix import memory
from convfault.matrix.cells import BUILD, CONVERT, RUN, Cell
from convfault.matrix.selection import FRAMEWORKS, Selection

FORMATS = {"torch": "pt2", "keras": "keras", "tf": "saved_model", "tflite": "tflite", "onnx": "onnx"}
"""The format that a named model comes in, by framework."""


@dataclass(frozen=True)
class Subject:
    """A model that routes start from. ``origin``: the framework that a named model is built in (its own, for a file).

    ``format`` decides which tools read it, ``megabytes`` what they need.
    """

    model: str
    source: str
    origin: str
    format: str
    megabytes: float
    weights: str = "calibrated"


@dataclass(frozen=True)
class Step:
    """Something that a cell needs made and that the cache then holds for others. ``stage`` is one of ``STAGES``."""

    name: str
    stage: str
    megabytes: float


@dataclass(frozen=True)
class Task:
    """A cell with what it takes. ``steps`` are what it shares, in order; ``megabytes`` what running both sides takes.

    ``length`` is the number of hops. ``fingerprint`` is of what decides its outcome beside the cell itself: versions of
    its tools, data, settings. ``refusal`` says why it cannot be tried at all (empty: it can).
    """

    cell: Cell
    steps: tuple[Step, ...] = ()
    megabytes: float = 0.0
    length: int = 0
    fingerprint: str = ""
    refusal: str = ""

    @property
    def hops(self) -> tuple[Step, ...]:
        """The steps of the route itself, the conversion to the source's own format aside."""
        converting = [step for step in self.steps if step.stage == CONVERT]
        return tuple(converting[len(converting) - self.length :])


def plan(selection: Selection, subjects: Iterable[Subject], content: str) -> tuple[Task, ...]:
    """Every cell that was asked for, in the order that they are shown in.

    ``content`` is a key of what all cells depend on (data, settings). A pair that no route leads through gives one
    cell that says so, unless tools were chosen. Raises ``UnknownNameError`` and the like for a wrong route or tool.
    """
    releases = _releases(selection)
    options = parse_options(selection.tool_options)
    given = [routes.parse(text) for text in selection.routes]
    tasks = []
    for subject in subjects:
        for target in selection.targets or FRAMEWORKS:
            if target == subject.source:
                continue
            found = [*_found(subject, target, selection.max_hops), *_between(given, subject.source, target)]
            pinned = (variant for route in found for variant in _pinned(route, releases))
            chosen = [with_options(route, options) for route in pinned]
            unique = {str(route): route for route in chosen}
            tasks += [_task(subject, target, route, content) for route in unique.values()]
            if not found and not selection.tools:
                tasks.append(_no_route(subject, target))
    _check_taken([with_options(route, options) for route in given], tasks)
    return tuple(tasks)


def in_order(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks as they should be begun: short routes of a source first, whose files longer ones go on from."""
    groups = {name: number for number, name in enumerate(dict.fromkeys(_group(task) for task in tasks))}
    return tuple(sorted(tasks, key=lambda task: (groups[_group(task)], task.length)))


def _group(task: Task) -> tuple[str, str]:
    return task.cell.model, task.cell.source


def with_options(route: Route, options: ToolOptions) -> Route:
    """The route with those of the options that its hops take."""
    fitting = {
        tool: {name: value for name, value in values.items() if _takes(route, tool, name)}
        for tool, values in options.items()
    }
    return route.with_options(fitting)


def _takes(route: Route, tool: str, name: str) -> bool:
    return any(hop.converter.tool == tool and name in hop.converter.options for hop in route.hops)


def _releases(selection: Selection) -> dict[str, list[str]]:
    """The chosen tools, and of each the releases that were asked for; an empty text is the one that is there."""
    found: dict[str, list[str]] = {}
    for text in selection.tools:
        tool, _, release = text.partition("==")
        if tool not in tools():
            raise UnknownNameError("tool", tool, tools(), hint="(convfault list converters)")
        found.setdefault(tool, []).append(release)
    return found


def _check_taken(given: Iterable[Route], tasks: Iterable[Task]) -> None:
    """A route that was asked for must have become a cell."""
    taken = {task.cell.route for task in tasks}
    for route in given:
        if str(route) not in taken:
            raise UsageError(f"the route {route} fits none of the chosen models, frameworks and tools")


def _found(subject: Subject, target: str, max_hops: int) -> Iterator[Route]:
    for route in routes.all_routes(subject.source, target, max_hops):
        if subject.format in route.hops[0].converter.formats:
            yield route


def _between(given: Iterable[Route], source: str, target: str) -> Iterator[Route]:
    return (route for route in given if (route.source, route.target) == (source, target))


def _pinned(route: Route, releases: Mapping[str, Sequence[str]]) -> Iterator[Route]:
    """The route with every release of its chosen tools; nothing when tools were chosen and it takes none of them."""
    chosen = [tool for tool in releases if any(hop.converter.tool == tool for hop in route.hops)]
    if releases and not chosen:
        return
    for versions in product(*(releases[tool] for tool in chosen)):
        wanted = {tool: version for tool, version in zip(chosen, versions, strict=True) if version}
        yield route.with_versions(wanted)


def _task(subject: Subject, target: str, route: Route, content: str) -> Task:
    cell = Cell(subject.model, subject.source, target, str(route), subject.weights)
    size = subject.megabytes
    source_run = f"run {subject.model} {subject.weights} {subject.source}"
    steps = (
        *_origin_steps(subject),
        *_hop_steps(subject, route),
        Step(source_run, RUN, memory.session(subject.source, size)),
    )
    both = memory.session(subject.source, size) + memory.session(target, size)
    return Task(cell, steps, both, len(route.hops), key(content, _versions(route)))


def _origin_steps(subject: Subject) -> Iterator[Step]:
    """Building a named model, and converting it where the zoo cannot build it for the framework."""
    megabytes = memory.session(subject.origin, subject.megabytes)
    yield Step(f"build {subject.model} {subject.weights} {subject.origin}", BUILD, megabytes)
    if subject.origin != subject.source:
        route = routes.default(subject.origin, subject.source)
        for end, hop in enumerate(route.hops, 1):
            yield _hop_step(subject, str(Route(route.hops[:end])), hop)


def _hop_steps(subject: Subject, route: Route) -> Iterator[Step]:
    """Named by the whole way from what was built, so that routes which begin alike share what they begin with."""
    own = subject.origin == subject.source
    before = subject.source if own else str(routes.default(subject.origin, subject.source))
    for end, hop in enumerate(route.hops, 1):
        yield _hop_step(subject, before + str(Route(route.hops[:end])).removeprefix(subject.source), hop)


def _hop_step(subject: Subject, way: str, hop: routes.Hop) -> Step:
    megabytes = hop.converter.expected_megabytes(int(subject.megabytes * 1e6))
    return Step(f"convert {subject.model} {subject.weights} {way}", CONVERT, megabytes)


def _versions(route: Route) -> list[dict[str, str]]:
    """Of the tools of every hop; nothing for one that is not installed."""
    found = []
    for hop in route.hops:
        try:
            found.append(dict(hop.converter.versions()))
        except ConvfaultError:
            found.append({})
    return found


def _no_route(subject: Subject, target: str) -> Task:
    """The cell of a pair without a route; the reason is the one that ``diff`` would give."""
    reason = f"no route of so few hops that starts from {subject.format}"
    try:
        routes.default(subject.source, target, subject.format)
    except RouteError as error:
        reason = str(error)
    return Task(Cell(subject.model, subject.source, target, "", subject.weights), refusal=reason)
