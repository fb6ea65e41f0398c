"""Decoded data becomes each side's inputs: by name, by order, in its layout, or one sentence says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convfault.batches import Batches
from convfault.errors import ShapeError
from convfault.model import Signature, TensorSpec
from convfault.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def stored(folder: Path, as_pictures: bool, **arrays: np.ndarray) -> Batches:
    for index, values in enumerate(arrays.values()):
        values.tofile(folder / f"{index}.raw")
    specs = tuple(TensorSpec(name, values.shape[1:], str(values.dtype)) for name, values in arrays.items())
    return Batches(str(folder), specs, len(next(iter(arrays.values()))), as_pictures)


def test_pictures_go_through_each_sides_preprocessing(tmp_path: Path) -> None:
    batches = stored(tmp_path, True, pictures=PIXELS)
    wanted = signature(TensorSpec("x", (None, 3, 4, 6), "float32"))
    inputs = batches.inputs(1, 3, wanted, Preprocessing(size=(4, 6), layout="NCHW"))
    assert np.array_equal(inputs["x"], PIXELS[1:3].transpose(0, 3, 1, 2).astype(np.float32))


def test_arrays_are_only_transposed_for_another_layout(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((5, 4, 6, 3)).astype(np.float32)
    batches = stored(tmp_path, False, images=values)
    wanted = signature(TensorSpec("x", (None, 3, 4, 6), "float32"))
    assert np.array_equal(batches.inputs(0, 5, wanted, Preprocessing(layout="NCHW"))["x"], values.transpose(0, 3, 1, 2))


def test_several_arrays_go_to_the_inputs_of_their_names(tmp_path: Path) -> None:
    batches = stored(tmp_path, False, left=np.zeros((2, 3), np.float32), right=np.ones((2, 3), np.float32))
    wanted = signature(TensorSpec("right", (None, 3), "float32"), TensorSpec("left", (None, 3), "float32"))
    inputs = batches.inputs(0, 2, wanted, Preprocessing())
    assert list(inputs) == ["right", "left"]
    assert inputs["right"].all()
    assert not inputs["left"].any()


def test_names_that_differ_fall_back_to_the_order(tmp_path: Path) -> None:
    batches = stored(tmp_path, False, a=np.zeros((2, 3), np.float32), b=np.ones((2, 3), np.float32))
    wanted = signature(TensorSpec("x", (None, 3), "float32"), TensorSpec("y", (None, 3), "float32"))
    assert batches.inputs(0, 2, wanted, Preprocessing())["y"].all()


def test_a_shape_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    batches = stored(tmp_path, True, pictures=PIXELS)
    with pytest.raises(ShapeError, match=r"wants \(N, 8, 8, 3\) but the data gives \(N, 4, 6, 3\)"):
        batches.inputs(0, 1, signature(TensorSpec("x", (1, 8, 8, 3), "float32")), Preprocessing(size=(4, 6)))


def test_a_missing_input_is_one_sentence(tmp_path: Path) -> None:
    batches = stored(tmp_path, True, pictures=PIXELS)
    spec = TensorSpec("x", (None, 4, 6, 3), "float32")
    with pytest.raises(ShapeError, match=r"has 2 inputs \(x, x\) but the data gives 1"):
        batches.inputs(0, 1, signature(spec, spec), Preprocessing(size=(4, 6)))


def test_they_survive_the_way_to_another_process(tmp_path: Path) -> None:
    batches = stored(tmp_path, True, pictures=PIXELS)
    assert Batches.from_record(batches.to_record()) == batches
