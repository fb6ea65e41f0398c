"""Where a repaired model goes: checked before any work, filled at the end, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convfault import cache
from convfault.errors import UsageError
from convfault.model import FORMAT_OF_SUFFIX, Model

FOLDERS = frozenset({"saved_model"})
"""Formats whose models are folders."""

SUFFIXES = {"torch_function": ".pt", "saved_model": ""}
"""Of formats that are not told by a file's suffix: what a repaired model of theirs is called."""


@dataclass(frozen=True)
class Place:
    """The final ``path`` of a model of a ``format``."""

    path: Path
    format: str

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty hidden folder on the same disk, gone afterwards."""
        with cache.storage_errors(self.path.parent), cache.place_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path) -> None:
        """Move the model, named as it is to be called, and all files beside it out of ``folder``; the model last."""
        beside = [path for path in folder.iterdir() if path.name != self.path.name]
        with cache.storage_errors(self.path.parent), cache.place_errors(self.path):
            for path in [*beside, folder / self.path.name]:
                _move(path, self.path.with_name(path.name))


def _move(path: Path, place: Path) -> None:
    """Rename over what is there; a folder that is there goes out of the way first."""
    if place.is_dir() and not place.is_symlink():
        old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
        os.replace(place, old / place.name)
        os.replace(path, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(path, place)


def place_for(target: Model, out: Path | None, others: tuple[Model, ...] = ()) -> Place:
    """Where to write the repaired target: ``out``, or beside one's work under a name made of the target's.

    Raises ``UsageError`` when that is one of the models themselves or has another format's suffix, ``StorageError``
    where nothing can be written.
    """
    suffix = SUFFIXES.get(target.format, Path(target.path).suffix)
    stem = Path(target.name or target.path).name.removesuffix(suffix) if suffix else Path(target.name or "model").name
    path = Path(f"{stem.replace(':', '.')}.repaired{suffix}") if out is None else out
    for model in (target, *others):
        if path.exists() and Path(model.path).exists() and path.resolve() == Path(model.path).resolve():
            raise UsageError(f"{path} is a model that is to be compared: name another place, it is never overwritten")
    known = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if target.format in FOLDERS:
        _check_folder(path)
    elif target.format != "torch_function" and known != target.format:
        raise UsageError(f"the target is {target.format}, so that {path} is the wrong name: let it end in {suffix}")
    else:
        cache.check_writable(path)
    return Place(path.absolute(), target.format)


def _check_folder(path: Path) -> None:
    """A SavedModel may take the place of another one, and of nothing else."""
    cache.check_writable(path.with_name(f"{path.name}.probe"))
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file()):
        raise UsageError(f"{path} is something other than a SavedModel: name a new folder")
