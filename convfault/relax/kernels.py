"""The few heavy operators on numpy arrays, by torch where it is installed, else by numpy.

TVM's default schedules for a CPU take seconds a picture; the canonical graph's evaluator and the TVM session both send
these operators here. Pictures are (N, H, W, C), convolution weights (H, W, C / groups, filters), as strided views of
whatever memory they are in: a picture stored as NCHW comes as a transposed view and nothing is copied.
"""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = tuple[int, int]
NO_PADDING = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Window:
    """How a window slides: ``padding`` is ((top, bottom), (left, right))."""

    size: Pair = (1, 1)
    strides: Pair = (1, 1)
    padding: tuple[Pair, Pair] = NO_PADDING
    dilation: Pair = (1, 1)

    def output(self, height: int, width: int) -> Pair:
        """Height and width of the result of a window over a picture of this size."""
        sides = []
        for axis, side in enumerate((height, width)):
            reach = (self.size[axis] - 1) * self.dilation[axis] + 1
            sides.append((side + sum(self.padding[axis]) - reach) // self.strides[axis] + 1)
        return sides[0], sides[1]


@dataclass(frozen=True)
class Kernels:
    """One implementation of each heavy operator.

    ``convolution(picture, weights, window, groups)``; ``max_pool(picture, window)``;
    ``average_pool(picture, window, count_padding)``; ``product(left, right)`` for matrices with leading axes.
    """

    name: str
    convolution: Callable[[Array, Array, Window, int], Array]
    max_pool: Callable[[Array, Window], Array]
    average_pool: Callable[[Array, Window, bool], Array]
    product: Callable[[Array, Array], Array]


@cache
def kernels() -> Kernels:
    """The fastest implementation installed."""
    return numpy_kernels() if importlib.util.find_spec("torch") is None else torch_kernels()


def numpy_kernels() -> Kernels:
    """Without any framework."""
    return Kernels("numpy", _numpy_convolution, _numpy_max_pool, _numpy_average_pool, np.matmul)


def torch_kernels() -> Kernels:
    """By torch."""
    return Kernels("torch", _torch_convolution, _torch_max_pool, _torch_average_pool, _torch_product)


def padded(picture: Array, padding: tuple[Pair, Pair], fill: float = 0.0) -> Array:
    """A picture with its border filled; the picture itself when there is none."""
    if padding == NO_PADDING:
        return picture
    return np.pad(picture, ((0, 0), *padding, (0, 0)), constant_values=fill)


def _patches(picture: Array, window: Window) -> Array:
    """Every window of a padded picture: a view (N, height, width, window height, window width, C)."""
    reach = tuple((size - 1) * step + 1 for size, step in zip(window.size, window.dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(picture, reach, axis=(1, 2))
    view = view[:, :: window.strides[0], :: window.strides[1], :, :: window.dilation[0], :: window.dilation[1]]
    return view.transpose(0, 1, 2, 4, 5, 3)


def _numpy_convolution(picture: Array, weights: Array, window: Window, groups: int) -> Array:
    patches = _patches(padded(picture, window.padding), window)
    if groups == 1:
        count, height, width = patches.shape[:3]
        matrix = patches.reshape(count * height * width, -1) @ weights.reshape(-1, weights.shape[-1])
        return matrix.reshape(count, height, width, -1)
    patches = patches.reshape(*patches.shape[:5], groups, -1)
    grouped = weights.reshape(*weights.shape[:3], groups, -1)
    found = np.einsum("nhwxygc,xycgf->nhwgf", patches, grouped, optimize=True)
    return np.ascontiguousarray(found.reshape(*found.shape[:3], -1))


def _numpy_max_pool(picture: Array, window: Window) -> Array:
    return np.asarray(_patches(padded(picture, window.padding, -np.inf), window).max(axis=(3, 4)))


def _numpy_average_pool(picture: Array, window: Window, count_padding: bool) -> Array:
    total = _patches(padded(picture, window.padding), window).sum(axis=(3, 4))
    with np.errstate(invalid="ignore", divide="ignore"):  # a window that lies in the padding altogether has no average
        return np.asarray(total / divisor(picture.shape[1:3], window, count_padding), dtype=picture.dtype)


def divisor(size: tuple[int, ...], window: Window, count_padding: bool) -> Array:
    """How many values each window of an average counts, (1, height, width, 1)."""
    ones = np.ones((1, *size, 1), np.float32)
    full = padded(ones, window.padding, 1.0 if count_padding else 0.0)
    return np.asarray(_patches(full, window).sum(axis=(3, 4)))


def _to_torch(array: Array, *order: int) -> Any:
    import torch

    tensor = torch.from_numpy(array if _positive(array) else array.copy())
    return tensor.permute(*order) if order else tensor


def _positive(array: Array) -> bool:
    return all(stride >= 0 for stride in array.strides)


def _from_torch(tensor: Any) -> Array:
    return np.asarray(tensor.permute(0, 2, 3, 1).numpy())


def _torch_padded(picture: Any, padding: tuple[Pair, Pair], fill: float = 0.0) -> tuple[Any, Pair]:
    """The picture, and the padding that torch's operator can do itself because it is alike on both sides."""
    import torch

    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        return picture, (top, left)
    return torch.nn.functional.pad(picture, (left, right, top, bottom), value=fill), (0, 0)


def _torch_convolution(picture: Array, weights: Array, window: Window, groups: int) -> Array:
    import torch

    with torch.inference_mode():
        tensor, padding = _torch_padded(_to_torch(picture, 0, 3, 1, 2), window.padding)
        kernel = _kernel(weights)
        found = torch.nn.functional.conv2d(tensor, kernel, None, window.strides, padding, window.dilation, groups)
        return _from_torch(found)


_kernels: dict[int, tuple[weakref.ref[Array], Any]] = {}


def _forget(kept: dict[int, Any], key: int, _: Any) -> None:
    """Bound to its dictionary, since the module's own names are gone when the interpreter ends."""
    kept.pop(key, None)


def _kernel(weights: Array) -> Any:
    """(H, W, C, filters) as torch's kernel, in the memory order that its picture has; kept as long as the weights.

    Turning the weights around takes longer than a convolution over one small picture, and they are used many times.
    """
    import torch

    known = _kernels.get(id(weights))
    if known is not None and known[0]() is weights:
        return known[1]
    kernel = _to_torch(weights, 3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    _kernels[id(weights)] = weakref.ref(weights, partial(_forget, _kernels, id(weights))), kernel
    return kernel


def _torch_max_pool(picture: Array, window: Window) -> Array:
    import torch

    with torch.inference_mode():
        tensor = _to_torch(picture, 0, 3, 1, 2)
        (top, bottom), (left, right) = window.padding
        if any((top, bottom, left, right)):
            tensor = torch.nn.functional.pad(tensor, (left, right, top, bottom), value=-torch.inf)
        return _from_torch(torch.nn.functional.max_pool2d(tensor, window.size, window.strides, 0, window.dilation))


def _torch_average_pool(picture: Array, window: Window, count_padding: bool) -> Array:
    import torch

    if window.dilation != (1, 1):
        return _numpy_average_pool(picture, window, count_padding)
    with torch.inference_mode():
        tensor = _to_torch(picture, 0, 3, 1, 2)
        (top, bottom), (left, right) = window.padding
        if any((top, bottom, left, right)):
            tensor = torch.nn.functional.pad(tensor, (left, right, top, bottom))
        found = _from_torch(torch.nn.functional.avg_pool2d(tensor, window.size, window.strides))
    if not any((top, bottom, left, right)) or count_padding:
        return found
    full = window.size[0] * window.size[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(found * (full / divisor(picture.shape[1:3], window, False)), dtype=picture.dtype)


def _torch_product(left: Array, right: Array) -> Array:
    import torch

    with torch.inference_mode():
        return np.asarray(torch.matmul(_to_torch(left), _to_torch(right)).numpy())
