"""Recognizes values that were replaced: by zeros, by NaN, by bounds, by other bits, by another tensor's, by noise."""

from __future__ import annotations

import numpy as np

from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.relax.graph import Array

FEW = 0.02
"""Fewer changed values than this share, in more than one channel, are single values."""


def not_finite(difference: Difference) -> Finding | None:
    """NaN or infinite values that the source has not."""
    bad = ~np.isfinite(difference.actual) & np.isfinite(difference.expected)
    if not bad.any():
        return None
    kind = "NaN" if np.isnan(difference.actual[bad]).any() else "infinite"
    phrase = f"are {kind} in {int(bad.sum())} of {bad.size} places"
    return Finding("not_finite", phrase, {"places": int(bad.sum()), "value": kind})


def zeroed(difference: Difference) -> Finding | None:
    """All values are zero on one side."""
    if not difference.expected.any():
        phrase = "are not zero, as they are in the source"
        return Finding("added_values", phrase, {}) if difference.actual.any() else None
    if difference.actual.any():
        return None
    if not difference.native and difference.name in {"bias", "shift"}:
        return Finding("bias_missing", "are missing in the target", {})
    return Finding("zeroed", "are all zero", {})


def neutral(difference: Difference) -> Finding | None:
    """A scale of which nothing is left but ones, while the source's is another."""
    if difference.name != "scale" or difference.native or np.any(difference.actual != 1):
        return None
    return Finding("scale_missing", "are missing in the target", {})


def channels_zeroed(difference: Difference) -> Finding | None:
    """Whole channels are zero: the last ones (cut off) or others."""
    rows = difference.actual.reshape(-1, difference.count)
    empty = np.asarray(~rows.any(axis=0))
    lost = difference.channels
    if len(lost) == 0 or len(lost) == difference.count or not empty[lost].all():
        return None
    evidence = {"channels": [int(channel) for channel in lost[:8]], "count": len(lost), "of": difference.count}
    if len(lost) > 1 and lost[0] == difference.count - len(lost):
        return Finding("truncated", f"are zero in the last {len(lost)} of {difference.count} channels", evidence)
    return Finding("channels_zeroed", f"are zero in {len(lost)} of {difference.count} channels", evidence)


def rows_zeroed(difference: Difference) -> Finding | None:
    """Everything behind a place of another axis is zero: values cut off."""
    values = difference.actual
    for axis in range(values.ndim - 1):
        if values.shape[axis] < 2:
            continue
        others = tuple(item for item in range(values.ndim) if item != axis)
        lost = np.flatnonzero(difference.changed.any(axis=others))
        empty = np.asarray(~values.any(axis=others))
        if 0 < len(lost) < values.shape[axis] and empty[lost].all():
            where = "last " if lost[0] == values.shape[axis] - len(lost) else ""
            what = _axis_word(difference, axis)
            phrase = f"are zero in the {where}{len(lost)} of {values.shape[axis]} {what}"
            cause = "truncated" if where else "channels_zeroed"
            return Finding(cause, phrase, {"axis": what, "count": len(lost), "of": values.shape[axis]})
    return None


def _axis_word(difference: Difference, axis: int) -> str:
    words = {4: ("rows", "columns", "input channels"), 2: ("inputs",)}.get(difference.actual.ndim, ())
    return words[axis] if axis < len(words) else "channels"


def pruned(difference: Difference) -> Finding | None:
    """Single values are zero: the smallest (pruned) or any."""
    changed = difference.changed
    if changed.mean() == 1 or np.any(difference.actual[changed]):
        return None
    size = np.abs(difference.expected)
    rows = (-1, difference.count)  # by channel: a scale may have been folded in behind
    lost = np.where(changed, size, 0).reshape(rows).max(axis=0)
    kept = np.where(difference.actual == 0, np.inf, size).reshape(rows).min(axis=0)
    small = np.all(lost <= kept * 1.0001)
    evidence = {"share": float(changed.mean()), "largest_lost": float(size[changed].max())}
    if small:
        return Finding("pruned", f"are zero where the source's are smallest ({changed.mean():.1%} of them)", evidence)
    return Finding("values_zeroed", f"are zero in {changed.mean():.1%} of the places", evidence)


def clipped(difference: Difference) -> Finding | None:
    """All changed values are cut off at a bound, which is another in each channel where a scale was folded in."""
    changed = difference.changed
    rows = difference.actual.reshape(-1, difference.count)
    if changed.sum() < 2 or changed.all() or len(rows) < 4 or not np.isfinite(rows).all():
        return None
    bounded = np.clip(difference.expected, rows.min(axis=0), rows.max(axis=0))
    if not difference.near(bounded) or changed.mean() > 0.5:
        return None
    low, high = float(rows.min()), float(rows.max())
    evidence = {"minimum": low, "maximum": high, "share": float(changed.mean())}
    return Finding("clipped", f"are cut off at {low:.4g} and {high:.4g} ({changed.mean():.1%} of them)", evidence)


def single_values(difference: Difference) -> Finding | None:
    """A few values differ and the others don't."""
    count = int(difference.changed.sum())
    if count > max(2, FEW * difference.changed.size) or count >= difference.changed.size or count == 0:
        return None
    by_channel = difference.changed.reshape(-1, difference.count)[:, difference.channels]
    if len(by_channel) > 1 and by_channel.mean() > 0.5:  # whole channels, not single values
        return None
    places = np.argwhere(difference.changed)[:4]
    evidence = {"places": [[int(i) for i in place] for place in places], "count": count}
    flipped = _flipped_bits(difference)
    if flipped is not None:
        return Finding("bit_flip", f"differ in one bit in {count} places", {**evidence, "bits": flipped})
    return Finding("single_values", f"differ in {count} of {difference.changed.size} places only", evidence)


def _flipped_bits(difference: Difference) -> list[int] | None:
    """The positions of the one bit that differs in each changed value (31: the sign), else None."""
    pair = [
        np.ascontiguousarray(side[difference.changed], np.float32).view(np.uint32)
        for side in (difference.expected, difference.actual)
    ]
    mixed = pair[0] ^ pair[1]
    alone = (mixed & (mixed - 1)) == 0
    return sorted({int(np.log2(value)) for value in mixed}) if alone.all() else None


def noise(difference: Difference) -> Finding:
    """Nothing else: how large the difference is, and whether the values are still the source's."""
    finite = np.isfinite(difference.error)
    expected, actual = difference.expected[finite].astype(np.float64), difference.actual[finite].astype(np.float64)
    similarity = _cosine(expected, actual)
    evidence = {"correlation": round(similarity, 4), "relative": difference.relative_error}
    where = f" in {len(difference.channels)} of {difference.count} channels" if _partial(difference) else ""
    if similarity < 0.5 and not where and expected.size > 8:
        return Finding("unrelated", "have nothing to do with the source's", evidence)
    return Finding("noise", f"are off by {difference.relative_error:.3g} of their size{where}", evidence, 0.9)


def _partial(difference: Difference) -> bool:
    return len(difference.channels) < difference.count


def _cosine(a: Array, b: Array) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size else 0.0
