"""Edits written to native files: the native runtime then answers as the sound model does, and the rest is untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convfault.errors import UsageError
from convfault.relax import evaluate
from convfault.relax.edits import Edit, Insert, Remove, SetHyperparameters, SetOutputs, SetParameters, Substitute
from convfault.relax.graph import Layer, Parameter
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import EditRefusedError
from tests import tiny
from tests.repairing.views import View, cure, difference, pictures, restoring, run, view

FORMATS = ("tflite", "onnx")
KINDS = (
    "weights_height_width_swapped", "weights_nan", "bias_dropped", "dense_rows_rolled", "folding_epsilon",
    "concat_axis_changed", "mean_axes_changed", "leaky_slope_changed", "pad_value_changed", "clip_bound_removed",
    "clip_bound_added", "padding_symmetry", "dilation_changed", "stride_changed", "pool_size_changed",
    "average_pool_padding_counted", "max_pool_zero_padded", "resize_method_changed", "activation_missing",
    "activation_extra", "activation_replaced", "activation_moved", "softmax_removed", "residual_bypassed",
    "addition_replaced", "pool_replaced", "concat_inputs_swapped", "branch_rewired", "transpose_inserted",
    "flatten_order", "outputs_reordered", "output_extra", "layer_missing", "input_scaled", "input_channels_reversed",
)  # fmt: skip
"""Planted kinds that between them need every edit there is."""


def written(target: View, edits: list[Edit], out: Path) -> Path:
    path = out.with_suffix(target.path.suffix)
    WRITERS[target.model.format](target.model, target.graph, edits, path)
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_mended_in_the_file(form: str, kind: str, sound: dict[str, View], out: Path) -> None:
    from planting import plant

    source = sound[form]
    faulty = out.with_name(f"faulty{source.path.suffix}")
    plant(source.path, kind, 0, faulty)
    target = view(faulty)
    edits = cure(source, target)
    assert edits
    mended = written(target, edits, out)
    values = pictures(source.path)
    assert difference(run(mended, values), source.run(values)) < 1e-5


@pytest.mark.parametrize("form", FORMATS)
def test_without_edits_the_bytes_are_the_same(form: str, sound: dict[str, View], out: Path) -> None:
    assert written(sound[form], [], out).read_bytes() == sound[form].path.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_other_tensors_stay_as_they_are(form: str, sound: dict[str, View], out: Path) -> None:
    from planting import plant
    from planting.editors import open_network

    source = sound[form]
    faulty = out.with_name(f"faulty{source.path.suffix}")
    (record,) = plant(source.path, "weights_scaled", 1, faulty)
    target = view(faulty)
    networks = [open_network(path) for path in (source.path, faulty, written(target, cure(source, target), out))]
    for ours, theirs, mended in zip(*(network.parameters() for network in networks), strict=True):
        assert ours == theirs == mended
        wanted, before, after = (
            network.read(each) for network, each in zip(networks, (ours, theirs, mended), strict=True)
        )
        np.testing.assert_allclose(after, wanted, rtol=1e-6, atol=1e-7)
        if ours.tensor not in record.names:
            assert np.array_equal(before, after)
    assert [each.name for each in networks[0].operators()] == [each.name for each in networks[2].operators()]


def test_only_the_bytes_of_a_restored_tensor_change_in_a_flatbuffer(tinies: dict[str, View], out: Path) -> None:
    source = tinies["float32"]
    layer = next(layer for layer in source.graph if layer.kind == "dense")
    bias = layer.parameters["bias"].values + 1
    before, after = (
        source.path.read_bytes(),
        written(source, [SetParameters(layer.id, {"bias": bias})], out).read_bytes(),
    )
    assert len(before) == len(after)
    places = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert 0 < places[-1] - places[0] < bias.nbytes


@pytest.mark.parametrize("way", ["dynamic", "float16"])
def test_quantized_weights_are_restored_to_the_float_models(way: str, tinies: dict[str, View], out: Path) -> None:
    source, target = tinies["float32"], tinies[way]
    mended = written(target, restoring(source.graph, target.graph), out)
    values = tiny.pictures()
    assert difference(target.run(values), source.run(values)) > 1e-4
    assert difference(run(mended, values), source.run(values)) < 1e-6


def test_a_layer_of_an_integer_model_is_computed_in_float_between_its_neighbours(
    tinies: dict[str, View], out: Path
) -> None:
    target = tinies["int8"]
    layer = next(layer for layer in target.graph if layer.kind == "dense")
    edit = SetParameters(layer.id, {name: -each.values for name, each in layer.parameters.items()})
    mended = written(target, [edit], out)
    wanted = evaluate.run(edit.apply(target.graph), {target.graph.inputs[0]: tiny.pictures()})
    (found,) = run(mended, tiny.pictures())
    answers = found.argmax(axis=1) == wanted[target.graph.outputs[0]].argmax(axis=1)
    assert answers.mean() > 0.8
    assert not np.array_equal(found.argmax(axis=1), target.run(tiny.pictures())[0].argmax(axis=1))


@pytest.mark.parametrize("form", FORMATS)
def test_edits_of_every_sort_mean_in_the_file_what_they_mean_in_the_graph(
    form: str, sound: dict[str, View], out: Path
) -> None:
    source = sound[form]
    values = pictures(source.path)
    start = {n: source.graph[n].view(values) for n in source.graph.inputs}
    for number, edits in enumerate(_edits(source)):
        graph = source.graph
        for edit in edits:
            graph = edit.apply(graph)
        found = evaluate.run(graph, start)
        path = written(source, edits, out.with_name(f"out_{number}"))
        wanted = [found[name] for name in graph.outputs]
        assert difference([a.reshape(b.shape) for a, b in zip(run(path, values), wanted, strict=True)], wanted) < 1e-5


def _edits(source: View) -> list[list[Edit]]:
    """Some edits of each sort that fit the branchy model."""
    graph = source.graph
    clip = next(layer for layer in graph if layer.kind == "clip")
    convolution = next(layer for layer in graph if layer.kind == "convolution")
    count = convolution.shape[-1]
    scale = {
        "scale": Parameter(np.linspace(0.5, 1, count, dtype=np.float32)),
        "shift": Parameter(np.ones(count, np.float32)),
    }
    behind = Layer("scaled", "affine", (convolution.id,), convolution.shape, parameters=scale)
    reading = tuple(dict.fromkeys(graph.readers[convolution.id]))
    before = Layer("bent", "tanh", (graph.inputs[0],), graph[graph.inputs[0]].shape)
    end, (_, height, width, depth) = graph[graph.outputs[0]], before.shape
    spans = {"begin": (0, height - 1, 0, 0), "end": (1, -height - 1, width, depth), "strides": (1, -1, 1, 1)}
    mixing = {"weights": Parameter(np.eye(depth, dtype=np.float32)[::-1, None, None].transpose(1, 2, 0, 3))}
    window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    mixing["bias"] = Parameter(np.zeros(depth, np.float32))
    classes = {"weights": Parameter(np.eye(10, dtype=np.float32)[:, ::-1]), "bias": Parameter(np.zeros(10, np.float32))}
    zoomed = {"method": "nearest_neighbor", "coordinates": "half_pixel", "rounding": "round_prefer_floor"}
    zoomed |= {"size": (height, width), "scales": (1.7, 1.7), "cubic_alpha": 0.0}
    bent = {**zoomed, "method": "cubic", "coordinates": "asymmetric", "rounding": "", "cubic_alpha": -0.75}
    normal = Layer("normal", "normalize", (convolution.id,), convolution.shape)
    back = {"strides": (1, 1), "dilation": (1, 1), "groups": 1}
    taps = {"weights": Parameter(np.random.default_rng(4).standard_normal((3, 3, count, count)).astype(np.float32))}
    taps["bias"] = Parameter(np.ones(count, np.float32))
    spread = Layer("spread", "transposed_convolution", (convolution.id,), convolution.shape, parameters=taps)
    return [
        [Insert(replace(spread, hyperparameters=back | {"padding": ((1, 1), (1, 1))}), reading)],
        [Insert(replace(spread, hyperparameters=back | {"padding": ((2, 0), (0, 2))}), reading)],
        [Insert(replace(normal, hyperparameters={"axes": (1, 2), "epsilon": 0.1}), reading)],
        [Insert(replace(normal, hyperparameters={"axes": (1, 2, 3), "epsilon": 0.1, "groups": 2}), reading)],
        [Insert(replace(before, kind="swish"))],
        [Insert(replace(before, kind="hard_swish"))],
        [Insert(replace(before, kind="slice", hyperparameters=spans))],
        [Insert(replace(before, kind="resize", hyperparameters=zoomed))],
        [Insert(replace(before, kind="resize", hyperparameters=bent))],
        [Insert(replace(before, kind="convolution", hyperparameters=window, parameters=mixing))],
        [Insert(Layer("renumbered", "dense", (end.id,), end.shape, parameters=classes))],
        [SetHyperparameters(clip.id, {"minimum": -0.25, "maximum": 0.75})],
        [Insert(behind)],
        [Insert(before), Insert(replace(behind, kind="leaky_relu", hyperparameters={"slope": 0.3}, parameters={}))],
        [Insert(Layer("doubled", "add", (convolution.id, convolution.id), convolution.shape), reading)],
        [Insert(Layer("last", "sigmoid", (end.id,), end.shape))],
        [Remove(clip.id, graph.readers[clip.id])],
        [SetOutputs(graph.outputs[::-1])],
        [SetParameters(convolution.id, {"bias": np.zeros(count, np.float32)}), Insert(behind)],
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_outputs_keep_their_names(form: str, sound: dict[str, View], out: Path) -> None:
    source = sound[form]
    end = source.graph[source.graph.outputs[0]]
    mended = view(written(source, [Insert(Layer("last", "tanh", (end.id,), end.shape))], out))
    assert names(mended) == names(source)


def names(source: View) -> list[str]:
    """What the model's outputs are called."""
    from planting.editors import open_network

    return open_network(source.path).outputs()


