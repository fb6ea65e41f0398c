"""An exported program, replayed by functions of torch, computes what it computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from convfault.converters.torch_replay import _function, replayable

PICTURES = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)


class Calling(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def exported(function: Callable[[Any], Any]) -> Any:
    return torch.export.export(Calling(function).eval(), (PICTURES,))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 0],
        lambda x: x[:, -1:],
        lambda x: x[:, :2, 1:],
        lambda x: x[:, :, ::2, 1:3],
        lambda x: torch.unsqueeze(x[:, 1], 1) * 2 + 1,
        lambda x: torch.cat([x[:, :1], x[:, 1:]], 1).flatten(1),
        lambda x: x * torch.tensor([2.0]),
    ],
)
def test_brackets_and_constants_are_replayed(function: Callable[[Any], Any]) -> None:
    torch.testing.assert_close(replayable(exported(function))(PICTURES), function(PICTURES), rtol=0, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.nn.functional.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
    ],
)
def test_poolings_are_replayed_with_all_their_arguments(function: Callable[[Any], Any]) -> None:
    torch.testing.assert_close(replayable(exported(function))(PICTURES), function(PICTURES), rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_factor": 1.7},
        {"size": (3, 7), "mode": "nearest-exact"},
        {"scale_factor": (2.0, 0.6), "mode": "bilinear", "align_corners": True},
        {"size": (3, 3), "mode": "bicubic", "antialias": True},
    ],
)
def test_resizing_is_replayed_as_interpolate(settings: dict[str, Any]) -> None:
    function = functools.partial(torch.nn.functional.interpolate, **settings)
    found = replayable(exported(lambda x: function(x)))(PICTURES)
    torch.testing.assert_close(found, function(PICTURES), rtol=0, atol=0)


def test_an_operator_without_a_function_is_named() -> None:
    with pytest.raises(NotImplementedError, match="aten::no_such_operator"):
        _function("no_such_operator")
