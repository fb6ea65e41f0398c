from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convfault.localization.hyperparameters.analyzer import CAUSES, examine
from convfault.localization.suspect import Suspect
from convfault.relax import canonical
from convfault.relax.graph import Graph, Layer, Parameter
from tests.localization.pairs import case_of, cured, drawn
from tests.localization.test_parameters import normalized
from tests.relax.drafts import Sketch

SIDE = 8


def windowed(kind: str, padding: Any, size: int = 3, strides: int = 2, side: int = SIDE, **values: Any) -> Graph:
    """One window on a picture of (side, side, 4), then a mean, so that the answer's shape is always the same."""
    sketch = Sketch(1, side, side, 4)
    reach = (size - 1) * values.get("dilation", (1, 1))[0] + 1
    height, width = ((side + sum(pair) - reach) // strides + 1 for pair in padding)
    shared = {"strides": (strides, strides), "padding": padding, "dilation": (1, 1)} | values
    if kind == "convolution":
        parts = {
            "weights": Parameter(np.random.default_rng(1).standard_normal((size, size, 4, 4)).astype(np.float32)),
            "bias": Parameter(np.zeros(4, np.float32)),
        }
        name = sketch.add(kind, (sketch.source,), (1, height, width, 4), {"groups": 1, **shared}, parts).id
    else:
        name = sketch.layer(kind, sketch.source, (1, height, width, 4), size=(size, size), **shared)
    mean = sketch.layer("mean", name, (1, 1, 1, 4), axes=(1, 2), keepdims=True)
    return sketch.graph_of(mean)


def of_layer(
    kind: str, shape: tuple[int, ...] = (1, 4, 4, 3), out: tuple[int, ...] | None = None, **values: Any
) -> Graph:
    """One layer without a window."""
    sketch = Sketch(*shape)
    return sketch.graph_of(sketch.layer(kind, sketch.source, out or shape, **values))


def only_suspect(source: Graph, target: Graph, framework: str = "torch") -> Suspect:
    case = case_of(source, target, framework)
    (suspect,) = examine(case)
    assert suspect.kind == "hyperparameters"
    assert cured(case, [suspect])
    assert suspect.suggestion == CAUSES[suspect.cause].repair
    assert examine(case_of(source, source, framework)) == []
    return suspect


NONE, SAME, TORCH = ((0, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 0))
ONES, TWOS, ROWS, COLUMNS = ((1, 1), (1, 1)), ((2, 2), (2, 2)), ((1, 1), (0, 0)), ((0, 0), (1, 1))
POOL = {"count_padding": False}
WINDOWS: list[tuple[str, str, Graph, Graph]] = [
    ("asymmetric_padding", "tf", windowed("convolution", SAME), windowed("convolution", TORCH)),
    ("asymmetric_padding", "torch", windowed("max_pool", TORCH), windowed("max_pool", SAME)),
    ("padding_missing", "tf", windowed("convolution", SAME), windowed("convolution", NONE)),
    ("padding_missing", "tf", windowed("max_pool", SAME), windowed("max_pool", NONE)),
    ("padding_added", "torch", windowed("convolution", NONE), windowed("convolution", SAME)),
    ("padding_axes", "torch", windowed("convolution", ROWS, 3, 1), windowed("convolution", COLUMNS, 3, 1)),
    ("padding", "torch", windowed("convolution", ONES, 5, 1), windowed("convolution", TWOS, 5, 1)),
    ("ceil_mode", "torch", windowed("max_pool", SAME), windowed("max_pool", NONE)),
    ("ceil_mode", "torch", windowed("max_pool", ((1, 2), (1, 2))), windowed("max_pool", TORCH)),
    ("ceil_mode", "torch", windowed("average_pool", TORCH, **POOL), windowed("average_pool", ((1, 2), (1, 2)), **POOL)),
    ("strides", "torch", windowed("convolution", TORCH), windowed("convolution", ((1, 1), (1, 1)), strides=1)),
    ("dilation", "torch", windowed("max_pool", TWOS, 3, 1, dilation=(2, 2)), windowed("max_pool", ONES, 3, 1)),
    ("window_size", "torch", windowed("average_pool", NONE, 3, **POOL), windowed("average_pool", NONE, 2, **POOL)),
    (
        "count_include_pad",
        "torch",
        windowed("average_pool", ((1, 1), (1, 1)), 3, 1, count_padding=True),
        windowed("average_pool", ((1, 1), (1, 1)), 3, 1, count_padding=False),
    ),
    (
        "divisor",
        "torch",
        windowed("average_pool", NONE, 2, divisor=1, **POOL),
        windowed("average_pool", NONE, 2, **POOL),
    ),
    (
        "divisor",
        "torch",
        windowed("average_pool", ((1, 1), (1, 1)), 3, 1, count_padding=True, divisor=5),
        windowed("average_pool", ((1, 1), (1, 1)), 3, 1, count_padding=False),
    ),
    (
        "ceil_mode",
        "torch",
        windowed("average_pool", ((1, 2), (1, 2)), 3, 2, 6, count_padding=True, uncounted=((0, 1), (0, 1))),
        windowed("average_pool", ((1, 2), (1, 2)), 3, 2, 6, count_padding=True),
    ),
    (
        "count_include_pad",
        "torch",
        windowed("average_pool", ((1, 2), (1, 2)), 3, 2, 6, count_padding=True, uncounted=((0, 1), (0, 1))),
        windowed("average_pool", ((1, 2), (1, 2)), 3, 2, 6, count_padding=False),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "framework", "source", "target"), WINDOWS)
def test_windows_that_differ_are_named_and_cured(cause: str, framework: str, source: Graph, target: Graph) -> None:
    assert only_suspect(source, target, framework).cause == cause


def test_padding_is_spelled_as_the_frameworks_do() -> None:
    suspect = only_suspect(windowed("convolution", SAME), windowed("convolution", TORCH), "tf")
    assert suspect.expected == "top 0, bottom 1, left 0, right 1 (SAME in TF)"
    assert suspect.evidence["spelled"]["source"]["tf"] == "SAME"
    assert suspect.evidence["spelled"]["source"]["torch"] == "ZeroPad2d((0, 1, 0, 1)), then padding=0"
    assert suspect.evidence["spelled"]["target"] == {"torch": "padding=1"}


def test_how_padding_counts_is_no_matter_without_padding() -> None:
    source = windowed("average_pool", NONE, count_padding=True)
    assert examine(case_of(source, windowed("average_pool", NONE, count_padding=False))) == []


def test_the_stride_of_a_single_window_is_no_matter() -> None:
    source = windowed("convolution", NONE, size=SIDE, strides=1)
    target = source.with_hyperparameters("convolution_1", strides=(2, 2))
    assert examine(case_of(source, target)) == []


def test_a_change_whose_cure_does_not_fit_what_follows_says_so() -> None:
    source, target = (_flat(padding, rows) for padding, rows in ((SAME, 64), (NONE, 36)))
    (suspect,) = examine(case_of(source, target))
    assert suspect.edit is None
    assert "fit" in suspect.evidence["no_edit"]


def _flat(padding: Any, rows: int) -> Graph:
    graph = windowed("max_pool", padding)
    sketch = Sketch(1, SIDE, SIDE, 4)
    pool = graph["max_pool_1"]
    name = sketch.layer("max_pool", sketch.source, pool.shape, **pool.hyperparameters)
    flat = sketch.layer("reshape", name, (1, rows))
    parts = {"weights": Parameter(np.ones((rows, 2), np.float32)), "bias": Parameter(np.zeros(2, np.float32))}
    return sketch.graph_of(sketch.add("dense", (flat,), (1, 2), {}, parts).id)


RESIZE = {"size": (8, 8), "method": "linear", "coordinates": "half_pixel", "rounding": "", "cubic_alpha": 0.0}
NEAREST = {**RESIZE, "method": "nearest_neighbor", "rounding": "round_prefer_floor", "size": (3, 3)}
CUBIC = {**RESIZE, "method": "cubic", "cubic_alpha": -0.5}
PAD = {"padding": ((0, 0), (1, 1), (1, 1), (0, 0)), "mode": "constant", "value": 0.0}
SLICE = {"begin": (0, 1, 0, 0), "end": (1, 4, 4, 3), "strides": (1, 1, 1, 1)}
PLAIN: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("clip_bounds", "clip", {"minimum": 0.0, "maximum": 6.0}, {"maximum": float("inf")}),
    ("clip_bounds", "clip", {"minimum": -1.0, "maximum": 1.0}, {"minimum": 0.0}),
    ("slope", "leaky_relu", {"slope": 0.01}, {"slope": 0.3}),
    ("alpha", "elu", {"alpha": 1.0}, {"alpha": 0.5}),
    ("softplus", "softplus", {"beta": 1.0, "threshold": 20.0}, {"beta": 2.0}),
    ("axis", "softmax", {"axis": 3}, {"axis": 1}),
    ("order", "transpose", {"order": (0, 2, 1, 3)}, {"order": (0, 1, 2, 3)}),
    ("align_corners", "resize", RESIZE, {"coordinates": "align_corners"}),
    ("half_pixel", "resize", RESIZE, {"coordinates": "asymmetric"}),
    ("half_pixel", "resize", NEAREST, {"coordinates": "asymmetric", "rounding": "floor"}),
    ("nearest_rounding", "resize", {**NEAREST, "coordinates": "asymmetric"}, {"rounding": "ceil"}),
    ("cubic_coefficient", "resize", CUBIC, {"cubic_alpha": -0.75}),
    ("resize_scale", "resize", {**RESIZE, "scales": (2.1, 2.1)}, {"scales": None}),
    ("resize_scale", "resize", RESIZE, {"scales": (2.1, 2.1)}),
    ("antialias", "resize", {**RESIZE, "size": (3, 3), "antialias": True}, {"antialias": None}),
    ("resize_method", "resize", CUBIC, {"method": "linear"}),
    ("pad_mode", "pad", {**PAD, "mode": "reflect"}, {"mode": "constant"}),
    ("pad_value", "pad", {**PAD, "value": 1.0}, {"value": 0.0}),
    ("slice_bounds", "slice", SLICE, {"begin": (0, 0, 0, 0), "end": (1, 3, 4, 3)}),
    ("cast_dtype", "cast", {"to": "float32"}, {"to": "int32"}),
]  # fmt: skip
OUT = {
    "resize": lambda values: (1, *values["size"], 3),
    "pad": lambda values: (1, 6, 6, 3),
    "slice": lambda values: (1, 3, 4, 3),
}


