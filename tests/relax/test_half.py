"""Models that compute in half precision are imported as single precision, with what is rounded told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.canonical import canonical
from convfault.relax.graph import Graph
from convfault.relax.import_model import import_model

PICTURES = np.random.default_rng(0).standard_normal((1, 12, 10, 3)).astype(np.float32)


def keras_network(folder: Path, policy: str) -> tuple[Model, np.ndarray]:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(8, 3, padding="same", dtype=policy),
            layers.BatchNormalization(dtype=policy),
            layers.ReLU(dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
            layers.Dense(5, dtype=policy),
            layers.Activation("softmax", dtype="float32"),
        ]
    )
    path = folder / f"{policy}.keras"
    network.save(path)
    return Model.from_path(str(path)), np.asarray(network(PICTURES))


def torch_network(folder: Path, half: bool) -> tuple[Model, np.ndarray]:
    import torch

    torch.manual_seed(0)
    inner = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(960, 5)
    )

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner.half() if half else inner

        def forward(self, x: Any) -> Any:
            return self.inner(x.half()).float() if half else self.inner(x)

    pictures = torch.from_numpy(PICTURES.transpose(0, 3, 1, 2).copy())
    network = Network().eval()
    path = folder / "network.pt2"
    torch.export.save(torch.export.export(network, (pictures,)), path)
    with torch.no_grad():
        return Model.from_path(str(path)), network(pictures).numpy()


def answered(graph: Graph, layout: str) -> np.ndarray:
    given = PICTURES if layout == "NHWC" else PICTURES.transpose(0, 3, 1, 2)
    return evaluate.run_native(graph, {str(graph[graph.inputs[0]].native.tensor): given})[graph.outputs[0]]


def rounded(graph: Graph) -> list[str]:
    return [layer.kind for layer in graph if layer.rounding is not None and layer.rounding.dtype == "float16"]


def test_what_keras_computes_in_half_precision_is_rounded_in_the_graph(tmp_path: Path) -> None:
    model, wanted = keras_network(tmp_path, "mixed_float16")
    graph = canonical(import_model(model))
    assert rounded(graph) == ["input", "convolution", "clip", "mean", "reshape", "dense"]
    np.testing.assert_allclose(answered(graph, "NHWC"), wanted, atol=2e-4)
    weights = graph["convolution_1"].parameters["weights"].values
    plain = canonical(import_model(keras_network(tmp_path, "float32")[0]))
    assert rounded(plain) == []
    exact = plain["convolution_1"].parameters["weights"].values
    assert 0 < np.abs(weights - exact).max() < 1e-3


def test_half_precision_of_another_kind_is_computed_in_single(tmp_path: Path) -> None:
    model, wanted = keras_network(tmp_path, "mixed_bfloat16")
    graph = canonical(import_model(model))
    assert graph.unsupported == ()
    assert rounded(graph) == []
    np.testing.assert_allclose(answered(graph, "NHWC"), wanted, atol=5e-3)


def test_a_saved_model_in_half_precision_is_imported_alike(tmp_path: Path) -> None:
    import keras

    model, wanted = keras_network(tmp_path, "mixed_float16")
    keras.saving.load_model(model.path).export(tmp_path / "saved", verbose=False)
    graph = canonical(import_model(Model.from_path(str(tmp_path / "saved"))))
    assert rounded(graph) == ["input", "convolution", "clip", "mean", "reshape", "dense"]
    np.testing.assert_allclose(answered(graph, "NHWC"), wanted, atol=2e-4)


@pytest.mark.parametrize("half", [True, False])
def test_a_torch_module_in_half_precision_is_read_whole(tmp_path: Path, half: bool) -> None:
    model, wanted = torch_network(tmp_path, half)
    graph = canonical(import_model(model))
    assert graph.unsupported == ()
    assert bool(rounded(graph)) == half
    assert {"convolution", "clip", "dense"} <= {layer.kind for layer in graph}
    np.testing.assert_allclose(answered(graph, "NCHW"), wanted, atol=3e-3 if half else 1e-5)
