"""Outputs that the target stores as integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convfault.localization.hyperparameters import analyzer as hyperparameters
from convfault.localization.parameters.analyzer import examine
from convfault.relax.graph import Graph
from convfault.relax.imported import Encoding
from convfault.relax.rounding import as_stored
from tests.localization.pairs import case_of
from tests.relax.drafts import Sketch

SHAPE = (1, 4, 4, 3)


def graph() -> Graph:
    """A picture, its tanh, cut into rows."""
    sketch = Sketch(*SHAPE)
    return sketch.graph_of(sketch.layer("reshape", sketch.layer("tanh", sketch.source, SHAPE), (1, 48)))


def stored(low: float, high: float, names: tuple[str, ...] = ("tanh_1", "reshape_1")) -> Graph:
    """The same with the outputs of some layers in int8, from ``low`` to ``high``."""
    made = graph()
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    tensors = [str(made[name].native.tensor) for name in names]
    return as_stored(replace(made, encodings={t: Encoding(t, "int8", (scale,), (zero,), 0, False) for t in tensors}))


def test_rounded_outputs_are_one_suspect_for_all_layers_that_hold_them() -> None:
    case = case_of(graph(), stored(-1, 1))
    (suspect,) = examine(case)
    assert (suspect.cause, suspect.attribute, suspect.target) == ("int8_rounding", "output", "tanh_1")
    assert suspect.edit is not None
    assert suspect.edit.changed == {"tanh_1", "reshape_1"}
    mended = suspect.edit.apply(case.target.graph)
    assert all(layer.rounding is None for layer in mended)


def test_each_layer_of_other_integers_is_a_suspect_of_its_own() -> None:
    first, second = stored(-1, 1, ("tanh_1",)), stored(-2, 2, ("reshape_1",))
    both = as_stored(replace(graph(), encodings={**first.encodings, **second.encodings}))
    assert [suspect.target for suspect in examine(case_of(graph(), both))] == ["tanh_1", "reshape_1"]


@pytest.mark.parametrize(("low", "high"), [(-0.3, 1.0), (-1.0, 0.3)])
def test_a_range_that_the_values_leave_cuts_them_off(low: float, high: float) -> None:
    (suspect,) = examine(case_of(graph(), stored(low, high)))
    assert suspect.cause == "activation_clipped"
    assert 0.1 < suspect.evidence["clipped_share"] < 0.9
    assert np.allclose(suspect.evidence["range"], [low, high], atol=0.02)


def test_a_range_far_wider_than_the_values_is_too_coarse() -> None:
    (suspect,) = examine(case_of(graph(), stored(-50, 50)))
    assert suspect.cause == "activation_scale"


def test_a_source_in_integers_itself_is_no_fault_of_the_target() -> None:
    assert examine(case_of(stored(-1, 1), stored(-1, 1))) == []
    assert examine(case_of(graph(), graph())) == []


def clipped(maximum: float, stored_to: float | None = None) -> Graph:
    """A picture between 0 and a bound, in uint8 up to ``stored_to``."""
    sketch = Sketch(*SHAPE)
    made = sketch.graph_of(sketch.layer("clip", sketch.source, SHAPE, minimum=0.0, maximum=maximum))
    tensor = str(made["clip_1"].native.tensor)
    if stored_to is None:
        return made
    return as_stored(replace(made, encodings={tensor: Encoding(tensor, "uint8", (stored_to / 255,), (0,), 0, False)}))


def test_a_bound_beyond_the_range_of_the_integers_is_no_other_activation() -> None:
    source, target = clipped(6.0), clipped(float("inf"), 2.0)
    case = case_of(source, target)
    assert hyperparameters.examine(case) == []
    (suspect,) = examine(case)
    assert suspect.edit is not None
    assert suspect.edit.apply(target)["clip_1"]["maximum"] == 6.0


def test_a_bound_within_the_range_of_the_integers_is_another_activation() -> None:
    (suspect,) = hyperparameters.examine(case_of(clipped(1.0), clipped(float("inf"), 2.0)))
    assert suspect.cause == "clip_bounds"


def test_outputs_that_only_the_source_rounds_are_said_to_be_in_float() -> None:
    found = examine(case_of(stored(-1, 1), graph()))
    assert [suspect.cause for suspect in found] == ["rounding_missing"] * 2
    assert all(suspect.edit is None for suspect in found)


def halved(names: tuple[str, ...], scale: float = 1.0) -> Graph:
    """A picture times a number, its layers in half precision."""
    sketch = Sketch(*SHAPE)
    made = sketch.graph_of(
        sketch.layer("reshape", sketch.affine(sketch.source, np.full(3, scale), np.zeros(3)), (1, 48))
    )
    tensors = [str(made[name].native.tensor) for name in names]
    return as_stored(replace(made, encodings={t: Encoding(t, "float16", (1.0,), (0,), 0, False) for t in tensors}))


def test_outputs_in_half_precision_are_rounded() -> None:
    (suspect,) = examine(case_of(halved(()), halved(("affine_1",))))
    assert (suspect.cause, suspect.attribute, suspect.target) == ("float16_rounding", "output", "affine_1")


def test_outputs_too_large_for_half_precision_overflow() -> None:
    (suspect,) = examine(case_of(halved((), 1e6), halved(("affine_1",), 1e6)))
    assert suspect.cause == "activation_overflow"
    assert 0 < suspect.evidence["clipped_share"] <= 1


def test_a_source_in_half_precision_is_no_fault_of_the_target() -> None:
    assert list(examine(case_of(halved(("affine_1",)), halved(("affine_1",))))) == []