@pytest.mark.parametrize(("cause", "kind", "values", "changes"), PLAIN)
def test_attributes_that_differ_are_named_and_cured(
    cause: str, kind: str, values: dict[str, Any], changes: dict[str, Any]
) -> None:
    out = OUT.get(kind, lambda values: None)(values)
    source = of_layer(kind, out=out, **values)
    target = of_layer(kind, out=out, **(values | changes))
    assert only_suspect(source, target).cause == cause


def test_a_lost_upper_bound_is_named_as_users_do() -> None:
    suspect = only_suspect(of_layer("clip", minimum=0.0, maximum=6.0), of_layer("clip", minimum=0.0, maximum=np.inf))
    assert (suspect.expected, suspect.actual) == ("ReLU6", "ReLU")


HARMLESS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("clip", {"minimum": 0.0, "maximum": 6.0}, {"maximum": 6.0000001}),
    ("leaky_relu", {"slope": 0.01}, {"slope": float(np.float32(0.01))}),
    ("resize", {**NEAREST, "size": (8, 8)}, {"coordinates": "asymmetric", "rounding": "floor"}),
    ("resize", {**RESIZE, "antialias": True}, {"antialias": None}),
    ("resize", {**RESIZE, "scales": (2.0, 2.0)}, {"scales": None}),
    ("slice", {"begin": (0, 1, 0, 0), "end": (1, 4, 4, 3), "strides": (1,) * 4}, {"end": (9, 99, 4, 3)}),
]


