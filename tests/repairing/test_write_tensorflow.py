"""Edits written to frozen TensorFlow graphs and SavedModels: TensorFlow answers as the edited graph evaluates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convfault.errors import StorageError, UsageError
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.edits import Edit, Insert, Remove, SetHyperparameters, SetOutputs, SetParameters
from convfault.relax.graph import Graph, Layer
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import Change, EditRefusedError
from tests.planting import branchy
from tests.repairing.test_writers import KINDS as EVERY_KIND
from tests.repairing.test_writers import _edits
from tests.repairing.views import View, cure, difference, pictures, restoring, view

NOT_HERE = {"input_channels_reversed", "input_scaled", "outputs_reordered", "output_extra"}
"""Kinds that need an operator that is not imported, are found before the graph is looked at, or are not planted in
TensorFlow."""
KINDS = tuple(kind for kind in EVERY_KIND if kind not in NOT_HERE)
FEW = (
    "weights_noise", "folding_epsilon", "bias_dropped", "dilation_changed", "explicit_padding_moved",
    "activation_missing", "activation_replaced", "softmax_removed", "residual_bypassed", "flatten_order",
)  # fmt: skip
"""Planted kinds that are tried in a SavedModel, too."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """Format → the branchy model and its graph; the SavedModel is Keras' export."""
    for name in ("tensorflow", "tvm"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("tensorflow")
    branchy.keras_network().export(folder / "exported", verbose=False)
    return {"frozen_graph": view(branchy.frozen_graph(folder)), "saved_model": view(folder / "exported")}


def write(target: View, edits: list[Edit], path: Path) -> tuple[Change, ...]:
    return WRITERS[target.model.format](target.model, target.graph, edits, path)


def answers(path: Path, values: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What convfault's own adapter gets from the file."""
    from convfault.frameworks.tensorflow import TENSORFLOW

    with TENSORFLOW.open(Model.from_path(str(path))) as session:
        trace = session.run_batch({session.signature.inputs[0].name: values})
        return [np.asarray(trace.tensors[name]) for name in trace.outputs]


def evaluated(graph: Graph, edits: list[Edit], values: NDArray[np.float32]) -> list[NDArray[Any]]:
    for edit in edits:
        graph = edit.apply(graph)
    found = evaluate.run(graph, {name: graph[name].view(values) for name in graph.inputs})
    return [found[name] for name in graph.outputs]


def program(path: Path) -> Any:
    """The graph of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0]


def variables(path: Path) -> dict[str, Any]:
    """Key → value of a SavedModel's checkpoint."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def alike(a: Any, b: Any) -> bool:
    return np.asarray(a).tobytes() == np.asarray(b).tobytes() if not isinstance(a, bytes) else a == b


def norms(source: View) -> Layer:
    """A convolution with a batch normalization behind it."""
    return next(
        layer for layer in source.graph if "inner" in " ".join(layer.native.names) and "weights" in layer.parameters
    )


# faults


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_mended_in_a_frozen_graph(kind: str, models: dict[str, View], tmp_path: Path) -> None:
    before, after = _errors(kind, models["frozen_graph"], tmp_path / "faulty.pb", tmp_path / "mended.pb")
    assert before > 1e-4
    assert after < 1e-5


@pytest.mark.parametrize("kind", FEW)
def test_a_planted_fault_is_mended_in_a_saved_model(kind: str, models: dict[str, View], tmp_path: Path) -> None:
    before, after = _errors(kind, models["saved_model"], tmp_path / "faulty", tmp_path / "mended")
    assert before > 1e-4
    assert after < 1e-5


def _errors(kind: str, source: View, faulty: Path, out: Path) -> tuple[float, float]:
    """How far a file with a planted fault is off, and the one that its cure writes."""
    from planting import plant

    plant(source.path, kind, 0, faulty)
    target = view(faulty)
    values = pictures(source.path)
    write(target, cure(source, target), out)
    wanted = answers(source.path, values)
    return difference_or_shape(answers(faulty, values), wanted), difference(answers(out, values), wanted)


def difference_or_shape(found: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> float:
    if [each.shape for each in found] != [each.shape for each in wanted]:
        return np.inf
    worst = difference(found, wanted)
    return worst if np.isfinite(worst) else np.inf


@pytest.mark.parametrize("form", ["frozen_graph", "saved_model"])
def test_edits_of_every_sort_mean_in_the_file_what_they_mean_in_the_graph(
    form: str, models: dict[str, View], tmp_path: Path
) -> None:
    source = models[form]
    values = pictures(source.path)
    for number, edits in enumerate(_edits(source)):
        out = tmp_path / f"out_{number}{source.path.suffix}"
        write(source, edits, out)
        wanted = evaluated(source.graph, edits, values)
        found = [a.reshape(b.shape) for a, b in zip(answers(out, values), wanted, strict=True)]
        assert difference(found, wanted) < 1e-5, edits


PLAIN = {"strides": (1, 1), "dilation": (1, 1)}
BORDER = {"padding": ((0, 0), (1, 2), (0, 1), (0, 0)), "value": 0.0}
EVEN, ODD, NONE = ((1, 1), (1, 1)), ((2, 0), (1, 1)), ((0, 0), (0, 0))
ZOOM = {"size": (9, 7), "cubic_alpha": 0.0}
WRITABLE: list[tuple[str, dict[str, Any], bool]] = [
    ("gelu", {}, True),
    ("gelu_tanh", {}, True),
    ("swish", {}, True),
    ("hard_swish", {}, True),
    ("elu", {"alpha": 0.5}, True),
    ("elu", {"alpha": 1.0}, True),
    ("softplus", {"beta": 1.0, "threshold": np.inf}, True),
    ("normalize", {"axes": (1, 2, 3), "epsilon": 0.1}, True),
    ("normalize", {"axes": (1, 2, 3), "epsilon": 0.1, "groups": 2}, True),
    ("variance", {"axes": (3,), "keepdims": True}, True),
    ("softplus", {"beta": 2.0, "threshold": np.inf}, True),
    ("pad", {**BORDER, "mode": "constant", "value": 2.0}, True),
    ("pad", {**BORDER, "mode": "reflect"}, True),
    ("pad", {**BORDER, "mode": "replicate"}, True),
    ("pad", {**BORDER, "mode": "symmetric"}, True),
    ("average_pool", {**PLAIN, "size": (3, 3), "padding": ODD, "count_padding": False}, True),
    ("average_pool", {**PLAIN, "size": (3, 3), "padding": EVEN, "count_padding": True}, True),
    ("average_pool", {**PLAIN, "size": (3, 3), "padding": NONE, "count_padding": True, "dilation": (2, 2)}, False),
    ("max_pool", {**PLAIN, "size": (3, 3), "padding": ODD}, True),
    ("max_pool", {"strides": (2, 1), "dilation": (2, 1), "size": (2, 3), "padding": ODD}, True),
    ("softmax", {"axis": 1}, True),
    ("cumsum", {"axis": 1, "exclusive": False, "reverse": False}, True),
    ("cumsum", {"axis": 3, "exclusive": True, "reverse": True}, True),
    ("resize", {**ZOOM, "method": "nearest_neighbor", "coordinates": "asymmetric", "rounding": "ceil"}, True),
    ("resize", {**ZOOM, "method": "nearest_neighbor", "coordinates": "asymmetric", "rounding": "floor"}, True),
    ("resize", {**ZOOM, "method": "linear", "coordinates": "half_pixel", "rounding": "", "scales": (1.7, 1.7)}, True),
    ("resize", {**ZOOM, "method": "cubic", "coordinates": "align_corners", "rounding": "", "cubic_alpha": -0.75}, True),
    ("mean", {"axes": (1,), "keepdims": True}, True),
    ("transpose", {"order": (0, 2, 1, 3)}, True),
    ("tile", {"repeats": (1, 1, 1, 1)}, True),
]
"""Kind, hyperparameters, and whether TensorFlow has it."""


@pytest.mark.parametrize(("kind", "settings", "known"), WRITABLE)
def test_a_new_layer_computes_what_it_does_in_the_graph_or_is_refused(
    kind: str, settings: dict[str, Any], known: bool, models: dict[str, View], tmp_path: Path
) -> None:
    source, out = models["frozen_graph"], tmp_path / "out.pb"
    values = pictures(source.path)
    tanh = next(layer for layer in source.graph if layer.kind == "tanh")
    made = Layer("made", kind, (tanh.id,), tanh.shape, hyperparameters=settings)
    start = {source.graph.inputs[0]: values}
    graph = SetOutputs(("made",)).apply(Insert(made, ()).apply(source.graph))
    shape = evaluate.run(graph, start)["made"].shape
    pooled = Layer("pooled", "mean", ("made",), (1, shape[-1]), hyperparameters={"axes": (1, 2), "keepdims": False})
    edits: list[Edit] = [Insert(replace(made, shape=shape), ()), Insert(pooled, ()), SetOutputs(("pooled",))]
    if known:
        write(source, edits, out)
        assert difference(answers(out, values), evaluated(source.graph, edits, values)) < 1e-5
    else:
        with pytest.raises(EditRefusedError):
            write(source, edits, out)
        assert not out.exists()


# what stays


def test_without_edits_the_bytes_are_the_same(models: dict[str, View], tmp_path: Path) -> None:
    frozen, saved = models["frozen_graph"], models["saved_model"]
    assert write(frozen, [], tmp_path / "out.pb") == write(saved, [], tmp_path / "out") == ()
    assert (tmp_path / "out.pb").read_bytes() == frozen.path.read_bytes()
    files = [path.relative_to(saved.path) for path in sorted(saved.path.rglob("*")) if path.is_file()]
    assert files == [p.relative_to(tmp_path / "out") for p in sorted((tmp_path / "out").rglob("*")) if p.is_file()]
    assert all((saved.path / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in files)


def test_new_weights_change_one_constant_of_a_frozen_graph(models: dict[str, View], tmp_path: Path) -> None:
    import tensorflow as tf

    source, out = models["frozen_graph"], tmp_path / "out.pb"
    layer = norms(source)
    (change,) = write(source, [SetParameters(layer.id, {"bias": layer.parameters["bias"].values + 1})], out)
    graphs = [tf.compat.v1.GraphDef.FromString(path.read_bytes()) for path in (source.path, out)]
    before, after = ({node.name: node for node in graph.node} for graph in graphs)
    assert list(before) == list(after)
    assert [name for name in before if before[name] != after[name]] == [change.place]


def test_new_weights_change_one_variable_of_a_saved_model(models: dict[str, View], tmp_path: Path) -> None:
    source, out = models["saved_model"], tmp_path / "out"
    layer = norms(source)
    (change,) = write(source, [SetParameters(layer.id, {"bias": layer.parameters["bias"].values + 1})], out)
    assert change.place == "inner_norm/beta"
    assert (out / "saved_model.pb").read_bytes() == (source.path / "saved_model.pb").read_bytes()
    before, after = variables(source.path), variables(out)
    assert before.keys() == after.keys()
    changed = [name for name in before if not alike(before[name], after[name])]
    assert len(changed) == 2  # Keras tracks each variable twice
    assert alike(after[changed[0]], after[changed[1]])
    np.testing.assert_allclose(after[changed[0]], before[changed[0]] + 1, rtol=1e-6)


def test_a_new_operator_leaves_variables_signatures_and_other_functions(
    models: dict[str, View], tmp_path: Path
) -> None:
    source, out = models["saved_model"], tmp_path / "out"
    clip = next(layer for layer in source.graph if layer.kind == "clip")
    write(source, [Insert(Layer("new", "tanh", (clip.id,), clip.shape))], out)
    files = sorted(path.name for path in (source.path / "variables").iterdir())
    assert all((source.path / "variables" / n).read_bytes() == (out / "variables" / n).read_bytes() for n in files)
    before, after = program(source.path), program(out)
    assert before.signature_def == after.signature_def
    assert before.object_graph_def == after.object_graph_def
    pairs = list(zip(before.graph_def.library.function, after.graph_def.library.function, strict=True))
    (changed,) = [pair for pair in pairs if pair[0] != pair[1]]
    names = [{node.name: node for node in function.node_def} for function in changed]
    new = names[1].keys() - names[0].keys()
    assert names[0].keys() < names[1].keys()
    assert [names[1][name].op for name in new] == ["Tanh"]
    for name, node in names[0].items():
        kept = {key: value for key, value in node.attr.items() if key != "_output_shapes"}
        assert kept == {key: value for key, value in names[1][name].attr.items() if key != "_output_shapes"}
    readers = [name for name in names[0] if names[0][name].input != names[1][name].input]
    assert {"average", "first_branch"} == {name.split("/")[1].removesuffix("_1") for name in readers}


def test_all_signatures_that_call_the_function_are_mended(models: dict[str, View], tmp_path: Path) -> None:
    import tensorflow as tf

    source, out = models["saved_model"], tmp_path / "out"
    write(source, [SetOutputs(source.graph.outputs[::-1])], out)
    values = pictures(source.path)
    loaded = tf.saved_model.load(out)
    first, second = (loaded.signatures[name](picture=tf.constant(values)) for name in ("serve", "serving_default"))
    straight = answers(source.path, values)
    assert list(first) == list(second)
    for answer in (first, second):
        assert np.allclose(answer["output_0"], straight[1], atol=1e-5)
        assert np.allclose(answer["output_1"], straight[0], atol=1e-5)


def test_a_batch_normalization_gets_its_variables_back(models: dict[str, View], tmp_path: Path) -> None:
    import tensorflow as tf

    source, faulty, out = models["saved_model"], tmp_path / "faulty", tmp_path / "out"
    network = branchy.keras_network()
    norm = network.get_layer("inner_norm")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma * 1.5, beta - 0.5, mean, variance])
    network.export(faulty, verbose=False)
    target = view(faulty)
    changes = write(target, restoring(source.graph, target.graph), out)
    assert {change.place for change in changes} == {"inner_norm/gamma", "inner_norm/beta"}
    found = {v.name: v.numpy() for v in tf.saved_model.load(out).variables}
    np.testing.assert_allclose(found["inner_norm/gamma:0"], gamma, rtol=1e-5)
    np.testing.assert_allclose(found["inner_norm/beta:0"], beta, rtol=1e-5, atol=1e-6)


def test_a_constant_that_two_operators_share_stays_for_the_other(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    tf = pytest.importorskip("tensorflow")

    def answer(picture: Any) -> Any:
        kernel = tf.constant(np.linspace(-1, 1, 81, dtype=np.float32).reshape(3, 3, 3, 3))
        return tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(picture, kernel, 1, "SAME")), kernel, 1, "SAME")

    source = frozen(tf, answer, tmp_path)
    first, second = (layer for layer in source.graph if layer.kind == "convolution")
    edit = SetParameters(second.id, {"weights": -second.parameters["weights"].values})
    write(source, [edit], tmp_path / "out.pb")
    values = pictures(source.path)
    assert difference(answers(tmp_path / "out.pb", values), evaluated(source.graph, [edit], values)) < 1e-5
    kept = next(layer for layer in view(tmp_path / "out.pb").graph if layer.kind == "convolution")
    assert np.array_equal(kept.parameters["weights"].values, first.parameters["weights"].values)


def frozen(tf: Any, answer: Callable[[Any], Any], folder: Path) -> View:
    """A function of a picture as a frozen graph."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, name="picture")
    concrete = convert_variables_to_constants_v2(tf.function(answer).get_concrete_function(spec))
    path = folder / "source.pb"
    path.write_bytes(concrete.graph.as_graph_def().SerializeToString())
    return view(path)


# what is refused


def nested(tf: Any, folder: Path, times: int) -> View:
    """A SavedModel whose signature calls one function ``times`` times, each with a convolution of one variable."""

    class Nested(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            kernel = np.linspace(-1, 1, 81, dtype=np.float32).reshape(3, 3, 3, 3)
            self.kernel = tf.Variable(kernel, name="kernel")

        @tf.function
        def inner(self, picture: Any) -> Any:
            return tf.nn.relu(tf.nn.conv2d(picture, self.kernel, 1, "SAME"))

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="picture")])
        def answer(self, picture: Any) -> Any:
            for _ in range(times):
                picture = self.inner(picture)
            return tf.tanh(picture)

    module = Nested()
    tf.saved_model.save(module, str(folder / "nested"), signatures=module.answer)
    return view(folder / "nested")


def test_a_function_inside_another_is_mended(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    source = nested(pytest.importorskip("tensorflow"), tmp_path, 1)
    clip = next(layer for layer in source.graph if layer.kind == "clip")
    convolution = next(layer for layer in source.graph if layer.kind == "convolution")
    values = pictures(source.path)
    edits: list[Edit] = [
        SetHyperparameters(clip.id, {"minimum": -0.5, "maximum": 0.5}),
        Insert(Layer("bent", "sigmoid", (convolution.id,), convolution.shape)),
        SetParameters(convolution.id, {"weights": convolution.parameters["weights"].values ** 2}),
    ]
    for number, edit in enumerate(edits):
        out = tmp_path / f"out_{number}"
        write(source, [edit], out)
        assert difference(answers(out, values), evaluated(source.graph, [edit], values)) < 1e-5


def test_a_function_that_is_called_twice_is_not_changed_for_one_call(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    source = nested(pytest.importorskip("tensorflow"), tmp_path, 2)
    clip = next(layer for layer in source.graph if layer.kind == "clip")
    with pytest.raises(EditRefusedError, match="called from several places"):
        write(source, [SetHyperparameters(clip.id, {"minimum": -0.5, "maximum": 0.5})], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nested"]


def test_what_the_signature_does_not_have_is_refused(models: dict[str, View], tmp_path: Path) -> None:
    source, out = models["saved_model"], tmp_path / "out"
    with pytest.raises(EditRefusedError, match="the signature has 2 outputs, not 1"):
        write(source, [SetOutputs(source.graph.outputs[:1])], out)
    with pytest.raises(EditRefusedError, match="does not fit the model"):
        write(source, [Remove("nobody", ())], out)
    assert not list(tmp_path.iterdir())
    write(models["frozen_graph"], [SetOutputs(models["frozen_graph"].graph.outputs[:1])], tmp_path / "out.pb")
    assert len(answers(tmp_path / "out.pb", pictures(source.path))) == 1


def test_neither_the_model_nor_another_folder_is_written_over(models: dict[str, View], tmp_path: Path) -> None:
    source = models["saved_model"]
    with pytest.raises(UsageError, match="never overwritten"):
        write(source, [], source.path)
    (tmp_path / "there").mkdir()
    with pytest.raises(StorageError):
        write(source, [], tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())


def test_a_saved_model_of_tensorflow_1_gets_variables_but_no_operators(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    tf = pytest.importorskip("tensorflow")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        picture = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), "picture")
        kernel = tf.compat.v1.get_variable(
            "kernel", initializer=np.linspace(-1, 1, 81, dtype=np.float32).reshape(3, 3, 3, 3)
        )
        answer = tf.nn.relu(tf.nn.conv2d(picture, kernel, 1, "SAME"), name="answer")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"picture": picture}, {"answer": answer})
    source = view(tmp_path / "old")
    convolution = next(layer for layer in source.graph if layer.kind == "convolution")
    edit = SetParameters(convolution.id, {"weights": convolution.parameters["weights"].values ** 2})
    write(source, [edit], tmp_path / "out")
    values = pictures(source.path)
    assert difference(answers(tmp_path / "out", values), evaluated(source.graph, [edit], values)) < 1e-5
    with pytest.raises(EditRefusedError, match="only its variables"):
        write(source, [Insert(Layer("bent", "tanh", (convolution.id,), convolution.shape))], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_window_that_loses_the_operator_which_padded_for_it_can_read_another_layer(
    models: dict[str, View], tmp_path: Path
) -> None:
    from planting import plant

    plant(models["saved_model"].path, "padding_symmetry", 0, tmp_path / "faulty")
    target = view(tmp_path / "faulty")
    (edit,) = cure(models["saved_model"], target)
    (window,) = edit.changed
    tanh = target.graph[window].inputs[0]
    edits = [edit, Remove(tanh, (window,))]
    write(target, edits, tmp_path / "mended")
    values = pictures(target.path)
    found, wanted = answers(tmp_path / "mended", values), evaluated(target.graph, edits, values)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
