"""Recognizes values that were stored in fewer bits: half precision, integers with a scale, wrong scales among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.localization.parameters.grain import HALF_STEP, Grain
from convfault.relax.evaluate import evaluate
from convfault.relax.graph import Array, Layer, Parameter

HOW = {
    "tensor": " with one scale for the tensor",
    "channel": " with one scale a channel",
    "block": " with one scale a block of values",
}
LIKELY = (0.28, 0.44)
"""Mean over largest relative error of rounding to few digits."""
FLAT = (0.42, 0.58)
"""Mean over largest error of values rounded to the nearest (uniform: 0.5); noise has about 0.2."""

CARRIED = 0.02
"""What may be left of a bias' difference that the weights' rounding explains."""

MADE_UP = 0.5
"""The share of a bias' difference that may be left where it corrects for what rounding shifts."""

SCATTER = 0.05
"""How far from one the usual factor of the channels may be where a scale folded into them was rounded itself."""


def rounded(difference: Difference) -> Finding | None:
    """The source's values in fewer bits."""
    grain = difference.grain
    steps = difference.encoding.get("steps")
    if steps is not None and _within(difference, steps):
        granularity = "block" if steps.ndim > 1 else "tensor" if steps.size == 1 else "channel"
        evidence = {"granularity": granularity, "scale": _span(steps.reshape(-1))}
        return _rounding(difference, str(difference.encoding["dtype"]), evidence, 1.0)
    if grain is not None and difference.near(difference.expected):
        return _rounding(difference, grain.title, _steps(grain), 1.0)
    if grain is None:
        return _half_by_error(difference) or _integer_by_error(difference)
    return None


def _within(difference: Difference, steps: Array) -> bool:
    """Whether no value is off by more than half its step.

    The last integer may be off by a whole one, as a scale can leave out the other end's last; and any value by the
    largest step of all blocks, as a rule may have moved or scaled the values since.
    """
    error = np.maximum(difference.error - difference.bound, 0)
    bits = re.search(r"\d+", str(difference.encoding["dtype"]))
    last = (1 << int(bits[0]) - 1) - 1 if bits else np.inf
    end = (np.abs(difference.actual) >= (last - HALF_STEP) * steps) & (error <= steps)
    end &= np.abs(difference.expected) > np.abs(difference.actual)
    return bool(np.all((error <= HALF_STEP * steps) | end) or (steps.ndim > 1 and np.all(error <= steps.max())))


def carried(weights: Difference, bias: Difference) -> bool:
    """Whether a bias is off only because the weights are rounded: by a shift before the layer, folded into both.

    ``bias + sum of weights * shift`` has one number for each input that all filters share: few beside the filters.
    """
    if weights.expected.ndim < 2 or weights.expected.shape[-1:] != bias.expected.shape:
        return False
    errors = (weights.actual - weights.expected).astype(np.float64)
    inputs = errors.reshape(-1, *errors.shape[-2:]).sum(axis=0)  # of every pixel of the window
    off = (bias.actual - bias.expected).astype(np.float64)
    if not np.isfinite(inputs).all() or not np.isfinite(off).all() or len(off) < 2 * len(inputs) + 2:
        return False
    shift = np.linalg.lstsq(inputs.T, off, rcond=None)[0]
    return bool(np.linalg.norm(off - shift @ inputs) <= CARRIED * np.linalg.norm(off))


def average_shift(layer: Layer, lost: Array, picture: Array) -> Array:
    """What the layer's outputs lack on average, one number a filter, where its weights lack ``lost``; ``picture`` is
    what it reads."""
    without = replace(layer, parameters={"weights": Parameter(np.asarray(lost, np.float32))}, rounding=None)
    found = evaluate(without, [picture])
    return np.asarray(found.reshape(-1, found.shape[-1]).mean(axis=0, dtype=np.float64))


def made_up(bias: Difference, shift: Array) -> bool:
    """Whether a bias is off by about what the weights' rounding shifts the outputs by, measured on other pictures
    (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction")."""
    off = (bias.actual - bias.expected).astype(np.float64)
    return off.shape == shift.shape and bool(np.linalg.norm(off - shift) < MADE_UP * np.linalg.norm(off))


def _rounding(difference: Difference, title: str, evidence: Mapping[str, object], confidence: float) -> Finding:
    title = str(difference.encoding.get("dtype", title))
    scheme = difference.encoding.get("scheme")
    phrase = f"are rounded to {title}" + HOW.get(str(evidence.get("granularity")), "")
    phrase += f" ({scheme})" if scheme else ", in the file or on the way there"
    evidence = {"rounded_to": title, **evidence, **({"scheme": scheme} if scheme else {})}
    return Finding(f"{title}_rounding", phrase, evidence, confidence, f"{title}_rounding")


