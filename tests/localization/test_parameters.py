from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfault.localization.parameters.analyzer import CAUSES, examine
from convfault.localization.suspect import Suspect
from convfault.relax import evaluate
from convfault.relax.graph import Graph, Parameter
from convfault.relax.imported import Encoding
from tests.localization.pairs import case_of, cured, drawn, network, weights
from tests.relax.drafts import Sketch

Damage = Callable[[np.ndarray], np.ndarray]


def int8(values: np.ndarray, axes: tuple[int, ...] | None = (0, 1, 2), top: int = 127) -> np.ndarray:
    scale = np.abs(values).max(axis=axes, keepdims=True) / top
    return (np.rint(values / scale) * scale).astype(np.float32)


def bfloat16(values: np.ndarray) -> np.ndarray:
    bits = (np.ascontiguousarray(values).view(np.uint32) + 0x8000) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def part(values: np.ndarray, where: object, change: Damage) -> np.ndarray:
    changed = values.copy()
    changed[where] = change(changed[where])
    return changed


def misscaled(values: np.ndarray) -> np.ndarray:
    return part(int8(values), (..., 3), lambda part: part * np.float32(1.5))


def one_bit(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1).copy()
    flat.view(np.uint32)[5] ^= np.uint32(1 << 24)
    return flat.reshape(values.shape)


def noisy(values: np.ndarray) -> np.ndarray:
    return values + drawn(*values.shape, seed=9, scale=0.01)


def pruned(values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(values) < 0.4, 0, values).astype(np.float32)


def holed(values: np.ndarray) -> np.ndarray:
    return np.where(np.random.default_rng(3).random(values.shape) < 0.3, 0, values).astype(np.float32)


def scaled_channels(values: np.ndarray) -> np.ndarray:
    return values * np.linspace(0.5, -1.7, values.shape[-1], dtype=np.float32)


def stored_order(values: np.ndarray) -> np.ndarray:
    torch = values.transpose(3, 2, 0, 1)
    return torch.transpose(0, 2, 3, 1).reshape(torch.shape).transpose(2, 3, 1, 0)


def interleaved(values: np.ndarray) -> np.ndarray:
    return values[..., np.arange(values.shape[-1]).reshape(2, -1).T.reshape(-1)]


DAMAGES: list[tuple[str, Damage]] = [
    ("int8_rounding", int8),
    ("int8_rounding", lambda v: int8(v, None)),
    ("int4_rounding", lambda v: int8(v, (0, 1, 2), 7)),
    ("int8_rounding", lambda v: int8(v, (0, 1, 3))),
    ("float16_rounding", lambda v: v.astype(np.float16).astype(np.float32)),
    ("bfloat16_rounding", bfloat16),
    ("quantization_scale", misscaled),
    ("quantization_scale", lambda v: int8(v) * np.float32(1.1)),
    ("quantization_zero_point", lambda v: int8(v, None) + np.float32(12 * np.abs(v).max() / 127)),
    ("scaled", lambda v: v * np.float32(1 / 255)),
    ("sign_flipped", lambda v: -v),
    ("signs_lost", np.abs),
    ("shifted", lambda v: v + np.float32(0.1)),
    ("channel_scale", lambda v: part(v, (..., 2), lambda part: part * np.float32(1.01))),
    ("channel_scales", scaled_channels),
    ("channel_sign_flipped", lambda v: part(v, (..., 2), lambda part: -part)),
    ("transposed_spatial", lambda v: v.transpose(1, 0, 2, 3)),
    ("transposed_in_out", lambda v: v.transpose(0, 1, 3, 2)),
    ("kernel_flipped", lambda v: v[::-1, ::-1]),
    ("rolled", lambda v: np.roll(v, 1, -1)),
    ("memory_order", stored_order),
    ("group_layout", interleaved),
    ("channels_reversed", lambda v: v[..., ::-1]),
    ("channels_reversed", lambda v: v[:, :, ::-1]),
    ("channels_permuted", lambda v: v[..., [1, 0, 2, 3, 4, 5, 6, 7]]),
    ("channels_permuted", lambda v: v[:, :, [3, 0, 7, 1, 2, 6, 5, 4]]),
    ("shuffled", lambda v: np.random.default_rng(1).permutation(v.reshape(-1)).reshape(v.shape)),
    ("zeroed", np.zeros_like),
    ("truncated", lambda v: part(v, (..., slice(5, None)), np.zeros_like)),
    ("truncated", lambda v: part(v, (slice(None), slice(None), slice(6, None)), np.zeros_like)),
    ("channels_zeroed", lambda v: part(v, (..., 2), np.zeros_like)),
    ("pruned", pruned),
    ("values_zeroed", holed),
    ("clipped", lambda v: np.clip(v, -1, 1)),
    ("not_finite", lambda v: part(v, (0, 0, 0, 0), lambda part: np.float32(np.nan))),
    ("bit_flip", one_bit),
    ("single_values", lambda v: part(v, (0, 0, 0, 0), lambda part: part + np.float32(0.3))),
    ("noise", noisy),
    ("unrelated", lambda v: drawn(*v.shape, seed=77)),
]


