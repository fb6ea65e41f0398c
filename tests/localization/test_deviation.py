"""Wrong values: the smallest piece of a model whose conversion still answers otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.cache import Cache
from convfault.converters import route as routes
from convfault.fault import Fault
from convfault.frameworks import runs
from convfault.localization.suspect import Suspect
from convfault.localization.tool import bench, deviation, judging
from convfault.localization.tool.deviation import Deviant, Hunt, Limits
from convfault.localization.tool.exhibit import Exhibit
from convfault.localization.tool.outline import Outline
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.progress import Silent
from tests import tiny

SOUND = "keras>tflite:tflite_converter"
QUANTIZED = "keras>tflite:tflite_converter[optimizations=DEFAULT]"


def fault(*names: str, harmless: bool = False) -> Fault:
    evidence = {"native_names": {"source": list(names)}}
    return Fault("F1", "parameters", 1, "rounding", "Rounded.", "Don't.", evidence=evidence, harmless=harmless)


def hunt(folder: Path, model: Model, route: str, *faults: Fault) -> Hunt:
    (hop,) = routes.parse(route).hops
    cache = Cache(folder / "cache")
    model = model.with_signature(runs.inspect(model, model.framework, cache))
    assert model.signature is not None
    assert model.preprocessing is not None
    inputs = {model.signature.inputs[0].name: tiny.pictures(1, layout=model.preprocessing.layout)}
    return Hunt(hop, model, inputs, faults, cache)


def found(folder: Path, wanted: Hunt) -> Deviant | None:
    (folder / "work").mkdir()
    return deviation.smallest(wanted, folder / "work")


def network(folder: Path) -> Model:
    return Model(str(tiny.keras_model(folder)), "keras", preprocessing=Preprocessing(size=(16, 16), layout="NHWC"))


def resizing(folder: Path, mode: str) -> Model:
    """Convolution → Resize in a coordinate mode → Relu; onnx2torch 1.5.15 takes every mode for half_pixel."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    arrays = {"w": random.standard_normal((3, 3, 3, 3)).astype(np.float32), "scales": np.float32([1, 1, 2, 2])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node(
            "Resize", ["c", "", "scales"], ["r"], name="grow", mode="linear", coordinate_transformation_mode=mode
        ),
        helper.make_node("Relu", ["r"], ["y"], name="relu"),
    ]
    ends = {"x": [1, 3, 16, 16], "y": [1, 3, 32, 32]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items())
    weights = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "resizing", [x], [y], weights)
    path = folder / "resizing.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Model(str(path), "onnx", preprocessing=Preprocessing(size=(16, 16), layout="NCHW"))


def test_the_layer_that_a_fault_names_is_tried_first_and_alone(tmp_path: Path) -> None:
    named = fault("pointwise", "pointwise/kernel")
    result = found(tmp_path, hunt(tmp_path, network(tmp_path), QUANTIZED, fault("stem", harmless=True), named))
    assert result is not None
    assert (result.shrunk.nodes, result.shrunk.of, result.shrunk.trials) == ((("Conv2D", "pointwise"),), 9, 1)
    assert result.fault is named
    assert str(result.shrunk) == "smallest: 1 of 9 nodes, Conv2D"
    assert result.values.error > deviation.CLEARLY * result.values.limit > 0
    assert result.values.inputs[0].shape == (1, 7, 7, 16)
    assert result.values.wanted.shape == (1, 7, 7, 64)


def test_a_sound_conversion_has_no_piece_that_deviates(tmp_path: Path) -> None:
    assert (
        found(tmp_path, hunt(tmp_path, network(tmp_path), "keras>tflite:tflite_converter", fault("pointwise"))) is None
    )


def test_a_wrong_operator_is_found_where_no_fault_names_it(tmp_path: Path) -> None:
    result = found(tmp_path, hunt(tmp_path, resizing(tmp_path, "asymmetric"), "onnx>torch:onnx2torch", fault("conv")))
    assert result is not None
    assert result.shrunk.nodes == (("Resize", "grow"),)


def test_its_negative_twin_is_sound(tmp_path: Path) -> None:
    wanted = hunt(tmp_path, resizing(tmp_path, "half_pixel"), "onnx>torch:onnx2torch", fault("grow"))
    assert found(tmp_path, wanted) is None


