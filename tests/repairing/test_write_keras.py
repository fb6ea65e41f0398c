"""Edits written to Keras files: the file then answers as the edited graph does, and what no edit touches stays."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import TrustError
from convfault.relax import evaluate
from convfault.relax.edits import (
    Edit,
    Insert,
    Remove,
    Rewire,
    SetHyperparameters,
    SetOutputs,
    SetParameters,
    Substitute,
)
from convfault.relax.graph import Graph, Layer, Parameter
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import EditRefusedError
from tests.repairing import keras_models
from tests.repairing.keras_models import answers
from tests.repairing.views import View, cure, difference, pictures, view

KINDS = (
    "weights_height_width_swapped", "weights_nan", "folding_epsilon", "concat_axis_changed", "leaky_slope_changed",
    "clip_bound_added", "padding_symmetry", "stride_changed", "average_pool_padding_counted", "resize_method_changed",
    "activation_missing", "activation_replaced", "softmax_removed", "residual_bypassed", "addition_replaced",
    "transpose_inserted", "outputs_reordered", "dilation_changed",
)  # fmt: skip
"""Planted kinds that between them need every edit there is."""
FORMS = (("keras", ".keras"), ("keras", ".h5"), ("tf_keras", ".keras"), ("tf_keras", ".h5"))


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., View]:
    """(function of a network, package, suffix) → the saved model and its graph, each made once."""
    pytest.importorskip("tvm")
    folder, made = tmp_path_factory.mktemp("keras"), {}

    def build(function: Callable[..., Any], package: str = "keras", suffix: str = ".keras") -> View:
        key = (function, package, suffix)
        if key not in made:
            library = pytest.importorskip(package)
            path = folder / f"{function.__name__}_{package}{suffix}"
            network = function() if function is keras_models.with_functions else function(library)
            network.save(path)
            made[key] = view(path)
        return made[key]

    return build


def written(target: View, edits: Sequence[Edit], out: Path) -> Path:
    path = out.with_suffix(target.path.suffix)
    WRITERS[target.model.format](target.model, target.graph, edits, path)
    return path


def edited(graph: Graph, edits: Sequence[Edit]) -> Graph:
    for edit in edits:
        graph = edit.apply(graph)
    return graph


def error(target: View, edits: Sequence[Edit], path: Path) -> float:
    """How far the written file's answers are from those of the edited graph."""
    values = keras_models.pictures()
    graph = edited(target.graph, edits)
    found = evaluate.run(graph, {graph.inputs[0]: values})
    wanted = [found[name] for name in graph.outputs]
    return difference([a.reshape(b.shape) for a, b in zip(answers(path, values), wanted, strict=True)], wanted)


def of_kind(graph: Graph, kind: str, number: int = 0) -> Layer:
    return [layer for layer in graph if layer.kind == kind][number]