def with_damage(source: Graph, damage: Damage, name: str = "weights") -> Graph:
    return source.with_parameters("convolution_2", **{name: np.ascontiguousarray(damage(weights(source, name)))})


@pytest.mark.parametrize(("cause", "damage"), DAMAGES)
def test_damaged_weights_are_found_named_and_cured(cause: str, damage: Damage) -> None:
    source = network()
    case = case_of(source, with_damage(source, damage))
    (suspect,) = examine(case)
    assert (suspect.cause, suspect.target, suspect.attribute) == (cause, "convolution_2", "weights")
    assert cured(case, [suspect])
    assert suspect.suggestion == CAUSES[cause].repair
    assert "kernel" in suspect.explanation or suspect.evidence["group"] == cause


def test_numbers_too_small_for_half_precision_may_be_kept_from_becoming_zero() -> None:
    """Converters write the smallest number instead, with its sign."""

    def tiny(values: np.ndarray) -> np.ndarray:
        return part(values, (0, 0, 0), lambda part: np.linspace(-5e-8, 9e-8, part.size, dtype=np.float32))

    source = with_damage(network(), tiny)

    def half(values: np.ndarray) -> np.ndarray:
        kept = np.where(np.abs(values) < 1e-7, np.copysign(np.float32(1e-7), values), values)
        return kept.astype(np.float16).astype(np.float32)

    (suspect,) = examine(case_of(source, with_damage(source, half)))
    assert suspect.cause == "float16_rounding"


def test_equal_parameters_are_no_suspects() -> None:
    assert examine(case_of(network(), network())) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_folding_in_float32_and_in_float64_is_no_difference(seed: int) -> None:
    random = np.random.default_rng(seed)
    kernel = drawn(3, 3, 8, 8, seed=seed)
    gamma, beta, mean = (random.standard_normal(8).astype(np.float32) for _ in range(3))
    variance = np.exp(random.standard_normal(8) * 3).astype(np.float32)
    scale = gamma / np.sqrt(variance + np.float32(1e-3))
    exact = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-3)
    single = {"weights": kernel * scale, "bias": beta - mean * scale}
    double = {"weights": kernel * exact, "bias": beta - mean * exact}
    graphs = [
        network().with_parameters("convolution_2", **{n: np.asarray(v, np.float32) for n, v in values.items()})
        for values in (double, single)
    ]
    assert examine(case_of(graphs[0], graphs[1])) == []


