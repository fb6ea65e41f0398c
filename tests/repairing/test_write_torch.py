"""Edits written to exported programs: torch then answers as the edited graph does, and the rest is as it was."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convfault.errors import TrustError, UsageError
from convfault.frameworks.torch import TORCH
from convfault.model import Model
from convfault.relax import evaluate
from convfault.relax.edits import Edit, Insert, Remove, SetHyperparameters, SetOutputs, SetParameters
from convfault.relax.graph import Layer, Parameter
from convfault.repairing.writers import WRITERS
from convfault.repairing.writers.change import Change, EditRefusedError
from tests import tiny
from tests.planting import branchy
from tests.repairing.views import View, cure, difference, pictures, view

KINDS = (
    "weights_height_width_swapped", "weights_nan", "bias_dropped", "dense_rows_rolled", "folding_epsilon",
    "concat_axis_changed", "mean_axes_changed", "leaky_slope_changed", "pad_value_changed", "clip_bound_removed",
    "clip_bound_added", "dilation_changed", "stride_changed", "pool_size_changed", "average_pool_padding_counted",
    "resize_method_changed", "activation_missing", "activation_extra", "activation_replaced", "activation_moved",
    "softmax_removed", "residual_bypassed", "addition_replaced", "pool_replaced", "concat_inputs_swapped",
    "branch_rewired", "transpose_inserted", "outputs_reordered", "output_extra", "layer_missing",
)  # fmt: skip
"""Planted kinds that between them need every edit there is."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> View:
    """The branchy model as an exported program with a free batch."""
    for name in ("torch", "tvm"):
        pytest.importorskip(name)
    return view(branchy.torch_model(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> View:
    """The branchy model for one picture at a time: what is planted into it fixes no size that was open."""
    for name in ("torch", "tvm"):
        pytest.importorskip(name)
    import torch

    path = tmp_path_factory.mktemp("fixed") / "branchy.pt2"
    torch.export.save(torch.export.export(branchy.torch_module(), (torch.zeros(1, 3, 16, 16),)), path)
    return view(path)


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A convolution and a relu from pictures of 8 x 6 to pictures with four channels."""
    for name in ("torch", "tvm"):
        pytest.importorskip(name)
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    return exported(module, tmp_path_factory.mktemp("carrier") / "carrier.pt2", 3, 8, 6)


def exported(module: Any, path: Path, *shape: int, decomposed: bool = False) -> View:
    """A module with weights of a seed as a program with a free batch."""
    import torch

    torch.manual_seed(3)
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            torch.nn.init.uniform_(value, 0.2, 0.9)
    example = torch.zeros(2, *shape, dtype=next(module.parameters()).dtype)
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=sizes)
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    return view(path)


def written(target: View, edits: list[Edit], out: Path) -> tuple[Path, tuple[Change, ...]]:
    path = out.with_suffix(".pt2")
    return path, WRITERS["pt2"](target.model, target.graph, edits, path)


def answers(path: Path, values: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What the native runtime answers, through convfault's own adapter."""
    with TORCH.open(Model.from_path(str(path))) as session:
        trace = session.run({session.signature.inputs[0].name: values})
    return [trace.tensors[name] for name in trace.outputs]


def expected(target: View, edits: list[Edit], values: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What the edited graph answers."""
    graph = target.graph
    for edit in edits:
        graph = edit.apply(graph)
    found = evaluate.run(graph, {name: graph[name].view(values) for name in graph.inputs})
    return [found[name] for name in graph.outputs]


def agree(target: View, edits: list[Edit], out: Path, values: NDArray[np.float32]) -> None:
    """Whether the written file answers as the edited graph does."""
    path, _ = written(target, edits, out)
    wanted = expected(target, edits, values)
    found = answers(path, values)
    order = (0, 2, 3, 1)
    pairs = [(a.transpose(order) if a.ndim == 4 else a, b) for a, b in zip(found, wanted, strict=True)]
    assert difference([a.reshape(b.shape) for a, b in pairs], wanted) < 1e-5


def program_of(path: Path) -> Any:
    import torch

    return torch.export.load(path)


def of_kind(target: View, kind: str) -> Layer:
    return next(layer for layer in target.graph if layer.kind == kind)


# planted faults


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_mended_in_the_program(kind: str, fixed: View, out: Path) -> None:
    from planting import plant

    faulty = out.with_name("faulty.pt2")
    plant(fixed.path, kind, 0, faulty)
    target = view(faulty)
    edits = cure(fixed, target)
    assert edits
    values = pictures(fixed.path)
    mended, _ = written(target, edits, out)
    assert difference(answers(mended, values), answers(fixed.path, values)) < 1e-5


def test_a_sound_program_needs_no_edit_and_its_bytes_stay(source: View, out: Path) -> None:
    assert not cure(source, source)
    path, changes = written(source, [], out)
    assert path.read_bytes() == source.path.read_bytes()
    assert not changes


def test_other_tensors_nodes_and_arguments_stay_as_they_are(source: View, out: Path) -> None:
    layer = of_kind(source, "convolution")
    edit = SetParameters(layer.id, {"weights": layer.parameters["weights"].values * 2})
    path, changes = written(source, [edit], out)
    before, after = program_of(source.path), program_of(path)
    changed = {change.place for change in changes}
    assert before.state_dict.keys() == after.state_dict.keys()
    same = {name for name, value in before.state_dict.items() if value.equal(after.state_dict[name])}
    assert same == before.state_dict.keys() - changed
    assert changed
    assert str(before.graph) == str(after.graph)
    metas = [[node.meta.get("nn_module_stack") for node in each.graph.nodes] for each in (before, after)]
    assert metas[0] == metas[1]


def test_only_the_arguments_of_a_window_change(source: View, out: Path) -> None:
    layer = next(each for each in source.graph if each.kind == "convolution" and each["strides"] == (1, 1))
    place = layer.native.names[0]
    values = {"dilation": (2, 2), "padding": ((2, 2), (2, 2))}
    if layer.parameters["weights"].values.shape[0] == 1:
        pytest.fail("the first convolution of stride 1 must have a window")
    path, changes = written(source, [SetHyperparameters(layer.id, values)], out)
    assert {(change.place, change.attribute) for change in changes} == {(place, "padding"), (place, "dilation")}
    nodes = [str(program_of(each).graph).splitlines() for each in (source.path, path)]
    assert sum(before != after for before, after in zip(*nodes, strict=True)) == 1
    agree(source, [SetHyperparameters(layer.id, values)], out, pictures(source.path))


def test_arguments_of_other_operators_are_changed_in_place(source: View, out: Path) -> None:
    softmax, leaky = of_kind(source, "softmax"), of_kind(source, "leaky_relu")
    _, changes = written(source, [SetHyperparameters(leaky.id, {"slope": 0.25})], out)
    assert [str(change) for change in changes] == ["leaky_relu: negative_slope: 0.1 -> 0.25"]
    _, changes = written(source, [SetHyperparameters(softmax.id, {"axis": 0})], out)
    assert [str(change) for change in changes] == ["softmax: dim: 1 -> 0"]


# every sort of edit


def test_edits_of_every_sort_mean_in_the_file_what_they_mean_in_the_graph(source: View, out: Path) -> None:
    values = np.concatenate([pictures(source.path), -pictures(source.path)])  # the batch stays free
    for number, edits in enumerate(_edits(source)):
        agree(source, edits, out.with_name(f"out_{number}"), values)


def _edits(source: View) -> list[list[Edit]]:
    graph = source.graph
    clip, convolution, end = of_kind(source, "clip"), of_kind(source, "convolution"), graph[graph.outputs[0]]
    count = convolution.shape[-1]
    scale = {
        "scale": Parameter(np.linspace(0.5, 1, count, dtype=np.float32)),
        "shift": Parameter(np.ones(count, np.float32)),
    }
    behind = Layer("scaled", "affine", (convolution.id,), convolution.shape, parameters=scale)
    start = graph[graph.inputs[0]]
    before = Layer("bent", "tanh", (start.id,), start.shape)
    reading = tuple(dict.fromkeys(graph.readers[convolution.id]))
    classes = {"weights": Parameter(np.eye(10, dtype=np.float32)[:, ::-1]), "bias": Parameter(np.zeros(10, np.float32))}
    uneven = {"padding": ((0, 2), (2, 0))}
    inner = next(each for each in graph if each.kind == "convolution" and each["padding"] == ((1, 1), (1, 1)))
    return [
        [Insert(Layer("renumbered", "dense", (end.id,), end.shape, parameters=classes))],
        [SetHyperparameters(clip.id, {"minimum": -0.25, "maximum": 0.75})],
        [SetHyperparameters(inner.id, uneven)],
        [Insert(behind)],
        [Insert(before), Insert(replace(behind, kind="leaky_relu", hyperparameters={"slope": 0.3}, parameters={}))],
        [Insert(Layer("doubled", "add", (convolution.id, convolution.id), convolution.shape), reading)],
        [Insert(Layer("last", "sigmoid", (end.id,), end.shape))],
        [Remove(clip.id, graph.readers[clip.id])],
        [SetOutputs(graph.outputs[::-1])],
        [SetOutputs(graph.outputs[:1])],
        [SetParameters(convolution.id, {"bias": np.zeros(count, np.float32)}), Insert(behind)],
    ]


def test_outputs_keep_their_names_and_modules_theirs(source: View, out: Path) -> None:
    end = source.graph[source.graph.outputs[1]]
    path, _ = written(source, [Insert(Layer("last", "tanh", (end.id,), end.shape))], out)
    with TORCH.open(source.model) as before, TORCH.open(Model.from_path(str(path))) as after:
        assert after.signature == before.signature
        assert {spec.name for spec in before.tensors()} <= {spec.name for spec in after.tensors()}


def _square(size: int) -> dict[str, Any]:
    return {"size": (size, size), "strides": (2, 2), "dilation": (1, 1)}


NONE, ONE = ((0, 0), (0, 0)), ((1, 1), (1, 1))
SAME = (1, 8, 6, 4)
ROWS = {
    "weights": Parameter(np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)),
    "bias": Parameter(np.ones(5, np.float32)),
}
FILTERS = {
    "weights": Parameter(np.linspace(-1, 1, 144, dtype=np.float32).reshape(3, 3, 4, 4)),
    "bias": Parameter(np.ones(4, np.float32)),
}
SLOPES = {"slopes": Parameter(np.asarray([0.1, 0.2, 0.3, 0.4], np.float32))}
UPWARDS = {"method": "linear", "coordinates": "half_pixel", "rounding": "", "cubic_alpha": 0.0, "size": (16, 12)}
NEAREST = UPWARDS | {"method": "nearest_neighbor"}
LAYERS: tuple[tuple[str, dict[str, Any], tuple[int, ...], dict[str, Parameter]], ...] = (
    *((kind, {}, SAME, {}) for kind in ("abs", "ceil", "cos", "erf", "exp", "floor", "gelu", "gelu_tanh", "negative")),
    *((kind, {}, SAME, {}) for kind in ("hard_swish", "round", "selu", "sigmoid", "sign", "sin", "sqrt", "square")),
    *((kind, {}, SAME, {}) for kind in ("swish", "tanh")),
    ("elu", {"alpha": 0.5}, SAME, {}),
    ("softplus", {"beta": 1.0, "threshold": float("inf")}, SAME, {}),
    ("clip", {"minimum": -np.inf, "maximum": 1.0}, SAME, {}),
    ("prelu", {}, SAME, SLOPES),
    ("dense", {}, (1, 8, 6, 5), ROWS),
    ("convolution", {"strides": (1, 1), "dilation": (1, 1), "padding": ((0, 2), (2, 0)), "groups": 1}, SAME, FILTERS),
    ("transposed_convolution", {"strides": (2, 2), "dilation": (1, 1), "padding": ((1, 0), (1, 0)), "groups": 1},
     (1, 16, 12, 4), FILTERS),
    ("transposed_convolution", {"strides": (2, 2), "dilation": (1, 1), "padding": ((0, 1), (0, 1)), "groups": 1},
     (1, 16, 12, 4), FILTERS),
    ("max_pool", _square(3) | {"padding": ((0, 1), (0, 1))}, (1, 4, 3, 4), {}),
    ("max_pool", _square(2) | {"padding": NONE}, (1, 4, 3, 4), {}),
    ("average_pool", _square(3) | {"padding": ((0, 1), (0, 1)), "count_padding": False}, (1, 4, 3, 4), {}),
    ("average_pool", _square(3) | {"padding": ONE, "count_padding": True}, (1, 4, 3, 4), {}),
    ("average_pool", _square(3) | {"padding": ((1, 2), (1, 2)), "count_padding": True}, (1, 5, 4, 4), {}),
    ("average_pool", _square(3) | {"padding": ((1, 2), (1, 2)), "count_padding": True, "divisor": 5}, (1, 5, 4, 4), {}),
    ("average_pool", _square(3) | {"padding": ((1, 2), (1, 2)), "count_padding": True, "uncounted": ((0, 1), (0, 1))},
     (1, 5, 4, 4), {}),
    *((kind, {"axes": (1, 2), "keepdims": True}, (1, 1, 1, 4), {}) for kind in ("mean", "sum", "max")),
    *((kind, {"axes": (3,), "keepdims": True}, (1, 8, 6, 1), {}) for kind in ("min", "prod")),
    ("variance", {"axes": (3,), "keepdims": True}, (1, 8, 6, 1), {}),
    ("softmax", {"axis": 3}, SAME, {}),
    ("log_softmax", {"axis": 1}, SAME, {}),
    ("cumsum", {"axis": 1, "exclusive": False, "reverse": False}, SAME, {}),
    ("cumsum", {"axis": 3, "exclusive": True, "reverse": True}, SAME, {}),
    ("slice", {"begin": (0, 7, 1, 0), "end": (1, -9, 5, 4), "strides": (1, -1, 2, 1)}, (1, 8, 2, 4), {}),
    ("pad", {"padding": ((0, 0), (1, 0), (0, 2), (0, 1)), "mode": "constant", "value": 1.5}, (1, 9, 8, 5), {}),
    ("pad", {"padding": ((0, 0), (1, 0), (0, 2), (0, 0)), "mode": "reflect", "value": 0.0}, (1, 9, 8, 4), {}),
    ("pad", {"padding": ((0, 0), (1, 0), (0, 2), (0, 0)), "mode": "replicate", "value": 0.0}, (1, 9, 8, 4), {}),
    ("resize", UPWARDS, (1, 16, 12, 4), {}),
    ("resize", UPWARDS | {"coordinates": "align_corners"}, (1, 16, 12, 4), {}),
    ("resize", UPWARDS | {"coordinates": "asymmetric"}, (1, 16, 12, 4), {}),
    ("resize", UPWARDS | {"method": "cubic", "cubic_alpha": -0.75}, (1, 16, 12, 4), {}),
    ("resize", UPWARDS | {"method": "cubic", "cubic_alpha": -0.5}, (1, 16, 12, 4), {}),
    ("resize", NEAREST | {"coordinates": "asymmetric", "rounding": "floor"}, (1, 16, 12, 4), {}),
    ("resize", NEAREST | {"coordinates": "half_pixel", "rounding": "round_prefer_floor", "size": (5, 4)},
     (1, 5, 4, 4), {}),
    ("tile", {"repeats": (1, 2, 1, 1)}, (1, 16, 6, 4), {}),
    ("transpose", {"order": (0, 2, 1, 3)}, (1, 6, 8, 4), {}),
    ("reshape", {}, (1, 6, 8, 4), {}),
    ("normalize", {"axes": (1, 2, 3), "epsilon": 0.01}, SAME, {}),
    ("normalize", {"axes": (1, 2, 3), "epsilon": 0.01, "groups": 2}, SAME, {}),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "shape", "parameters"), LAYERS, ids=lambda value: str(value)[:30])
def test_a_new_layer_of_every_kind_computes_what_the_graph_computes(
    kind: str,
    settings: dict[str, Any],
    shape: tuple[int, ...],
    parameters: dict[str, Parameter],
    carrier: View,
    out: Path,
) -> None:
    (end,) = carrier.graph.outputs
    layer = Layer("new", kind, (end,), shape, hyperparameters=settings, parameters=parameters)
    values = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
    agree(carrier, [Insert(layer)], out, values)


def test_what_torch_cannot_compute_is_refused_and_nothing_written(carrier: View, out: Path) -> None:
    (end,) = carrier.graph.outputs
    settings = _square(3) | {"padding": NONE, "count_padding": False, "dilation": (2, 2)}
    layer = Layer("new", "average_pool", (end,), (1, 2, 1, 4), hyperparameters=settings)
    with pytest.raises(EditRefusedError, match="no dilated average pool"):
        written(carrier, [Insert(layer)], out)
    with pytest.raises(EditRefusedError, match="no operator for a layer of kind quantize"):
        written(carrier, [Insert(replace(layer, kind="quantize"))], out)
    with pytest.raises(EditRefusedError, match="does not fit the model"):
        written(carrier, [Remove("nobody", ())], out)
    with pytest.raises(UsageError, match="never overwritten"):
        WRITERS["pt2"](carrier.model, carrier.graph, [], carrier.path)
    assert not list(out.parent.glob("*out*")) + list(out.parent.glob(".writing*"))


# programs of other forms


def test_an_operator_that_overwrites_its_input_does_so_no_more_when_another_reads_it(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("tvm")
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    target = exported(module, tmp_path / "in_place.pt2", 3, 8, 6)
    assert "relu_" in str(program_of(target.path).graph)
    convolution, clip = of_kind(target, "convolution"), of_kind(target, "clip")
    values = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
    both = Layer("both", "subtract", (clip.id, convolution.id), clip.shape)
    agree(target, [Insert(both)], out, values)
    path, changes = written(target, [SetParameters(convolution.id, {"bias": np.ones(4, np.float32)})], out)
    assert "relu_" in str(program_of(path).graph)
    assert [change.place for change in changes] == ["0.bias"]


def test_a_decomposed_program_gets_its_parameters_back(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("tvm")
    target = exported(tiny.torch_module(), tmp_path / "decomposed.pt2", 3, 16, 16, decomposed=True)
    assert "addmm" in str(program_of(target.path).graph)
    edits: list[Edit] = [
        SetParameters(layer.id, {name: each.values * 0.5 for name, each in layer.parameters.items()})
        for layer in target.graph
        if layer.kind in {"convolution", "dense"}
    ]
    agree(target, edits, out, tiny.pictures(3, layout="NCHW"))


def test_tied_weights_stay_tied_or_part(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("tvm")
    from torch import nn

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x: Any) -> Any:
            return self.two(self.one(x).relu())

    target = exported(Tied(), tmp_path / "tied.pt2", 4)
    layer = of_kind(target, "dense")
    edit = SetParameters(layer.id, {"weights": layer.parameters["weights"].values * 2})
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    agree(target, [edit], out, values)


def test_a_normalization_without_scale_is_written_as_a_convolution(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("tvm")
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU())
    target = exported(module, tmp_path / "plain.pt2", 3, 8, 6)
    layer = of_kind(target, "convolution")
    edit = SetParameters(layer.id, {"bias": np.arange(4, dtype=np.float32)})
    agree(target, [edit], out, np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32))
    path, _ = written(target, [edit], out)
    assert "1.running_mean" not in program_of(path).state_dict


def test_a_program_in_half_precision_gets_no_operators_and_one_in_single_does(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("tvm")
    from torch import nn

    for name, kept in (("half", False), ("float", True)):
        target = exported(getattr(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), name)(), tmp_path / f"{name}.pt2", 4)
        end = of_kind(target, "clip")
        edit = Insert(Layer("new", "tanh", (end.id,), end.shape))
        if kept:
            agree(target, [edit], out, np.ones((2, 4), np.float32))
            continue
        with pytest.raises(EditRefusedError, match="computes in float16"):
            written(target, [edit], out)


# trust


def test_a_hostile_file_is_not_opened(source: View, out: Path) -> None:
    import torch

    held, mark = io.BytesIO(), out.with_name("mark")
    torch.save(((_Mark(mark),), {}), held)
    hostile = out.with_name("hostile.pt2")
    with zipfile.ZipFile(source.path) as old, zipfile.ZipFile(hostile, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, held.getvalue() if "sample_inputs" in name else old.read(name))
    edit = SetOutputs(source.graph.outputs[::-1])
    with pytest.raises(TrustError, match="more than tensors"):
        WRITERS["pt2"](Model.from_path(str(hostile)), source.graph, [edit], out.with_suffix(".pt2"))
    assert not mark.exists()
    assert not out.with_suffix(".pt2").exists()


class _Mark:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "w")
