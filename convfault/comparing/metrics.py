"""Figures that tell how far apart two batches of scores are: pure functions on numpy arrays.

Scores are (pictures, classes), other tensors (pictures, ...), of any real dtype; all arithmetic is in float64. No
function raises or warns over NaN or Inf: a score that is NaN ranks below every other, a value that is not finite on one
side and not equal on the other is *unmatched*, and NaN equals NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TOP = 5
"""How many of the best labels are looked at, as in the ImageNet challenge (Russakovsky et al. 2015)."""


def top_labels(scores: Array, count: int = TOP) -> Labels:
    """The ``count`` best labels of each picture, best first, equal scores in the order of their labels.

    ``scores`` (pictures, classes) → (pictures, min(count, classes)).
    """
    values = _ranked(scores)
    count = min(count, values.shape[1])
    top = np.empty((len(values), count), np.int64)
    # Repeated argmax finds the first of equal scores and is ten times faster than a stable sort of 1,000 classes ...
    rest = values.copy()
    for place in range(count):
        top[:, place] = np.argmax(rest, axis=1)
        rest[np.arange(len(rest)), top[:, place]] = -np.inf
    # ... but would take a label twice where fewer than ``count`` scores are above -inf.
    poor = (values > -np.inf).sum(axis=1) < count
    top[poor] = np.argsort(-values[poor], axis=1, kind="stable")[:, :count]
    return top


def top1_flips(source_top: Labels, target_top: Labels) -> Flags:
    """Which pictures have another best label; arguments as ``top_labels`` gives them → (pictures,)."""
    return np.asarray(source_top[:, 0] != target_top[:, 0])


def top5_flips(source_top: Labels, target_top: Labels) -> Flags:
    """Which pictures have another *set* of best labels, whatever the order → (pictures,)."""
    return np.asarray((np.sort(source_top, axis=1) != np.sort(target_top, axis=1)).any(axis=1))


def kendall_tau(source: Array, target: Array, source_top: Labels, target_top: Labels) -> Floats:
    """Kendall's tau-b of each picture between the ranks that both sides give to the labels that matter → (pictures,).

    The labels are those among the best of either side, so two disjoint lists of best labels score below 0 (each side
    ranks the other's below its own); equal ranks give 1 and reversed ones -1. Tau-b allows for ties (Kendall 1945,
    "The treatment of ties in ranking problems"). Where one side ties all labels there is no ranking to correlate:
    1 if the other side ties them too, else 0.
    """
    labels = np.concatenate([source_top, target_top], axis=1)
    repeated = (target_top[:, :, None] == source_top[:, None, :]).any(axis=2)
    kept = np.concatenate([np.ones_like(source_top, bool), ~repeated], axis=1)
    one, other = np.triu_indices(labels.shape[1], 1)
    valid = kept[:, one] & kept[:, other]
    source_order = _order(np.take_along_axis(_ranked(source), labels, 1), one, other) * valid
    target_order = _order(np.take_along_axis(_ranked(target), labels, 1), one, other) * valid
    agreement = (source_order * target_order).sum(axis=1, dtype=np.int64)
    source_pairs, target_pairs = (np.abs(order).sum(axis=1, dtype=np.int64) for order in (source_order, target_order))
    scale = np.sqrt((source_pairs * target_pairs).astype(np.float64))
    both_tied = (source_pairs == 0) & (target_pairs == 0)
    return np.where(both_tied, 1.0, agreement / np.where(scale == 0, 1.0, scale))


def correct(top: Labels, labels: Labels) -> Flags:
    """Which pictures have their true label on top; ``labels`` (pictures,)."""
    return np.asarray(top[:, 0] == labels)


@dataclass(frozen=True)
class Errors:
    """Absolute errors of a batch: all fields are (pictures,), in the unit of the tensors.

    ``largest`` and ``total`` are over the values that match, NaN where a picture has none; ``matched`` counts those.
    ``unmatched`` counts values that are not finite on one side and not equal on the other. ``cosine`` is over the
    values that are finite on both sides. ``nonfinite_*`` count NaN and Inf, ``magnitude`` is the source's largest
    finite absolute value.
    """

    largest: Floats
    total: Floats
    matched: Labels
    unmatched: Labels
    cosine: Floats
    nonfinite_source: Labels
    nonfinite_target: Labels
    magnitude: Floats


def errors(source: Array, target: Array) -> Errors:
    """Compare two tensors of the same shape, (pictures, ...), value by value."""
    one, other = (_flat(values) for values in (source, target))
    finite_one, finite_other = np.isfinite(one), np.isfinite(other)
    finite = finite_one & finite_other
    equal = ~finite & ((one == other) | (np.isnan(one) & np.isnan(other)))
    matched = finite | equal
    safe_one, safe_other = np.where(finite, one, 0.0), np.where(finite, other, 0.0)
    with np.errstate(over="ignore"):  # float64 outputs near the largest number: an infinite error is the right answer
        deviation = np.abs(safe_one - safe_other)
    some = matched.any(axis=1) | (one.shape[1] == 0)
    return Errors(
        largest=np.where(some, deviation.max(axis=1, initial=0.0), np.nan),
        total=np.where(some, deviation.sum(axis=1), np.nan),
        matched=matched.sum(axis=1),
        unmatched=(~matched).sum(axis=1),
        cosine=_cosine(safe_one, safe_other),
        nonfinite_source=(~finite_one).sum(axis=1),
        nonfinite_target=(~finite_other).sum(axis=1),
        magnitude=np.where(finite_one, np.abs(one), 0.0).max(axis=1, initial=0.0),
    )


def _cosine(one: Floats, other: Floats) -> Floats:
    """Cosine of the angle between the rows; 1 for two zero vectors, 0 for a zero and another one."""
    one, other = _scaled(one), _scaled(other)
    squares = (one * one).sum(axis=1) * (other * other).sum(axis=1)
    # sqrt(x * x) is exactly x, so that a row and itself give exactly 1
    found = np.clip((one * other).sum(axis=1) / np.sqrt(np.where(squares == 0, 1.0, squares)), -1.0, 1.0)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    return np.where(both_zero, 1.0, found)


def _scaled(rows: Floats) -> Floats:
    """The rows divided by their largest value's power of two (exact), so that no square over- or underflows."""
    _, exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0, keepdims=True))
    return np.asarray(np.ldexp(rows, -exponent), np.float64)


def _flat(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64).reshape(len(values), int(np.prod(values.shape[1:], dtype=np.int64)))


def _ranked(scores: Array) -> Array:
    """Scores that can be ordered: NaN becomes -inf; integers and booleans as float64."""
    values = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float64)
    missing = np.isnan(values)
    return np.where(missing, -np.inf, values) if missing.any() else values


def _order(values: Array, one: Labels, other: Labels) -> npt.NDArray[np.int8]:
    """-1, 0 or 1 for each pair of columns; comparisons, since the difference of two infinities is NaN."""
    left, right = values[:, one], values[:, other]
    return np.subtract(left > right, left < right, dtype=np.int8)
