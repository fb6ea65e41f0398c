"""Arrays in an ``.npz``, streamed out of the archive row by row: it never lies in memory as a whole."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from convfault import cache
from convfault.errors import DataError
from convfault.model import TensorSpec
from convfault.sources.base import Decode, Listing, Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True)
class Member:
    """One array of the archive, as its header describes it: ``shape`` includes the rows."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


@dataclass(frozen=True)
class Arrays(Source):
    """An ``.npz`` with ``images`` (and ``labels``), or with several named model inputs."""

    name: str
    path: Path
    members: tuple[Member, ...]
    labels: tuple[int, ...] | None
    pictures: bool

    def listing(self) -> Listing:
        names = tuple(f"{self.path.name}[{row}]" for row in range(self.members[0].shape[0]))
        return Listing(names, self.labels)

    def digest(self, rows: Sequence[int]) -> str:
        return cache.key(cache.hash_path(self.path), list(rows))

    def decoders(self, rows: Sequence[int]) -> Iterator[Decode]:
        return (partial(_picture, values) for values in self.rows(self.members[0], rows))

    def rows(self, member: Member, rows: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        """These rows (ascending) of one array, one after the other; raises ``DataError`` for a damaged archive."""
        import numpy as np

        size = int(np.prod(member.shape[1:], dtype=np.int64)) * member.dtype.itemsize
        with _reading(self.path), zipfile.ZipFile(self.path) as archive, archive.open(f"{member.name}.npy") as file:
            _header(file)
            place = 0
            for row in rows:
                while place <= row:
                    content = file.read(size)
                    place += 1
                if len(content) < size:
                    raise DataError(f"{self.path}: the array '{member.name}' is truncated at row {place - 1}")
                yield np.frombuffer(content, member.dtype).reshape(member.shape[1:])

    def specs(self) -> tuple[TensorSpec, ...]:
        """Name, shape of a row and dtype of each array, as it will be written: floating-point numbers in float32."""
        return tuple(TensorSpec(m.name, m.shape[1:], written_dtype(m.dtype).name) for m in self.members)


def written_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for any floating-point type, native byte order for the others."""
    import numpy as np

    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def from_npz(path: Path) -> Arrays:
    """Open an archive of one array: uint8 (N, H, W, C) or (N, H, W) are pictures, floating point are model inputs.

    Several arrays (besides ``labels``) are model inputs by name. ``labels``: N whole numbers, class ids.
    """
    members, labels = _contents(path)
    if not members:
        raise DataError(f"{path} holds no array named '{IMAGES}': save it with numpy.savez(path, {IMAGES}=...)")
    for member in members:
        _check(path, member, alone=len(members) == 1)
    if len({member.shape[0] for member in members}) > 1:
        counts = ", ".join(f"'{m.name}' {m.shape[0]}" for m in members)
        raise DataError(f"{path}: its arrays have different numbers of rows ({counts}); every input needs the same")
    count = members[0].shape[0]
    if labels is not None and len(labels) != count:
        raise DataError(f"{path}: {len(labels)} labels for {count} images; give one label an image, or none")
    pictures = len(members) == 1 and members[0].dtype.name == "uint8"
    return Arrays(path.stem, path, members, labels, pictures)


def _contents(path: Path) -> tuple[tuple[Member, ...], tuple[int, ...] | None]:
    import numpy as np

    found, labels = [], None
    with _reading(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                shape, fortran, dtype = _header(file)
                member = Member(name.removesuffix(".npy"), shape, dtype, fortran)
                if dtype.hasobject:
                    raise DataError(f"{path}: '{member.name}' holds pickled Python objects, which are never loaded")
                if member.name != LABELS:
                    found.append(member)
                    continue
                if dtype.kind not in "iu" or len(shape) != 1:
                    raise DataError(f"{path}: labels are {dtype} {shape}, not whole numbers of shape (N,)")
                labels = tuple(np.frombuffer(file.read(), dtype).tolist())
    return tuple(found), labels


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    import numpy as np

    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _check(path: Path, member: Member, alone: bool) -> None:
    what, shape, kind = f"{path}: '{member.name}'", member.shape, member.dtype
    if not shape or 0 in shape:
        raise DataError(f"{what} has shape {shape}: it holds nothing")
    if member.fortran and len(shape) > 1:
        raise DataError(f"{what} is stored column by column: save numpy.ascontiguousarray of it")
    if not alone:
        if kind.kind not in "fiu":
            raise DataError(f"{what} is {kind}, not numbers")
        return
    if kind.kind == "f":
        return
    if kind.name != "uint8":
        raise DataError(f"{what} is {kind}: pictures are uint8 (0..255), model inputs are floating point")
    if len(shape) not in {3, 4} or (len(shape) == 4 and shape[3] not in {1, 3, 4}):
        raise DataError(f"{what} has shape {shape}: pictures are (N, H, W, 1, 3 or 4 channels) or (N, H, W)")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Translate what a damaged archive makes zipfile, zlib and numpy raise."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path} is not a sound .npz archive ({error}): save it again with numpy.savez") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _picture(values: npt.NDArray[np.uint8]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)