@settings(max_examples=25, deadline=None)
@given(st.floats(2e-5, 0.3), st.booleans())
def test_noise_far_above_rounding_is_never_missed(size: float, on_bias: bool) -> None:
    source, name = network(), "bias" if on_bias else "weights"
    case = case_of(source, with_damage(source, lambda v: v + drawn(*v.shape, seed=4, scale=size), name))
    suspects = examine(case)
    assert [suspect.attribute for suspect in suspects] == [name]
    assert cured(case, suspects)


BEFORE_FOLDING: list[tuple[str, Damage]] = [
    ("int8_rounding", int8),
    ("int8_rounding", lambda v: int8(v, None)),
    ("float16_rounding", lambda v: v.astype(np.float16).astype(np.float32)),
    ("bfloat16_rounding", bfloat16),
    ("transposed_spatial", lambda v: v.transpose(1, 0, 2, 3)),
    ("channels_permuted", lambda v: v[..., [1, 0, 2, 3, 4, 5, 6, 7]]),
    ("rolled", lambda v: np.roll(v, 1, -1)),
    ("pruned", pruned),
    ("clipped", lambda v: np.clip(v, -1, 1)),
    ("layer_duplicated", lambda v: drawn(3, 3, 8, 8, seed=50)),
]


@pytest.mark.parametrize(("cause", "damage"), BEFORE_FOLDING)
def test_damage_shows_through_a_scale_that_is_folded_in_behind_it(cause: str, damage: Damage) -> None:
    scale = np.exp(drawn(8, seed=40) * 0.7)
    source = _behind_another(drawn(3, 3, 8, 8, seed=50)).with_parameters(
        "convolution_2", weights=drawn(3, 3, 8, 8) * scale
    )
    target = source.with_parameters("convolution_2", weights=damage(drawn(3, 3, 8, 8)) * scale)
    case = case_of(source, target)
    (suspect,) = examine(case)
    assert suspect.cause == cause
    assert cured(case, [suspect])


def _behind_another(kernel: np.ndarray) -> Graph:
    """The network with a third convolution of the same shape, with these weights, behind it."""
    graph = network()
    layer = graph["convolution_2"]
    third = replace(layer, id="convolution_3", inputs=("convolution_2",), native=replace(layer.native, operators=()))
    return replace(graph, layers=(*graph.layers, third), outputs=(third.id,)).with_parameters(
        "convolution_3", weights=kernel
    )


def test_int8_weights_that_the_target_declares_are_dynamic_range_quantization() -> None:
    source = network()
    step = tuple(float(s) for s in np.abs(weights(source)).max(axis=(0, 1, 2)) / 127)
    encoding = {"kernel": Encoding("kernel", "int8", step, (0,) * 8, 3, True)}
    (suspect,) = examine(case_of(source, replace(with_damage(source, int8), encodings=encoding)))
    assert suspect.evidence["scheme"] == "dynamic-range quantization"
    assert "dynamic-range" in suspect.explanation


@pytest.mark.parametrize(
    ("declared", "cause"), [("alone", "int4_rounding"), ("second of three", "int4_rounding"), ("", "noise")]
)
def test_weights_with_a_scale_for_each_block_are_rounded_where_the_target_declares_it(
    declared: str, cause: str
) -> None:
    source = flattened(depth=8)
    values = weights(source, layer="dense_1")
    blocks = values.T.reshape(6, -1, 8)
    scales = np.abs(blocks).max(axis=2) / 7
    found = (np.rint(blocks / scales[..., None]) * scales[..., None]).reshape(6, -1).T
    if declared == "second of three":
        scales = np.concatenate([scales / 9, scales, scales / 5])
    steps, zeros = tuple(float(scale) for scale in scales.reshape(-1)), (0,) * scales.size
    encoding = Encoding("fc", "int4", steps, zeros, 0, True, (1, 8))
    target = replace(source.with_parameters("dense_1", weights=found), encodings={"fc": encoding} if declared else {})
    (suspect,) = examine(case_of(source, target))
    assert suspect.cause == cause
    assert ("a block of values" in suspect.explanation) == bool(declared)