def test_no_trial_is_made_beyond_the_limit(tmp_path: Path) -> None:
    wanted = replace(
        hunt(tmp_path, network(tmp_path), QUANTIZED, fault("stem"), fault("pointwise")), limits=Limits(60, 0)
    )
    assert found(tmp_path, wanted) is None


@pytest.mark.parametrize("mode", ["asymmetric", "half_pixel"])
def test_an_exhibit_becomes_the_small_one_or_stays_the_whole_one(tmp_path: Path, mode: str) -> None:
    (tmp_path / "work").mkdir()
    model = resizing(tmp_path, mode)
    wanted = hunt(tmp_path, model, "onnx>torch:onnx2torch", fault("grow"))
    whole = Exhibit(model, {"tool": "onnx2torch"}, Suspect("tool", "hop", "They differ.", ""))
    small = deviation.smaller(whole, wanted, Silent(), tmp_path / "work")
    if mode == "half_pixel":
        assert small is None
        return
    assert small is not None
    assert small.shrunk is not None
    assert small.values is not None
    assert (small.shrunk.operators, small.suspect.explanation, small.smaller) == ("Resize", "Rounded.", None)
    assert small.model.size_bytes < model.size_bytes


DIAMOND = Outline(
    (("Conv", "a"), ("Relu", "b"), ("Conv", "c"), ("Add", "d"), ("Relu", "e")),
    (("a:0",), ("b:0",), ("c:0",), ("d:0",), ("e:0",)),
    ((), (0,), (0,), (1, 2), (3,)),
)


def test_guesses_grow_along_the_edges_and_not_in_order_alone() -> None:
    guesses = list(dict.fromkeys(DIAMOND.guesses((1,))))
    assert guesses[:3] == [(1,), (0, 1, 3), (0, 1, 2, 3)]
    assert guesses[-1] == (0, 1, 2, 3, 4)


def test_a_fault_names_nodes_and_tensors_and_its_heart_comes_first() -> None:
    named = replace(fault("d:0", "weights"), source_location="e")
    assert DIAMOND.places(named) == (4, 3)
    assert DIAMOND.places(fault("weights")) == ()


def test_behind_another_hop_the_names_of_the_target_lead_to_a_node() -> None:
    named = replace(fault(), evidence={"native_names": {"source": ["keras_name"], "target": ["b;weights"]}})
    inner = replace(DIAMOND, nodes=tuple((kind, f"Call/{name}") for kind, name in DIAMOND.nodes))
    assert inner.places(named) == (1,)


def test_the_output_that_is_off_the_most_is_compared_with_the_nearest_of_the_target() -> None:
    first, second = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    frame = judging.Values((), first, Model("m", "onnx"), (), 0.0, 0.0)
    values = judging.measured(frame, [first, second], [second + 3, first], ([1e-6, 1e-6], ""))
    assert values is not None
    assert (values.source_output, values.output, values.error) == (1, 1, 1.0)
    assert judging.measured(frame, [first], [np.zeros((1, 3))], ([1e-6], "")) is None
    broken = judging.measured(frame, [first], [first * np.nan], ([1e-6], ""))
    assert broken is not None
    assert broken.error == float("inf")


def work(count: int) -> Callable[..., Any]:
    """For a bench: adds, raises, or kills its process."""

    def act(number: int) -> int:
        if number == 0:
            raise ValueError(number)
        if number < 0:
            os.abort()
        return number + count

    return act


@pytest.mark.parametrize("trouble", [0, -1])
def test_a_bench_goes_on_after_work_that_raises_or_kills_it(tmp_path: Path, trouble: int) -> None:
    job = bench.job(f"{__name__}:work", {"count": 40}, tmp_path / "bench")
    with bench.Bench(job, time.monotonic() + 60) as one:
        assert [one.ask(number=number) for number in (1, trouble, 2)] == [41, None, 42]


def test_a_bench_whose_time_is_up_answers_nothing(tmp_path: Path) -> None:
    with bench.Bench(bench.job(f"{__name__}:work", {"count": 0}, tmp_path / "bench"), time.monotonic()) as one:
        assert one.ask(number=1) is None
