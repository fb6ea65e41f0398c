"""One fault is one suspect, whichever analyzers can see it; and what only looks alike stays with its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convfault.localization.case import Case
from convfault.localization.graph import analyzer as graph
from convfault.localization.hyperparameters import analyzer as hyperparameters
from convfault.localization.input import analyzer as input
from convfault.localization.parameters import analyzer as parameters
from convfault.localization.suspect import Suspect
from convfault.preprocessing import Preprocessing
from convfault.relax.canonical import normalized
from convfault.relax.edits import Insert
from convfault.relax.graph import Graph, Layer, Native, Parameter
from tests.localization import inputs
from tests.localization.inputs import DEPTH, case, network
from tests.localization.pairs import case_of, cured, drawn
from tests.relax.drafts import Sketch

CENTRED = Preprocessing(size=(inputs.SIZE, inputs.SIZE), scale=1 / 127.5, mean=(1.0,) * 3)
ANALYZERS = (input, parameters, hyperparameters, graph)
Damage = Callable[[Graph], Graph]


def suspects(made: Case) -> list[Suspect]:
    return [suspect for analyzer in ANALYZERS for suspect in analyzer.examine(made)]


def told(folder: Path, damage: Damage) -> list[tuple[str, str]]:
    source = network()
    made = case(folder, source, damage(source), fed=CENTRED)
    return [(suspect.kind, suspect.cause) for suspect in suspects(made)]


def stem(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(source: Graph) -> Graph:
        values = source["convolution_1"].parameters["weights"].values
        return source.with_parameters("convolution_1", weights=np.ascontiguousarray(change(values), np.float32))

    return damage


def head(order: np.ndarray, scale: float = 1.0) -> Damage:
    def damage(source: Graph) -> Graph:
        values = {name: item.values[..., order] * scale for name, item in source["dense_1"].parameters.items()}
        return source.with_parameters("dense_1", **values)

    return damage


def before_the_stem(scale: float, shift: float) -> Damage:
    def damage(source: Graph) -> Graph:
        numbers = {"scale": scale, "shift": shift}
        parts = {name: Parameter(np.full(DEPTH, value, np.float32)) for name, value in numbers.items()}
        name = source.inputs[0]
        extra = Layer("extra", "affine", (name,), source[name].shape, parameters=parts, native=Native("rescaling"))
        return Insert(extra).apply(source)

    return damage


def both(first: Damage, second: Damage) -> Damage:
    return lambda source: second(first(source))


@pytest.mark.parametrize(
    ("damage", "told_as"),
    [
        (stem(lambda values: values * np.float32(2)), ("input", "scale")),
        (stem(lambda values: values[:, :, ::-1]), ("input", "channel_order")),
        (before_the_stem(1 / 127.5, -1.0), ("input", "double_normalization")),
        (head(np.roll(np.arange(inputs.CLASSES), 3)), ("input", "label_offset")),
        (head(np.asarray([1, 0, 2, 4, 3, 5, 6, 9, 7, 8])), ("input", "permuted_labels")),
    ],
)
def test_a_fault_of_the_input_is_told_by_the_input_analyzer_only(
    damage: Damage, told_as: tuple[str, str], tmp_path: Path
) -> None:
    assert told(tmp_path, damage) == [told_as]


@pytest.mark.parametrize(
    "damage",
    [
        stem(lambda values: values * np.float32(1.37)),
        stem(lambda values: values[..., ::-1]),
        head(np.arange(inputs.CLASSES), 1.5),
    ],
)
def test_other_damage_of_the_same_layers_is_told_by_the_parameters_only(damage: Damage, tmp_path: Path) -> None:
    assert {kind for kind, _ in told(tmp_path, damage)} == {"parameters"}


def test_a_second_fault_of_a_layer_is_told_beside_that_of_the_input(tmp_path: Path) -> None:
    damage = both(stem(lambda values: values[:, :, ::-1]), lambda source: doubled(source, "convolution_2"))
    assert sorted(kind for kind, _ in told(tmp_path, damage)) == ["input", "parameters"]


def doubled(source: Graph, name: str) -> Graph:
    return source.with_parameters(name, weights=source[name].parameters["weights"].values * np.float32(2))


def flattened() -> Graph:
    sketch = Sketch(1, 3, 4, 3)
    first = sketch.convolution(sketch.source, filters=5)
    active = sketch.layer("clip", first, (1, 3, 4, 5), minimum=0.0, maximum=np.inf)
    flat = sketch.layer("reshape", active, (1, 60))
    parts = {"weights": Parameter(drawn(60, 6), ("fc",)), "bias": Parameter(drawn(6), ("fc_b",))}
    return sketch.graph_of(sketch.add("dense", (flat,), (1, 6), {}, parts).id)


@pytest.mark.parametrize(
    ("axes", "told_as"), [((2, 0, 1), [("graph", "flatten_order")]), ((0, 1, 2), [("parameters", "rolled")])]
)
def test_another_order_of_flattening_is_told_once(axes: tuple[int, ...], told_as: list[tuple[str, str]]) -> None:
    source = flattened()
    rows = np.arange(60).reshape(3, 4, 5).transpose(axes).reshape(-1)
    weights = source["dense_1"].parameters["weights"].values
    moved = weights[rows] if axes != (0, 1, 2) else np.roll(weights, 1, axis=0)
    made = case_of(source, source.with_parameters("dense_1", weights=moved))
    assert [(suspect.kind, suspect.cause) for suspect in suspects(made)] == told_as


def activated(active: bool = True) -> Graph:
    """conv → scale and shift → relu → conv; without the relu the scale goes into the second convolution."""
    sketch = Sketch(1, 6, 6, 3)
    first = sketch.convolution(sketch.source, filters=6)
    pooled = sketch.layer("max_pool", first, (1, 6, 6, 6), size=(3, 3), strides=(1, 1), padding=((1, 1),) * 2,
                          dilation=(1, 1))  # fmt: skip
    x = sketch.affine(pooled, 0.5 + np.abs(drawn(6, seed=4)), drawn(6, seed=5))
    x = sketch.layer("clip", x, (1, 6, 6, 6), minimum=0.0, maximum=np.inf) if active else x
    second = sketch.convolution(x, filters=5, size=1, padding=((0, 0), (0, 0)))
    for name, seed in ((first, 1), (second, 2)):
        layer = sketch.layers[name]
        parts = {key: item.with_values(drawn(*item.values.shape, seed=seed)) for key, item in layer.parameters.items()}
        sketch.put(replace(layer, parameters=parts))
    return normalized(sketch.ending(sketch.layer("tanh", second, (1, 6, 6, 5))))


def test_weights_that_took_a_lost_activations_scale_are_told_with_it_and_cured() -> None:
    source, target = activated(), activated(False)
    assert "affine" not in {layer.kind for layer in target}
    made = case_of(source, target)
    (suspect,) = suspects(made)
    assert (suspect.kind, suspect.cause) == ("graph", "missing_node")
    assert cured(made, [suspect])


def test_other_weights_beside_a_lost_activation_are_a_fault_of_their_own() -> None:
    source, target = activated(), activated(False)
    weights = target["convolution_2"].parameters["weights"].values
    made = case_of(source, target.with_parameters("convolution_2", weights=weights + drawn(*weights.shape, seed=9)))
    assert sorted(suspect.kind for suspect in suspects(made)) == ["graph", "parameters"]


def gated(slope: float, gain: float = 1.0) -> Graph:
    """conv → hard sigmoid → conv; ``gain``: what the first convolution's weights alone are multiplied by."""
    sketch = Sketch(1, 6, 6, 3)
    first = sketch.convolution(sketch.source, filters=6)
    x = sketch.affine(first, np.full(6, slope), np.full(6, 0.5))
    x = sketch.layer("clip", x, (1, 6, 6, 6), minimum=0.0, maximum=1.0)
    second = sketch.convolution(x, filters=5)
    for name, factor, seed in ((first, gain, 1), (second, 1.0, 2)):
        layer = sketch.layers[name]
        values = {key: drawn(*item.values.shape, seed=seed) for key, item in layer.parameters.items()}
        values["weights"] = values["weights"] * np.float32(factor)
        sketch.put(replace(layer, parameters={k: v.with_values(values[k]) for k, v in layer.parameters.items()}))
    return normalized(sketch.ending(sketch.layer("tanh", second, (1, 6, 6, 5))))


