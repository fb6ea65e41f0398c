"""The usual ways to turn pixels into a model's input, and which of them a correction of the input amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convfault.preprocessing import Preprocessing
from convfault.relax.graph import Array

Colours = tuple[float, float, float]
NEAR = 1e-3
"""Two conventions are one when they give values this close, relative to the range of the values."""


@dataclass(frozen=True)
class Convention:
    """``(pixel * scale - mean) / std``, mean and std for red, green, blue, pixels 0..255."""

    title: str
    scale: float
    mean: Colours = (0.0, 0.0, 0.0)
    std: Colours = (1.0, 1.0, 1.0)

    @property
    def is_raw(self) -> bool:
        """Whether nothing is subtracted: pixels as they are, perhaps in another unit."""
        return not any(self.mean)


CONVENTIONS = (
    Convention("pixels 0 to 255", 1.0),
    Convention("pixels 0 to 1", 1 / 255),
    Convention("pixels -1 to 1", 1 / 127.5, (1.0, 1.0, 1.0)),
    Convention("ImageNet mean and deviation (torchvision)", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Convention("pixels minus the ImageNet mean (Caffe)", 1.0, (123.68, 116.779, 103.939)),
    Convention("pixels minus the ImageNet mean, times 0.017", 0.017, (2.10256, 1.985243, 1.766963)),
    Convention("pixels times 1/256", 1 / 256),
    Convention("(pixels - 127.5) / 128", 1 / 128, (0.99609375,) * 3),
    Convention("(pixels - 128) / 128", 1 / 128, (1.0, 1.0, 1.0)),
    Convention("pixels -0.5 to 0.5", 1 / 255, (0.5, 0.5, 0.5)),
    Convention(
        "CLIP mean and deviation",
        1 / 255,
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
)
"""From the documentation of keras.applications, torchvision, Caffe's model zoo, FaceNet and CLIP."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What has to be done to a tensor of pictures: channel ``i`` becomes ``scale[i] * channel order[i] + shift[i]``."""

    order: tuple[int, ...]
    scale: Array
    shift: Array

    @property
    def keeps_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))

    @property
    def keeps_values(self) -> bool:
        """Whether every channel keeps its values."""
        size = max(float(np.abs(self.scale).max()), 1.0)
        return bool(np.abs(self.scale - 1).max() <= NEAR and np.abs(self.shift).max() <= NEAR * size)

    @property
    def is_identity(self) -> bool:
        """Whether it does nothing."""
        return self.keeps_order and self.keeps_values

    @property
    def is_scaling(self) -> bool:
        """Whether all channels are only scaled, and by one factor."""
        size = float(np.abs(self.scale).max())
        return self.keeps_order and float(np.ptp(self.scale)) <= NEAR * size and np.abs(self.shift).max() <= NEAR * size

    def __call__(self, pictures: Array) -> Array:
        """Of (..., channels)."""
        return np.asarray(pictures[..., list(self.order)] * self.scale + self.shift, np.float32)

    def matrix(self) -> Array:
        """(channels in, channels out), float32: what the product with a pixel is."""
        found = np.zeros((len(self.order),) * 2, np.float32)
        found[list(self.order), np.arange(len(self.order))] = self.scale
        return found


@dataclass(frozen=True)
class Reading:
    """What a model is fed: the convention that it amounts to (None: none that is known), and the preprocessing."""

    convention: Convention | None
    channels: str
    preprocessing: Preprocessing | None

    def __str__(self) -> str:
        values = self.convention.title if self.convention else "a scaling of its own"
        if self.convention is None and self.preprocessing is not None:
            known = self.preprocessing
            values = f"(pixels * {known.scale:.5g} - {_figures(known.mean)}) / {_figures(known.std)}"
        return f"{values}, {self.channels.upper()}" if self.channels else values


def _figures(values: tuple[float, ...]) -> str:
    plain = [f"{value:.5g}" for value in values]
    return plain[0] if len(set(plain)) == 1 else f"({', '.join(plain)})"


def reading(base: Preprocessing | None, correction: Correction | None = None) -> Reading:
    """What comes out of a preprocessing and a correction behind it; of tensors that no preprocessing made as pixels."""
    known = base or Preprocessing(channels="gray" if correction and len(correction.order) == 1 else "rgb")
    depth = known.depth
    gain = np.broadcast_to(known.scale / np.asarray(known.std, np.float64), depth)
    offset = np.broadcast_to(-np.asarray(known.mean, np.float64) / np.asarray(known.std, np.float64), depth)
    channels = known.channels
    if correction is not None:
        if len(correction.order) != depth:
            return Reading(None, "", None)
        order = list(correction.order)
        gain, offset = gain[order] * correction.scale, offset[order] * correction.scale + correction.shift
        channels = _reordered(channels, correction.order)
    found = _recognized(gain, offset, channels)
    told = _preprocessing(known, gain, offset, channels, found) if base is not None and channels else None
    return Reading(found, channels if base is not None else "", told)


