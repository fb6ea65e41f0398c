"""The seam to a place that pictures come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convfault.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Decode = Callable[[], "Image.Image"]
"""Gives one picture; safe to call in a thread."""


@dataclass(frozen=True)
class Listing:
    """What a source holds: a name for each item, class ids where all are known, the classes' names by id.

    ``notes`` are sentences that the user should see (what was skipped, why there are no labels).
    """

    names: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Source(ABC):
    """Pictures in a fixed order, or model inputs (``pictures`` False), read a few rows at a time."""

    name: str
    pictures: bool = True

    @abstractmethod
    def listing(self) -> Listing:
        """Names and labels of everything in the source; raises ``DataError``."""

    @abstractmethod
    def digest(self, rows: Sequence[int]) -> str:
        """SHA-256 of what these rows hold."""

    @abstractmethod
    def decoders(self, rows: Sequence[int]) -> Iterator[Decode]:
        """One function for each of ``rows`` (ascending) that gives its picture; raises ``DataError``."""


def select(labels: Sequence[int] | None, count: int, limit: int | None, seed: int) -> tuple[int, ...]:
    """At most ``limit`` of ``count`` rows, ascending: drawn from the seed, as even over the classes as it gets."""
    import numpy as np

    if limit is None or limit >= count:
        return tuple(range(count))
    order = np.random.RandomState(seed).permutation(count).tolist()
    if labels is None:
        return tuple(sorted(order[:limit]))
    seen: dict[int, int] = {}
    turns: list[tuple[int, int, int]] = []
    for row in order:
        seen[labels[row]] = seen.get(labels[row], 0) + 1
        turns.append((seen[labels[row]], len(turns), row))  # the first of every class, then the second of every class
    return tuple(sorted(row for _, _, row in sorted(turns)[:limit]))


def open_picture(path: Path) -> Image.Image:
    """Decode a picture file; raises ``DataError`` that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture: remove it from the data or repair it") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} claims more pixels than any real picture has: remove it from the data") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise DataError(f"{path} is a damaged or truncated picture ({error}): remove it or copy it again") from error