def test_the_model_itself_is_never_written_over(tinies: dict[str, View]) -> None:
    source = tinies["float32"]
    with pytest.raises(UsageError, match="never overwritten"):
        WRITERS["tflite"](source.model, source.graph, [], source.path)


def test_what_the_format_cannot_hold_is_refused_and_nothing_written(sound: dict[str, View], out: Path) -> None:
    source = sound["tflite"]
    convolution = next(layer for layer in source.graph if layer.kind == "convolution")
    settings = {"beta": 1.0, "threshold": 0.5}
    layer = Layer("soft", "softplus", (convolution.id,), convolution.shape, hyperparameters=settings)
    with pytest.raises(EditRefusedError, match=r"its input from 0\.5 on"):
        written(source, [Insert(layer)], out)
    with pytest.raises(EditRefusedError, match="does not fit the model"):
        written(source, [Remove("nobody", ())], out)
    assert not list(out.parent.glob("out*"))


def test_a_layer_between_an_unknown_operator_and_its_input_reaches_it(tmp_path: Path) -> None:
    for name in ("tvm", "onnx", "onnxruntime", "torch"):
        pytest.importorskip(name)
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Tanh", ["x"], ["bent"], name="bent"),
        helper.make_node("LpNormalization", ["bent"], ["unit"], name="unit", axis=1, p=2),
        helper.make_node("Relu", ["unit"], ["y"], name="y"),
    ]
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 16, 16]) for name in ("x", "y")]
    path = tmp_path / "opaque.onnx"
    model = helper.make_model(helper.make_graph(nodes, "opaque", sides[:1], sides[1:]), ir_version=8)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", 17)])
    onnx.save(model, path)
    target = view(path)
    tanh = next(layer for layer in target.graph if layer.kind == "tanh")
    assert any(layer.kind == "opaque" for layer in target.graph)
    mended = written(target, [Insert(replace(tanh, id="again", inputs=(tanh.id,)))], tmp_path / "out")
    values = tiny.pictures(1, layout="NCHW")
    bent = np.tanh(np.tanh(values))
    wanted = np.maximum(bent / np.linalg.norm(bent, axis=1, keepdims=True), 0)
    assert np.allclose(run(mended, values)[0], wanted, atol=1e-5)


