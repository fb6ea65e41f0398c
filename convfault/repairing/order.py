"""An ``Order``: what a repair may do, and where its results go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convfault.cache import check_place, check_writable
from convfault.errors import UnknownNameError, UsageError

STRATEGIES = ("parameters", "hyperparameters", "graph", "input", "precision", "tool")
"""What may be restored: values, settings, the wiring, what the input or labels stand for, numbers that were rounded; or
the conversion is done again in another way."""

AGREE, LABELS = GOALS = ("agree", "labels")
"""What a repair is after: answers within the tolerance, or, where quantization stays, the same labels."""

MODEL, PREPROCESSING = CORRECTIONS = ("model", "preprocessing")
"""Where a fault of the input is corrected."""

UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9}


@dataclass(frozen=True)
class Order:
    """How to repair.

    ``strategies`` may be used; ``keep_quantized``: whether a quantized target stays so (None: yes, where it has
    labels); ``correct``: whether what is fed wrongly is corrected in the model or beside it; ``out``: the repaired
    target (None: beside one's work, under the target's name); ``budget``: how large a quantized target may become, as
    a share of its size with everything restored (``0.5``) or a size (``20MB``); ``patch``: where to keep the edits.
    ``weights``: whether weights of another training are replaced, too (the strategy ``weights`` sets it); ``related``:
    whether the target is known to be a conversion of the source, however little corresponds (convfault made it).
    """

    strategies: tuple[str, ...] = STRATEGIES
    keep_quantized: bool | None = None
    correct: str = MODEL
    out: Path | None = None
    budget: str | None = None
    patch: Path | None = None
    weights: bool = False
    related: bool = False

    def __post_init__(self) -> None:
        for place in ("out", "patch"):  # a path may be a text, as everywhere in Python
            if isinstance(getattr(self, place), str):
                object.__setattr__(self, place, Path(getattr(self, place)))
        given = (self.strategies,) if isinstance(self.strategies, str) else self.strategies
        names = tuple(name.strip() for text in given for name in text.split(","))
        aliases = tuple("parameters" if name == "weights" else name for name in names)
        object.__setattr__(self, "strategies", aliases or STRATEGIES)
        if "weights" in names:  # the published strategy: all of them, rounded ones included
            object.__setattr__(self, "strategies", (*aliases, "precision"))
            object.__setattr__(self, "weights", True)
            if self.keep_quantized is None:
                object.__setattr__(self, "keep_quantized", False)

    def check(self) -> None:
        """Complain of what cannot be done before any work is; raises ``UsageError`` and ``StorageError``."""
        size_limit(self.budget, None)
        if self.budget is not None and self.keep_quantized is False:
            raise UsageError(
                "--budget is for a target that stays quantized: leave it out, or keep the target quantized"
            )
        for name in self.strategies:
            if name not in STRATEGIES:
                raise UnknownNameError("strategy", name, STRATEGIES)
        if self.correct not in CORRECTIONS:
            raise UnknownNameError("place to correct", self.correct, CORRECTIONS)
        if self.patch is not None:
            check_writable(self.patch)
        if self.out is not None:
            check_place(self.out / "probe" if self.out.is_dir() else self.out)

    def check_size(self, least: int, full: int | None = None) -> None:
        """Raise ``UsageError`` where not even a target of ``least`` bytes keeps the budget; ``full``: all restored."""
        limit = size_limit(self.budget, full)
        if limit is not None and limit < least:
            raise UsageError(
                f"--budget {self.budget} cannot be kept: it allows {limit:,} bytes, and the target has {least:,} "
                "with no layer restored"
            )

    def to_record(self) -> dict[str, Any]:
        """What the process that mends needs of it."""
        names = ("strategies", "keep_quantized", "correct", "weights", "related")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Order:
        """Read back what ``to_record`` gave."""
        return cls(**{**record, "strategies": tuple(record["strategies"])})


def size_limit(budget: str | None, full: int | None) -> int | None:
    """A budget in bytes, where ``full`` is the size with everything restored; raises ``UsageError``.

    None where there is no budget, or where it is a share of a size that is not known.
    """
    if budget is None:
        return None
    text = budget.strip().lower()
    unit = next((unit for unit in UNITS if text.endswith(unit)), None)
    try:
        value = float(text.removesuffix(unit or "")) * (UNITS[unit] if unit else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--budget {budget} is no size: write a share of the full size like 0.5, or a size like 20MB")
    if unit is None and value <= 1:
        return None if full is None else int(value * full)
    return int(value)
