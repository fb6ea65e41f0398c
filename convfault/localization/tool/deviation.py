"""From a model whose conversion answers otherwise to the smallest piece of it whose conversion still does.

A piece is cut out and run in convfault's own environment, converted where the converter lives, and what that wrote is
run here again. Its inputs are what the whole model computes there on the picture that deviates most. It counts when the
two answers are apart by clearly more than rounding explains, which is derived as for whole models (docs/tolerance.md).
The nodes that the faults name are tried first, alone and with ever more neighbours, then the whole is made smaller by
delta debugging as for crashes (``reduction``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convfault.batches import Batches
from convfault.cache import Cache
from convfault.converters.route import Hop
from convfault.errors import ConvfaultError
from convfault.fault import Fault
from convfault.localization.suspect import Suspect
from convfault.localization.tool import bench, pieces, reduction
from convfault.localization.tool.analyzer import VALUE_OPTIONS, value_options
from convfault.localization.tool.bench import Bench
from convfault.localization.tool.exhibit import Exhibit, Values
from convfault.localization.tool.judging import measured, turned_to
from convfault.localization.tool.outline import Outline
from convfault.localization.tool.reduction import Places
from convfault.localization.tool.shrink import Shrunk, at_home
from convfault.model import Model, TensorSpec
from convfault.preprocessing import Preprocessing
from convfault.progress import Progress
from convfault.relax.graph import Array

SOURCE, TARGET = "convfault.localization.tool.pieces:Source", "convfault.localization.tool.pieces:Target"
CONVERTING = "convfault.localization.tool.bench:converting"

OTHERWISE = "The converted model answers otherwise."

CLEARLY = 10.0
"""A piece deviates when it is off by so many times what rounding explains: kernels approximate some functions, too."""

FAULTS = 4
"""So many faults' nodes are tried before the whole model is made smaller."""


@dataclass(frozen=True)
class Limits:
    """How long is looked for a smaller piece, and how many conversions that may take."""

    seconds: float = 240.0
    trials: int = 50


@dataclass(frozen=True, eq=False)
class Hunt:
    """What to make small: a ``source`` (its signature filled in) that ``hop`` changes the answers of.

    ``inputs``: of the source by name, one picture; ``faults``: where to look first, the worst first.
    """

    hop: Hop
    source: Model
    inputs: Mapping[str, Array]
    faults: Sequence[Fault]
    cache: Cache
    limits: Limits = field(default=Limits())


@dataclass(frozen=True, eq=False)
class Deviant:
    """A piece whose conversion errs, its model ``shrunk.model``, and the ``fault`` that it shows, if one is known."""

    shrunk: Shrunk
    values: Values
    fault: Fault | None = None


def smaller(whole: Exhibit, hunt: Hunt, progress: Progress, folder: Path) -> Exhibit | None:
    """The same with the smallest piece that shows it, its files under the empty ``folder``; None where none does."""
    phase = f"find the smallest model that {hunt.hop.converter.tool} changes the answers of"
    progress.start(phase, None)
    try:
        found = smallest(hunt, folder)
    except ConvfaultError:  # the whole model shows it, too
        return None
    finally:
        progress.finish(phase)
    if found is None or len(found.shrunk.nodes) == found.shrunk.of:
        return None
    fault, tool = found.fault, whole.record["tool"]
    effects = [f"{name}, which {VALUE_OPTIONS[f'{tool}.{name}'].effect}" for name in value_options(whole.record)]
    otherwise = f"{OTHERWISE} It was converted with {' and '.join(effects)}." if effects else OTHERWISE
    told = ("hop", otherwise) if fault is None else (fault.cause, fault.explanation)
    suspect = Suspect("tool", *told, suggestion="")
    return Exhibit(found.shrunk.model, whole.record, suspect, found.values, found.shrunk, whole.model)


def smallest(hunt: Hunt, folder: Path) -> Deviant | None:
    """The smallest piece found, its files under the empty ``folder``; None where not even the whole deviates there.

    Raises ``UsageError`` where the converter's environment cannot be made.
    """
    if hunt.source.format not in reduction.CUTTERS:
        return None
    np.savez(folder / "inputs.npz", **hunt.inputs)  # type: ignore[arg-type]
    with ExitStack() as stack:
        search = Search(hunt, folder, stack)
        outline = search.source.ask(kept=[], folder="")
        if outline is None:
            return None
        search.outline = Outline.from_record(outline)
        _look(search, hunt.faults)
        return search.best and replace(search.best, fault=_shown(search.outline, search.best.shrunk, hunt.faults))


def _look(search: Search, faults: Sequence[Fault]) -> None:
    """Try what the faults name, then the whole; the search remembers the smallest piece."""
    named = [search.outline.places(fault) for fault in faults if not fault.harmless]
    for places in [places for places in named if places][:FAULTS]:
        for guess in dict.fromkeys(search.outline.guesses(places)):
            if search.deviates(guess):
                reduction.without_each(guess, search.deviates)
                return
    count = len(search.outline.nodes)
    if search.deviates(tuple(range(count))):
        reduction.smallest(count, search.deviates)