def test_a_product_that_is_a_convolution_of_one_pixel_has_the_blocks_of_its_matrix() -> None:
    sketch = Sketch(1, 3, 3, 16)
    source = sketch.graph_of(sketch.convolution(sketch.source, 6, 1, padding=((0, 0), (0, 0))))
    blocks = weights(source, layer="convolution_1").reshape(2, 8, 6)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 7
    rounded = (np.rint(blocks / scales) * scales).reshape(1, 1, 16, 6)
    encoding = Encoding("kernel", "int4", tuple(scales.ravel().tolist()), (0,) * scales.size, 0, True, (8, 1))
    target = source.with_parameters("convolution_1", weights=rounded)
    (suspect,) = examine(case_of(source, replace(target, encodings={"kernel": encoding})))
    assert suspect.cause == "int4_rounding"
    assert "a block of values" in suspect.explanation


@pytest.mark.parametrize(("stored", "cause"), [("float16", "float16_rounding"), ("", None)])
def test_three_numbers_in_half_precision_are_rounded_where_the_target_says_so(stored: str, cause: str | None) -> None:
    def scaled(values: np.ndarray, dtype: str) -> Graph:
        sketch = Sketch(1, 4, 4, 3)
        graph = sketch.graph_of(sketch.affine(sketch.source, values, np.zeros(3)))
        (name,) = graph["affine_1"].parameters["scale"].native
        return replace(graph, encodings={name: Encoding(name, dtype, (1.0,), (0,), 0, True)} if dtype else {})

    exact = np.full(3, 1 / 127.5, np.float32)
    half = exact.astype(np.float16).astype(np.float32)
    (suspect,) = examine(case_of(scaled(exact, ""), scaled(half, stored)))
    assert (suspect.cause == "float16_rounding") == (cause is not None)


@pytest.mark.parametrize(("stored", "cause"), [(True, "int8_rounding"), (False, "quantization_scale")])
def test_weights_and_the_scale_folded_into_them_may_each_be_rounded_for_itself(stored: bool, cause: str) -> None:
    source = network()
    factors = 1 + np.array([0.03, -0.02, 0.01, 0, -0.03, 0.02, -0.01, 0.005], np.float32)
    values = Parameter(int8(weights(source)) * factors, ("kernel", "scale"))
    layer = source["convolution_2"]
    target = source.with_layer(replace(layer, parameters={**layer.parameters, "weights": values}))
    names = ("kernel", "scale") if stored else ("kernel",)
    encodings = {name: Encoding(name, "int8", (0.01, 0.02, 0.03), (0,) * 3, 0, True) for name in names}
    case = case_of(source, replace(target, encodings=encodings))
    (suspect,) = examine(case)
    assert suspect.cause == cause
    assert cured(case, [suspect])


@pytest.mark.parametrize(("noise", "causes"), [(0.0, ["int8_rounding"]), (0.01, ["int8_rounding", "noise"])])
def test_a_bias_follows_the_rounding_of_weights_where_a_shift_before_them_is_folded_in(
    noise: float, causes: list[str]
) -> None:
    kernel, shift = drawn(3, 3, 3, 16, seed=1), np.asarray([-0.5, -0.4, -0.3], np.float32)
    target_kernel = int8(kernel)

    def stem(values: np.ndarray, more: np.ndarray) -> Graph:
        sketch = Sketch(1, 8, 8, 3)
        bias = (values.sum((0, 1)) * shift[:, None]).sum(0) + more
        graph = sketch.graph_of(sketch.convolution(sketch.source, 16))
        return graph.with_parameters("convolution_1", weights=values, bias=bias.astype(np.float32))

    source, target = stem(kernel, np.zeros(16)), stem(target_kernel, noise * drawn(16, seed=2))
    case = case_of(source, target)
    suspects = examine(case)
    assert [suspect.cause for suspect in suspects] == causes
    assert cured(case, suspects)


