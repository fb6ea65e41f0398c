"""An ``Exhibit``: what a reproducer shows a converter's maintainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault.localization.suspect import Suspect
from convfault.localization.tool.layouts import Feed, Permutation
from convfault.localization.tool.shrink import Shrunk
from convfault.model import Model
from convfault.relax.graph import Array


@dataclass(frozen=True, eq=False)
class Values:
    """A conversion's wrong values: what goes into both models, what the source answers and what it may be off by.

    ``inputs`` are the source's, in its order, ``wanted`` its output number ``source_output`` on them. Of the
    ``target``, ``feed`` says what each input takes; ``output`` is the number of the output in question and ``axes``
    the order of its axes that is the source's (None: of another rank, it is only reshaped). ``error`` is the largest
    deviation, ``limit`` what rounding explains of it.
    """

    inputs: tuple[Array, ...]
    wanted: Array
    target: Model
    feed: Feed
    error: float
    limit: float
    source_output: int = 0
    output: int = 0
    axes: Permutation | None = None


@dataclass(frozen=True, eq=False)
class Exhibit:
    """The model, the record of the hop that errs on it, and how it errs.

    ``values`` is for a fault of values; a crash has none. Where the model is only a piece of ``whole``, the user's own,
    ``shrunk`` says which. ``smaller`` looks for a smaller exhibit and leaves its files in the folder that it is given;
    None where there is none. It takes minutes, so it is asked only when a reproducer is written.
    """

    model: Model
    record: Mapping[str, Any]
    suspect: Suspect
    values: Values | None = None
    shrunk: Shrunk | None = None
    whole: Model | None = None
    smaller: Callable[[Path], Exhibit | None] | None = None