@pytest.mark.parametrize(("slope", "hint"), [(0.2, "0.2 (Keras 2, ONNX)"), (0.1, "0.6 times as steep")])
def test_another_slope_of_a_hard_sigmoid_is_told_once_at_the_activation(slope: float, hint: str) -> None:
    made = case_of(gated(1 / 6), gated(slope))
    (suspect,) = suspects(made)
    assert (suspect.kind, suspect.cause) == ("hyperparameters", "hard_sigmoid_slope")
    assert suspect.target is not None
    assert made.target.graph[suspect.target].kind == "clip"
    assert hint in suspect.explanation
    assert cured(made, [suspect])


def test_scaled_weights_before_a_hard_sigmoid_stay_a_matter_of_weights() -> None:
    found = suspects(case_of(gated(1 / 6), gated(1 / 6, gain=1.2)))
    assert {suspect.kind for suspect in found} == {"parameters"}


def dense_block(order: tuple[int, ...], last: tuple[int, ...] = (0, 1)) -> Graph:
    """Two convolutions, each appended to what it reads: the second concatenation holds the parts of the first."""
    sketch = Sketch(1, 6, 6, 4)
    first = sketch.convolution(sketch.source, filters=4)
    parts = (sketch.source, first)
    joined = sketch.layer("concat", [parts[place] for place in order], (1, 6, 6, 8), axis=3)
    second = sketch.convolution(joined, filters=4)
    both = (joined, second)
    outer = sketch.layer("concat", [both[place] for place in last], (1, 6, 6, 12), axis=3)
    third = sketch.convolution(outer, filters=4)
    for name, seed in ((first, 1), (second, 2), (third, 3)):
        layer = sketch.layers[name]
        values = {key: item.with_values(drawn(*item.values.shape, seed=seed)) for key, item in layer.parameters.items()}
        sketch.put(replace(layer, parameters=values))
    return normalized(sketch.ending(sketch.layer("tanh", third, (1, 6, 6, 4))))


def test_a_concatenation_in_the_wrong_order_that_others_read_is_told_once() -> None:
    made = case_of(dense_block((0, 1)), dense_block((1, 0)))
    (suspect,) = suspects(made)
    assert (suspect.kind, suspect.cause) == ("graph", "input_order")
    assert len(made.target.graph[str(suspect.target)].inputs) == 2
    assert cured(made, [suspect])


def test_two_concatenations_in_the_wrong_order_are_told_both() -> None:
    found = suspects(case_of(dense_block((0, 1)), dense_block((1, 0), (1, 0))))
    assert [suspect.cause for suspect in found] == ["input_order", "input_order"]