@pytest.mark.parametrize(("corrected", "causes"), [(True, ["int8_rounding"]), (False, ["int8_rounding", "noise"])])
def test_a_bias_that_makes_up_for_the_rounding_of_weights_belongs_to_it(corrected: bool, causes: list[str]) -> None:
    source = network()
    rounded, pictures = int8(weights(source)), drawn(8, 6, 6, 4, seed=5)  # those that a quantizer is calibrated on
    target = source.with_parameters("convolution_2", weights=rounded)
    found = [evaluate.run(graph, {graph.inputs[0]: pictures})["convolution_2"] for graph in (source, target)]
    shift = (found[0] - found[1]).mean(axis=(0, 1, 2))
    size = np.linalg.norm(shift) / np.sqrt(len(shift))
    off = shift if corrected else drawn(len(shift), seed=4) * size
    bias = source["convolution_2"].parameters["bias"].values
    case = case_of(source, target.with_parameters("convolution_2", bias=bias + off))
    suspects = examine(case)
    assert [suspect.cause for suspect in suspects] == causes
    assert ("makes up for it" in suspects[0].explanation) == corrected
    assert cured(case, suspects)


def test_a_constant_that_reads_nothing_differs_and_is_cured() -> None:
    sketch = Sketch(1, 4, 4, 3)
    added = sketch.layer("add", (sketch.source, sketch.constant(drawn(4, 4, 3))), (1, 4, 4, 3))
    source = sketch.graph_of(added)
    target = source.with_parameters("constant_1", values=drawn(4, 4, 3) + drawn(4, 4, 3, seed=1))
    case = case_of(source, target)
    (suspect,) = examine(case)
    assert suspect.target == "constant_1"
    assert cured(case, [suspect])


def test_a_transposition_shows_through_quantization() -> None:
    source = network()
    (suspect,) = examine(case_of(source, with_damage(source, lambda v: int8(v.transpose(1, 0, 2, 3)))))
    assert suspect.cause == "transposed_spatial"


def test_a_missing_bias_is_told_from_a_bias_of_zeros() -> None:
    source = network()
    zeros = with_damage(source, np.zeros_like, "bias")
    layer = zeros["convolution_2"]
    absent = zeros.with_layer(replace(layer, parameters={**layer.parameters, "bias": Parameter(np.zeros(8, "f4"))}))
    assert [s.cause for s in examine(case_of(source, zeros))] == ["zeroed"]
    assert [s.cause for s in examine(case_of(source, absent))] == ["bias_missing"]


def twins() -> Graph:
    """Three convolutions of one shape behind each other."""
    sketch = Sketch(1, 6, 6, 4)
    last = sketch.source
    for _ in range(3):
        last = sketch.convolution(last, filters=4)
    graph = sketch.graph_of(last)
    for layer in graph.layers[1:]:
        kernel = Parameter(layer.parameters["weights"].values, (f"{layer.id}/kernel",))
        graph = graph.with_layer(replace(layer, parameters={**layer.parameters, "weights": kernel}))
    return graph


def test_swapped_layers_name_each_other() -> None:
    source = twins()
    pair = [source[name].parameters["weights"].values for name in ("convolution_1", "convolution_3")]
    target = source.with_parameters("convolution_1", weights=pair[1]).with_parameters("convolution_3", weights=pair[0])
    suspects = examine(case_of(source, target))
    assert [suspect.cause for suspect in suspects] == ["layers_swapped", "layers_swapped"]
    assert [suspect.evidence["values_of"] for suspect in suspects] == [
        "convolution_3/kernel",
        "convolution_1/kernel",
    ]
    assert cured(case_of(source, target), suspects)


def test_weights_used_twice_are_told_from_swapped_ones() -> None:
    source = twins()
    target = source.with_parameters("convolution_2", weights=source["convolution_1"].parameters["weights"].values)
    (suspect,) = examine(case_of(source, target))
    assert (suspect.cause, suspect.target) == ("layer_duplicated", "convolution_2")


