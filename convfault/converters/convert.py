"""Takes a route: runs its converters one after the other, each in its own process, and keeps what they write."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault import cache as caching
from convfault import process
from convfault.cache import Cache
from convfault.converters import install
from convfault.converters.base import Converter
from convfault.converters.conversion import LOG_TAIL, Conversion, HopResult, is_out_of_memory, short_message
from convfault.converters.environment import Environment, package_name
from convfault.converters.options import ToolOptions
from convfault.converters.route import Hop, Route
from convfault.errors import RouteError, StorageError, UsageError
from convfault.model import Model, detect_format

__all__ = ["Conversion", "HopResult", "Limits", "convert"]

KIND = "conversions"
LOG, RECORD = "log.txt", "hop.json"
SHARED = ("*_source.py", "by_*.py", "torch_replay.py")
"""Files of this folder that several converters use."""


@dataclass(frozen=True)
class Limits:
    """What each hop may take: seconds and megabytes (None: no limit)."""

    seconds: float | None = 1800.0
    megabytes: float | None = None


@dataclass(frozen=True)
class _Task:
    """One hop that is about to be taken: all options, versions, and data to measure on where the tool wants some."""

    converter: Converter
    source: Model
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    calibration: Mapping[str, Any] | None
    limits: Limits
    send: process.OnEvent
    home: Environment | None = None

    def result(self, status: str, **values: Any) -> HopResult:
        """A result of this hop."""
        converter = self.converter
        version = self.versions[converter.package]
        names = (converter.source, converter.target, converter.tool, version)
        defaults = converter.with_defaults({})
        changed = {name: value for name, value in self.options.items() if value != defaults[name]}
        values = {"versions": self.versions, "options": changed, "all_options": self.options, **values}
        return HopResult(*names, status=status, **values)


class _UnrepeatableError(Exception):
    """Carries a result out of the cache that another run may not give again."""

    def __init__(self, result: HopResult) -> None:
        self.result = result
        super().__init__(result.message)


def convert(
    route: Route,
    source: Model,
    options: ToolOptions,
    cache: Cache,
    *,
    limits: Limits | None = None,
    calibration: Mapping[str, Any] | None = None,
    on_event: process.OnEvent | None = None,
) -> Conversion:
    """Convert ``source`` (signature and preprocessing filled in) along the route, up to the first hop that fails.

    ``options``: tool → option → value, beside those of the route itself. ``calibration``: for tools that measure on
    pictures, records of ``batches`` and ``preprocessing``, and a ``key`` of their content.

    What a tool does wrong is in the result. Sends ``{"event": "hop", "index", "count", "tool", "from", "to"}`` when a
    hop begins and ``{"event": "hop_done", …, "status", "seconds", "cached"}`` when it ends. Raises
    ``MissingPackageError``, ``TrustError``, ``StorageError`` and other usage errors, ``RouteError`` when the first tool
    cannot read the source.
    """
    route, limits, send = route.with_options(options), limits or Limits(), on_event or (lambda event: None)
    _check_start(route, source)
    models, results = [source], list[HopResult]()
    for index, hop in enumerate(route.hops):
        place = {"index": index, "count": len(route.hops), "tool": hop.converter.tool}
        place |= {"from": hop.converter.source, "to": hop.converter.target}
        send({"event": "hop", **place})
        result = _take(_task(hop, models[-1], calibration, limits, send), cache)
        ended = {"status": result.status, "seconds": result.seconds, "cached": result.cached}
        send({"event": "hop_done", **place, **ended})
        results.append(result)
        if result.status != "ok":
            break
        models.append(_written(models[-1], hop.converter, result))
    return Conversion(route, tuple(results), tuple(models))


def _check_start(route: Route, source: Model) -> None:
    first = route.hops[0].converter
    if source.framework != first.source:
        raise RouteError(f"the route {route} starts from {first.source}, but {source.path} is {source.framework}")
    if source.format not in first.formats:
        raise RouteError(f"{first.tool} reads {', '.join(first.formats)}, but {source.path} is {source.format}")


def _task(
    hop: Hop, source: Model, calibration: Mapping[str, Any] | None, limits: Limits, send: process.OnEvent
) -> _Task:
    converter = hop.converter
    options = converter.with_defaults(hop.options)
    wanted = converter.calibration_option
    if not wanted or not options[wanted]:
        calibration = None
    elif calibration is None:
        raise UsageError(f"{converter.tool}.{wanted} needs pictures to measure on: give some as --data")
    elif source.preprocessing is not None:
        calibration = {**calibration, "preprocessing": source.preprocessing.to_record()}
    return _Task(converter, source, options, converter.versions(), calibration, limits, send, converter.home())


def _take(task: _Task, cache: Cache) -> HopResult:
    """One hop, from the cache when it has been taken before."""
    made = False

    def fill(folder: Path) -> None:
        nonlocal made
        made = True
        result = _run(task, folder, cache)
        if not _is_repeatable(result):
            raise _UnrepeatableError(result)
        (folder / RECORD).write_text(json.dumps(result.to_record(), indent=1))

    try:
        place = cache.make(KIND, _key(task), fill)
    except _UnrepeatableError as unrepeatable:
        return unrepeatable.result
    result = HopResult.from_record(json.loads((place / RECORD).read_text()))
    path = str(place / task.converter.filename) if result.status == "ok" else None
    return replace(result, cached=not made, path=path)


def _key(task: _Task) -> str:
    """Of everything that decides the result: content of the source, tool, versions, options, data, our own code."""
    source, converter = task.source, task.converter
    shapes = None
    if source.format == "torch_function":  # files say themselves what they are traced with
        signature = source.signature.to_record() if source.signature else None
        shapes = [signature, source.preprocessing.size if source.preprocessing else None]
    data = task.calibration and [task.calibration["key"], task.calibration["preprocessing"]]
    names = [converter.source, converter.target, converter.tool, *([task.home.key] if task.home else [])]
    return caching.key(
        source.sha256, source.format, shapes, names, task.versions, task.options, data, _code(converter.convert)
    )


def _code(convert: str) -> list[str]:
    """Content of the converter's own file and of those that converters share: a mended converter converts again."""
    spec = importlib.util.find_spec(convert.partition(":")[0])
    own = [Path(spec.origin)] if spec and spec.origin else []
    here = Path(__file__).parent
    shared = (path for pattern in SHARED for path in sorted(here.glob(pattern)))
    return [caching.hash_path(path) for path in (*own, *shared)]


