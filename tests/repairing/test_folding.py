"""Effective parameters are brought about by the native constants that make them up, whichever those are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfault.relax.edits import SetParameters
from convfault.relax.graph import Layer, Parameter
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.document import Node
from convfault.repairing.writers.folding import Put, Site, Step, close, effective, solve
from tests import tiny
from tests.repairing.views import View, difference, restoring, run, view

NODE = Node("node", "Conv", ["x", "w", "b"], ["y"], None)


def layer_of(site: Site, **hyperparameters: Any) -> Layer:
    """A convolution that has the site's effective parameters."""
    plain = Layer("c", "convolution", ("x",), (1, 4, 4, len(site.bias)), hyperparameters=hyperparameters)
    weights, bias = effective(site, plain)
    return Layer("c", "convolution", ("x",), plain.shape, hyperparameters=hyperparameters, parameters={
        "weights": Parameter(weights), "bias": Parameter(bias)
    })  # fmt: skip


def site_of(random: np.random.Generator, groups: int, steps: int, bias: bool) -> Site:
    def drawn(*shape: int) -> np.ndarray:
        return np.asarray(random.standard_normal(shape), np.float64)

    def step(count: int) -> Step:
        scale = drawn(count) + np.sign(drawn(count)) * 2
        return Step(
            scale, drawn(count),
            put_scale=lambda new: [Put(NODE, 3, new.scale)], put_shift=lambda new: [Put(NODE, 4, new.shift)],
        )  # fmt: skip

    return Site(
        drawn(3, 3, 2, 4 * groups), drawn(4 * groups) if bias else np.zeros(4 * groups),
        [step(2 * groups)] * (steps > 1), [step(4 * groups)] * (steps > 0),
        put_weights=lambda values: [Put(NODE, 1, values)], put_bias=lambda values: [Put(NODE, 2, values)],
    )  # fmt: skip


def test_a_bias_that_is_to_change_a_little_changes_and_one_that_is_not_stays() -> None:
    site = site_of(np.random.default_rng(1), 1, 0, True)
    layer = layer_of(site, groups=1)
    present = {name: parameter.values for name, parameter in layer.parameters.items()}
    little = present["bias"] + 1e-5 * np.abs(present["bias"]).max()
    puts = solve(site, layer, {**present, "bias": little})
    assert puts is not None
    assert [put.slot for put in puts] == [2]
    np.testing.assert_allclose(puts[0].values, little, rtol=1e-6)
    assert solve(site, layer, present) == []


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), groups=st.integers(1, 3), steps=st.integers(0, 2), bias=st.booleans())
def test_the_solution_gives_the_wanted_parameters(seed: int, groups: int, steps: int, bias: bool) -> None:
    random = np.random.default_rng(seed)
    site = site_of(random, groups, steps, bias)
    layer = layer_of(site, groups=groups)
    other = site_of(np.random.default_rng(seed + 1), groups, steps, bias)
    wanted = dict(zip(("weights", "bias"), effective(other, layer), strict=True))
    puts = solve(site, layer, wanted)
    assert puts is not None
    values = {put.slot: put.values for put in puts}
    behind = [
        Step(values.get(3, each.scale), values.get(4, each.shift), each.put_scale, each.put_shift)
        for each in site.behind
    ]
    found = effective(Site(values.get(1, site.weights), values.get(2, site.bias), site.before, behind), layer)
    assert close(found[0], wanted["weights"])
    assert close(found[1], wanted["bias"])


@pytest.mark.parametrize("part", ["scale", "weights"])
def test_the_constant_that_explains_the_difference_is_the_one_that_changes(part: str) -> None:
    site = site_of(np.random.default_rng(3), 1, 1, True)
    layer = layer_of(site, groups=1)
    weights = layer.parameters["weights"].values.copy()
    if part == "scale":
        weights *= np.arange(1, 5)
    else:
        weights[0, 0, 0, 0] += 1
    puts = solve(site, layer, {"weights": weights, "bias": layer.parameters["bias"].values})
    assert puts is not None
    assert {put.slot for put in puts} & {1, 3} == {3 if part == "scale" else 1}


