"""Where a repaired model goes: checked before any work, filled at the end, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from convfault import cache
from convfault.errors import StorageError, UsageError
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
        """An empty hidden folder on the same disk; gone afterwards, as are folders made for it that stayed empty."""
        parents = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        with cache.storage_errors(self.path.parent), cache.place_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                for parent in parents:
                    parent.rmdir()

    def publish(self, folder: Path) -> None:
        """Move the model, named as it is to be called, and all files beside it out of ``folder``; the model last.

        Raises ``StorageError`` before anything is moved where a file beside it would replace another model's.
        """
        beside = [path for path in folder.iterdir() if path.name != self.path.name]
        _check_beside(self.path, beside)
        with cache.storage_errors(self.path.parent), cache.place_errors(self.path):
            for path in [*beside, folder / self.path.name]:
                _move(path, self.path.with_name(path.name))


def _check_beside(path: Path, files: Iterable[Path]) -> None:
    """Files that keep their names beside a model at ``path`` must not replace those of another model."""
    for file in files:
        other = path.with_name(file.name)
        if not file.name.startswith(path.name) and other.exists() and not _alike(file, other):
            raise StorageError(f"cannot write {path}: {other} is in the way, which belongs to another model")


def _alike(one: Path, other: Path) -> bool:
    return one.is_file() == other.is_file() and cache.hash_path(one) == cache.hash_path(other)


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

    A file that is there is replaced once the repair is done. Raises ``UsageError`` when the place is one of the models
    themselves, in one or round one, or has another format's suffix, ``StorageError`` where nothing can be written.
    """
    suffix = SUFFIXES.get(target.format, Path(target.path).suffix)
    stem = Path(target.name or target.path).name.removesuffix(suffix) if suffix else Path(target.name or "model").name
    name = f"{stem.replace(':', '.')}.repaired{suffix}"
    path = Path(name) if out is None else out
    for model in (target, *others):
        _check_apart(path, model)
    known = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if target.format in FOLDERS:
        _check_folder(path)
    elif path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder; name a file, such as {path / name}")
    elif target.format != "torch_function" and known != target.format:
        raise UsageError(f"the target is {target.format}, so that {path} is the wrong name: let it end in {suffix}")
    else:
        cache.check_place(path)
        _check_beside(path, target.files[1:] if Path(target.path).exists() else ())
    return Place(path.absolute(), target.format)


def _check_apart(path: Path, model: Model) -> None:
    """A repair never touches the models that it compares."""
    place, own = path.resolve(), Path(model.path).resolve()
    files = model.files if own.exists() or model.weights else ()
    if place in {file.resolve() for file in files}:
        raise UsageError(f"{path} is a model that is to be compared: name another place, it is never overwritten")
    if own.is_dir() and own in place.parents:
        raise UsageError(f"{path} is in {model.path}, which is to be compared: name a place outside of it")
    if place in own.parents and (place / "saved_model.pb").is_file():
        raise UsageError(f"{path} holds {model.path}, which is to be compared: name another place")


def _check_folder(path: Path) -> None:
    """A SavedModel may take the place of another one, and of nothing else."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file()):
        raise UsageError(f"{path} is something other than a SavedModel: name a new folder")
    cache.check_place(path.absolute().parent / "probe")