def test_channels_that_both_sides_permute_alike_are_no_suspects() -> None:
    source, order = network(), (2, 0, 1, 7, 6, 5, 4, 3)
    target = source.with_parameters(
        "convolution_1",
        weights=weights(source, layer="convolution_1")[..., list(order)],
        bias=weights(source, "bias", "convolution_1")[list(order)],
    ).with_parameters("convolution_2", weights=weights(source)[:, :, list(order)])
    orders = {"convolution_1": order, "clip_1": order}
    assert examine(case_of(source, target, orders=orders)) == []
    suspects = examine(case_of(source, target))
    assert {suspect.target for suspect in suspects} == {"convolution_1", "convolution_2"}


def test_permuted_channels_are_cured_in_the_order_of_the_target() -> None:
    source, order = network(), (2, 0, 1, 7, 6, 5, 4, 3)
    target = source.with_parameters(
        "convolution_1",
        weights=weights(source, layer="convolution_1")[..., list(order)],
        bias=weights(source, "bias", "convolution_1")[list(order)],
    ).with_parameters("convolution_2", weights=noisy(weights(source)[:, :, list(order)]))
    case = case_of(source, target, orders={"convolution_1": order, "clip_1": order})
    (suspect,) = examine(case)
    assert (suspect.cause, suspect.target) == ("noise", "convolution_2")
    assert cured(case, [suspect])


def flattened(height: int = 3, width: int = 4, depth: int = 5) -> Graph:
    sketch = Sketch(1, height, width, depth)
    flat = sketch.layer("reshape", sketch.source, (1, height * width * depth))
    parts = {"weights": Parameter(drawn(height * width * depth, 6), ("fc",)), "bias": Parameter(drawn(6), ("fc_b",))}
    dense = sketch.add("dense", (flat,), (1, 6), {}, parts).id
    return sketch.graph_of(dense)


def test_rows_in_the_order_of_the_other_layout_are_left_to_the_graph_analyzer() -> None:
    source = flattened()
    values, bias = (source["dense_1"].parameters[name].values for name in ("weights", "bias"))
    rows = np.arange(60).reshape(3, 4, 5).transpose(2, 0, 1).reshape(-1)
    assert examine(case_of(source, source.with_parameters("dense_1", weights=values[rows]))) == []
    (suspect,) = examine(case_of(source, source.with_parameters("dense_1", weights=values[rows], bias=bias * 3)))
    assert (suspect.cause, suspect.attribute) == ("scaled", "bias")
    (suspect,) = examine(case_of(source, source.with_parameters("dense_1", weights=values[::-1].copy())))
    assert suspect.attribute == "weights"


def normalized(changes: dict[str, object] | None = None, known: bool = True) -> Graph:
    """The network with a batch normalization folded into its second convolution, some of its parts changed."""
    parts: dict[str, object] = {
        "epsilon": 1e-3,
        "gamma": 1 + 0.3 * drawn(8, seed=2),
        "beta": drawn(8, seed=3),
        "mean": drawn(8, seed=5) * 0.3,
        "variance": 0.01 + np.abs(drawn(8, seed=6)),
        **(changes or {}),
    }
    arrays = {name: np.asarray(value, np.float64) for name, value in parts.items()}
    with np.errstate(invalid="ignore"):
        scale = arrays["gamma"] / np.sqrt(arrays["variance"] + arrays["epsilon"])
    values = {"weights": drawn(3, 3, 8, 8) * scale, "bias": arrays["beta"] - arrays["mean"] * scale}
    names = ("kernel", "gamma", "variance") if known else ("kernel",)
    graph = network()
    layer = graph["convolution_2"]
    record = {name: Parameter(np.asarray(value, np.float32)) for name, value in parts.items() if name != "epsilon"}
    details = {"batch_norm": {"epsilon": parts["epsilon"], **record}} if known else {}
    parameters = {name: Parameter(np.asarray(value, np.float32), names) for name, value in values.items()}
    return graph.with_layer(replace(layer, parameters=parameters, details=details))


