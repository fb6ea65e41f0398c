"""What is added up over the blocks of two runs: the errors of one output, the ranks of the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.comparing import metrics
from convfault.comparing.pairing import Pair
from convfault.comparison import OutputComparison, Tolerance
from convfault.trace import StoredTrace

Array = npt.NDArray[Any]


@dataclass
class ErrorTally:
    """The errors of one pair of outputs; ``add`` takes blocks of pictures in order."""

    pair: Pair
    tolerance: Tolerance
    blocks: list[metrics.Errors] = field(default_factory=list)

    def add(self, source: Array, target: Array) -> None:
        """Take in one block: both sides' values in the source's shape, (pictures, ...)."""
        self.blocks.append(metrics.errors(source, target))

    def of_pictures(self, name: str) -> Array:
        """A field of ``metrics.Errors`` over all pictures so far, (pictures,)."""
        return np.concatenate([getattr(block, name) for block in self.blocks])

    def result(self, source: StoredTrace, target: StoredTrace) -> OutputComparison:
        """The figures of the output over all pictures."""
        compared = bool(self.blocks)
        return OutputComparison(
            name=self.pair.source or "",
            target_name=self.pair.target or "",
            shape=source.shape(self.pair.source) if self.pair.source is not None else (),
            target_shape=target.shape(self.pair.target) if self.pair.target is not None else (),
            comparable=compared,
            tolerance=self.tolerance,
            **(self._figures() if compared else _NO_FIGURES),
        )

    def _figures(self) -> dict[str, Any]:
        matched = int(self.of_pictures("matched").sum())
        largest, total = self.of_pictures("largest"), self.of_pictures("total")
        empty = not matched and not self.of_pictures("unmatched").any()
        return {
            "max_abs_error": _number(np.nanmax(largest)) if matched or empty else None,
            "mean_abs_error": _number(np.nansum(total) / max(matched, 1)) if matched or empty else None,
            "cosine": float(self.of_pictures("cosine").mean()),
            "largest_value": float(self.of_pictures("magnitude").max()),
            **{name: int(self.of_pictures(name).sum()) for name in _COUNTS},
        }


_COUNTS = ("nonfinite_source", "nonfinite_target", "unmatched")
_NO_FIGURES: dict[str, Any] = {
    **dict.fromkeys(("max_abs_error", "mean_abs_error", "cosine", "largest_value")),
    **dict.fromkeys(_COUNTS, 0),
}


@dataclass
class RankTally:
    """How both sides rank the classes; ``add`` takes blocks of scores in order. Empty for a model without classes."""

    classes: int = 0
    source_top: list[metrics.Labels] = field(default_factory=list)
    target_top: list[metrics.Labels] = field(default_factory=list)
    tau: list[metrics.Floats] = field(default_factory=list)

    def add(self, source: Array, target: Array) -> None:
        """Take in one block of scores, (pictures, ...), that flatten to (pictures, classes)."""
        one, other = (values.reshape(len(values), -1) for values in (source, target))
        self.classes = one.shape[1]
        self.source_top.append(metrics.top_labels(one))
        self.target_top.append(metrics.top_labels(other))
        self.tau.append(metrics.kendall_tau(one, other, self.source_top[-1], self.target_top[-1]))

    def flips(self, count: int) -> metrics.Flags:
        """Which pictures have another best label, empty without classes → (pictures,)."""
        if not self.classes:
            return np.zeros(count, np.bool_)
        return metrics.top1_flips(np.concatenate(self.source_top), np.concatenate(self.target_top))

    def figures(self, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
        """The contract's figures on labels; ``labels`` (pictures,), negative where not known."""
        if not self.classes:
            return {}
        source, target = np.concatenate(self.source_top), np.concatenate(self.target_top)
        known = labels >= 0
        right = {name: metrics.correct(top, labels) for name, top in (("source", source), ("target", target))}
        top5 = float(metrics.top5_flips(source, target).mean())
        return {
            "top1_disagreement": float(metrics.top1_flips(source, target).mean()),
            "top5_disagreement": top5 if self.classes > metrics.TOP else None,
            "kendall_tau": float(np.concatenate(self.tau).mean()),
            "accuracy": {side: float(hits[known].mean()) if known.any() else None for side, hits in right.items()},
        }


def _number(value: Any) -> float | None:
    """None for infinity: an error beyond any number."""
    return float(value) if np.isfinite(value) else None
