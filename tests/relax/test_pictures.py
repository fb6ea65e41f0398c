"""A model that moves the axis of pictures, or merges it with another one, is computed of several pictures at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("torch")

import torch

from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.graph import Graph
from convfault.relax.pictures import kept_apart
from tests.relax.drafts import Sketch
from tests.relax.test_opaque import exported

PICTURES = np.random.default_rng(8).standard_normal((3, 8, 6, 5)).astype(np.float32)


class Attention(torch.nn.Module):
    """Places first, as torch's own layer wants them unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.heads = torch.nn.MultiheadAttention(8, 2, bias=True)

    def forward(self, x: Any) -> Any:
        places = x.flatten(2).permute(2, 0, 1)
        return self.heads(places, places, places, need_weights=False)[0].permute(1, 0, 2)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "attention": Attention().eval(),
    "places first": lambda x: torch.softmax(x.flatten(2).permute(2, 0, 1) * 2, -1).permute(1, 2, 0),
    "merged with channels": lambda x: x.reshape(-1, 6, 5).cumsum(1).reshape(-1, 8, 6, 5).mean(1),
    "rows of all pictures": lambda x: x.permute(0, 2, 3, 1).reshape(-1, 8).softmax(1).reshape(-1, 6, 5, 8)[:, 1:],
    "stacked": lambda x: torch.cat([x.transpose(0, 1), x.transpose(0, 1)[:2]]).transpose(0, 1).amax((2, 3)),
    "behind a token": lambda x: torch.cat([torch.ones(1, 1, 8), x.flatten(2).permute(2, 0, 1)]).permute(1, 2, 0) * 2,
    "with a row for each": lambda x: (x.transpose(0, 1) + torch.arange(8.0).reshape(8, 1, 1, 1)).transpose(0, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_picture_is_computed_by_itself(name: str, tmp_path: Path) -> None:
    function = FUNCTIONS[name]
    graph = canonical(exported(tmp_path, function, PICTURES[:1]))
    end = graph[graph.outputs[0]]
    found = evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): PICTURES})[end.id]
    if end.native.permutation is not None:
        found = found.transpose(np.argsort(end.native.permutation))
    with torch.no_grad():
        wanted = np.stack([function(torch.from_numpy(PICTURES[row : row + 1])).numpy() for row in range(3)])
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)


def sketched(kind: str) -> Graph:
    """A layer of this kind on columns that came to the front, and went back."""
    sketch = Sketch(1, 6, 5, 4)
    x = sketch.layer("transpose", sketch.source, (5, 6, 1, 4), order=(2, 1, 0, 3))
    x = sketch.convolution(x, filters=4) if kind == "convolution" else sketch.layer(kind, x, (5, 6, 1, 4))
    return sketch.graph_of(sketch.layer("transpose", x, (1, 6, 5, 4), order=(2, 1, 0, 3)))


def test_a_stretch_that_lost_the_axis_has_one_of_its_own() -> None:
    graph = kept_apart(sketched("tanh"))
    assert all(layer.shape[0] == 1 for layer in graph)


def test_a_layer_with_a_window_in_such_a_stretch_leaves_all_as_it_is() -> None:
    graph = sketched("convolution")
    assert kept_apart(graph) is graph


def test_a_model_that_keeps_its_pictures_in_front_stays_as_it_is() -> None:
    sketch = Sketch(1, 6, 5, 4)
    graph = sketch.graph_of(sketch.layer("tanh", sketch.source, (1, 6, 5, 4)))
    assert kept_apart(graph) is graph


def test_a_model_that_reduces_over_its_pictures_stays_as_it_is() -> None:
    sketch = Sketch(1, 6, 5, 4)
    x = sketch.layer("mean", sketch.source, (6, 4), axes=(0, 2), keepdims=False)
    graph = sketch.graph_of(sketch.layer("tanh", x, (6, 4)))
    assert kept_apart(graph) is graph


def test_a_row_from_which_the_axis_was_left_out_stays_as_it_is() -> None:
    """As TFLite squeezes a picture's features before a dense layer."""
    sketch = Sketch(1, 6, 5, 4)
    x = sketch.layer("reshape", sketch.layer("mean", sketch.source, (1, 4), axes=(1, 2), keepdims=False), (4,))
    graph = sketch.graph_of(sketch.layer("reshape", sketch.layer("tanh", x, (4,)), (1, 4)))
    assert kept_apart(graph) is graph


def test_one_stretch_that_must_stay_leaves_the_others_their_axis() -> None:
    sketch = Sketch(1, 6, 5, 4)
    x = sketch.layer("transpose", sketch.source, (5, 6, 1, 4), order=(2, 1, 0, 3))
    x = sketch.layer("transpose", sketch.layer("tanh", x, (5, 6, 1, 4)), (1, 6, 5, 4), order=(2, 1, 0, 3))
    row = sketch.layer("reshape", x, (120,))
    graph = kept_apart(sketch.graph_of(sketch.layer("reshape", sketch.layer("exp", row, (120,)), (1, 120))))
    assert {layer.kind: layer.shape[0] for layer in graph if layer.kind in {"tanh", "exp"}} == {"tanh": 1, "exp": 120}
