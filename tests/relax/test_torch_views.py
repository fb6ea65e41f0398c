"""What torch writes through a view of a tensor is in the tensor, and in its other views, from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("torch")

import torch

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.fingerprint import paired
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model
from convfault.relax.torch_views import lead_writes
from tests.relax.test_opaque import exported

PICTURES = np.random.default_rng(6).standard_normal((3, 6, 8, 5)).astype(np.float32)


def slices(x: Any) -> Any:
    y = x * 2
    y[:, 1:3, -4:] = torch.relu(y[:, 1:3, -4:])
    y[:, 0] = 0.5
    y[..., -1] *= 3
    return y + 1


def steps(x: Any) -> Any:
    y = x * 1
    y[:, ::2, 1::3] = torch.sigmoid(x[:, :3, :3])
    return y


def other_views(x: Any) -> Any:
    y = x.clone()
    flat, first = y.flatten(2), y[:, 0]
    first.add_(3.0)
    flat[..., -2:] *= 2
    y.permute(0, 2, 3, 1)[..., 1].zero_()
    return torch.cat([y.flatten(2), flat, first.flatten(1)[:, None]], 1)


def parts(x: Any) -> Any:
    y = x * 1
    one, other = y.split((2, 4), 1)
    one.neg_()
    for number, plane in enumerate(other.unbind(1)):
        plane.mul_(number)
    return y


def mask(x: Any) -> Any:
    """As Swin numbers the windows that it shifts."""
    found = x.new_zeros((8, 5))
    for number, rows in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
        found[rows, 1:] = number
        found[rows, 0].fill_(7 - number)
    return x + found


def whole(x: Any) -> Any:
    y = x * 2
    view = y.view(-1, 48, 5)
    y.relu_()
    return view + 1


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function for function in (slices, steps, other_views, parts, mask, whole)
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_write_is_read_wherever_the_tensor_is(name: str, tmp_path: Path) -> None:
    function = FUNCTIONS[name]
    graph = canonical(exported(tmp_path, function, PICTURES[:1]))
    assert all(layer.kind != "opaque" for layer in graph)
    np.testing.assert_allclose(answered(graph), wanted(function), rtol=1e-4, atol=1e-5)


def answered(graph: Graph) -> np.ndarray:
    """The graph's answer to all pictures at once, in the layout of the model."""
    end = graph[graph.outputs[0]]
    found = evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): PICTURES})[end.id]
    return found if end.native.permutation is None else found.transpose(np.argsort(end.native.permutation))


def wanted(function: Callable[[Any], Any]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(function(torch.from_numpy(PICTURES.copy())))


def test_any_number_of_pictures_may_come(tmp_path: Path) -> None:
    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return slices(x)

    path = tmp_path / "any.pt2"
    batch = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(Module(), (torch.from_numpy(PICTURES),), dynamic_shapes=batch), path)
    graph = canonical(import_model(Model.from_path(str(path)), 1))
    np.testing.assert_allclose(answered(graph), wanted(slices), rtol=1e-4, atol=1e-5)


def test_the_nodes_of_the_program_keep_their_names_and_others_have_none(tmp_path: Path) -> None:
    imported = exported(tmp_path, slices, PICTURES[:1])
    program = torch.export.load(tmp_path / "model.pt2")
    constants = {spec.target for spec in program.graph_signature.input_specs}
    assert set(imported.names) <= {node.name for node in program.graph.nodes} | constants
    assert set(imported.origins) == {node.name for node in program.graph.nodes if node.op == "call_function"}


def test_a_program_without_writes_stays_as_it_is(tmp_path: Path) -> None:
    exported(tmp_path, lambda x: (x * 2)[:, 1:3].flatten(2) + 1, PICTURES[:1])
    program = torch.export.load(tmp_path / "model.pt2")
    before = str(program.graph)
    lead_writes(program)
    assert str(program.graph) == before


@pytest.mark.parametrize("dynamo", [False, True])
def test_an_exporter_of_onnx_says_it_otherwise_and_means_the_same(dynamo: bool, tmp_path: Path) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return slices(x)

    path, example = tmp_path / "model.onnx", torch.from_numpy(PICTURES[:1])
    torch.onnx.export(Module().eval(), (example,), path, dynamo=dynamo)
    theirs = canonical(import_model(Model.from_path(str(path)), 1))
    ours = canonical(exported(tmp_path, slices, PICTURES[:1]))
    np.testing.assert_allclose(answered(theirs), wanted(slices), rtol=1e-4, atol=1e-5)
    assert len(paired(ours, theirs)) == len(ours) == len(theirs)