def only_suspect(source: Graph, target: Graph) -> Suspect:
    case = case_of(source, target)
    (suspect,) = examine(case)
    assert suspect.target == "convolution_2"
    assert cured(case, [suspect])
    return suspect


@pytest.mark.parametrize("epsilon", [1e-5, 1.01e-3, 2e-3, 1e-2])
def test_another_epsilon_is_computed_from_the_known_statistics(epsilon: float) -> None:
    suspect = only_suspect(normalized(), normalized({"epsilon": epsilon}, known=False))
    assert suspect.cause == "batch_norm_epsilon"
    assert suspect.evidence["epsilon"] == {"expected": 1e-3, "actual": pytest.approx(epsilon, rel=0.02)}
    assert suspect.attribute == "weights, bias"


def test_the_sound_folding_is_no_suspect_whoever_knows_the_statistics() -> None:
    assert examine(case_of(normalized(), normalized(known=False))) == []
    assert examine(case_of(normalized(known=False), normalized())) == []


def test_another_epsilon_is_recognized_by_its_pattern_where_nobody_knows_the_statistics() -> None:
    source = normalized(known=False)
    layer = source["convolution_2"]
    names = {n: Parameter(p.values, ("kernel", "gamma", "variance")) for n, p in layer.parameters.items()}
    source = source.with_layer(replace(layer, parameters=names))
    assert only_suspect(source, normalized({"epsilon": 1e-5}, known=False)).cause == "batch_norm_epsilon"


STATISTICS: list[tuple[str, dict[str, object]]] = [
    ("batch_norm_statistics", {"variance": np.ones(8)}),
    ("batch_norm_statistics", {"mean": np.zeros(8)}),
    ("batch_norm_weights", {"gamma": np.ones(8)}),
    ("batch_norm_weights", {"beta": np.zeros(8)}),
    ("batch_norm_statistics", {"mean": drawn(8, seed=20), "variance": np.abs(drawn(8, seed=21)) + 0.5}),
]


@pytest.mark.parametrize(("digits", "cause"), [(np.float16, "float16_rounding"), (None, "batch_norm_statistics")])
def test_a_normalization_in_half_precision_is_rounded_and_has_no_other_statistics(digits: type, cause: str) -> None:
    parts = normalized()["convolution_2"].details["batch_norm"]
    stored = {name: parts[name].values.astype(digits or np.float16) for name in ("gamma", "beta", "mean", "variance")}
    if digits is None:
        stored["variance"] = stored["variance"] * np.float16(1.5)
    assert only_suspect(normalized(), normalized(dict(stored))).cause == cause


@pytest.mark.parametrize(("cause", "changes"), STATISTICS)
@pytest.mark.parametrize("known", [True, False])
def test_wrong_parts_of_a_normalization_are_told_apart(cause: str, changes: dict[str, object], known: bool) -> None:
    assert only_suspect(normalized(), normalized(changes, known)).cause == cause


def test_mean_and_variance_in_each_others_places_are_named() -> None:
    positive = {"mean": 0.2 + np.abs(drawn(8, seed=30))}
    exchanged = {
        "mean": normalized()["convolution_2"].details["batch_norm"]["variance"].values,
        "variance": positive["mean"],
    }
    suspect = only_suspect(normalized(positive), normalized(exchanged, known=False))
    assert suspect.cause == "batch_norm_swapped"


def test_a_convolution_without_its_normalization_is_named() -> None:
    missing = {"gamma": np.ones(8), "variance": np.ones(8), "epsilon": 0.0, "mean": np.zeros(8), "beta": np.zeros(8)}
    assert only_suspect(normalized(), normalized(missing, known=False)).cause == "batch_norm_missing"


