"""A TFLite file that keeps single values in float32 which it stored as integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convfault.frameworks.tflite import TFLITE
from convfault.relax import evaluate
from convfault.relax.edits import KeepFloat
from convfault.relax.graph import Graph
from convfault.repairing.writers.change import EditRefusedError
from convfault.repairing.writers.tflite.write import write
from tests import tiny
from tests.repairing.views import View, view

PICTURES = tiny.pictures(4)
STEP = 1 / 256
"""Of the answers, a softmax stored as integers."""


def stored(graph: Graph) -> list[str]:
    """Layers that are rounded, without the pictures and the answers."""
    ends = {*graph.inputs, *graph.outputs}
    return [layer.id for layer in graph if layer.rounding is not None and layer.id not in ends]


def native(path: Path) -> np.ndarray:
    """What the runtime answers, as real numbers."""
    model = view(path).model
    with TFLITE.open(model) as session:
        assert session.signature is not None
        name = session.signature.inputs[0].name
        rows = [session.run_batch({name: PICTURES[row : row + 1]}) for row in range(len(PICTURES))]
    return np.concatenate([next(iter(trace.tensors.values())) for trace in rows])


def computed(graph: Graph) -> np.ndarray:
    return evaluate.run(graph, {graph.inputs[0]: PICTURES})[graph.outputs[0]]


def test_the_graph_answers_as_the_integers_do(tinies: dict[str, View]) -> None:
    model, plain = tinies["int8"], tinies["float32"]
    error, plain_error = (np.abs(native(model.path) - computed(graph)).max() for graph in (model.graph, plain.graph))
    assert error <= 2 * STEP < 4 * STEP < plain_error
    assert stored(plain.graph) == []


def test_with_every_value_in_float_only_the_weights_and_the_answers_are_rounded(
    tinies: dict[str, View], out: Path
) -> None:
    model, written = tinies["int8"], out.with_suffix(".tflite")
    write(model.model, model.graph, [KeepFloat((name,)) for name in stored(model.graph)], written)
    again = view(written)
    assert stored(again.graph) == []
    assert np.abs(native(written) - computed(again.graph)).max() <= 2 * STEP
    kept = KeepFloat(tuple(stored(model.graph))).apply(model.graph)
    np.testing.assert_allclose(computed(again.graph), computed(kept), atol=1.01 * STEP)


def test_one_value_in_float_leaves_the_others_as_they_are(tinies: dict[str, View], out: Path) -> None:
    model, written = tinies["int8"], out.with_suffix(".tflite")
    for name in stored(model.graph):
        write(model.model, model.graph, [KeepFloat((name,))], written)
        again = view(written)
        mine, others = model.graph[name].rounding, stored(model.graph)
        assert mine is not None
        apart = {each for each in others if getattr(model.graph[each].rounding, "scales", ()) != mine.scales}
        assert name not in stored(again.graph)
        assert apart <= set(stored(again.graph))
        assert np.abs(native(written) - computed(again.graph)).max() <= 4 * STEP


def test_answers_that_are_integers_stay_so(tinies: dict[str, View], out: Path) -> None:
    model = tinies["int8"]
    with pytest.raises(EditRefusedError, match="the model's own output"):
        write(model.model, model.graph, [KeepFloat((model.graph.outputs[0],))], out.with_suffix(".tflite"))


def test_pictures_and_answers_that_are_integers_only_inside_can_be_kept_too(tinies: dict[str, View], out: Path) -> None:
    model, written = tinies["int8_inside"], out.with_suffix(".tflite")
    names = [layer.id for layer in model.graph if layer.rounding is not None]
    assert {*model.graph.inputs, *model.graph.outputs} <= {*names}
    edits = [KeepFloat((name,)) for name in names]
    write(model.model, model.graph, edits, written)
    assert all(layer.rounding is None for layer in view(written).graph)
    np.testing.assert_allclose(native(written), computed(KeepFloat(tuple(names)).apply(model.graph)), atol=1e-5)
