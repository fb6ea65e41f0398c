"""What a format has no operator for is written as several of its operators, and says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convfault.relax import evaluate
from convfault.relax.edits import Edit, Insert
from convfault.relax.graph import Layer, Parameter
from convfault.repairing.writers import WRITERS
from tests.planting import branchy
from tests.repairing.views import View, pictures, run, view

FORMATS = ("tflite", "onnx", "keras", "saved_model", "torch")


@pytest.fixture(scope="module")
def models(sound: dict[str, View], tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """Format → the branchy model and its graph."""
    folder = tmp_path_factory.mktemp("models")
    more = {"keras": branchy.keras_model(folder), "torch": branchy.torch_model(folder)}
    return {**sound, **{form: view(path) for form, path in more.items()}, "saved_model": view(saved_model(folder))}


def saved_model(folder: Path) -> Path:
    branchy.keras_network().export(folder / "saved_model", verbose=False)
    return folder / "saved_model"


def rare_layers(source: Layer) -> dict[str, list[Layer]]:
    """Behind ``source``, layers of its shape that some format has no operator for."""
    shape, depth, rng = source.shape, source.shape[-1], np.random.default_rng(0)
    batch, height, width, _ = shape

    def one(kind: str, **hyperparameters: object) -> list[Layer]:
        return [Layer("rare", kind, (source.id,), shape, hyperparameters=hyperparameters)]

    def grown(groups: int, padding: object, **hyperparameters: object) -> list[Layer]:
        """A transposed convolution to three rows and columns more, and what is wanted of it."""
        weights = rng.standard_normal((3, 2, depth // groups, depth)).astype(np.float32)
        values = {"weights": Parameter(weights), "bias": Parameter(np.linspace(-1, 1, depth, dtype=np.float32))}
        wider = (batch, height + 3, width + 3, depth)
        settings = {"strides": (1, 1), "groups": groups, "padding": padding, **hyperparameters}
        begin, end = (0, 3, 3, 0), (batch, height + 3, width + 3, depth)
        return [
            Layer("rare", "transposed_convolution", (source.id,), wider, "float32", settings, values),
            Layer("cut", "slice", ("rare",), shape, hyperparameters={"begin": begin, "end": end, "strides": (1,) * 4}),
        ]

    half = {"scale": Parameter(np.full(depth, 0.5, np.float32)), "shift": Parameter(np.full(depth, 0.1, np.float32))}

    def compared(kind: str, *and_so: str) -> list[Layer]:
        """The larger or the smaller of the source and half of it, by a comparison."""
        mask = [Layer("mask", kind, ("half", source.id), shape, "bool")]
        for name in and_so:
            inputs = (mask[-1].id,) if name == "logical_not" else (mask[-1].id, "mask")
            mask.append(Layer(name, name, inputs, shape, "bool"))
        chosen = Layer("chosen", "where", (mask[-1].id, "half", source.id), shape)
        return [Layer("half", "affine", (source.id,), shape, parameters=half), *mask, chosen]

    channels = {"axis": len(shape) - 1, "alpha": 0.2, "beta": 0.75, "bias": 1.5}
    return {
        "elu": one("elu", alpha=0.3),
        "softplus": one("softplus", beta=1.0, threshold=np.inf),
        "a steep softplus": one("softplus", beta=3.0, threshold=20.0),
        "local response": one("local_response", size=3, padding=(1, 1), **channels),
        "local response to one side": one("local_response", size=2, padding=(0, 1), **channels),
        "groups": grown(2, ((0, 1), (-1, -1)), dilation=(2, 1)),
        "beyond the windows": grown(1, ((-1, 0), (0, -2)), dilation=(1, 1)),
        "greater": compared("greater"),
        "at least": compared("greater_equal", "logical_not"),
        "at most": compared("less_equal", "logical_and"),
        "less": compared("less", "logical_or"),
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        "elu", "softplus", "a steep softplus", "local response", "local response to one side", "groups",
        "beyond the windows", "greater", "at least", "at most", "less",
    ],
)  # fmt: skip
def test_a_layer_that_a_format_has_no_operator_for_is_spelled_out(
    name: str, form: str, models: dict[str, View], out: Path
) -> None:
    target = models[form]
    pool = next(layer for layer in target.graph if layer.kind == "average_pool")
    edits: list[Edit] = [Insert(layer) for layer in rare_layers(pool)[name]]
    assert edits
    mended, graph = out.with_suffix(target.path.suffix), target.graph
    WRITERS[target.model.format](target.model, target.graph, edits, mended)
    for edit in edits:
        graph = edit.apply(graph)
    pixels, start = pictures(target.path), target.graph.inputs[0]
    wanted = evaluate.run(graph, {start: target.graph[start].view(pixels)})
    for found, output in zip(run(mended, pixels), target.graph.outputs, strict=True):
        assert np.allclose(target.graph[output].view(found), wanted[output], rtol=1e-4, atol=1e-5)
