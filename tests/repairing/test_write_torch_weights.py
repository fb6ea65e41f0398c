"""The weights of a module that a function builds, written as a state dict; the module itself is its owner's."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convfault.errors import TrustError, UsageError
from convfault.frameworks.torch import TORCH
from convfault.model import Model, Signature, TensorSpec
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.edits import Edit, Insert, Remove, SetHyperparameters, SetOutputs, SetParameters
from convfault.relax.graph import Graph, Layer
from convfault.relax.import_model import import_model
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import EditRefusedError

PROGRAM = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return torch.softmax(self.head(x.mean((2, 3))), 1)


def make():
    torch.manual_seed(0)
    return Small()
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A function of a user's that builds a small module."""
    for name in ("torch", "tvm"):
        pytest.importorskip(name)
    (tmp_path / "small_network.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "small_network", raising=False)
    sides = (TensorSpec("x", (None, 3, 8, 6), "float32"),), (TensorSpec("output", (None, 5), "float32"),)
    return Model.from_path("small_network:make", trusted=True).with_signature(Signature(*sides))


def graph_of(model: Model) -> Graph:
    return canonical(import_model(model))


def written(model: Model, graph: Graph, edits: list[Edit], out: Path) -> list[str]:
    changes = WRITERS["torch_function"](model, graph, edits, out)
    return [change.place for change in changes]


def of_kind(graph: Graph, kind: str) -> Layer:
    return next(layer for layer in graph if layer.kind == kind)


def test_weights_are_written_and_the_module_then_answers_as_the_edited_graph(model: Model, tmp_path: Path) -> None:
    graph, out = graph_of(model), tmp_path / "mended.pt"
    layers = [layer for layer in graph if layer.kind in {"convolution", "dense"}]
    edits: list[Edit] = [
        SetParameters(layer.id, {name: each.values * 0.5 + 0.1 for name, each in layer.parameters.items()})
        for layer in layers
    ]
    places = written(model, graph, edits, out)
    assert places == ["stem.weight", "norm.bias", "head.weight", "head.bias"]
    values = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
    edited = graph
    for edit in edits:
        edited = edit.apply(edited)
    wanted = evaluate.run(edited, {name: edited[name].view(values) for name in edited.inputs})
    with TORCH.open(replace(model, weights=str(out))) as session:
        found = session.run({"x": values}).output()
    assert np.allclose(found, wanted[edited.outputs[0]], atol=1e-6)


def test_weights_that_no_edit_touches_stay(model: Model, tmp_path: Path) -> None:
    import torch

    graph, before, after = graph_of(model), tmp_path / "before.pt", tmp_path / "after.pt"
    assert not written(model, graph, [], before)
    dense = of_kind(graph, "dense")
    assert written(model, graph, [SetParameters(dense.id, {"bias": np.ones(5, np.float32)})], after) == ["head.bias"]
    old, new = (torch.load(path, weights_only=True) for path in (before, after))
    assert [name for name in old if not old[name].equal(new[name])] == ["head.bias"]
    assert list(old) == list(new)


def test_what_the_module_computes_is_refused_with_the_line_to_change(model: Model, tmp_path: Path) -> None:
    graph, out = graph_of(model), tmp_path / "mended.pt"
    clip, softmax, convolution = (of_kind(graph, kind) for kind in ("clip", "softmax", "convolution"))
    line = next(number for number, text in enumerate(PROGRAM.splitlines(), 1) if "relu" in text)
    refused: list[Edit] = [
        Remove(clip.id, graph.readers[clip.id]),
        SetHyperparameters(clip.id, {"maximum": 6.0}),
    ]
    for edit in refused:
        with pytest.raises(EditRefusedError, match=rf"only the weights can be written.*small_network.*line {line}\b"):
            written(model, graph, [edit], out)
    others: list[Edit] = [
        Insert(Layer("new", "tanh", (softmax.id,), softmax.shape)),
        SetOutputs((clip.id,)),
        SetHyperparameters(convolution.id, {"strides": (2, 2)}),
    ]
    for edit in others:
        with pytest.raises(EditRefusedError, match=r"only the weights can be written.*small_network"):
            written(model, graph, [edit], out)
    assert not out.exists()


def test_an_untrusted_function_is_not_called_and_no_weights_are_written_over(model: Model, tmp_path: Path) -> None:
    graph, out = graph_of(model), tmp_path / "mended.pt"
    with pytest.raises(TrustError, match="--trust"):
        written(replace(model, trusted=False), graph, [], out)
    assert not out.exists()
    written(model, graph, [], out)
    with pytest.raises(UsageError, match="never overwritten"):
        written(replace(model, weights=str(out)), graph, [], out)