def _shown(outline: Outline, shrunk: Shrunk, faults: Sequence[Fault]) -> Fault | None:
    """The worst fault that names a node of the piece."""
    held = {place for place, node in enumerate(outline.nodes) if node in shrunk.nodes}
    return next((fault for fault in faults if not fault.harmless and held.intersection(outline.places(fault))), None)


class Search:
    """Tries pieces, remembers what was tried, and keeps the smallest that deviated."""

    outline: Outline
    """Of the source; what is kept are places in it."""

    def __init__(self, hunt: Hunt, folder: Path, stack: ExitStack) -> None:
        self.hunt, self.folder = hunt, folder
        self.until = time.monotonic() + hunt.limits.seconds
        self.trials = 0
        self.known: dict[Places, bool] = {}
        self.best: Deviant | None = None
        settings = {"model": hunt.source.to_record(), "inputs": str(folder / "inputs.npz")}
        convert = {"convert": hunt.hop.converter.convert}
        source = bench.job(SOURCE, settings, folder / "source")
        converter = at_home(bench.job(CONVERTING, convert, folder / "converter"), hunt.hop, hunt.cache)
        target = bench.job(TARGET, {}, folder / "target")
        self.source, self.converter, self.target = (
            stack.enter_context(Bench(job, self.until)) for job in (source, converter, target)
        )

    @property
    def spent(self) -> bool:
        return self.trials >= self.hunt.limits.trials or time.monotonic() > self.until

    def deviates(self, kept: Places) -> bool:
        """Whether the conversion of these nodes is off by clearly more than rounding; False once limits are reached."""
        if kept not in self.known:
            if self.spent:
                return False
            self.known[kept] = self._tried(kept)
        return self.known[kept]

    def _tried(self, kept: Places) -> bool:
        place = self.folder / f"piece_{len(self.known)}"
        place.mkdir()
        piece = self.source.ask(kept=kept, folder=str(place))
        found = None if piece is None else self._converted(piece, place)
        if piece is None or found is None or found.error <= CLEARLY * found.limit:
            shutil.rmtree(place)
            return False
        if self.best is None or len(piece["held"]) < len(self.best.shrunk.nodes):
            nodes = tuple(self.outline.nodes[index] for index in piece["held"])
            model = Model.from_record(piece["model"])
            shrunk = Shrunk(model, nodes, len(self.outline.nodes), self.trials)
            self.best = Deviant(shrunk, found)
        return True

    def _converted(self, piece: Mapping[str, Any], place: Path) -> Values | None:
        """What the piece's conversion answers; None where it fails."""
        self.trials += 1
        converter, source = self.hunt.hop.converter, Model.from_record(piece["model"])
        assert source.signature is not None
        path, arrays = place / "converted" / converter.filename, place / pieces.ARRAYS
        path.parent.mkdir()
        inputs, wanted = pieces.load(arrays)
        options = _options(self.hunt.hop, source, inputs, place)
        facts = self.converter.ask(source=source.to_record(), target=str(path), options=options)
        if facts is None:
            return None
        target = replace(source, path=str(path), format=converter.target_format, signature=None)
        turned = turned_to(source, facts.get("layout") or converter.layout)
        names = [spec.name for spec in source.signature.inputs]
        ways = self.target.ask(
            model=target.to_record(), names=names, arrays=str(arrays), folder=str(place), turned=turned
        )
        found = []
        for way in ways or []:
            feed = tuple((number, tuple(axes)) for number, axes in way["feed"])
            frame = Values(tuple(inputs), wanted[0], target, feed, 0.0, 0.0)
            found.append(measured(frame, wanted, pieces.load(Path(way["answers"]))[1], (piece["limits"], turned)))
        # where the layout cannot be told, a piece is off only if it is in every one
        return min((values for values in found if values is not None), key=lambda values: values.error, default=None)


def _options(hop: Hop, source: Model, inputs: Sequence[Array], folder: Path) -> dict[str, Any]:
    """The hop's options; a tool that measures on pictures measures on the piece's inputs."""
    converter = hop.converter
    options = converter.with_defaults(hop.options)
    wanted = converter.calibration_option
    if not wanted or not options[wanted]:
        return options
    assert source.signature is not None
    preprocessing = source.preprocessing or Preprocessing()
    specs = []
    for number, (spec, values) in enumerate(zip(source.signature.inputs, inputs, strict=True)):
        values.tofile(folder / f"{number}.raw")
        specs.append(TensorSpec(spec.name, values.shape[1:], str(values.dtype)))
    batches = Batches(str(folder), tuple(specs), len(inputs[0]), pictures=False, layout=preprocessing.layout)
    calibration = {"batches": batches.to_record(), "preprocessing": preprocessing.to_record()}
    return {**options, "calibration": calibration}
