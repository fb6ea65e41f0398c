"""The numpy kernels and torch's agree, and both with the window's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from convfault.relax import evaluate
from convfault.relax.graph import Layer, Parameter
from convfault.relax.kernels import Window, numpy_kernels, torch_kernels
from tests.relax.drafts import values

WINDOWS = [
    Window((3, 3)),
    Window((3, 2), (2, 1), ((1, 0), (0, 2))),
    Window((2, 3), (1, 2), ((1, 1), (1, 1)), (2, 1)),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_agree(window: Window, groups: int) -> None:
    picture, weights = values(2, 9, 8, 4), values(*window.size, 4 // groups, 8)
    first = numpy_kernels().convolution(picture, weights, window, groups)
    second = torch_kernels().convolution(picture, weights, window, groups)
    assert first.shape == (2, *window.output(9, 8), 8)
    np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
def test_poolings_agree(window: Window) -> None:
    picture = values(2, 9, 8, 4)
    first, second = numpy_kernels(), torch_kernels()
    np.testing.assert_allclose(first.max_pool(picture, window), second.max_pool(picture, window))
    for counted in (True, False):
        one = first.average_pool(picture, window, counted)
        np.testing.assert_allclose(one, second.average_pool(picture, window, counted), atol=1e-6)


def test_a_transposed_view_runs_like_a_copy() -> None:
    picture = values(1, 4, 9, 8).transpose(0, 2, 3, 1)
    weights = values(8, 4, 3, 3).transpose(2, 3, 1, 0)
    view = torch_kernels().convolution(picture, weights, WINDOWS[0], 1)
    copy = torch_kernels().convolution(picture.copy(), weights.copy(), WINDOWS[0], 1)
    np.testing.assert_allclose(view, copy, atol=1e-5)


@pytest.mark.parametrize(
    ("stride", "padding", "extra", "groups"), [(2, 1, 1, 1), (1, 0, 0, 2), (3, 2, 1, 1), (2, 0, 0, 4)]
)
def test_transposed_convolution_is_that_of_torch(stride: int, padding: int, extra: int, groups: int) -> None:
    import torch

    picture, kernel = values(2, 5, 6, 4), values(4, 8 // groups, 3, 3)
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(picture.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(kernel),
        None,
        stride,
        padding,
        extra,
        groups,
    )
    cut = ((padding, padding - extra), (padding, padding - extra))
    layer = Layer(
        "x",
        "transposed_convolution",
        ("y",),
        tuple(expected.permute(0, 2, 3, 1).shape),
        hyperparameters={"strides": (stride, stride), "padding": cut, "dilation": (1, 1), "groups": groups},
        parameters={"weights": Parameter(kernel.transpose(2, 3, 1, 0).copy())},
    )
    found = evaluate.evaluate(layer, [picture])
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "coordinates", "mode", "aligned"),
    [
        ("linear", "half_pixel", "bilinear", False),
        ("linear", "align_corners", "bilinear", True),
        ("cubic", "half_pixel", "bicubic", False),
        ("nearest_neighbor", "asymmetric", "nearest", None),
    ],
)
def test_resizing_is_that_of_torch(method: str, coordinates: str, mode: str, aligned: bool | None) -> None:
    import torch

    picture = values(1, 5, 6, 3)
    tensor = torch.from_numpy(picture.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.interpolate(tensor, (10, 9), mode=mode, align_corners=aligned)
    settings = {"size": (10, 9), "method": method, "coordinates": coordinates}
    settings |= {"rounding": "floor", "cubic_alpha": -0.75}
    layer = Layer("x", "resize", ("y",), (1, 10, 9, 3), hyperparameters=settings)
    found = evaluate.evaluate(layer, [picture])
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-4)