def _run(task: _Task, folder: Path, cache: Cache) -> HopResult:
    """Run the converter's function in its own process; what goes wrong in the tool is in the result."""
    converter, path = task.converter, folder / task.converter.filename
    options = {**task.options, "calibration": task.calibration} if task.calibration else dict(task.options)
    source = task.source.to_record()
    job = process.Job(
        "convfault.converters.base:run",
        {"convert": converter.convert, "source": source, "target": str(path), "options": options},
        stage=f"{converter.tool} ({converter.source} to {converter.target})",
        seconds=task.limits.seconds,
        megabytes=task.limits.megabytes,
        log=folder / LOG,
    )
    versions = task.versions
    if task.home is not None:
        versions = {**_installed_versions(task, cache), **versions}
        job = _at_home(job, task.home, cache)
    outcome = process.run(job, task.send)
    if outcome.error is not None:
        raise outcome.error
    status, message = _judged(outcome, path, converter)
    return task.result(
        status,
        versions=versions,
        message=message,
        log=outcome.log[-LOG_TAIL:],
        seconds=outcome.seconds,
        peak_megabytes=outcome.peak_megabytes,
        facts=outcome.value if outcome.status == "ok" else {},
    )


def _installed_versions(task: _Task, cache: Cache) -> dict[str, str]:
    """Versions of the tool and its companions in its own environment, which is made now if it is not there."""
    assert task.home is not None
    packages = install.install(task.home, cache, task.send)["packages"]
    present = {package_name(name): version for name, version in packages.items()}
    names = (task.converter.package, *task.converter.companions)
    return {name: present[package_name(name)] for name in names if package_name(name) in present}


def _at_home(job: process.Job, home: Environment, cache: Cache) -> process.Job:
    """The same job by the environment's interpreter, which sees its own packages and of convfault's nothing else."""
    return replace(
        job,
        python=str(home.interpreter(cache)),
        environment=home.variables,
        import_from=install.package_folder(cache),
    )


def _judged(outcome: process.Outcome, path: Path, converter: Converter) -> tuple[str, str]:
    """Status and message of a hop, from how its process ended and what it left behind."""
    if outcome.status == "ok":
        flaw = _flaw(path, converter)
        return ("error", flaw) if flaw else ("ok", "")
    if "No space left on device" in outcome.message + outcome.log:
        raise StorageError(f"no space left on the disk while {converter.tool} wrote: free some, or set CONVFAULT_CACHE")
    memory = outcome.status == "error" and is_out_of_memory(outcome.message)
    return "memory" if memory else outcome.status, short_message(outcome.message)


def _flaw(path: Path, converter: Converter) -> str:
    """Why what a tool left behind is no model, as far as names and first bytes show it; empty for a good one."""
    ended = f"{converter.tool} ended without an error but"
    if not path.exists():
        return f"{ended} wrote nothing"
    try:
        found = detect_format(path)
    except UsageError as error:
        reason = str(error).replace(str(path), converter.filename)
        return f"{ended} what it wrote is no {converter.target_format}: {reason}"
    return "" if found == converter.target_format else f"{ended} wrote {found}, not {converter.target_format}"


def _is_repeatable(result: HopResult) -> bool:
    """Whether the same hop would end so again: not what time, memory or a kill from outside decided."""
    return result.status not in {"timeout", "memory"} and "SIGKILL" not in result.message


def _written(source: Model, converter: Converter, result: HopResult) -> Model:
    """The hop's model: same picture as the source, in the layout that the converter gave its input."""
    assert result.path is not None
    layout = result.facts.get("layout") or converter.layout
    preprocessing = source.preprocessing
    if preprocessing is not None and layout != "keeps":
        preprocessing = preprocessing.with_layout(layout)
    return Model(
        result.path,
        converter.target_format,
        source.name,
        trusted=source.trusted,
        preprocessing=preprocessing,
        metadata=source.metadata,
    )
