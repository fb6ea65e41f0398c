"""Named pictures, with labels where they are known."""

from __future__ import annotations

import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from convfault import shipped
from convfault.batches import Batches
from convfault.cache import Cache, key
from convfault.errors import DataError
from convfault.model import TensorSpec
from convfault.preprocessing import Preprocessing
from convfault.sources import arrays, folder
from convfault.sources.base import Source, select
from convfault.sources.embedded import Embedded

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and the number of all."""

EMBEDDED = "fractals"
NOTES = "notes.json"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Dataset:
    """``count`` pictures, or model inputs, in a fixed order.

    ``labels`` are class ids, one a picture, or None. They say how right a model is only where they mean the model's
    own classes: the embedded set's do for the zoo's calibrated models; a folder's do when its sub-folders are named
    by class ids, or sort in the order of the model's classes. ``class_names`` are by id and may be empty.
    ``notes`` are sentences that the user should see. ``rows`` are the chosen rows of ``source``.
    """

    name: str
    count: int
    labels: tuple[int, ...] | None
    class_names: tuple[str, ...]
    seed: int
    notes: tuple[str, ...]
    source: Source
    rows: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def open(cls, spec: str | None = None, limit: int | None = None, seed: int = 0) -> Dataset:
        """The data that ``--data`` names: None or a shipped set's name, a folder, an ``.npz``, or a list of paths.

        ``limit`` takes so many: for the embedded set it generates that number, its classes in turn; else it is a
        sample drawn from ``seed``, even over the classes. Raises ``DataError`` in one sentence.
        """
        if limit is not None and limit < 1:
            raise DataError(f"a limit of {limit} pictures leaves none: give 1 or more")
        if seed < 0 or seed >= 2**32:
            raise DataError(f"the seed {seed} is not between 0 and {2**32 - 1}")
        source = _source(spec, limit, seed)
        listing = source.listing()
        rows = select(listing.labels, len(listing.names), limit, seed)
        labels = None if listing.labels is None else tuple(listing.labels[row] for row in rows)
        names = tuple(listing.names[row] for row in rows)
        return cls(source.name, len(rows), labels, listing.class_names, seed, listing.notes, source, rows, names)

    @cached_property
    def sha256(self) -> str:
        """Of the content of the chosen pictures, in order."""
        return self.source.digest(self.rows)

    def taking(self, indices: Sequence[int]) -> Dataset:
        """Only some of the pictures, by their numbers here, in that order."""
        labels = None if self.labels is None else tuple(self.labels[index] for index in indices)
        rows, names = (tuple(values[index] for index in indices) for values in (self.rows, self.names))
        return replace(self, count=len(rows), labels=labels, rows=rows, names=names)  # type: ignore[arg-type]

    @property
    def pictures(self) -> bool:
        """False when these are model inputs, which go to the models as they are."""
        return self.source.pictures

    @property
    def embedded(self) -> bool:
        """Whether this is a shipped set, whose labels mean the classes of the zoo's calibrated models."""
        return isinstance(self.source, Embedded)

    def to_record(self) -> dict[str, Any]:
        """What a report says of the data."""
        return {
            "name": self.name,
            "images": self.count,
            "seed": self.seed,
            "sha256": self.sha256,
            "class_names": list(self.class_names),
        }

    def prepare(self, preprocessing: Preprocessing, cache: Cache, progress: Progress | None = None) -> Batches:
        """Decode everything into the cache and say where it lies.

        Pictures become uint8 (H, W, C) in RGB order, resized and cropped; model inputs are copied out of the archive,
        in the layout of ``preprocessing`` (give the source's). Two preprocessings of equal geometry share an entry.
        Memory does not grow with the count. Raises ``DataError``, naming the picture at fault.
        """
        import PIL

        report = progress or (lambda done, total: None)
        if isinstance(self.source, arrays.Arrays) and not self.pictures:
            source = self.source
            place = cache.make("pictures", key(self.sha256), lambda aside: self._copy(source, aside, report))
            return Batches(str(place), source.specs(), self.count, False, preprocessing.layout)
        entry = key(self.sha256, preprocessing.geometry, PIL.__version__)
        place = cache.make("pictures", entry, lambda aside: self._decode(preprocessing, aside, report))
        report(self.count, self.count)
        shape = (*preprocessing.size, preprocessing.depth)
        return Batches(str(place), (TensorSpec("pictures", shape, "uint8"),), self.count, True)

    def _decode(self, preprocessing: Preprocessing, aside: Path, report: Progress) -> None:
        decoders = self.source.decoders(self.rows)
        pixels = _in_threads(lambda decode: preprocessing.pixels(decode()).tobytes(), decoders)
        with open(aside / "0.raw", "wb") as file:
            for done, content in enumerate(pixels, 1):
                file.write(content)
                report(done, self.count)

    def _copy(self, source: arrays.Arrays, aside: Path, report: Progress) -> None:
        import numpy as np

        notes = []
        for index, member in enumerate(source.members):
            dtype, strange = arrays.written_dtype(member.dtype), 0
            with open(aside / f"{index}.raw", "wb") as file:
                for done, values in enumerate(source.rows(member, self.rows), 1):
                    strange += dtype.kind == "f" and not bool(np.isfinite(values).all())
                    file.write(values.astype(dtype).tobytes())
                    report(done, self.count)
            if strange:
                notes.append(f"{strange} of {self.count} rows of '{member.name}' hold NaN or infinite values")
        (aside / NOTES).write_text(json.dumps(notes))

    def notes_on(self, batches: Batches) -> tuple[str, ...]:
        """What the user should know: ``notes``, and what ``prepare`` saw in the values."""
        path = Path(batches.folder) / NOTES
        return (*self.notes, *(json.loads(path.read_text()) if path.is_file() else ()))

    def picture_name(self, index: int) -> str:
        """Name of picture ``index`` (0..count - 1): its path in the folder or list, or its class and number."""
        return self.names[index]

    def picture(self, index: int) -> Image.Image | None:
        """The original picture; None for model inputs that are not one."""
        if self.pictures:
            return next(iter(self.source.decoders([self.rows[index]])))()
        assert isinstance(self.source, arrays.Arrays)
        return _as_picture(next(self.source.rows(self.source.members[0], [self.rows[index]])))

    def thumbnail(self, index: int, side: int = 160) -> bytes | None:
        """Picture ``index`` as a PNG of at most ``side`` x ``side`` pixels; None where ``picture`` is None."""
        picture = self.picture(index)
        if picture is None:
            return None
        small = picture.convert("RGB")
        small.thumbnail((side, side))
        content = io.BytesIO()
        small.save(content, "PNG")
        return content.getvalue()