def _steps(grain: Grain) -> dict[str, object]:
    if grain.steps is None:
        return {"bits": grain.bits}
    steps = grain.steps[grain.steps > 0]
    granularity = "tensor" if grain.axis is None else "channel"
    return {
        "bits": grain.bits,
        "granularity": granularity,
        "scale": _span(steps),
        "largest_code": grain.largest,
        "axis": grain.axis,
    }


def _span(values: Array) -> list[float]:
    """Smallest, median and largest."""
    return [float(f"{value:.6g}") for value in np.quantile(values, (0, 0.5, 1))]


def _half_by_error(difference: Difference) -> Finding | None:
    """Half precision with something folded in behind it: no value may be off by more than half a unit."""
    size = np.abs(difference.expected)
    usual = (size > 2.0**-13) & np.isfinite(difference.error)
    if usual.sum() < 32:
        return None
    errors = difference.error[usual] / size[usual]
    for title, limit in (("float16", 2.0**-11), ("bfloat16", 2.0**-8)):
        beyond = difference.error > size * limit * 1.02 + difference.bound
        # Half a unit is 0.5 to 1 times the limit by a number's leading digits, so that the mean of uniform errors is
        # about 0.36; few numbers are so small that float16 keeps fewer digits of them.
        if (
            beyond.mean() < 0.01
            and 0.7 * limit < np.quantile(errors, 0.99)
            and LIKELY[0] < errors.mean() / limit < LIKELY[1]
        ):
            return _rounding(difference, title, {"bits": 16}, 0.9)
    return None


def _integer_by_error(difference: Difference) -> Finding | None:
    """Integers with something folded in behind that hides the lattice: errors spread evenly up to half a step."""
    rows = difference.error.reshape(-1, difference.count)
    if len(rows) < 32 or len(difference.channels) < difference.count or not np.isfinite(rows).all():
        return None
    highest = rows.max(axis=0)
    flatness = float(np.median(rows.mean(axis=0) / highest))
    largest = np.abs(difference.expected).reshape(-1, difference.count).max(axis=0)
    shares = highest / largest * 127
    if FLAT[0] < flatness < FLAT[1] and float(np.median(shares)) > 0.35 and float(shares.max()) < 0.53:
        evidence = {"bits": 8, "granularity": "channel", "scale": _span(largest / 127)}
        return _rounding(difference, "int8", evidence, 0.8)
    return None


def misscaled(difference: Difference) -> Finding | None:
    """Integers with a wrong scale or zero point: on a lattice, and the source's values times or plus something."""
    grain = difference.grain
    if grain is None or grain.kind != "int":
        return None
    low, high = _factors(difference)
    if np.all(low <= high):
        ratios, wrong = (low + high) / 2, np.flatnonzero((low > 1) | (high < 1))
        if difference.encoding.get("factors", 1) > 1 and abs(float(np.median(ratios)) - 1) < SCATTER:
            return _rounding(difference, grain.title, {**_steps(grain), "ratio": _span(ratios)}, 0.9)
        evidence = {**_steps(grain), "ratio": _span(ratios[wrong]), "channels": _some(wrong), "of": difference.count}
        where = "" if len(wrong) == difference.count else f" in {len(wrong)} of {difference.count} channels"
        phrase = f"are {grain.title} with a wrong scale{where}: {_ratio_text(ratios[wrong])} times the source's"
        return Finding("quantization_scale", phrase, evidence)
    offsets = _offsets(difference)
    if difference.near(difference.expected + offsets.astype(np.float32)):
        evidence = {**_steps(grain), "offset": _span(offsets)}
        phrase = f"are {grain.title} with a wrong zero point: shifted by {_ratio_text(offsets)}"
        return Finding("quantization_zero_point", phrase, evidence)
    return None


def _factors(difference: Difference) -> tuple[Array, Array]:
    """The smallest and the largest factor by which each channel is the source's, up to rounding; one for zeros."""
    expected = difference.expected.reshape(-1, difference.count).astype(np.float64)
    actual, slack = (side.reshape(expected.shape) for side in (difference.actual, difference.slack))
    here = np.abs(expected) > 0
    if np.any(np.abs(actual) * ~here > slack):
        return np.ones(difference.count), np.zeros(difference.count)
    size = np.where(here, np.abs(expected), 1)
    middle, width = np.where(here, actual * np.sign(expected) / size, 1), np.where(here, slack / size, np.inf)
    return (middle - width).max(axis=0), (middle + width).min(axis=0)


def _offsets(difference: Difference) -> Array:
    """The middle of each channel's differences."""
    change = (difference.actual - difference.expected).reshape(-1, difference.count).astype(np.float64)
    return np.asarray((change.max(axis=0) + change.min(axis=0)) / 2)


def _some(channels: Array) -> list[int]:
    return [int(channel) for channel in channels[:8]]


def _ratio_text(values: Array) -> str:
    low, _, high = _span(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
