"""What a user wants to see in a matrix, and how it is to be made, as checked values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from convfault.cache import check_local
from convfault.errors import UnknownNameError, UsageError
from convfault.request import Request, framework_name

FRAMEWORKS = ("torch", "keras", "tf", "tflite")
"""Whose 12 ordered pairs make a matrix unless somebody names others."""
DEFAULT_PICTURES = 50
"""How many pictures of the embedded set a cell is compared on when nobody says."""


@dataclass(frozen=True)
class Selection:
    """Which cells, and on which data: the fields are the flags of ``convfault matrix``.

    ``source`` is a model file of the user's; without one, ``models`` are named models (none: all). ``sources``,
    ``targets`` and ``tools`` keep the cells of these frameworks and the routes through one of these tools.
    ``routes`` are tried beside those that are found, ``tool_options`` apply wherever the tool takes them.
    """

    source: str | None = None
    models: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    max_hops: int = 3
    tool_options: tuple[str, ...] = ()
    weights: str | None = None
    data: str | None = None
    limit: int | None = None
    seed: int = 0
    preprocessing: str | None = None
    tolerance: float | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        for name in ("models", "sources", "targets", "tools"):
            words = (word.strip() for text in getattr(self, name) for word in text.split(","))
            object.__setattr__(self, name, tuple(dict.fromkeys(word for word in words if word)))
        for name in ("sources", "targets"):
            object.__setattr__(self, name, tuple(map(_framework, getattr(self, name))))
        if self.source is not None and (self.models or self.sources):
            raise UsageError(f"the file {self.source} says its model and framework itself: drop --models and --src")
        if self.max_hops < 1:
            raise UsageError(f"--max-hops is {self.max_hops}: a route has at least one hop")

    @property
    def pictures(self) -> int | None:
        """How many pictures a cell is compared on; None: all of the user's."""
        return self.limit if self.limit is not None or self.data is not None else DEFAULT_PICTURES

    def request(self, model: str, source: str, target: str, route: str) -> Request:
        """The diff of one cell; a file is taken from where this selection says that it is."""
        named = self.source is None
        return Request(
            source=self.source,
            model=model if named else None,
            src=source if named else None,
            dst=target,
            route=route,
            weights=self.weights,
            data=self.data,
            limit=self.pictures,
            seed=self.seed,
            preprocessing=self.preprocessing,
            tolerance=self.tolerance,
            trust=self.trust,
        )

    def absolute(self) -> Selection:
        """The same with the places of files as other folders see them."""
        names = ("source", "weights", "data", "preprocessing")
        places = {name: Path(value) for name in names if (value := getattr(self, name)) is not None}
        found: dict[str, Any] = {name: str(place.absolute()) for name, place in places.items() if place.exists()}
        return replace(self, **found)

    def to_record(self) -> dict[str, Any]:
        """JSON form."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Selection:
        """Read back what ``to_record`` wrote."""
        known = {item.name: record[item.name] for item in fields(cls) if item.name in record}
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        return cls(**values)


def _framework(text: str) -> str:
    name = framework_name(text)
    if name not in (*FRAMEWORKS, "onnx"):
        raise UnknownNameError("framework", text, (*FRAMEWORKS, "onnx"))
    return name


@dataclass(frozen=True)
class Work:
    """How a matrix is made, whatever it is of: the fields are flags.

    ``out`` is its folder: a run that is killed goes on from what lies there. ``jobs`` cells at once (0: one a core)
    within ``budget`` megabytes of expected memory (None: most of what is free). ``cluster`` is the address of a Dask
    scheduler that takes the cells instead. ``pages``: keep each cell's report as an HTML page, too.
    """

    out: Path = Path("convfault-matrix")
    jobs: int = 0
    budget: float | None = None
    cluster: str | None = None
    pages: bool = False

    def __post_init__(self) -> None:
        check_local(self.out)
        if self.jobs < 0:
            raise UsageError(f"--jobs is {self.jobs}: give 1 or more, or 0 for one a core")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"--memory-budget is {self.budget}: it must be a number of megabytes above 0")
