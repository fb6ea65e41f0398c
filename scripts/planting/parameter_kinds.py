"""Faults in weights, biases and statistics. Each is a function from the sound values to the wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planting.kind import Kind, Place, Random, change
from planting.network import Network, Operator, Parameter, Unfit
from planting.record import Change

LAYERS = ("conv", "depthwise", "dense")
Fits = Callable[[Parameter], bool]
Spoil = Callable[[np.ndarray, Parameter, Random], np.ndarray]


def out_shape(weight: Parameter) -> tuple[int, ...]:
    """A shape that spreads one value a channel over the weight."""
    return tuple(-1 if letter == "O" else 1 for letter in weight.axes)


def per_channel(values: np.ndarray, weight: Parameter) -> np.ndarray:
    """The largest magnitude of each output channel, shaped to spread."""
    others = tuple(axis for axis, letter in enumerate(weight.axes) if letter != "O")
    return np.asarray(np.abs(values).max(axis=others, keepdims=True))


def rounded(values: np.ndarray, largest: np.ndarray) -> np.ndarray:
    scale = np.where(largest > 0, largest, 1) / 127
    return np.asarray(np.round(values / scale) * scale)


def int8_per_tensor(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return rounded(values, np.abs(values).max())


def int8_per_channel(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return rounded(values, per_channel(values, weight))


def to_float16(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def wrong_scale_of_one(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    factors = np.ones(weight.shape[weight.axis("O")])
    factors[random.integers(factors.size)] = random.choice([0.25, 4.0])
    return int8_per_channel(values, weight, random) * factors.reshape(out_shape(weight))


def wrong_scale_of_all(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.asarray(int8_per_channel(values, weight, random) * random.choice([0.5, 2.0]))


def height_width_swapped(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return values.swapaxes(weight.axis("H"), weight.axis("W"))


def filters_permuted(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return values.take(random.permutation(values.shape[weight.axis("O")]), axis=weight.axis("O"))


def in_out_swapped(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return values.swapaxes(weight.axis("I"), weight.axis("O"))


def reshaped(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    """The values of the other layout's order, only reshaped: the transpose was forgotten."""
    other = values.transpose([weight.axis(letter) for letter in ("H", "W", "I", "O")])
    kept = values.transpose([weight.axis(letter) for letter in ("O", "I", "H", "W")])
    wrong = np.ascontiguousarray(kept).reshape(other.shape)
    return wrong.transpose([("H", "W", "I", "O").index(letter) for letter in weight.axes])


