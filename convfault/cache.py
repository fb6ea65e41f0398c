"""A content-addressed store of built models, conversions, decoded pictures and runs: atomic, locked, bounded.

An entry is a folder ``<root>/<kind>/<key>/``. It is written aside and renamed into place when it is complete, so a
reader never sees half of one; two processes that want the same entry at once make it once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault.errors import StorageError

DEFAULT_LIMIT_BYTES = 30_000_000_000
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address begins, also once it was read as a path; a drive of Windows has one letter."""
UNCOUNTED = frozenset({"locks", "environments"})
"""Folders of the root that are no entries: what is in them is never dropped to make room."""


def key(*parts: Any) -> str:
    """A key from the content of JSON-able values; equal values give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder (order-independent of the disk's)."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(str(file_path.relative_to(path)).encode() + b"\0" + hash_path(file_path).encode())
    return digest.hexdigest()


DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn a full disk or a read-only place into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise StorageError(
                f"no space left on the disk that holds {place}: free some, or set CONVFAULT_CACHE"
            ) from error
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StorageError(f"cannot write to {place}: {error.strerror}; choose another place") from error
        raise


@contextmanager
def place_errors(path: Path) -> Iterator[None]:
    """Turn a place that cannot be written at all into one sentence; a full disk passes through."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another place") from error


def check_local(place: str | Path) -> None:
    """Raise ``StorageError`` for an address (``s3://…``) where a file or folder is wanted."""
    if ADDRESS.match(str(place)):
        address = re.sub(r":/+", "://", str(place), count=1)
        raise StorageError(
            f"{address} is an address, and convfault keeps its files in folders, which it locks and renames: "
            "mount it (NFS, s3fs, gcsfuse, rclone mount) and give the folder"
        )


def check_place(path: Path) -> None:
    """Raise ``StorageError`` now when a file could not be written to ``path`` later; leaves no trace."""
    check_local(path)
    folder = next(place for place in path.absolute().parents if place.exists() or place.is_symlink())
    if not folder.is_dir():
        raise StorageError(f"cannot write {path}: {folder} is no folder; choose another place")
    with place_errors(path), tempfile.TemporaryFile(dir=folder):
        pass
    if path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder; name a file")


def check_writable(path: Path) -> None:
    """As ``check_place``, and makes the folder."""
    check_place(path)
    with place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_aside(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: beside its place first, then renamed over it."""
    with storage_errors(path.parent), place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@dataclass(frozen=True)
class Cache:
    """The store at ``root``; entries used longest ago are dropped when it grows over ``limit_bytes``."""

    root: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    @classmethod
    def default(cls) -> Cache:
        """``$CONVFAULT_CACHE``, or the user's cache folder of the platform."""
        import platformdirs

        place = os.environ.get("CONVFAULT_CACHE") or platformdirs.user_cache_dir("convfault", appauthor=False)
        check_local(place)
        return cls(Path(place).expanduser().absolute())

    def path(self, kind: str, entry_key: str) -> Path:
        """Where the entry is, or would be."""
        return self.root / kind / entry_key

    def find(self, kind: str, entry_key: str) -> Path | None:
        """The folder of a complete entry, or None; marks it as used."""
        place = self.path(kind, entry_key)
        if not place.is_dir():
            return None
        os.utime(place)
        return place

    def make(self, kind: str, entry_key: str, fill: Callable[[Path], None]) -> Path:
        """The entry's folder; when absent, ``fill`` writes it into an empty folder that then takes its place.

        What ``fill`` raises goes through, and nothing is kept. Raises ``StorageError`` on a full or read-only disk.
        """
        from filelock import FileLock

        if found := self.find(kind, entry_key):
            return found
        with storage_errors(self.root):
            locks = self.root / "locks"
            locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / f"{kind}-{entry_key}.lock"):
                if found := self.find(kind, entry_key):
                    return found
                with self.aside(kind) as folder:
                    fill(folder)
                    return self.keep(kind, entry_key, folder)

    @contextmanager
    def aside(self, kind: str) -> Iterator[Path]:
        """An empty folder to write an entry into; gone afterwards unless ``keep`` took it."""
        with storage_errors(self.root):
            (self.root / kind).mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.root / kind, prefix=f".making-{os.getpid()}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, kind: str, entry_key: str, folder: Path) -> Path:
        """Move a finished folder into the entry's place (an entry that is there already stays) and prune."""
        place = self.path(kind, entry_key)
        with storage_errors(self.root):
            try:
                folder.rename(place)
            except OSError:
                if not place.is_dir():
                    raise
        self.prune()
        return place

    def drop(self, kind: str, entry_key: str) -> None:
        """Forget an entry."""
        shutil.rmtree(self.path(kind, entry_key), ignore_errors=True)

    def entries(self) -> list[tuple[Path, int, float]]:
        """All complete entries: folder, bytes, time of last use."""
        found = []
        for kind in self.root.iterdir() if self.root.is_dir() else ():
            for place in kind.iterdir() if kind.is_dir() and kind.name not in UNCOUNTED else ():
                if place.is_dir() and not place.name.startswith("."):
                    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
                    found.append((place, size, place.stat().st_mtime))
        return found

    def prune(self, keep_seconds: float = 3600) -> int:
        """Drop what was used longest ago, but not in the last hour, until the store fits. Bytes freed."""
        entries = sorted(self.entries(), key=lambda entry: entry[2])
        total, freed = sum(size for _, size, _ in entries), 0
        for place, size, used in entries:
            if total - freed <= self.limit_bytes or time.time() - used < keep_seconds:
                break
            shutil.rmtree(place, ignore_errors=True)
            freed += size
        return freed

    def clear(self) -> int:
        """Drop everything; bytes freed."""
        freed = sum(size for _, size, _ in self.entries())
        shutil.rmtree(self.root, ignore_errors=True)
        return freed
