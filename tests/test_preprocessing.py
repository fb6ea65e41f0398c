"""Pictures become tensors as the training code of each framework makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convfault.errors import UsageError
from convfault.preprocessing import Preprocessing

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))


def test_stretching_gives_the_wanted_size_in_rgb() -> None:
    assert Preprocessing(size=(20, 30)).pixels(PICTURE).shape == (20, 30, 3)


def test_shorter_side_and_crop_keep_the_middle() -> None:
    pixels = Preprocessing(size=(40, 40), resize=60).pixels(PICTURE)
    assert np.array_equal(pixels, np.asarray(PICTURE)[10:50, 25:65])


def test_scale_mean_and_std_are_applied_by_channel() -> None:
    preprocessing = Preprocessing(size=(1, 1), scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.5))
    tensor = preprocessing.tensor(np.full((1, 1, 1, 3), 255, np.uint8))
    assert np.allclose(tensor[0, 0, 0], [2.5, 6.0, 1.4], atol=1e-6)
    assert tensor.dtype == np.float32


def test_bgr_reverses_the_channels_before_the_mean() -> None:
    pixels = np.array([[[[10, 20, 30]]]], np.uint8)
    assert Preprocessing(channels="bgr", mean=(1, 2, 3)).tensor(pixels).ravel().tolist() == [29, 18, 7]


def test_nchw_is_the_transpose_of_nhwc() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 4, 5, 3), np.uint8)
    nhwc = Preprocessing(size=(4, 5))
    assert np.array_equal(nhwc.with_layout("NCHW").tensor(pixels), nhwc.tensor(pixels).transpose(0, 3, 1, 2))


def test_gray_pictures_have_one_channel() -> None:
    gray = Preprocessing(size=(4, 4), channels="gray", mean=(0,), std=(1,))
    assert gray.tensor(gray.pixels(PICTURE)[None]).shape == (1, 4, 4, 1)


@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_every_picture_gives_exactly_the_wanted_size(width: int, height: int, crop: bool) -> None:
    preprocessing = Preprocessing(size=(24, 17), resize=32 if crop else None)
    assert preprocessing.pixels(Image.new("RGB", (width, height))).shape == (24, 17, 3)


def test_it_survives_json_and_toml(tmp_path: Path) -> None:
    preprocessing = Preprocessing(size=(299, 299), resize=342, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert Preprocessing.from_record(preprocessing.to_record()) == preprocessing
    side_file = tmp_path / "model.onnx.toml"
    side_file.write_text("[preprocessing]\nsize = 299\nresize = 342\nmean = [0.1, 0.2, 0.3]\nstd = [1.0, 2.0, 3.0]\n")
    assert Preprocessing.from_toml(side_file) == preprocessing


@pytest.mark.parametrize(
    "record",
    [
        {"layout": "NWHC"},
        {"size": 0},
        {"std": [0.0]},
        {"resize": 10},
        {"channels": "cmyk"},
        {"mean": [1.0, 2.0]},
        {"sizes": 3},
        {"size": "large"},
        {"scale": "big"},
    ],
)
def test_a_wrong_setting_is_one_sentence(record: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Preprocessing.from_record(record)


@pytest.mark.parametrize(
    ("shape", "layout", "size"), [((None, 3, 32, 48), "NCHW", (32, 48)), ((1, 32, 48, 3), "NHWC", (32, 48))]
)
def test_what_a_shape_tells_is_used_and_the_rest_is_said(
    shape: tuple[int | None, ...], layout: str, size: object
) -> None:
    preprocessing = Preprocessing.for_input(shape)
    assert (preprocessing.layout, preprocessing.size) == (layout, size)
    assert preprocessing.assumed


def test_an_input_that_is_no_picture_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\.npz"):
        Preprocessing.for_input((None, 10))