def test_an_epsilon_of_an_operator_that_the_target_has_is_left_to_the_hyperparameters() -> None:
    assert examine(case_of(normalized(), normalized({"epsilon": 1e-5}))) == []


def scaled_and_shifted(changes: dict[str, object] | None = None) -> Graph:
    """A batch normalization that stands by itself, its statistics unknown."""
    folded = normalized(changes, known=False)["convolution_2"].parameters
    scale = folded["weights"].values[0, 0, 0] / drawn(3, 3, 8, 8)[0, 0, 0]
    sketch = Sketch(1, 6, 6, 8)
    parts = {
        "scale": Parameter(scale.astype(np.float32), ("gamma", "variance")),
        "shift": Parameter(folded["bias"].values, ("beta", "mean", "gamma", "variance")),
    }
    return sketch.graph_of(sketch.add("affine", (sketch.source,), (1, 6, 6, 8), {}, parts).id)


def test_another_epsilon_shows_where_the_normalization_stands_by_itself() -> None:
    source, target = scaled_and_shifted(), scaled_and_shifted({"epsilon": 1e-5})
    (suspect,) = examine(case_of(source, target))
    assert (suspect.cause, suspect.attribute) == ("batch_norm_epsilon", "scale, shift")
    assert cured(case_of(source, target), [suspect])
    assert examine(case_of(source, source)) == []


def test_float16_weights_and_bias_are_one_suspect() -> None:
    source = network()
    half = {name: weights(source, name).astype(np.float16).astype(np.float32) for name in ("weights", "bias")}
    (suspect,) = examine(case_of(source, source.with_parameters("convolution_2", **half)))
    assert (suspect.cause, suspect.attribute) == ("float16_rounding", "weights, bias")


def test_grouped_channels_that_both_sides_permute_alike_are_no_suspects() -> None:
    source, order = network(groups=2), (3, 1, 2, 0, 5, 4, 7, 6)
    target = source.with_parameters(
        "convolution_1",
        weights=weights(source, layer="convolution_1")[..., list(order)],
        bias=weights(source, "bias", "convolution_1")[list(order)],
    )
    moved = weights(source).copy()
    moved[:, :, :, :4] = moved[:, :, [3, 1, 2, 0], :4]
    moved[:, :, :, 4:] = moved[:, :, [1, 0, 3, 2], 4:]
    case = case_of(
        source, target.with_parameters("convolution_2", weights=moved), orders={"clip_1": order, "convolution_1": order}
    )
    assert examine(case) == []


def test_layers_rounded_alike_share_one_phrase_and_one_group() -> None:
    source = network()
    target = with_damage(source, int8).with_parameters(
        "convolution_1", weights=int8(weights(source, layer="convolution_1"))
    )
    suspects = examine(case_of(source, target))
    assert len(suspects) == 2
    assert len({(suspect.explanation, suspect.evidence["group"]) for suspect in suspects}) == 1


def test_evidence_is_small() -> None:
    source = network()
    (suspect,) = examine(case_of(source, with_damage(source, noisy)))
    assert len(repr(dict(suspect.evidence))) < 2000
    assert suspect.evidence["channels_changed"] == 8


def test_a_bias_that_changed_with_scaled_channels_is_told_with_them() -> None:
    source = network()
    scale = np.linspace(1.01, 1.4, 8).astype(np.float32) * np.float32([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])
    changed = {"weights": weights(source) * scale, "bias": noisy(weights(source, "bias"))}
    (suspect,) = examine(case_of(source, source.with_parameters("convolution_2", **changed)))
    assert (suspect.cause, suspect.attribute) == ("channel_scales", "weights, bias")
    (suspect,) = examine(case_of(source, source.with_parameters("convolution_2", bias=changed["bias"])))
    assert (suspect.cause, suspect.attribute) == ("noise", "bias")
