"""Recognizes values that were multiplied or shifted: all alike, or channel by channel."""

from __future__ import annotations

import numpy as np

from convfault.localization.finding import Finding
from convfault.localization.parameters.difference import Difference
from convfault.relax.graph import Array

FEW = 0.5
"""Up to this share of the channels a scale is that of single channels."""


def scaled(difference: Difference) -> Finding | None:
    """All values times one number."""
    expected = np.asarray(difference.expected, np.float64)
    power = float((expected * expected).sum())
    if expected.size < 3 or power == 0 or np.count_nonzero(expected) < 2 or _constant(difference):
        return None
    factor = float((expected * difference.actual).sum()) / power
    if not difference.near(np.asarray(difference.expected * np.float32(factor))) or factor == 0:
        return None
    evidence = {"factor": float(f"{factor:.6g}")}
    if abs(factor + 1) < 1e-5:
        return Finding("sign_flipped", "have the opposite sign", evidence)
    return Finding("scaled", f"are {factor:.6g} times the source's", evidence)


def _constant(difference: Difference) -> bool:
    return bool(np.ptp(difference.expected) <= difference.bound.max())


def shifted(difference: Difference) -> Finding | None:
    """All values plus one number."""
    if difference.expected.size < 3 or _constant(difference):
        return None
    change = np.asarray(difference.actual, np.float64) - difference.expected
    offset = float(np.median(change))
    if not np.isfinite(offset) or not difference.near(difference.expected + np.float32(offset)):
        return None
    return Finding("shifted", f"are the source's plus {offset:.6g}", {"offset": float(f"{offset:.6g}")})


def signs_lost(difference: Difference) -> Finding | None:
    """All values without their sign."""
    if (difference.expected < 0).any() and difference.near(np.abs(difference.expected)):
        return Finding("signs_lost", "have lost their signs", {})
    return None


def channels_scaled(difference: Difference) -> Finding | None:
    """Each changed channel is the source's times a number of its own."""
    ratios = difference.ratios
    if difference.expected.ndim < 2 or difference.expected.size == difference.count:
        return _single_scaled(difference)
    if not difference.near(difference.expected * ratios.astype(np.float32)):
        return None
    channels = difference.channels
    evidence = _ratios(ratios, channels, difference.count)
    if len(channels) > FEW * difference.count and difference.count > 1:
        low, high = ratios[channels].min(), ratios[channels].max()
        phrase = f"are scaled differently in every channel, {low:.4g} to {high:.4g} times the source's"
        return Finding("channel_scales", phrase, evidence)
    if np.all(np.abs(ratios[channels] + 1) < 1e-5):
        return Finding("channel_sign_flipped", f"have the opposite sign in {_count(channels)}", evidence)
    factors = ", ".join(f"{value:.4g}" for value in ratios[channels[:3]])
    return Finding("channel_scale", f"are {factors} times the source's in {_count(channels)}", evidence)


def _single_scaled(difference: Difference) -> Finding | None:
    """One number a channel: a factor says nothing unless few channels have it, and the same one."""
    channels = difference.channels
    if not 0 < len(channels) <= FEW * difference.count or not np.all(difference.expected.reshape(-1)[channels]):
        return None
    ratios = (difference.actual / np.where(difference.expected == 0, 1, difference.expected)).reshape(-1)
    evidence = _ratios(ratios, channels, difference.count)
    if len(channels) > 1 and np.ptp(ratios[channels]) > 1e-5 * np.abs(ratios[channels]).max():
        return None
    if abs(float(ratios[channels[0]]) + 1) < 1e-5:
        return Finding("channel_sign_flipped", f"have the opposite sign in {_count(channels)}", evidence)
    factor = float(ratios[channels[0]])
    return Finding("channel_scale", f"are {factor:.4g} times the source's in {_count(channels)}", evidence, 0.9)


def _ratios(ratios: Array, channels: Array, count: int) -> dict[str, object]:
    return {
        "channels": [int(channel) for channel in channels[:8]],
        "count": len(channels),
        "of": count,
        "ratios": [float(f"{ratio:.6g}") for ratio in ratios[channels[:8]]],
    }


def _count(channels: Array) -> str:
    return f"channel {int(channels[0])}" if len(channels) == 1 else f"{len(channels)} channels"