def test_what_half_precision_holds_is_stored_so_where_it_was_quantized(tinies: dict[str, View], out: Path) -> None:
    quantized = tinies["dynamic"]
    names = quantized.graph.encodings
    layer = next(
        item
        for item in quantized.graph
        if "weights" in item.parameters and any(name in names for name in item.parameters["weights"].native)
    )
    exact = layer.parameters["weights"].values + np.float32(1e-4)
    sizes = {}
    for name, values in (("half", exact.astype(np.float16).astype(np.float32)), ("full", exact)):
        place = written(quantized, [SetParameters(layer.id, {"weights": values})], out.with_name(name))
        assert any(
            np.array_equal(item.parameters["weights"].values, values)
            for item in view(place).graph
            if "weights" in item.parameters
        )
        assert np.isfinite(run(place, pictures(place))[0]).all()
        sizes[name] = place.stat().st_size
    assert sizes["half"] < sizes["full"]


def test_a_layer_behind_an_input_that_is_read_in_its_own_layout_is_written(out: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "scale", "shift"], ["even"], name="even"),
        helper.make_node("Conv", ["even", "weights"], ["y"], name="conv"),
    ]
    values = {"scale": np.ones(3, np.float32), "shift": np.zeros(3, np.float32), "weights": weights}
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 6, 6]), ("y", [1, 4, 4, 4]))
    ]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in values.items()]
    )
    path = out.with_name("read_as_it_is.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    target = view(path)
    start = target.graph[target.graph.inputs[0]]
    edit = Insert(
        Layer(
            "corrected",
            "affine",
            (start.id,),
            start.shape,
            parameters={n: Parameter(np.array(v, np.float32)) for n, v in (("scale", [1, 2, 3]), ("shift", [1, 0, 1]))},
        )
    )
    mended = written(target, [edit], out)
    pixels = np.random.default_rng(2).standard_normal((1, 3, 6, 6)).astype(np.float32)
    fed = pixels * np.array([1, 2, 3], np.float32).reshape(3, 1, 1) + np.array([1, 0, 1], np.float32).reshape(3, 1, 1)
    assert difference(run(mended, pixels), target.run(fed)) < 1e-5


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["divisor", "uncounted"])
def test_an_average_with_a_divisor_of_its_own_is_multiplied(
    name: str, form: str, sound: dict[str, View], out: Path
) -> None:
    target = sound[form]
    pool = next(layer for layer in target.graph if layer.kind == "average_pool")
    own = 2 if name == "divisor" else pool["padding"]
    edit = Substitute(replace(pool, hyperparameters={**pool.hyperparameters, "count_padding": True, name: own}))
    mended = written(target, [edit], out)
    pixels, start = pictures(target.path), target.graph.inputs[0]
    wanted = evaluate.run(edit.apply(target.graph), {start: target.graph[start].view(pixels)})
    for found, output in zip(run(mended, pixels), target.graph.outputs, strict=True):
        assert np.allclose(target.graph[output].view(found), wanted[output], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("settings", [{"exclusive": False, "reverse": False}, {"exclusive": True, "reverse": True}])
def test_a_new_cumulative_sum_runs_as_it_is_told(
    settings: dict[str, bool], form: str, sound: dict[str, View], out: Path
) -> None:
    target = sound[form]
    pool = next(layer for layer in target.graph if layer.kind == "average_pool")
    total = Layer("total", "cumsum", (pool.id,), pool.shape, hyperparameters={"axis": 2, **settings})
    edit = Insert(total)
    mended = written(target, [edit], out)
    pixels, start = pictures(target.path), target.graph.inputs[0]
    wanted = evaluate.run(edit.apply(target.graph), {start: target.graph[start].view(pixels)})
    for found, output in zip(run(mended, pixels), target.graph.outputs, strict=True):
        assert np.allclose(target.graph[output].view(found), wanted[output], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "symmetric"])
