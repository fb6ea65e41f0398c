"""The models that a matrix starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from convfault import zoo
from convfault.cache import Cache, hash_path
from convfault.frameworks import runs
from convfault.matrix import memory
from convfault.matrix.plan import FORMATS, Subject
from convfault.matrix.selection import FRAMEWORKS, Selection
from convfault.model import Model

CALIBRATED = "calibrated"


def named(selection: Selection) -> Iterator[Subject]:
    """Every chosen named model in every chosen framework; raises ``UnknownNameError``."""
    chosen = {entry.name: entry for entry in map(zoo.find, selection.models or zoo.names())}
    for entry in chosen.values():
        megabytes = memory.MODELS.get(entry.name, memory.UNKNOWN_MODEL)
        for source in selection.sources or FRAMEWORKS:
            origin = entry.origin(source)
            weights = selection.weights or CALIBRATED
            yield Subject(entry.name, source, origin, FORMATS[source], megabytes, weights)


def of_file(selection: Selection, cache: Cache) -> tuple[Subject, str]:
    """The user's own model, once its framework could read it, and a hash of all that decides what it answers.

    Raises ``InputError``, ``FormatError`` and their like.
    """
    assert selection.source is not None
    model = Model.from_path(selection.source, selection.weights, selection.trust)
    runs.inspect(model, model.framework, cache)
    subject = Subject(
        selection.source, model.framework, model.framework, model.format, _megabytes(model), selection.weights or ""
    )
    return subject, model.sha256


def settings_beside(path: str) -> list[str]:
    """Hashes of the side files that hold a model's preprocessing."""
    place = Path(path)
    beside = (place.with_name(place.name + ".toml"), place.with_suffix(".toml"))
    return [hash_path(file) for file in beside if file.is_file()]


def _megabytes(model: Model) -> float:
    path = Path(model.weights or model.path)
    if not path.exists():
        return memory.UNKNOWN_MODEL
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6
