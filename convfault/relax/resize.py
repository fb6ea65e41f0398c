"""Resizing of pictures as the ONNX specification of ``Resize`` defines it, one axis after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convfault.relax.graph import Array

COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "half_pixel": lambda place, source, target: (place + 0.5) * source / target - 0.5,
    "pytorch_half_pixel": lambda p, source, target: (p + 0.5) * source / target - 0.5 if target > 1 else p * 0.0,
    "align_corners": lambda place, source, target: place * (source - 1) / max(target - 1, 1),
    "asymmetric": lambda place, source, target: place * source / target,
    "tf_half_pixel_for_nn": lambda place, source, target: (place + 0.5) * source / target,
}
"""Where a pixel of the result lies in the source: (its index, source size, target size)."""

ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round": lambda x: np.floor(x + 0.5),
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "": np.floor,
}


def resize(picture: Array, hyperparameters: Mapping[str, Any]) -> Array:
    """Resize (N, H, W, C) to ``hyperparameters["size"]``."""
    for axis, weights in enumerate(matrices(picture.shape[1:3], hyperparameters), 1):
        picture = np.moveaxis(np.tensordot(picture, weights, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(picture)


def matrices(size: tuple[int, ...], hyperparameters: Mapping[str, Any]) -> tuple[Array, Array]:
    """What each pixel of a picture of this height and width adds to the result's, (target, source) for each axis."""
    scales = hyperparameters.get("scales") or (None, None)
    height, width = (
        _weights(source, target, scale, hyperparameters)
        for source, target, scale in zip(size, hyperparameters["size"], scales, strict=True)
    )
    return height, width


def _weights(source: int, target: int, scale: float | None, hyperparameters: Mapping[str, Any]) -> Array:
    """(target, source): what each source pixel adds to each pixel of the result, along one axis.

    Where the kernel reaches beyond the edge it reads the edge's pixel again, or (``exclude_outside``, which is usual
    with ``antialias``) only what is inside. Antialiasing stretches the kernel as much as the picture shrinks.
    ``scale`` is the factor where it is not just ``target / source``: pixels lie where it says.
    """
    coordinates = hyperparameters["coordinates"]
    side: Any = target if scale is None or coordinates == "align_corners" else source * scale
    place = COORDINATES[coordinates](np.arange(target, dtype=np.float64), source, side)
    method, weights = hyperparameters["method"], np.zeros((target, source), np.float32)
    rows = np.arange(target)
    if method == "nearest_neighbor":
        if scale is not None:  # 3 / 0.6 is 5 in the float32 that runtimes compute with
            place = place.round(5)
        index = ROUNDINGS[hyperparameters["rounding"]](place).clip(0, source - 1).astype(int)
        weights[rows, index] = 1
        return weights
    smooth = bool(hyperparameters.get("antialias"))
    wider = source / side if smooth and side < source else 1.0
    reach = int(np.ceil(2 * wider)) + 1
    pixels = np.arange(-reach, source + reach)
    distance = np.abs(pixels[None, :] - place[:, None]) / wider
    linear = method == "linear"
    shares = np.maximum(1 - distance, 0) if linear else _cubic(distance, hyperparameters["cubic_alpha"])
    if hyperparameters.get("exclude_outside", smooth):
        shares = shares * ((pixels >= 0) & (pixels < source))
    shares /= shares.sum(axis=1, keepdims=True)
    for column, pixel in enumerate(pixels.clip(0, source - 1)):
        weights[:, pixel] += shares[:, column]
    return weights


def _cubic(distance: Array, alpha: float) -> Array:
    """Keys' kernel."""
    near = (alpha + 2) * distance**3 - (alpha + 3) * distance**2 + 1
    far = alpha * distance**3 - 5 * alpha * distance**2 + 8 * alpha * distance - 4 * alpha
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