def config(path: Path) -> Any:
    """The configuration of a file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path, "r") as file:
        return json.loads(file.attrs["model_config"])


def names(path: Path) -> list[str]:
    return [each["config"]["name"] for each in config(path)["config"]["layers"]]


def weights(path: Path) -> dict[str, np.ndarray]:
    """Every variable by its layer, loaded by Keras."""
    from convfault.model import Model
    from convfault.native import keras_files

    network = keras_files.load(Model.from_path(str(path)))
    found: dict[str, np.ndarray] = {}
    for layer in network._flatten_layers(include_self=False, recursive=True):
        if not hasattr(layer, "layers"):
            found |= {f"{layer.name}/{number}": np.asarray(value) for number, value in enumerate(layer.get_weights())}
    return found


def changed(before: Path, after: Path) -> set[str]:
    """The layers whose weights differ."""
    ours, theirs = weights(before), weights(after)
    same = {name for name in ours.keys() & theirs.keys() if np.array_equal(ours[name], theirs[name])}
    return {name.partition("/")[0] for name in (ours.keys() | theirs.keys()) - same}


@pytest.fixture(scope="session")
def branchy(tmp_path_factory: pytest.TempPathFactory) -> View:
    """The planter's model."""
    for name in ("tensorflow", "keras", "tvm"):
        pytest.importorskip(name)
    from tests.planting import branchy as planted

    return view(planted.keras_model(tmp_path_factory.mktemp("branchy")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_mended_in_the_file(kind: str, branchy: View, out: Path) -> None:
    from planting import plant

    faulty = out.with_name("faulty.keras")
    plant(branchy.path, kind, 0, faulty)
    target = view(faulty)
    edits = cure(branchy, target)
    assert edits
    mended = written(target, edits, out)
    values = pictures(branchy.path)
    wanted = answers(branchy.path, values)
    assert difference(answers(mended, values), wanted) < 1e-5


@pytest.mark.parametrize(("package", "suffix"), FORMS)
def test_edits_of_every_sort_mean_in_the_file_what_they_mean_in_the_graph(
    package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.branched, package, suffix)
    for number, edits in enumerate(every_sort(target.graph)):
        path = written(target, edits, out.with_name(f"out_{number}"))
        assert error(target, edits, path) < 1e-5, edits


@pytest.mark.parametrize(("package", "suffix"), FORMS)
def test_what_reads_a_pool_takes_the_size_that_it_has_now(
    package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.pooled, package, suffix)
    pool, behind = of_kind(target.graph, "max_pool"), of_kind(target.graph, "convolution", 1)
    (end,) = (target.graph[name] for name in target.graph.readers[behind.id])
    sides = [(1, 6, 6, layer.shape[3]) for layer in (pool, behind, end)]
    grown = [
        SetHyperparameters(pool.id, {"padding": ((0, 1), (0, 1))}, sides[0]),
        SetHyperparameters(behind.id, {}, sides[1]),
        SetHyperparameters(end.id, {}, sides[2]),
    ]
    assert error(target, grown, written(target, grown, out)) < 1e-5


@pytest.mark.parametrize(("package", "suffix"), FORMS)
@pytest.mark.parametrize(
    ("kind", "window"),
    [
        ("max_pool", {"size": (2, 2), "dilation": (2, 2), "padding": ((0, 1), (1, 0))}),
        ("average_pool", {"size": (2, 2), "padding": ((0, 0), (0, 0)), "count_padding": True, "divisor": 3}),
        (
            "average_pool",
            {"size": (3, 3), "padding": ((1, 1), (0, 2)), "count_padding": True, "uncounted": ((0, 1), (0, 1))},
        ),
    ],
)
def test_pools_that_keras_has_no_words_for_are_spelled_out(
    kind: str, window: dict[str, Any], package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.branched, package, suffix)
    pool = of_kind(target.graph, "max_pool")
    window = {"strides": (2, 2), "dilation": (1, 1), **window}
    edits = [Substitute(replace(pool, kind=kind, hyperparameters=window))]
    assert error(target, edits, written(target, edits, out)) < 1e-5


def every_sort(graph: Graph) -> list[list[Edit]]:
    """Some edits of each sort that fit the branched model."""
    stem, clip, pool = of_kind(graph, "convolution"), of_kind(graph, "clip", 1), of_kind(graph, "max_pool")
    end, count = graph[graph.outputs[0]], stem.shape[-1]
    scale = {
        "scale": Parameter(np.linspace(0.5, 1, count, dtype=np.float32)),
        "shift": Parameter(np.ones(count, np.float32)),
    }
    behind = Layer("scaled", "affine", (stem.id,), stem.shape, parameters=scale)
    before = Layer("bent", "tanh", (graph.inputs[0],), graph[graph.inputs[0]].shape)
    _, height, width, depth = before.shape
    spans = {"begin": (0, height - 1, 0, 0), "end": (1, -height - 1, width, depth), "strides": (1, -1, 1, 1)}
    window = {"size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    return [
        [SetParameters(stem.id, {name: each.values * 2 for name, each in stem.parameters.items()})],
        [SetParameters(of_kind(graph, "convolution", 1).id, {"bias": np.arange(count, dtype=np.float32)})],
        [SetHyperparameters(clip.id, {"minimum": -0.25, "maximum": 0.75})],
        [SetHyperparameters(clip.id, {"maximum": 1.5})],
        [SetHyperparameters(stem.id, {"padding": ((1, 0), (1, 0))})],
        [SetHyperparameters(pool.id, window)],
        [Insert(replace(before, kind="slice", hyperparameters=spans))],
        [Insert(Layer("normal", "normalize", (stem.id,), stem.shape, hyperparameters={"axes": (3,), "epsilon": 0.1}))],
        [Insert(behind)],
        [Insert(before), Insert(replace(behind, kind="leaky_relu", hyperparameters={"slope": 0.3}, parameters={}))],
        [Insert(Layer("last", "sigmoid", (end.id,), end.shape))],
        [Remove(clip.id, graph.readers[clip.id])],
        [SetOutputs(graph.outputs[::-1])],
        [Rewire(of_kind(graph, "add").id, (clip.id, clip.id))],
    ]


@pytest.mark.parametrize(("package", "suffix"), FORMS)
def test_without_edits_the_bytes_are_the_same(package: str, suffix: str, make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.branched, package, suffix)
    assert written(target, [], out).read_bytes() == target.path.read_bytes()


@pytest.mark.parametrize(("package", "suffix"), FORMS)
def test_weights_change_alone_where_only_they_are_edited(
    package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.branched, package, suffix)
    dense = of_kind(target.graph, "dense")
    path = written(target, [SetParameters(dense.id, {"bias": dense.parameters["bias"].values + 1})], out)
    assert config(path) == config(target.path)
    assert changed(target.path, path) == {"flat_head"} or changed(target.path, path) == {"head"}


def test_what_else_is_in_the_file_is_kept(tmp_path: Path, out: Path) -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("tvm")
    network = keras_models.in_a_row(keras)
    network.compile("adam", "mse")
    network.optimizer.build(network.trainable_variables)
    network.optimizer.variables[-1].assign(network.optimizer.variables[-1] + 0.5)
    network.save(tmp_path / "trained.keras")
    target = view(tmp_path / "trained.keras")
    dense = of_kind(target.graph, "dense")
    path = written(target, [SetParameters(dense.id, {"bias": np.ones(3, np.float32)})], out)
    with zipfile.ZipFile(target.path) as before, zipfile.ZipFile(path) as after:
        assert before.read("metadata.json") == after.read("metadata.json")
    trained, again = (keras.saving.load_model(each) for each in (target.path, path))
    assert len(again.optimizer.variables) == len(trained.optimizer.variables)
    for ours, theirs in zip(trained.optimizer.variables, again.optimizer.variables, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_bias_that_the_layer_lacks_is_given_to_it(make: Callable[..., View], out: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    picture = keras.Input((12, 12, 3), name="picture")
    keras.Model(picture, keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(picture)).save(tmp_path / "bare.keras")
    target = view(tmp_path / "bare.keras")
    edits = [SetParameters(target.graph.outputs[0], {"bias": np.arange(4, dtype=np.float32)})]
    path = written(target, edits, out)
    assert config(path)["config"]["layers"][1]["config"]["use_bias"] is True
    assert error(target, edits, path) < 1e-5


def test_an_activation_inside_a_layer_is_replaced_inside_it(make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.branched)
    clip = of_kind(target.graph, "clip")
    edits = [SetHyperparameters(clip.id, {"maximum": 6.0})]
    path = written(target, edits, out)
    assert names(path) == names(target.path)
    assert next(e for e in config(path)["config"]["layers"] if e["name"] == "stem")["config"]["activation"] == "relu6"
    assert error(target, edits, path) < 1e-5


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_weights_inside_of_a_nested_model_are_changed_there(package: str, make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.nested, package)
    inner = of_kind(target.graph, "convolution", 1)
    edits = [SetParameters(inner.id, {"weights": inner.parameters["weights"].values * -1})]
    path = written(target, edits, out)
    assert names(path) == names(target.path)
    assert changed(target.path, path) == {"second_conv"}
    assert error(target, edits, path) < 1e-5


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_a_nested_model_is_opened_up_where_a_layer_is_added(package: str, make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.nested, package)
    inner = of_kind(target.graph, "convolution")
    edits = [Insert(Layer("bent", "tanh", (inner.id,), inner.shape))]
    path = written(target, edits, out)
    assert {"inner_conv", "second_conv", "head"} <= set(names(path))
    assert "body" not in names(path)
    assert error(target, edits, path) < 1e-5


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_a_resize_that_keras_has_no_words_for_picks_its_pixels_or_mixes_them_by_products(
    package: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.nested, package)
    inner = of_kind(target.graph, "convolution")
    way = {"method": "nearest_neighbor", "coordinates": "asymmetric", "rounding": "ceil", "cubic_alpha": 0.0}
    way |= {"size": inner.shape[1:3], "scales": (1.7, 1.7)}
    edits = [Insert(Layer("zoomed", "resize", (inner.id,), inner.shape, hyperparameters=way))]
    assert error(target, edits, written(target, edits, out)) < 1e-5
    mixed = Layer("mixed", "resize", (inner.id,), inner.shape, hyperparameters=way | {"method": "linear"})
    assert error(target, [Insert(mixed)], written(target, [Insert(mixed)], out.with_name(f"mixed{out.suffix}"))) < 1e-5


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_a_shared_layer_changes_in_one_of_its_calls_only(package: str, make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.shared, package)
    second = of_kind(target.graph, "convolution", 1)
    edits = [SetParameters(second.id, {"bias": second.parameters["bias"].values + 1})]
    path = written(target, edits, out)
    assert sum(name.startswith("conv") for name in names(path)) == 2
    assert error(target, edits, path) < 1e-5


@pytest.mark.parametrize(("package", "suffix"), FORMS)
def test_a_row_of_layers_stays_one_as_long_as_it_is_one(
    package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.in_a_row, package, suffix)
    clip, conv = of_kind(target.graph, "clip"), of_kind(target.graph, "convolution")
    row = [Remove(clip.id, target.graph.readers[clip.id])]
    path = written(target, row, out)
    assert config(path)["class_name"] == "Sequential"
    assert "relu" not in names(path)
    assert error(target, row, path) < 1e-5
    branch = [Insert(Layer("doubled", "add", (clip.id, conv.id), clip.shape), target.graph.readers[clip.id])]
    path = written(target, branch, out.with_name("branch"))
    assert config(path)["class_name"] == "Functional"
    assert error(target, branch, path) < 1e-5


def test_weights_among_the_arguments_of_functions_are_changed(make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.with_functions, "tf_keras")
    conv = of_kind(target.graph, "convolution")
    values = {name: each.values * 1.5 for name, each in conv.parameters.items()}
    edits: list[Edit] = [SetParameters(conv.id, values)]
    path = written(target, edits, out)
    assert names(path) == names(target.path)
    assert error(target, edits, path) < 1e-5
    dense = of_kind(target.graph, "dense")
    edits = [Insert(Layer("bent", "tanh", dense.inputs, target.graph[dense.inputs[0]].shape))]
    assert error(target, edits, written(target, edits, out.with_name("more"))) < 1e-5


@pytest.mark.parametrize("number", [0, 1])
def test_scales_are_changed_where_the_layer_keeps_them(number: int, make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.scaled)
    affine = of_kind(target.graph, "affine", number)
    parts = {"scale": np.asarray([0.5, 1.5, 2.0], np.float32), "shift": np.asarray([0.1, 0.2, 0.3], np.float32)}
    edits = [SetParameters(affine.id, parts)]
    path = written(target, edits, out)
    assert names(path) == names(target.path)
    assert error(target, edits, path) < 1e-5


@pytest.mark.parametrize(("package", "suffix"), FORMS)
@pytest.mark.parametrize("settings", [{"exclusive": False, "reverse": False}, {"exclusive": True, "reverse": True}])
def test_a_new_cumulative_sum_runs_as_it_is_told(
    settings: dict[str, bool], package: str, suffix: str, make: Callable[..., View], out: Path
) -> None:
    target = make(keras_models.branched, package, suffix)
    conv = of_kind(target.graph, "convolution")
    edits = [Insert(Layer("total", "cumsum", (conv.id,), conv.shape, hyperparameters={"axis": 1, **settings}))]
    assert error(target, edits, written(target, edits, out)) < 1e-4


def test_outputs_keep_their_names(make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.branched)
    end = target.graph[target.graph.outputs[1]]
    path = written(target, [Insert(Layer("last", "tanh", (end.id,), end.shape))], out)
    ends = [place[0] for place in config(path)["config"]["output_layers"]]
    assert ends == [place[0] for place in config(target.path)["config"]["output_layers"]]


def test_what_keras_cannot_hold_is_refused_and_nothing_written(make: Callable[..., View], out: Path) -> None:
    target = make(keras_models.branched)
    conv = of_kind(target.graph, "convolution")
    tiled = Layer("tiled", "tile", (conv.id,), conv.shape, hyperparameters={"repeats": (1, 1, 1, 1)})
    with pytest.raises(EditRefusedError, match="Keras has no layer for a layer of kind tile"):
        written(target, [Insert(tiled)], out)
    with pytest.raises(EditRefusedError, match="does not fit the model"):
        written(target, [Remove("nobody", ())], out)
    assert not list(out.parent.glob("out*"))


def test_a_file_that_executes_code_is_not_opened_for_writing(
    make: Callable[..., View], tmp_path: Path, out: Path
) -> None:
    keras = pytest.importorskip("keras")
    target = make(keras_models.branched)
    picture = keras.Input((12, 12, 3))
    keras.Model(picture, keras.layers.Lambda(lambda x: x * 2)(picture)).save(tmp_path / "lambda.keras")
    from convfault.model import Model

    with pytest.raises(TrustError):
        WRITERS["keras"](Model.from_path(str(tmp_path / "lambda.keras")), target.graph, [], out)