def zeroed(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.zeros_like(values)


def last_zeroed(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    count = values.shape[weight.axis("O")]
    kept = np.arange(count) < count - max(1, count // 4)
    return np.asarray(values * kept.reshape(out_shape(weight)))


def noisy(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.asarray(values + random.standard_normal(values.shape) * values.std() * 0.2)


def negated(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return -values


def scaled(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.asarray(values * random.choice([0.5, 1.25, 2.0]))


def rolled(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.roll(values, 1, axis=weight.axis("O"))


def not_a_number(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    spoiled = values.copy()
    spoiled.reshape(-1)[random.integers(values.size)] = np.nan
    return spoiled


def as_initialized(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    return np.asarray(random.standard_normal(values.shape) * np.sqrt(2 * weight.shape[weight.axis("O")] / values.size))


def statistics_stale(values: np.ndarray, weight: Parameter, random: Random) -> np.ndarray:
    """Half-way back to what the statistics start from: zero for means, one for variances."""
    return (values + (1.0 if weight.role == "variance" else 0.0)) / 2


def any_weight(weight: Parameter) -> bool:
    return weight.role == "kernel" and int(np.prod(weight.shape)) > 1


def has_bias(weight: Parameter) -> bool:
    return weight.role == "bias" and weight.kind in LAYERS


def square_window(weight: Parameter) -> bool:
    if weight.role != "kernel" or "H" not in weight.axes:
        return False
    height, width = weight.shape[weight.axis("H")], weight.shape[weight.axis("W")]
    return height == width > 1


def square_matrix(weight: Parameter) -> bool:
    if weight.role != "kernel" or "I" not in weight.axes:
        return False
    return weight.shape[weight.axis("I")] == weight.shape[weight.axis("O")] > 1


def whole_kernel(weight: Parameter) -> bool:
    return weight.role == "kernel" and set(weight.axes) == set("OIHW") and weight.shape[weight.axis("I")] > 1


def of_dense(weight: Parameter) -> bool:
    return weight.role == "kernel" and weight.kind == "dense"


def statistic(weight: Parameter) -> bool:
    return weight.role in ("mean", "variance")


def places(network: Network, fits: Fits) -> list[Place]:
    """Places of all parameters that fit."""
    operators: dict[str, Operator] = {each.name: each for each in network.operators()}
    return [Place(operators[each.operator], each) for each in network.parameters() if fits(each)]


@dataclass(frozen=True)
class Row:
    """One line of the table below."""

    name: str
    fits: Fits
    spoil: Spoil
    actual: str
    smallest: float = 1e-3
    finite: bool = True

    def find(self, network: Network) -> list[Place]:
        return places(network, self.fits)

    def apply(self, network: Network, place: Place, random: Random) -> Change:
        sound = network.read(place.weight)
        spoiled = np.ascontiguousarray(self.spoil(sound, place.weight, random), np.float32)
        if np.array_equal(sound, spoiled):
            raise Unfit("the values stay what they were")
        network.write(place.weight, spoiled)
        moved = float(np.nanmax(np.abs(spoiled - sound)))
        detail = (
            f"{place.weight.role} of shape {list(place.weight.shape)}: {self.actual}; the largest change is {moved:.3g}"
        )
        return change(place, place.weight.role, "the source's values", self.actual, detail)

    def kind(self) -> Kind:
        return Kind(
            self.name, "parameters", self.actual, self.find, self.apply, smallest=self.smallest, finite=self.finite
        )


ROWS = (
    Row("weights_int8_per_tensor", any_weight, int8_per_tensor, "rounded to 8 bits, one scale for the tensor"),
    Row("weights_int8_per_channel", any_weight, int8_per_channel, "rounded to 8 bits, a scale a channel"),
    Row("weights_float16", any_weight, to_float16, "rounded to 16-bit floating point", 1e-5),
    Row("quantization_scale_one_channel", any_weight, wrong_scale_of_one, "the scale of one channel is wrong"),
    Row("quantization_scale_all", any_weight, wrong_scale_of_all, "the scale of all channels is wrong"),
    Row("weights_height_width_swapped", square_window, height_width_swapped, "height and width swapped"),
    Row("weights_filters_permuted", any_weight, filters_permuted, "filters permuted"),
    Row("weights_in_out_swapped", square_matrix, in_out_swapped, "in and out swapped"),
    Row("weights_reshaped", whole_kernel, reshaped, "reshaped to the other layout instead of transposed"),
    Row("weights_truncated", any_weight, last_zeroed, "the last quarter of the channels is zero"),
    Row("weights_noise", any_weight, noisy, "Gaussian noise of a fifth of the spread added"),
    Row("weights_sign_flipped", any_weight, negated, "the sign is flipped"),
    Row("weights_scaled", any_weight, scaled, "all multiplied by one constant"),
    Row("weights_nan", any_weight, not_a_number, "one value is not a number", finite=False),
    Row("weights_initialized", any_weight, as_initialized, "as initialized, not as trained"),
    Row("dense_rows_rolled", of_dense, rolled, "rows rolled by one"),
    Row("bias_zeroed", has_bias, zeroed, "zero"),
    Row("norm_statistics_stale", statistic, statistics_stale, "half-way back to the initial statistics"),
)
