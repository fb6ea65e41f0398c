"""Outputs that a file stores as integers: what is left of a value, and which layers it is left of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfault.relax import evaluate
from convfault.relax.edits import KeepFloat, Substitute
from convfault.relax.graph import Graph
from convfault.relax.imported import Encoding
from convfault.relax.rounding import as_stored, rounded, span, step
from tests.relax.drafts import Sketch

STEPS = st.floats(2.0**-10, 4.0, width=32)
VALUES = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=20)


def encoding(
    name: str = "x", scale: float = 0.5, zero: int = 0, dtype: str = "int8", constant: bool = False
) -> Encoding:
    return Encoding(name, dtype, (scale,), (zero,), 0, constant)


def graph(stored: Encoding) -> Graph:
    """A picture, negated; ``stored`` says how."""
    sketch = Sketch(1, 2, 2, 3)
    made = sketch.graph_of(sketch.layer("negative", sketch.source, (1, 2, 2, 3)))
    name = str(made[made.outputs[0]].native.tensor)
    return as_stored(Graph(made.layers, made.inputs, made.outputs, encodings={name: stored}))


@given(VALUES, STEPS, st.integers(-128, 127))
def test_a_value_within_the_range_moves_by_half_a_step_and_one_beyond_to_its_end(
    values: list[float], scale: float, zero: int
) -> None:
    stored = encoding(scale=scale, zero=zero)
    given_values = np.asarray(values, np.float32)
    low, high = span(stored)
    errors = np.abs(rounded(given_values, stored) - np.clip(given_values, low, high))
    assert np.all(errors <= scale * (0.5 + 1e-4))


@given(VALUES, STEPS, st.integers(-128, 127))
def test_what_is_rounded_once_is_not_rounded_again(values: list[float], scale: float, zero: int) -> None:
    stored = encoding(scale=scale, zero=zero)
    once = rounded(np.asarray(values, np.float32), stored)
    np.testing.assert_array_equal(rounded(once, stored), once)


def test_each_channel_has_its_own_step() -> None:
    stored = Encoding("x", "uint8", (1.0, 0.25), (0, 4), 1, False)
    found = rounded(np.asarray([[0.4, 0.4], [300.0, -3.0]], np.float32), stored)
    np.testing.assert_array_equal(found, [[0.0, 0.5], [255.0, -1.0]])


def test_a_layer_whose_tensor_holds_integers_answers_as_they_say() -> None:
    picture = np.full((1, 2, 2, 3), 0.8, np.float32)
    stored = graph(encoding())
    name = stored.outputs[0]
    assert evaluate.run(stored, {stored.inputs[0]: picture})[name].max() == -1.0
    kept = KeepFloat((name,)).apply(stored)
    assert evaluate.run(kept, {kept.inputs[0]: picture})[name].max() == pytest.approx(-0.8)


@pytest.mark.parametrize(
    "stored", [encoding(dtype="int32"), encoding(constant=True), encoding(dtype="float16", constant=True)]
)
def test_other_encodings_round_no_output(stored: Encoding) -> None:
    found = graph(stored)
    assert found[found.outputs[0]].rounding is None


def test_another_layer_in_the_place_of_a_rounded_one_is_rounded_as_well() -> None:
    stored = graph(encoding())
    layer = stored[stored.outputs[0]]
    edited = Substitute(replace(layer, kind="abs", rounding=None)).apply(stored)
    assert edited[layer.id].kind == "abs"
    assert edited[layer.id].rounding is layer.rounding


HALF = Encoding("x", "float16", (1.0,), (0,), 0, False)


@given(VALUES)
def test_half_precision_keeps_a_value_to_half_a_step(values: list[float]) -> None:
    given_values = np.asarray(values, np.float32)
    errors = np.abs(rounded(given_values, HALF) - given_values)
    assert np.all(errors <= step(HALF, given_values) / 2)


def test_what_is_too_large_for_half_precision_is_infinite() -> None:
    found = rounded(np.asarray([65_504.0, 65_519.0, 65_520.0, -1e6], np.float32), HALF)
    np.testing.assert_array_equal(found, [65_504.0, 65_504.0, np.inf, -np.inf])


def test_a_layer_in_half_precision_answers_so_unless_it_is_kept() -> None:
    picture = np.full((1, 2, 2, 3), 0.1, np.float32)
    stored = graph(HALF)
    name = stored.outputs[0]
    assert evaluate.run(stored, {stored.inputs[0]: picture})[name].max() == -np.float32(np.float16(0.1))
    kept = KeepFloat((name,)).apply(stored)
    assert evaluate.run(kept, {kept.inputs[0]: picture})[name].max() == -np.float32(0.1)