def kinds() -> list[dict[str, str]]:
    """The data that ``--data`` takes, as rows of name and description."""
    own = {
        "FOLDER": "pictures; sub-folders are classes",
        "FILE.npz": "images, and labels where known; uint8 are pictures, floating-point arrays model inputs",
        "FILE.txt": "paths of pictures, one a line, a label behind a tab where known",
    }
    return [{"data": name, "description": "embedded, drawn from formulas"} for name in shipped.names("datasets")] + [
        {"data": name, "description": text} for name, text in own.items()
    ]


def _source(spec: str | None, limit: int | None, seed: int) -> Source:
    if spec is None:
        return Embedded.open(EMBEDDED, limit, seed)
    path = Path(spec).expanduser()
    if path.is_dir():
        return folder.from_folder(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        return arrays.from_npz(path)
    if path.is_file() and path.suffix.lower() in folder.SUFFIXES:
        return folder.Files(path.stem, (path,), (path.name,))
    if path.is_file():
        return folder.from_list(path)
    known = shipped.names("datasets")
    if spec in known:
        return Embedded.open(spec, limit, seed)
    raise DataError(
        f"no data at {spec}: give a folder of pictures, an .npz, a text file of paths, "
        f"or a shipped set ({', '.join(known)})"
    )


def _in_threads(work: Callable[[Any], Value], items: Iterable[Any]) -> Iterator[Value]:
    """Results in order, a few items ahead of the consumer, so that memory stays bounded."""
    workers = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Value]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _as_picture(values: npt.NDArray[Any]) -> Image.Image | None:
    """Model input (H, W, C), (C, H, W) or (H, W) stretched to 0..255; None for another shape."""
    import numpy as np
    from PIL import Image

    if values.ndim == 3 and values.shape[0] in {1, 3} and values.shape[2] not in {1, 3}:
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in {1, 3}:
        return None
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    pixels = ((values - low) * (255 / (high - low or 1))).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