@pytest.mark.parametrize(("kind", "values", "changes"), HARMLESS)
def test_spellings_of_the_same_are_no_suspects(kind: str, values: dict[str, Any], changes: dict[str, Any]) -> None:
    out = OUT.get(kind, lambda values: None)(values)
    source = of_layer(kind, out=out, **values)
    assert examine(case_of(source, of_layer(kind, out=out, **(values | changes)))) == []


def test_axes_of_one_are_reduced_or_not() -> None:
    source = of_layer("mean", (1, 4, 1, 3), (1, 1, 1, 3), axes=(1, 2), keepdims=True)
    assert examine(case_of(source, source.with_hyperparameters("mean_1", axes=(1,)))) == []
    (suspect,) = examine(case_of(source, source.with_hyperparameters("mean_1", axes=(3,))))
    assert suspect.cause == "axis"


def test_groups_are_cured_with_their_weights() -> None:
    source, target = (_grouped(groups) for groups in (2, 1))
    assert only_suspect(source, target).cause == "groups"


def test_groups_of_a_normalization_need_no_weights() -> None:
    source, target = (
        of_layer("normalize", (1, 4, 4, 8), axes=(1, 2, 3), epsilon=1e-3, groups=groups) for groups in (4, 2)
    )
    suspect = only_suspect(source, target)
    assert suspect.cause == "groups"