def test_a_new_border_is_filled_as_it_is_told(mode: str, form: str, sound: dict[str, View], out: Path) -> None:
    target = sound[form]
    pool = next(layer for layer in target.graph if layer.kind == "average_pool")
    batch, height, width, depth = pool.shape
    values = {"padding": ((0, 0), (2, 1), (0, 2), (0, 0)), "mode": mode, "value": 0.0}
    wider = Layer("wider", "pad", (pool.id,), (batch, height + 3, width + 2, depth), hyperparameters=values)
    cut = {"begin": (0, 0, 2, 0), "end": (batch, height, width + 2, depth), "strides": (1, 1, 1, 1)}
    end = Layer("end", "slice", ("wider",), pool.shape, hyperparameters=cut)
    edits: list[Edit] = [Insert(wider), Insert(end)]
    mended = written(target, edits, out)
    pixels, start = pictures(target.path), target.graph.inputs[0]
    graph = edits[1].apply(edits[0].apply(target.graph))
    wanted = evaluate.run(graph, {start: target.graph[start].view(pixels)})
    for found, output in zip(run(mended, pixels), target.graph.outputs, strict=True):
        assert np.allclose(target.graph[output].view(found), wanted[output], rtol=1e-4, atol=1e-5)


def test_a_shape_that_a_file_only_guesses_behind_an_open_batch_stands_in_no_edits_way(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    import tensorflow as tf

    picture = keras.layers.Input((6, 6, 3))
    larger = keras.layers.UpSampling2D(2, interpolation="nearest")(keras.layers.Conv2D(4, 3)(picture))
    model = keras.Model(picture, keras.layers.GlobalMaxPooling2D()(larger))
    path = tmp_path / "open.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    source = view(path)
    last = [layer for layer in source.graph if layer.kind == "reshape" and layer.shape == (1, 8, 8, 4)][-1]
    bent = Layer("bent", "tanh", (last.id,), last.shape)
    edits: list[Edit] = [Insert(bent)]
    found = evaluate.run(edits[0].apply(source.graph), {source.graph.inputs[0]: pictures(path)})
    wanted = [found[name] for name in edits[0].apply(source.graph).outputs]
    out = written(source, edits, tmp_path / "out")
    assert difference(run(out, pictures(path)), wanted) < 1e-5