def _reordered(channels: str, order: tuple[int, ...]) -> str:
    """The name of the channels' order behind a permutation; empty where it has none."""
    if order == tuple(range(len(order))):
        return channels
    return {"rgb": "bgr", "bgr": "rgb"}.get(channels, "") if order == (2, 1, 0) else ""


def _recognized(gain: Array, offset: Array, channels: str) -> Convention | None:
    for known in CONVENTIONS:
        scale, shift = _parts(known, channels, len(gain))
        if float(np.abs(gain - scale).max() * 255 + np.abs(offset - shift).max()) <= NEAR * 255 * float(scale.max()):
            return known
    return None


def _parts(known: Convention, channels: str, depth: int) -> tuple[Array, Array]:
    turn = slice(None, None, -1) if channels == "bgr" else slice(None)
    std, mean = np.asarray(known.std, np.float64)[turn][:depth], np.asarray(known.mean, np.float64)[turn][:depth]
    return known.scale / std, -mean / std


def _preprocessing(
    base: Preprocessing, gain: Array, offset: Array, channels: str, known: Convention | None
) -> Preprocessing:
    if known is not None:
        step = -1 if channels == "bgr" else 1
        told = {"mean": known.mean[::step][: len(gain)], "std": known.std[::step][: len(gain)]}
        return Preprocessing.from_record({"channels": channels, "scale": known.scale, "assumed": (), **told}, base)
    scale = float(gain[0])
    deviations = tuple(float(scale / value) for value in gain)
    means = tuple(float(-shift * deviation) for shift, deviation in zip(offset, deviations, strict=True))
    return replace(base, channels=channels, scale=scale, mean=means, std=deviations, assumed=())


def cause(before: Reading, behind: Reading, correction: Correction) -> str:
    """The word for the difference between what the pictures are and what the model wants."""
    if not correction.keeps_order:
        return "channel_order"
    raw = [reading.convention is not None and reading.convention.is_raw for reading in (before, behind)]
    if raw == [False, True] or _normalizes(correction):
        return "double_normalization"
    if raw == [True, False] and behind.convention is not None and np.abs(correction.shift).max() > 0:
        return "missing_normalization"
    moved = float(np.abs(correction.shift).max()) > NEAR * float(np.abs(correction.scale).max())
    scaled = float(np.abs(correction.scale - 1).max()) > NEAR
    if scaled and moved:
        return "normalization"
    return "scale" if scaled else "mean"


def _normalizes(correction: Correction) -> bool:
    """Whether what it undoes is itself a known normalization, of pixels or of what was scaled before."""
    gain, offset = 1 / correction.scale, -correction.shift / correction.scale
    for known in CONVENTIONS if len(gain) <= 3 else ():
        scale, shift = _parts(known, "", len(gain))
        for unit in (1.0, known.scale):
            pairs = ((gain, scale / unit), (offset, shift))
            if any(known.mean) and all(np.abs(a - b).max() <= NEAR * np.abs(b).max() for a, b in pairs):
                return True
    return False


def record(told: Preprocessing | None) -> Mapping[str, Any] | None:
    """The preprocessing as evidence holds it."""
    return None if told is None else told.to_record()


def near(base: Preprocessing | None, rough: Correction) -> list[Correction]:
    """The corrections from what a preprocessing makes to each known convention, those next to a ``rough`` one first."""
    known = base or Preprocessing()
    if len(rough.order) != known.depth or not _reordered(known.channels, rough.order):
        return []
    order = list(rough.order)
    std = np.broadcast_to(np.asarray(known.std, np.float64), known.depth)
    mean = np.broadcast_to(np.asarray(known.mean, np.float64), known.depth)
    gain, offset = (known.scale / std)[order], (-mean / std)[order]
    found = []
    for item in CONVENTIONS:
        scale, shift = _parts(item, _reordered(known.channels, rough.order), known.depth)
        factor = scale / gain
        found.append(Correction(rough.order, factor.astype(np.float32), (shift - offset * factor).astype(np.float32)))
    return sorted(found, key=lambda item: float(np.abs(np.log(np.abs(item.scale / rough.scale))).max()))
