"""The input analyzer: how the target is fed, and how its classes are numbered."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from convfault.localization.input import analyzer, convention
from convfault.localization.input.convention import Correction
from convfault.model import Signature, TensorSpec
from convfault.preprocessing import Preprocessing
from convfault.relax.edits import Insert, Rewire
from convfault.relax.graph import Graph, Layer, Native, Parameter
from tests.localization import inputs
from tests.localization.inputs import CLASSES, DEPTH, SIZE, case, error, network
from tests.relax.drafts import Sketch, values

CENTRED = Preprocessing(size=(SIZE, SIZE), scale=1 / 127.5, mean=(1.0,) * 3)
RAW = Preprocessing(size=(SIZE, SIZE))
UNIT = replace(RAW, scale=1 / 255)
TORCHVISION = replace(UNIT, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = replace(RAW, channels="bgr", mean=(103.939, 116.779, 123.68))


def only(found: list[Any]) -> Any:
    (suspect,) = found
    assert suspect.kind == "input"
    return suspect


def first(graph: Graph, **changes: Any) -> Graph:
    return graph.with_parameters("convolution_1", **changes)


def normalized_inside(graph: Graph, scale: Any, shift: Any) -> Graph:
    parts = {
        name: Parameter(np.broadcast_to(np.asarray(v, np.float32), (DEPTH,)).copy())
        for name, v in (("scale", scale), ("shift", shift))
    }
    name = graph.inputs[0]
    layer = Layer("extra", "affine", (name,), graph[name].shape, parameters=parts, native=Native("normalize"))
    return Insert(layer).apply(graph)


def test_a_target_like_its_source_is_fed_rightly_and_found_so_quickly(tmp_path: Path) -> None:
    graph = network()
    sound = case(tmp_path, graph, graph)
    sound.source.values["convolution_1"]  # the first evaluation loads the kernels
    begun = time.perf_counter()
    assert analyzer.examine(sound) == []
    assert time.perf_counter() - begun < 0.2


def test_every_cause_is_explained() -> None:
    keys = {"finds", "arises", "example", "repair"}
    assert all(set(text) == keys for text in analyzer.CAUSES.values())


def test_a_first_kernel_with_reversed_channels_wants_bgr(tmp_path: Path) -> None:
    graph = network()
    turned = first(graph, weights=graph["convolution_1"].parameters["weights"].values[:, :, ::-1].copy())
    made = case(tmp_path, graph, turned)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "channel_order"
    assert suspect.evidence["preprocessing"]["channels"] == "bgr"
    assert "RGB" in suspect.expected
    assert "BGR" in suspect.actual
    assert error(made, suspect.edit.apply(turned)) < 1e-6


@pytest.mark.parametrize(
    ("source", "target", "cause"),
    [
        (CENTRED, RAW, "double_normalization"),
        (TORCHVISION, UNIT, "double_normalization"),
        (UNIT, TORCHVISION, "missing_normalization"),
        (UNIT, RAW, "scale"),
        (RAW, UNIT, "scale"),
        (TORCHVISION, CENTRED, "normalization"),
        (TORCHVISION, CAFFE, "channel_order"),
    ],
)
def test_a_target_that_wants_another_convention_is_read(
    tmp_path: Path, source: Preprocessing, target: Preprocessing, cause: str
) -> None:
    """The target's model is the source's, but the target is fed otherwise than its weights want."""
    graph = network()
    made = case(tmp_path, graph, graph, target, source)  # as if the source's pictures were the target's
    suspect = only(analyzer.examine(made))
    assert (
        convention.cause(
            convention.reading(source), convention.reading(source, _correction(suspect)), _correction(suspect)
        )
        == suspect.cause
        == cause
    )
    told = Preprocessing.from_record(suspect.evidence["preprocessing"])
    np.testing.assert_allclose(told.tensor(inputs.pixels()), target.tensor(inputs.pixels()), rtol=1e-3, atol=1e-2)
    assert error(made, suspect.edit.apply(graph)) < 1e-4


def _correction(suspect: Any) -> Correction:
    parts = (np.asarray(suspect.evidence[name]) for name in ("scale", "shift"))
    return Correction(tuple(suspect.evidence["channel_order"]), *parts)


def test_a_normalization_put_into_the_target_is_named_by_its_layer(tmp_path: Path) -> None:
    graph = network()
    made = case(tmp_path, graph, normalized_inside(graph, 1 / 127.5, -1.0))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "double_normalization"
    assert "pixels 0 to 255" in suspect.actual
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-4


@pytest.mark.parametrize(
    ("gain", "offset", "cause"),
    [
        (1 / np.array([0.229, 0.224, 0.225]), -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], "double"),
        (np.full(3, 1 / 127.5), np.full(3, -1.0), "double"),
        (np.array([2.0, 3.0, 0.5]), np.array([0.3, 0.0, -0.1]), ""),
    ],
)
@pytest.mark.parametrize(("scale", "mean"), [(1 / 173, (0.2,) * 3), (1.0, (0.0,) * 3)])
def test_a_normalization_too_many_is_told_from_the_fit_whatever_made_the_pictures(
    tmp_path: Path, gain: Any, offset: Any, cause: str, scale: float, mean: Any
) -> None:
    graph, odd = network(), Preprocessing(size=(inputs.SIZE, inputs.SIZE), scale=scale, mean=mean)
    made = case(tmp_path, graph, normalized_inside(graph, gain, offset), odd)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == f"{cause}_normalization".lstrip("_")
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-4


def test_a_normalization_left_out_of_the_target_is_missing(tmp_path: Path) -> None:
    graph = network()
    made = case(tmp_path, normalized_inside(graph, 1 / 127.5, -1.0), graph, RAW)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "missing_normalization"
    assert error(made, suspect.edit.apply(graph)) < 1e-5


def test_a_normalization_on_the_other_side_of_the_border_is_no_fault(tmp_path: Path) -> None:
    graph = network()
    made = case(tmp_path, normalized_inside(graph, 1 / 127.5, -1.0), graph, RAW, CENTRED)
    assert analyzer.examine(made) == []


def test_channel_order_is_found_beneath_rounded_weights(tmp_path: Path) -> None:
    graph = network()
    weights = graph["convolution_1"].parameters["weights"].values
    step = np.abs(weights).max() / 127
    rounded = (np.rint(weights / step) * step).astype(np.float32)
    assert only(analyzer.examine(case(tmp_path / "a", graph, first(graph, weights=rounded[:, :, ::-1])))).cause == (
        "channel_order"
    )
    assert analyzer.examine(case(tmp_path / "b", graph, first(graph, weights=rounded))) == []


@pytest.mark.parametrize("fault", ["noise", "scaled", "bias", "filters", "zeroed", "transposed"])
def test_faults_of_the_first_layer_itself_are_left_to_others(tmp_path: Path, fault: str) -> None:
    graph = network()
    weights, bias = (graph["convolution_1"].parameters[name].values for name in ("weights", "bias"))
    changes = {
        "noise": {"weights": weights + values(*weights.shape) * 0.1},
        "scaled": {"weights": weights * np.float32(1.37)},
        "bias": {"bias": bias + 1},
        "filters": {"weights": weights[..., ::-1].copy()},
        "zeroed": {"weights": np.zeros_like(weights)},
        "transposed": {"weights": weights.transpose(1, 0, 2, 3).copy()},
    }
    assert analyzer.examine(case(tmp_path, graph, first(graph, **changes[fault]))) == []


@pytest.mark.parametrize(
    ("kind", "cause"), [("exchange", "transposed"), ("planes", "layout"), ("pixels", "layout"), ("flip", "mirrored")]
)
def test_a_target_that_turns_its_pictures_is_told_how(tmp_path: Path, kind: str, cause: str) -> None:
    graph = network()
    name, shape = graph.inputs[0], (1, SIZE, SIZE, DEPTH)
    planes = (1, DEPTH, SIZE, SIZE)
    chains = {
        "exchange": [Layer("t", "transpose", (name,), shape, hyperparameters={"order": (0, 2, 1, 3)})],
        "planes": [
            Layer("r", "reshape", (name,), planes),
            Layer("t", "transpose", ("r",), shape, hyperparameters={"order": (0, 2, 3, 1)}),
        ],
        "pixels": [
            Layer("t", "transpose", (name,), planes, hyperparameters={"order": (0, 3, 1, 2)}),
            Layer("r", "reshape", ("t",), shape),
        ],
        "flip": [
            Layer(
                "f",
                "slice",
                (name,),
                shape,
                hyperparameters={
                    "begin": (0, 0, SIZE - 1, 0),
                    "end": (1, SIZE, -SIZE - 1, DEPTH),
                    "strides": (1, 1, -1, 1),
                },
            )
        ],
    }
    target = graph
    for layer in chains[kind]:
        target = Insert(layer).apply(target)
    made = case(tmp_path, graph, target)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == cause
    assert error(made, suspect.edit.apply(target)) < 1e-6


def test_a_model_that_is_transposed_throughout_wants_transposed_pictures(tmp_path: Path) -> None:
    graph = target = network()
    for name in ("convolution_1", "convolution_2"):
        weights = graph[name].parameters["weights"].values.transpose(1, 0, 2, 3).copy()
        target = target.with_parameters(name, weights=weights)
    made = case(tmp_path, graph, target)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "transposed"
    assert error(made, suspect.edit.apply(target)) < 1e-6


def test_pictures_of_another_crop_are_told_by_the_setting(tmp_path: Path) -> None:
    graph = network()
    made = case(tmp_path, graph, graph, CENTRED, replace(CENTRED, interpolation="nearest"))
    pictures = dict(made.target.inputs)
    moved = {name: np.roll(array, 2, axis=1) for name, array in pictures.items()}
    made = replace(made, target=replace(made.target, inputs=moved))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "preprocessing"
    assert suspect.attribute == "interpolation"
    assert suspect.evidence["preprocessing"] == CENTRED.to_record()


@pytest.mark.parametrize("side", [None, 2 * SIZE])
def test_pictures_of_another_size_are_told_and_corrected_where_the_target_takes_them(
    tmp_path: Path, side: int | None
) -> None:
    graph, wide = network(), replace(CENTRED, size=(2 * SIZE, 2 * SIZE), layout="NCHW")
    made = case(tmp_path, graph, graph, CENTRED, replace(CENTRED, size=wide.size))
    signature = Signature((TensorSpec("pictures", (None, DEPTH, side, side), "float32"),), ())
    model = replace(made.target.model, signature=signature, preprocessing=wide)
    doubled = {name: array.repeat(2, axis=1).repeat(2, axis=2) for name, array in made.target.inputs.items()}
    suspect = only(analyzer.examine(replace(made, target=replace(made.target, model=model, inputs=doubled))))
    assert (suspect.cause, suspect.attribute, suspect.edit) == ("preprocessing", "size", None)
    if side is None:
        assert suspect.evidence["preprocessing"] == replace(CENTRED, layout="NCHW").to_record()
    else:
        assert suspect.evidence["no_edit"].endswith(
            "takes pictures of 24x24 only, the source is fed with 12x12: convert it for 12x12"
        )
        assert suspect.evidence["preprocessing"] is None


def _two_inputs() -> Graph:
    sketch = Sketch(1, 6, 6, 4)
    other = sketch.add("input", (), (1, 6, 6, 4), native=Native("second")).id
    sketch.inputs.append(other)
    ends = [
        sketch.layer("mean", sketch.convolution(name), (1, 8), axes=(1, 2), keepdims=False) for name in sketch.inputs
    ]
    return sketch.graph_of(sketch.layer("concat", ends, (1, 16), axis=1))


def test_exchanged_inputs_are_named(tmp_path: Path) -> None:
    graph = _two_inputs()
    one, other = graph.inputs
    target = Rewire("convolution_1", (other,)).apply(Rewire("convolution_2", (one,)).apply(graph))
    start = {one: values(3, 6, 6, 4), other: values(3, 6, 6, 4)}
    source = inputs.subject(tmp_path / "s", graph, start)
    made = inputs.joined(source, inputs.subject(tmp_path / "t", target, start))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "input_order"
    assert suspect.evidence["takes"] == {"picture": "second", "second": "picture"}
    assert error(made, suspect.edit.apply(target)) < 1e-6
    assert analyzer.examine(inputs.joined(source, inputs.subject(tmp_path / "u", graph, start))) == []


def _with_head(graph: Graph, weights: np.ndarray, bias: np.ndarray) -> Graph:
    count = weights.shape[1]
    target = graph.with_parameters("dense_1", weights=weights, bias=bias)
    for name in ("dense_1", "softmax_1"):
        if name in target:
            target = target.with_layer(replace(target[name], shape=(1, count)))
    return target


def _head(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    parameters = graph["dense_1"].parameters
    return parameters["weights"].values, parameters["bias"].values


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("front", [True, False])
def test_a_background_class_is_an_offset(tmp_path: Path, softmax: bool, front: bool) -> None:
    graph = network(softmax=softmax)
    weights, bias = _head(graph)
    extra, low = np.zeros((16, 1), np.float32), np.asarray([-20.0], np.float32)
    more = np.hstack([extra, weights] if front else [weights, extra])
    made = case(tmp_path, graph, _with_head(graph, more, np.hstack([low, bias] if front else [bias, low])))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "label_offset"
    assert suspect.evidence["classes"] == {"source": CLASSES, "target": CLASSES + 1}
    assert suspect.evidence["columns"] == [i + front for i in range(CLASSES)]
    assert suspect.target == "dense_1", "its weights are numbered so"
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-6


def test_a_background_class_that_was_lost_is_an_offset(tmp_path: Path) -> None:
    graph = network(classes=CLASSES + 1)
    weights, bias = _head(graph)
    bias = bias.copy()
    bias[0] = -20.0
    graph = graph.with_parameters("dense_1", bias=bias)
    made = case(tmp_path, graph, _with_head(graph, weights[:, 1:], bias[1:]))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "label_offset"
    assert suspect.evidence["columns"] == [None, *range(CLASSES)]
    assert suspect.target == "dense_1"
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-6


def test_classes_shifted_by_one_are_an_offset(tmp_path: Path) -> None:
    graph = network()
    weights, bias = _head(graph)
    made = case(tmp_path, graph, _with_head(graph, np.roll(weights, 1, 1), np.roll(bias, 1)))
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "label_offset"
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-6


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=some.permutations(range(CLASSES)), softmax=some.booleans(), noisy=some.booleans())
def test_any_permutation_of_the_classes_is_recovered(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], softmax: bool, noisy: bool
) -> None:
    graph = network(softmax=softmax)
    weights, bias = _head(graph)
    target = _with_head(graph, weights[:, order], bias[order])
    if noisy:  # another fault beside it: the weights of the last layer tell all the same
        target = target.with_parameters(
            "convolution_1", weights=graph["convolution_1"].parameters["weights"].values * np.float32(1.1)
        )
    made = case(tmp_path_factory.mktemp("case"), graph, target)
    found = [suspect for suspect in analyzer.examine(made) if suspect.cause != "scale"]
    if order == list(range(CLASSES)):
        assert found == []
        return
    suspect = only(found)
    assert suspect.cause in {"permuted_labels", "label_offset"}
    assert [order[column] for column in suspect.evidence["columns"]] == list(range(CLASSES))
    edited = suspect.edit.apply(made.target.graph)
    assert error(made, edited) < (0.5 * error(made, made.target.graph) if noisy else 1e-5)


def test_a_permutation_by_a_layer_behind_the_head_is_recovered_from_the_answers(tmp_path: Path) -> None:
    graph = network()
    order = [3, 0, 1, 2, 9, 8, 7, 6, 5, 4]
    chosen = np.eye(CLASSES, dtype=np.float32)[:, order]
    parameters = {"weights": Parameter(chosen), "bias": Parameter(np.zeros(CLASSES, np.float32))}
    made = case(
        tmp_path, graph, Insert(Layer("p", "dense", ("softmax_1",), (1, CLASSES), parameters=parameters)).apply(graph)
    )
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "permuted_labels"
    assert error(made, suspect.edit.apply(made.target.graph)) < 1e-6


@pytest.mark.parametrize("fault", ["weights_only", "noise", "one_column", "no_softmax", "scaled_softmax"])
def test_faults_of_the_head_itself_are_left_to_others(tmp_path: Path, fault: str) -> None:
    graph = network()
    weights, bias = _head(graph)
    targets = {
        "weights_only": _with_head(graph, weights[:, ::-1].copy(), bias),
        "noise": _with_head(graph, weights + values(16, CLASSES), bias),
        "one_column": _with_head(graph, np.hstack([weights[:, :1] * 0, weights[:, 1:]]), bias),
        "no_softmax": graph.without("softmax_1"),
        "scaled_softmax": _with_head(graph, weights * np.float32(0.5), bias * np.float32(0.5)),
    }
    assert analyzer.examine(case(tmp_path, graph, targets[fault])) == []


def test_scores_in_bytes_are_another_unit(tmp_path: Path) -> None:
    graph = network()
    parameters = {
        "scale": Parameter(np.full(CLASSES, 255, np.float32)),
        "shift": Parameter(np.zeros(CLASSES, np.float32)),
    }
    target = Insert(Layer("bytes", "affine", ("softmax_1",), (1, CLASSES), parameters=parameters)).apply(graph)
    made = case(tmp_path, graph, target)
    suspect = only(analyzer.examine(made))
    assert suspect.cause == "output_scale"
    assert suspect.actual == 255.0
    assert error(made, suspect.edit.apply(target)) < 1e-6


def test_unrelated_answers_of_a_thousand_classes_are_no_permutation(tmp_path: Path) -> None:
    graph = network(classes=1000)
    _, bias = _head(graph)
    made = case(tmp_path, graph, _with_head(graph, values(16, 1000) / 8, bias))
    begun = time.perf_counter()
    assert analyzer.examine(made) == []
    assert time.perf_counter() - begun < 3


@settings(max_examples=25, deadline=None)
@given(
    order=some.permutations(range(3)),
    scale=some.lists(some.floats(0.01, 100), min_size=3, max_size=3),
    shift=some.lists(some.floats(-5, 5), min_size=3, max_size=3),
)
def test_a_correction_is_fitted_exactly(order: list[int], scale: list[float], shift: list[float]) -> None:
    from convfault.localization.input import stem

    graph = network()
    (found,) = stem.first_stems(graph)
    planted = Correction(tuple(order), np.float32(scale), np.float32(shift))
    pictures = CENTRED.tensor(inputs.pixels(1))
    fitted = stem.correction(found, pictures, found(planted(pictures)))
    assert fitted is not None
    assert stem.agree(found(planted(pictures)), found(fitted(pictures)))
    if min(scale) > 0.05 * max(scale):
        assert fitted.order == planted.order