def _grouped(groups: int) -> Graph:
    sketch = Sketch(1, 6, 6, 4)
    graph = sketch.graph_of(sketch.convolution(sketch.source, filters=4, groups=groups))
    return graph.with_parameters("convolution_1", weights=drawn(3, 3, 4 // groups, 4), bias=drawn(4))


def _pooled(pad: dict[str, Any] | None, padding: Any) -> Graph:
    sketch = Sketch(1, SIDE, SIDE, 4)
    before = sketch.source
    if pad is not None:
        before = sketch.layer("pad", before, (1, SIDE + 1, SIDE + 1, 4), **pad)
    name = sketch.layer("max_pool", before, (1, 4, 4, 4), size=(3, 3), strides=(2, 2), padding=padding, dilation=(1, 1))
    return sketch.graph_of(name)


def test_a_maximum_over_a_border_of_zeros_is_found_on_either_side() -> None:
    zeros = {"padding": ((0, 0), (1, 0), (1, 0), (0, 0)), "mode": "constant", "value": 0.0}
    window, apart = _pooled(None, TORCH), _pooled(zeros, NONE)
    for source, target in ((window, apart), (apart, window)):
        suspect = only_suspect(source, target)
        assert suspect.cause == "pad_value"
        assert {suspect.expected, suspect.actual} == {"minus infinity", "0"}


def test_one_slope_for_all_and_slopes_by_channel_are_compared() -> None:
    source = _sloped("prelu", {}, np.linspace(0.1, 0.4, 3, dtype=np.float32))
    assert only_suspect(source, _sloped("leaky_relu", {"slope": 0.25}, None)).cause == "slope"
    same = _sloped("prelu", {}, np.full(3, 0.25, np.float32))
    assert examine(case_of(same, _sloped("leaky_relu", {"slope": 0.25}, None))) == []


def _sloped(kind: str, values: dict[str, Any], slopes: np.ndarray | None) -> Graph:
    graph = of_layer("clip", minimum=0.0, maximum=1.0)
    layer: Layer = graph["clip_1"]
    parts = {} if slopes is None else {"slopes": Parameter(slopes)}
    return graph.with_layer(replace(layer, kind=kind, hyperparameters=values, parameters=parts))


def test_an_average_over_windows_instead_of_the_picture_is_a_window_size() -> None:
    mean = of_layer("mean", (1, 4, 4, 3), (1, 1, 1, 3), axes=(1, 2), keepdims=True)
    layer = mean["mean_1"]
    values = {"size": (3, 3), "strides": (3, 3), "padding": NONE, "dilation": (1, 1), "count_padding": False}
    pool = mean.with_layer(replace(layer, kind="average_pool", hyperparameters=values))
    assert only_suspect(mean, pool).cause == "window_size"


def test_an_epsilon_that_the_target_has_natively_is_a_hyperparameter() -> None:
    suspect = only_suspect(normalized(), normalized({"epsilon": 1e-5}))
    assert (suspect.cause, suspect.expected, suspect.actual) == ("epsilon", 1e-3, 1e-5)


@pytest.mark.parametrize(
    ("sizes", "written", "told"),
    [
        ((16, 15), (((0, 1), (0, 1)), ((1, 1), (1, 1))), False),  # SAME of TF at both sizes
        ((16, 15), (((0, 1), (0, 1)), ((0, 1), (0, 1))), False),  # as written, though no window reaches the last
        ((16, 15), (((0, 1), (0, 1)), ((0, 0), (0, 0))), True),
        ((16, 16), (((0, 1), (0, 1)), ((1, 1), (1, 1))), True),
    ],
)
def test_padding_at_another_size_is_no_fault_where_one_rule_pads_both(sizes: Any, written: Any, told: bool) -> None:
    graphs = [cropped(size, padding) for size, padding in zip(sizes, written, strict=True)]
    assert ("convolution_1" in {suspect.target for suspect in examine(case_of(*graphs, "tf"))}) == told


def test_padding_that_the_normal_form_cut_off_is_still_the_source_s() -> None:
    source, target = (canonical.normalized(cropped(side, ((0, 1), (0, 1)))) for side in (16, 15))
    padded = [next(item for item in graph if item.kind == "convolution")["padding"] for graph in (source, target)]
    assert padded == [((0, 1), (0, 1)), ((0, 0), (0, 0))]
    case = case_of(source, target, "tf")
    assert not [suspect for suspect in examine(case) if suspect.attribute == "padding"]


def cropped(side: int, padding: Any) -> Graph:
    """A convolution at stride 2 on a picture that a slice leaves ``side`` pixels of."""
    sketch = Sketch(1, 16, 16, 4)
    bounds = {"begin": (0, 0, 0, 0), "end": (1, side, side, 4), "strides": (1, 1, 1, 1)}
    part = sketch.layer("slice", sketch.source, (1, side, side, 4), **bounds)
    last = sketch.convolution(part, filters=4, padding=padding, strides=(2, 2))
    return sketch.graph_of(sketch.layer("mean", last, (1, 1, 1, 4), axes=(1, 2), keepdims=True))


@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), ((1, 1), (1, 1))])
def test_a_wrong_stride_is_one_fault_whose_cure_pads_what_follows_as_the_source_does(padding: Any) -> None:
    source, target = (canonical.normalized(strided(step, padding)) for step in (2, 1))
    case = case_of(source, target, "tf")
    (suspect,) = examine(case)
    assert suspect.cause == "strides"
    assert cured(case, [suspect])


def strided(step: int, padding: Any) -> Graph:
    """A convolution at some stride without padding, then one at stride 2 that is padded."""
    sketch = Sketch(1, 16, 16, 4)
    first = sketch.convolution(sketch.source, filters=4, padding=((0, 0), (0, 0)), strides=(step, step))
    last = sketch.convolution(first, filters=4, padding=padding, strides=(2, 2))
    return sketch.graph_of(sketch.layer("mean", last, (1, 1, 1, 4), axes=(1, 2), keepdims=True))
