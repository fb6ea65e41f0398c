"""Plants faults: picks places at random from the seed, and keeps a fault only where the native runtime shows it."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from planting.catalogue import KINDS, formats_of
from planting.editors import open_network
from planting.kind import Kind, Place, Random
from planting.network import Network, Unfit
from planting.record import Change, Record
from planting.runtimes import format_of, run, samples

Arrays = list[np.ndarray]


def effect(source: Arrays, faulty: Arrays) -> float:
    """The largest change of any output relative to that output's largest value; infinite where shapes differ or values
    are not finite."""
    if [each.shape for each in source] != [each.shape for each in faulty]:
        return float("inf")
    if not all(np.isfinite(each).all() for each in faulty):
        return float("inf")
    pairs = zip(source, faulty, strict=True)
    return max(float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-12)) for a, b in pairs)


def effective(source: Arrays, faulty: Arrays, smallest: float = 1e-3, finite: bool = True, shaped: bool = True) -> bool:
    """Whether a fault shows: outputs changed by more than ``smallest``, and are of the same shape and finite."""
    sane = not finite or all(np.isfinite(each).all() for each in faulty)
    alike = not shaped or [each.shape for each in source] == [each.shape for each in faulty]
    return sane and alike and effect(source, faulty) > smallest


@dataclass
class Attempts:
    """Tries one kind at one place after another, and runs at most ``limit`` files."""

    path: Path
    pictures: np.ndarray
    before: Arrays
    limit: int
    need_effect: bool
    reasons: list[str] = field(default_factory=list)
    runs: int = 0

    def first(self, kind: Kind, random: Random, used: set[str], out: Path) -> tuple[Change, Arrays]:
        """The first edit that works and shows, saved at ``out``."""
        network = open_network(self.path)
        places = kind.find(network)
        order = random.permutation(len(places))
        seeds = random.integers(1 << 31, size=max(1, len(places)))
        self.runs = 0
        for number in order:
            if places[number].operator.name in used or self.runs >= self.limit:
                continue
            attempt = self._attempt(kind, places[number], network, np.random.default_rng(seeds[number]), out)
            if attempt is not None:
                return attempt
            network = open_network(self.path)
        told = "; ".join(dict.fromkeys(self.reasons)) or "no fitting place"
        raise Unfit(f"{kind.name} could not be planted in {self.path.name} ({len(places)} places): {told}")

    def _attempt(
        self, kind: Kind, place: Place, network: Network, random: Random, out: Path
    ) -> tuple[Change, Arrays] | None:
        same = next((each for each in kind.find(network) if each.key == place.key), None)
        try:
            if same is None:
                raise Unfit("the place is gone")
            unread = network.unread()
            made = kind.apply(network, same, random)
            network.prune(unread)
        except Unfit as reason:
            self.reasons.append(str(reason))
            return None
        self.runs += 1
        try:
            network.save(out)
            after = run(out, self.pictures)
        except Exception as refusal:  # runtimes raise what they like; it all means: such a file does not run
            self.reasons.append(
                f"does not run: {str(refusal).strip().splitlines()[-1][:120] if str(refusal) else refusal!r}"
            )
            return None
        if self.need_effect and not effective(self.before, after, kind.smallest, kind.finite, kind.shaped):
            self.reasons.append("no effect, or outputs of another shape or not finite")
            return None
        return made, after


def plant(
    path: Path | str,
    kinds: str | Sequence[str],
    seed: int,
    out: Path | str,
    *,
    pictures: np.ndarray | None = None,
    attempts: int = 12,
    need_effect: bool = True,
) -> list[Record]:
    """Writes a copy of the model at ``path`` to ``out`` with one fault of each kind in it, and tells what was planted.

    ``pictures`` are float32 inputs in the model's own layout; drawn from a fixed seed if not given. A kind that makes
    values infinite comes last whatever the order given. Raises ``Unfit`` where a kind fits nowhere after ``attempts``
    places; ``need_effect`` False accepts faults that change nothing. TensorFlow folders and ``.pb`` may be mixed.
    """
    source, target = Path(path), Path(out)
    wanted = sorted([kinds] if isinstance(kinds, str) else kinds, key=lambda name: not KINDS[name].finite)
    _check(wanted, format_of(source))
    values = samples(source) if pictures is None else pictures
    answers = run(source, values)
    records: list[Record] = []
    used: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        stage = source
        for number, name in enumerate(wanted):
            made = Path(scratch) / f"stage_{number}{target.suffix}"
            random = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
            tries = Attempts(stage, values, answers, attempts, need_effect)
            found, after = tries.first(KINDS[name], random, used, made)
            records.append(_record(KINDS[name], format_of(source), found, effect(answers, after)))
            used.add(found.location)
            answers, stage = after, made
        _move(stage, target)
    return records


def _check(wanted: Sequence[str], model_format: str) -> None:
    for name in wanted:
        if model_format not in formats_of(name):
            raise Unfit(f"{name} cannot be planted in {model_format}, only in {', '.join(formats_of(name))}")


def _record(kind: Kind, model_format: str, made: Change, size: float) -> Record:
    told = size if np.isfinite(size) else None
    return Record(kind.name, kind.family, model_format, **vars(made), effect=told)


def _move(stage: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(stage, target)
