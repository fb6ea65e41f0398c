"""The derived tolerance: sound reimplementations agree, subtle faults do not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.comparing import tolerance
from convfault.comparing.compare import Pictures, compare
from convfault.comparison import AGREE, DIFFER, Comparison, Tolerance
from convfault.errors import ConvfaultError
from convfault.frameworks.base import Perturbation
from convfault.trace import StoredTrace
from tests.comparing.runs import saved

WIDTHS = (64, 256, 256, 256, 10)


class Network:
    """A small float32 perceptron with softmax."""

    def __init__(self, seed: int = 0, pictures: int = 60) -> None:
        rng = np.random.default_rng(seed)
        self.weights = [
            (rng.standard_normal(shape) * (2 / shape[0]) ** 0.5).astype(np.float32)
            for shape in itertools.pairwise(WIDTHS)
        ]
        self.pictures = rng.standard_normal((pictures, WIDTHS[0])).astype(np.float32)

    def run(
        self, weights: Sequence[np.ndarray] | None = None, rows: Sequence[int] | None = None, backwards: bool = False
    ) -> np.ndarray:
        values = self.pictures if rows is None else self.pictures[list(rows)]
        for index, weight in enumerate(weights or self.weights):
            values = np.maximum(values, 0) if index else values
            if backwards:  # another order of summation, as another kernel may have
                values = sum((values[:, [i]] * weight[[i]] for i in reversed(range(len(weight)))), np.float32(0))
            else:
                values = values @ weight
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def noise(self, folder: Path, plan: tolerance.NoisePlan) -> list[StoredTrace]:
        runs = []
        for seed in plan.seeds:
            change = Perturbation(plan.relative, seed)
            weights = [change.apply(weight, index) for index, weight in enumerate(self.weights)]
            runs.append(saved(folder / f"noise{len(plan.rows)}-{seed}", self.run(weights, plan.rows), batch=1))
        return runs

    def judged(self, folder: Path, target: np.ndarray) -> tuple[Comparison, bool]:
        """As the pipeline does it; and whether a second look was taken."""
        clean, found = saved(folder / "clean", self.run()), saved(folder / "target", target)
        names = Pictures([str(row) for row in range(len(clean))])
        plan = tolerance.plan(len(clean))
        limits = tolerance.derive(clean, self.noise(folder, plan), plan.rows)
        again = tolerance.second_look(clean, found, limits)
        if again is not None:
            limits = tolerance.widest(limits, tolerance.derive(clean, self.noise(folder, again), again.rows))
        return compare(clean, found, names, limits), again is not None


@pytest.mark.parametrize("seed", range(5))
def test_another_order_of_summation_agrees(tmp_path, seed):
    network = Network(seed)
    found, _ = network.judged(tmp_path, network.run(backwards=True))
    assert found.max_abs_error is not None
    assert found.max_abs_error > 0
    assert (found.verdict, found.reasons) == (AGREE, ())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layers", [range(4), [0], [3]])
def test_weights_stored_in_float16_differ_even_of_one_layer(tmp_path, seed, layers):
    network = Network(seed)
    weights = [w.astype(np.float16).astype(np.float32) if i in layers else w for i, w in enumerate(network.weights)]
    found, _ = network.judged(tmp_path, network.run(weights))
    assert found.verdict == DIFFER


def planned_pictures_are_certain(seed: int) -> Network:
    """The planned pictures have certain answers and thus no noise in their probabilities; the others have."""
    network = Network(seed)
    planned = tolerance.plan(60).rows
    network.pictures *= np.float32(0.5)
    network.pictures[list(planned)] *= 2000
    return network


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pictures_with_more_noise_than_the_planned_ones_get_a_second_look_and_agree(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(tolerance, "ULPS", 0.01)  # this network is too small for its noise to exceed the usual floor
    network = planned_pictures_are_certain(seed)
    found, looked = network.judged(tmp_path, network.run(backwards=True))
    assert (found.verdict, looked) == (AGREE, True)


@pytest.mark.parametrize("seed", range(3))
def test_a_second_look_excuses_no_fault(tmp_path, seed):
    network = planned_pictures_are_certain(seed)
    weights = [w.astype(np.float16).astype(np.float32) for w in network.weights]
    assert network.judged(tmp_path, network.run(weights))[0].verdict == DIFFER


def test_a_model_and_itself_agree_without_a_second_look(tmp_path):
    network = Network()
    assert network.judged(tmp_path, network.run())[1] is False


def derived(folder: Path, clean: np.ndarray, *noisy: np.ndarray, rows: Sequence[int]) -> Tolerance:
    run = saved(folder / "clean", clean)
    return tolerance.derive(run, [saved(folder / f"{i}", values) for i, values in enumerate(noisy)], rows)[0]


def test_the_tolerance_is_a_multiple_of_the_largest_deviation(tmp_path):
    clean = np.random.default_rng(0).random((10, 4), dtype=np.float32)
    rows = [2, 5]
    found = derived(tmp_path, clean, clean[rows] + [[0.25], [0.5]], clean[rows] - 0.125, rows=rows)
    assert found.noise == pytest.approx(0.5)
    assert found.value == pytest.approx(tolerance.FACTOR * 0.5)
    assert (found.origin, found.factor, found.images) == ("derived", tolerance.FACTOR, 2)


def test_without_noise_a_few_units_in_the_last_place_are_left(tmp_path):
    clean = np.array([[1.0, -3.0], [2.0, 100.0]], np.float32)
    found = derived(tmp_path, clean, clean[[0]], rows=[0])
    assert (found.value, found.factor) == (pytest.approx(tolerance.ULPS * 3 * 2.0**-23), None)
    half = clean.astype(np.float16)
    assert derived(tmp_path / "half", half, half[[0]], rows=[0]).value == pytest.approx(tolerance.ULPS * 3 * 2.0**-10)


def test_nan_and_infinity_are_no_noise(tmp_path):
    clean = np.array([[1.0, np.nan, np.inf, 2.0]], np.float32)
    noisy = np.array([[1.5, np.nan, np.inf, np.nan]], np.float32)
    assert derived(tmp_path, clean, noisy, rows=[0]).noise == 0.5
    nothing = np.full((1, 3), np.nan, np.float32)
    assert derived(tmp_path / "nan", nothing, nothing, rows=[0]).value == 0.0


def test_labels_have_to_be_equal(tmp_path):
    clean = np.array([[3], [7]])
    assert derived(tmp_path, clean, clean[[0]] + 5, rows=[0]).value == 0.0


def test_one_flipped_rounding_of_a_quantized_output_is_forgiven(tmp_path):
    step = np.float32(1 / 256)
    clean = np.random.default_rng(0).integers(0, 200, (6, 100)).astype(np.float32) * step
    rows = range(6)
    assert derived(tmp_path, clean, clean, rows=rows).value == pytest.approx(step)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).integers(0, 200, (6, 100)).astype(np.float32),  # labels or counts as float
        np.random.default_rng(0).integers(0, 2, (6, 100)) / np.float32(2),  # a mask
        np.random.default_rng(0).random((6, 100), dtype=np.float32),
        np.tile(np.random.default_rng(0).random(12, dtype=np.float32), (6, 8)),  # few values, not on levels
        np.array([[0.1, 0.9]], np.float32),
    ],
)
def test_what_is_not_quantized_is_not_forgiven_a_step(tmp_path, values):
    found = derived(tmp_path, values, values, rows=range(len(values)))
    assert found.value <= tolerance.ULPS * 2.0**-23 * np.abs(values).max()


def test_every_output_has_its_own(tmp_path):
    clean = {"a": np.ones((4, 2), np.float32), "b": np.full((4, 2), 100, np.float32)}
    noisy = {"a": clean["a"][:1] + np.float32(0.25), "b": clean["b"][:1] + 1}
    found = tolerance.derive(saved(tmp_path / "c", clean), [saved(tmp_path / "n", noisy)], [3])
    assert [limit.noise for limit in found] == [0.25, 1.0]


def test_noise_runs_over_other_pictures_are_refused(tmp_path):
    run = saved(tmp_path, np.ones((4, 2)))
    with pytest.raises(ConvfaultError, match="instead of 3"):
        tolerance.derive(run, [run], [0, 1, 2])


@given(st.integers(1, 6000))
def test_the_planned_pictures_are_a_few_spread_over_all(count):
    rows = tolerance.plan(count).rows
    assert len(rows) == min(count, tolerance.PICTURES)
    assert (rows[0], rows[-1]) == (0, count - 1)
    assert len(set(rows)) == len(rows)
    assert max(np.diff(rows), default=0) <= count / (tolerance.PICTURES - 1) + 1


def test_a_second_look_goes_to_the_pictures_that_exceed_the_tolerance_most(tmp_path):
    source, target = np.zeros((9, 2)), np.zeros((9, 2))
    target[[1, 3, 4, 5, 7], 0] = [3.0, 9.0, 5.0, 4.0, 0.5]
    one, other = saved(tmp_path / "s", source), saved(tmp_path / "t", target)
    wanted = tolerance.second_look(one, other, [Tolerance(1.0)])
    assert wanted is not None
    assert wanted.rows == (1, 3, 4, 5)
    assert tolerance.second_look(one, other, [Tolerance(9.0)]) is None


@pytest.mark.parametrize("bad", [np.nan, 1e4])
def test_what_no_noise_can_explain_gets_no_second_look(tmp_path, bad):
    source, target = np.zeros((3, 2)), np.zeros((3, 2))
    target[1] = bad
    runs = saved(tmp_path / "s", source), saved(tmp_path / "t", target)
    assert tolerance.second_look(*runs, [Tolerance(1.0)]) is None
    assert tolerance.second_look(*runs, [Tolerance(0.0)]) is None


def test_outputs_that_cannot_be_compared_get_no_second_look(tmp_path):
    runs = saved(tmp_path / "s", np.zeros((3, 2))), saved(tmp_path / "t", np.zeros((3, 4)))
    assert tolerance.second_look(*runs, [Tolerance(1.0)]) is None