def test_constants_that_do_not_give_the_layers_parameters_are_left_alone() -> None:
    site = site_of(np.random.default_rng(0), 1, 1, True)
    layer = layer_of(site_of(np.random.default_rng(1), 1, 1, True), groups=1)
    assert solve(site, layer, {name: each.values * 2 for name, each in layer.parameters.items()}) is None


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> View:
    for name in ("tvm", "onnx", "onnxruntime", "torch"):
        pytest.importorskip(name)
    return view(tiny.onnx_model(tmp_path_factory.mktemp("sound")))


def damaged(sound: View, path: Path, external: bool = False) -> View:
    """The tiny model with other statistics in a normalization and other weights in a product."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(sound.path)
    for tensor in proto.graph.initializer:
        if tensor.name in {"features.0.1.running_var", "classifier.weight"}:
            values = numpy_helper.to_array(tensor) * np.float32(1.5)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    beside = {"save_as_external_data": True, "location": f"{path.name}.data", "size_threshold": 0} if external else {}
    onnx.save(proto, path, **beside)
    return view(path)


@pytest.mark.parametrize("external", [False, True])
def test_a_normalization_behind_a_convolution_is_mended_where_it_stands(
    external: bool, sound: View, tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    target, out = damaged(sound, tmp_path / "faulty.onnx", external), tmp_path / "out.onnx"
    changes = WRITERS["onnx"](target.model, target.graph, restoring(sound.graph, target.graph), out)
    pictures = tiny.pictures(layout="NCHW")
    assert difference(target.run(pictures), sound.run(pictures)) > 1e-2
    assert difference(run(out, pictures), sound.run(pictures)) < 1e-5
    protos = [onnx.load(path).graph for path in (target.path, out)]
    assert [node.SerializeToString() for node in protos[0].node] == [
        node.SerializeToString() for node in protos[1].node
    ]
    places = {change.place for change in changes}
    for before, after in zip(*(proto.initializer for proto in protos), strict=True):
        same = np.array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
        assert same != (before.name in places)
    assert (tmp_path / "out.onnx.data").exists() == external


def test_a_constant_that_two_layers_share_changes_for_one_of_them_only(tmp_path: Path) -> None:
    for name in ("tvm", "onnx", "onnxruntime", "torch"):
        pytest.importorskip(name)
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((3, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [data, "w"], [made], name=made, pads=[1] * 4)
        for data, made in (("x", "one"), ("bent", "two"))
    ]
    nodes.insert(1, helper.make_node("Tanh", ["one"], ["bent"], name="bent"))
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "two")]
    graph = helper.make_graph(nodes, "shared", sides[:1], sides[1:], [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "shared.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    target = view(path)
    first = next(layer for layer in target.graph if layer.kind == "convolution")
    edit = SetParameters(first.id, {"weights": first.parameters["weights"].values * 2})
    out = tmp_path / "out.onnx"
    WRITERS["onnx"](target.model, target.graph, [edit], out)
    mended = view(out).graph
    found = [layer.parameters["weights"].values for layer in mended if layer.kind == "convolution"]
    assert np.array_equal(found[0], first.parameters["weights"].values * 2)
    assert np.array_equal(found[1], first.parameters["weights"].values)


def test_a_product_where_the_graph_has_a_convolution_is_not_solved_and_raises_nothing() -> None:
    random = np.random.default_rng(2)
    site = Site(random.standard_normal((6, 4)), np.zeros(4), put_weights=lambda values: [Put(NODE, 1, values)])
    weights, bias = (random.standard_normal(shape) for shape in ((1, 1, 6, 4), (4,)))
    parameters = {"weights": Parameter(weights), "bias": Parameter(bias)}
    layer = Layer("c", "convolution", ("x",), (1, 4, 4, 4), hyperparameters={"groups": 1}, parameters=parameters)
    assert solve(site, layer, {"weights": weights * 2, "bias": bias}) is None
