"""Pictures in files: a folder whose sub-folders are classes, or a text file that lists paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from convfault.errors import DataError
from convfault.sources.base import Decode, Listing, Source, open_picture

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jpe", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Names by which a file in a folder counts as a picture."""


@dataclass(frozen=True)
class Files(Source):
    """Picture files; ``labels`` are class ids in the order of ``paths``."""

    name: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def listing(self) -> Listing:
        return Listing(self.names, self.labels, self.class_names, self.notes)

    def digest(self, rows: Sequence[int]) -> str:
        found = hashlib.sha256()
        for row in rows:
            try:
                with open(self.paths[row], "rb") as file:
                    found.update(self.names[row].encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"cannot read the picture {self.paths[row]}: {error.strerror}") from error
        return found.hexdigest()

    def decoders(self, rows: Sequence[int]) -> Iterator[Decode]:
        return (partial(open_picture, self.paths[row]) for row in rows)


def from_folder(folder: Path) -> Files:
    """All pictures below ``folder``, sorted. When all lie in sub-folders, the first level of these is their class.

    Class ids are the folders' names where all of these are numbers, else their places in sorted order.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))
    paths = tuple(path for path in found if path.suffix.lower() in SUFFIXES)
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(f"no pictures in {folder}: it holds {len(found)} files, none of them named {known}")
    notes = []
    if len(found) > len(paths):
        notes.append(f"{len(found) - len(paths)} files of {folder} are not named like pictures and were skipped")
    relative = [path.relative_to(folder) for path in paths]
    names = tuple(str(path) for path in relative)
    if len({len(path.parts) == 1 for path in relative}) == 2:
        notes.append(f"{folder} holds pictures both beside and in its sub-folders: the pictures have no labels")
    if any(len(path.parts) == 1 for path in relative):
        return Files(folder.name, paths, names, notes=tuple(notes))
    labels, class_names = class_ids([path.parts[0] for path in relative])
    return Files(folder.name, paths, names, labels, class_names, tuple(notes))


def from_list(file: Path) -> Files:
    """The pictures that a text file lists: one path a line, relative to the file's folder, ``#`` for comments.

    After a tab or the last comma a label may follow, on all lines or on none: a class id, or a class's name.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is neither a picture, an .npz nor a text list of paths: check --data") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    entries = [_entry(file, number, line.strip()) for number, line in enumerate(lines, 1) if _counts(line)]
    if not entries:
        raise DataError(f"{file} lists no pictures: write one path a line")
    paths = tuple(path for path, _ in entries)
    names = tuple(
        str(path.relative_to(file.parent)) if path.is_relative_to(file.parent) else str(path) for path in paths
    )
    labelled = [label for _, label in entries if label is not None]
    if not labelled:
        return Files(file.stem, paths, names)
    if len(labelled) < len(entries):
        raise DataError(f"{file} gives {len(labelled)} labels for {len(entries)} pictures: label every line, or none")
    return Files(file.stem, paths, names, *class_ids(labelled))


def class_ids(classes: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The id of each item's class, and the classes' names by id; where all are numbers, these are the ids."""
    known = sorted(set(classes))
    if all(name.isdecimal() for name in known):
        return tuple(int(name) for name in classes), ()
    places = {name: place for place, name in enumerate(known)}
    return tuple(places[name] for name in classes), tuple(known)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(file: Path, number: int, line: str) -> tuple[Path, str | None]:
    whole = file.parent / Path(line).expanduser()
    if whole.is_file():
        return whole, None
    for separator in ("\t", ","):
        text, found, label = line.rpartition(separator)
        path = file.parent / Path(text.strip()).expanduser()
        if found and path.is_file():
            return path, label.strip() or None
    raise DataError(f"{file}, line {number}: no picture at {line}; paths are relative to {file.parent}")
