"""The data: the embedded set, folders, lists and archives, and every way in which they can be unusable."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convfault import shipped
from convfault.cache import Cache
from convfault.dataset import Dataset
from convfault.errors import DataError
from convfault.preprocessing import Preprocessing
from convfault.sources.fractals import HELD_OUT, TRAINING, Fractals

SMALL = Preprocessing(size=(8, 8))
PINNED = "d12f2f6e4ebb75f9"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def fractals() -> Fractals:
    return Fractals(shipped.description("datasets", "fractals"))


def paint(path: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


# --- the embedded set


def test_a_fractal_is_the_same_bits_every_time(fractals: Fractals) -> None:
    pixels = fractals.render(3, 7).tobytes()
    assert pixels == Fractals(fractals.description).render(3, 7).tobytes()
    assert hashlib.sha256(pixels).hexdigest()[:16] == PINNED


def test_streams_seeds_and_numbers_give_different_pictures_of_a_class(fractals: Fractals) -> None:
    pictures = [
        fractals.render(3, 7),
        fractals.render(3, 8),
        fractals.render(3, 7, stream=TRAINING),
        fractals.render(3, 7, stream=HELD_OUT, seed=1),
        fractals.render(4, 7),
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_any_number_of_classes_can_be_drawn(fractals: Fractals) -> None:
    assert fractals.render(1234, 0).size == (fractals.size, fractals.size)


def test_swapped_channels_change_a_fractal(fractals: Fractals) -> None:
    pixels = np.asarray(fractals.render(1, 0)).astype(int)
    assert np.abs(pixels - pixels[..., ::-1]).mean() > 5


def test_the_embedded_set_gives_as_many_pictures_as_asked_with_its_classes_in_turn() -> None:
    data = Dataset.open(limit=120)
    assert data.count == 120
    assert data.labels is not None
    assert data.labels[:3] == (0, 1, 2)
    assert data.labels[50:52] == (0, 1)
    assert len(data.class_names) == 50
    assert data.picture_name(51) == "fractal 01, picture 1"


def test_the_embedded_set_has_a_default_number_of_pictures_and_goes_by_its_name_too() -> None:
    assert Dataset.open().count == Dataset.open("fractals").count == 500


def test_another_seed_gives_other_pictures_of_the_same_classes() -> None:
    first, second = Dataset.open(limit=5), Dataset.open(limit=5, seed=1)
    assert first.labels == second.labels
    assert first.sha256 != second.sha256 == Dataset.open(limit=5, seed=1).sha256


def test_prepared_pictures_are_cached_raw_pixels_in_order(cache: Cache) -> None:
    data = Dataset.open(limit=3)
    steps: list[tuple[int, int]] = []
    batches = data.prepare(SMALL, cache, lambda done, total: steps.append((done, total)))
    pixels = batches.read(0, 3)["pictures"]
    assert pixels.shape == (3, 8, 8, 3)
    assert pixels.dtype == np.uint8
    picture = data.picture(1)
    assert picture is not None
    assert (pixels[1] == SMALL.pixels(picture)).all()
    assert steps[:3] == [(1, 3), (2, 3), (3, 3)]
    assert data.prepare(SMALL, cache).folder == batches.folder


def test_preprocessings_that_differ_only_in_scale_share_decoded_pictures(cache: Cache) -> None:
    data = Dataset.open(limit=2)
    same = data.prepare(Preprocessing(size=(8, 8), scale=1 / 255, channels="bgr"), cache)
    assert data.prepare(SMALL, cache).folder == same.folder
    assert data.prepare(Preprocessing(size=(9, 9)), cache).folder != same.folder


def test_a_thumbnail_is_a_small_png() -> None:
    content = Dataset.open(limit=1).thumbnail(0, side=32)
    assert content is not None
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (32, 32))


# --- folders


def test_sub_folders_are_classes_in_sorted_order(tmp_path: Path, cache: Cache) -> None:
    paint(tmp_path / "zebra" / "a.png", (0, 0, 255))
    paint(tmp_path / "ant" / "deep" / "b.jpg", (255, 0, 0))
    data = Dataset.open(str(tmp_path))
    assert data.class_names == ("ant", "zebra")
    assert data.labels == (0, 1)
    assert data.names == (str(Path("ant/deep/b.jpg")), str(Path("zebra/a.png")))
    pixels = data.prepare(SMALL, cache).read(0, 2)["pictures"]
    assert pixels[0, 0, 0, 0] > 200
    assert pixels[1, 0, 0, 2] > 200


def test_sub_folders_named_by_numbers_are_class_ids(tmp_path: Path) -> None:
    for number in ("7", "12"):
        paint(tmp_path / number / "a.png")
    assert set(Dataset.open(str(tmp_path)).labels or ()) == {7, 12}


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    paint(tmp_path / "b.png")
    paint(tmp_path / "a.PNG")
    data = Dataset.open(str(tmp_path))
    assert data.labels is None
    assert data.names == ("a.PNG", "b.png")


def test_a_mixed_folder_has_no_labels_and_says_so(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "cat" / "b.png")
    data = Dataset.open(str(tmp_path))
    assert data.labels is None
    assert "no labels" in data.notes[0]


def test_files_not_named_like_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_text("hello")
    data = Dataset.open(str(tmp_path))
    assert data.count == 1
    assert "1 files" in data.notes[0]


def test_a_limit_takes_a_seeded_sample_even_over_the_classes(tmp_path: Path) -> None:
    for number in range(20):
        paint(tmp_path / "many" / f"{number:02d}.png")
    for number in range(3):
        paint(tmp_path / "few" / f"{number}.png")
    data = Dataset.open(str(tmp_path), limit=6, seed=1)
    assert sorted(data.labels or ()) == [0, 0, 0, 1, 1, 1]
    assert data.names == Dataset.open(str(tmp_path), limit=6, seed=1).names
    assert data.names != Dataset.open(str(tmp_path), limit=6, seed=2).names
    assert data.names == tuple(sorted(data.names))


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    before = Dataset.open(str(tmp_path)).sha256
    paint(tmp_path / "a.png", (1, 1, 1))
    assert Dataset.open(str(tmp_path)).sha256 != before


def test_gray_and_transparent_pictures_become_rgb(tmp_path: Path, cache: Cache) -> None:
    Image.new("L", (9, 9), 100).save(tmp_path / "gray.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 50)).save(tmp_path / "transparent.png")
    pixels = Dataset.open(str(tmp_path)).prepare(SMALL, cache).read(0, 2)["pictures"]
    assert pixels[0, 0, 0].tolist() == [100, 100, 100]
    assert pixels[1, 0, 0].tolist() == [1, 2, 3]


# --- lists


def test_a_list_gives_paths_relative_to_itself_with_labels(tmp_path: Path) -> None:
    paint(tmp_path / "pictures" / "a, b.png")
    paint(tmp_path / "c.png")
    listing = tmp_path / "list.txt"
    listing.write_text("# mine\npictures/a, b.png\t4\n\nc.png, 2\n")
    data = Dataset.open(str(listing))
    assert data.labels == (4, 2)
    assert data.names == (str(Path("pictures/a, b.png")), "c.png")


def test_a_list_may_name_classes_or_give_no_labels(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    listing = tmp_path / "list.txt"
    listing.write_text("a.png,dog\nb.png,cat\n")
    assert Dataset.open(str(listing)).labels == (1, 0)
    listing.write_text("a.png\nb.png\n")
    assert Dataset.open(str(listing)).labels is None


def test_one_picture_is_data_too(tmp_path: Path) -> None:
    assert Dataset.open(str(paint(tmp_path / "a.png"))).count == 1


# --- archives


def test_an_archive_of_pictures_is_decoded_through_the_preprocessing(tmp_path: Path, cache: Cache) -> None:
    images = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 3), np.uint8)
    np.savez_compressed(tmp_path / "data.npz", images=images, labels=np.arange(5))
    data = Dataset.open(str(tmp_path / "data.npz"))
    assert data.labels == (0, 1, 2, 3, 4)
    assert data.pictures
    assert (data.prepare(SMALL, cache).read(0, 5)["pictures"] == images).all()


def test_gray_pictures_in_an_archive_may_lack_the_channel(tmp_path: Path, cache: Cache) -> None:
    images = np.full((2, 8, 8), 77, np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    assert Dataset.open(str(tmp_path / "data.npz")).prepare(SMALL, cache).read(0, 2)["pictures"].mean() == 77


def test_floating_point_arrays_are_model_inputs_as_they_are(tmp_path: Path, cache: Cache) -> None:
    images = np.random.RandomState(0).standard_normal((6, 3, 4, 4))
    np.savez(tmp_path / "data.npz", images=images)
    data = Dataset.open(str(tmp_path / "data.npz"), limit=3)
    batches = data.prepare(Preprocessing(size=(4, 4), layout="NCHW"), cache)
    assert not batches.pictures
    assert batches.layout == "NCHW"
    assert (batches.read(0, 3)["images"] == images[list(data.rows)].astype(np.float32)).all()
    assert data.thumbnail(0) is not None


def test_several_arrays_are_named_inputs(tmp_path: Path, cache: Cache) -> None:
    np.savez(tmp_path / "data.npz", left=np.ones((4, 2), np.float32), right=np.arange(4, dtype=">i4")[:, None])
    batches = Dataset.open(str(tmp_path / "data.npz")).prepare(SMALL, cache)
    values = batches.read(1, 3)
    assert set(values) == {"left", "right"}
    assert values["right"].tolist() == [[1], [2]]


def test_nan_is_allowed_and_noted(tmp_path: Path, cache: Cache) -> None:
    images = np.zeros((3, 4, 4, 3), np.float32)
    images[1, 0, 0, 0] = np.nan
    np.savez(tmp_path / "data.npz", images=images)
    data = Dataset.open(str(tmp_path / "data.npz"))
    notes = data.notes_on(data.prepare(SMALL, cache))
    assert notes == ("1 of 3 rows of 'images' hold NaN or infinite values",)


def test_sound_arrays_give_no_note(tmp_path: Path, cache: Cache) -> None:
    np.savez(tmp_path / "data.npz", images=np.zeros((3, 4, 4, 3), np.float32))
    data = Dataset.open(str(tmp_path / "data.npz"))
    assert data.notes_on(data.prepare(SMALL, cache)) == ()


# --- bad input


def bad_archive(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def test_the_only_array_of_an_archive_may_have_any_name(tmp_path: Path) -> None:
    data = Dataset.open(bad_archive(tmp_path / "data.npz", signal=np.zeros((5, 12, 3), np.float32)))
    assert (data.count, data.pictures) == (5, False)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": np.arange(3)}, "no array named 'images'"),
        ({"other": np.zeros((3, 4, 4, 2), np.uint8)}, "pictures are"),
        ({"images": np.zeros((3, 4), np.uint8)}, "pictures are"),
        ({"images": np.zeros((3, 4, 4, 2), np.uint8)}, "pictures are"),
        ({"images": np.zeros((3, 4, 4, 3), np.int64)}, "is int64"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "holds nothing"),
        ({"images": np.zeros((3, 4, 4, 3), np.uint8), "labels": np.arange(2)}, "2 labels for 3 images"),
        ({"images": np.zeros((3, 4, 4, 3), np.uint8), "labels": np.zeros(3)}, "not whole numbers"),
        ({"images": np.array([{}, {}], object)}, "pickled Python objects"),
        ({"images": np.asfortranarray(np.zeros((3, 4, 4, 3), np.uint8))}, "ascontiguousarray"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((4, 2))}, "different numbers of rows"),
    ],
)
def test_an_unusable_archive_is_one_sentence(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Dataset.open(bad_archive(tmp_path / "data.npz", **arrays))


def test_a_truncated_archive_is_said(tmp_path: Path) -> None:
    path = Path(bad_archive(tmp_path / "data.npz", images=np.zeros((9, 8, 8, 3), np.uint8)))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"not a sound \.npz"):
        Dataset.open(str(path))


def test_an_archive_whose_array_is_too_short_is_said(tmp_path: Path, cache: Cache) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((9, 8, 8, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("images.npy", content.getvalue()[:-100])
    data = Dataset.open(str(tmp_path / "data.npz"))
    with pytest.raises(DataError, match="truncated at row 8"):
        data.prepare(SMALL, cache)
    assert not list((cache.root / "pictures").glob("*")), "nothing half-written"


def test_a_missing_path_says_what_can_be_given() -> None:
    with pytest.raises(DataError, match=r"no data at nowhere/at/all: give a folder"):
        Dataset.open("nowhere/at/all")


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in"):
        Dataset.open(str(tmp_path))


def test_a_picture_that_is_none_is_named(tmp_path: Path, cache: Cache) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("I am no picture")
    data = Dataset.open(str(tmp_path))
    with pytest.raises(DataError, match=r"b\.png is not a picture"):
        data.prepare(SMALL, cache)
    assert not list((cache.root / "pictures").glob("*")), "nothing half-written"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, cache: Cache, name: str) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1500])
    with pytest.raises(DataError, match=f"{name} is a damaged or truncated picture"):
        Dataset.open(str(tmp_path)).prepare(SMALL, cache)


def test_a_decompression_bomb_is_refused(tmp_path: Path, cache: Cache) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(DataError, match=r"bomb\.png claims more pixels"):
        Dataset.open(str(tmp_path)).prepare(SMALL, cache)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no pictures"),
        ("a.png\ngone.png\n", "line 2: no picture at gone.png"),
        ("a.png,1\na.png\n", "1 labels for 2 pictures"),
    ],
)
def test_an_unusable_list_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        Dataset.open(str(tmp_path / "list.txt"))


def test_a_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="neither a picture"):
        Dataset.open(str(tmp_path / "data.bin"))


@pytest.mark.parametrize(("limit", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_limits_and_seeds_out_of_range_are_refused(limit: int, seed: int) -> None:
    with pytest.raises(DataError):
        Dataset.open(limit=limit, seed=seed)


def test_some_of_the_pictures_keep_their_names_labels_and_content() -> None:
    whole = Dataset.open(limit=6)
    few = whole.taking([4, 1])
    assert (few.count, few.names) == (2, (whole.names[4], whole.names[1]))
    assert few.labels == (whole.labels[4], whole.labels[1])  # type: ignore[index]
    assert few.thumbnail(0) == whole.thumbnail(4)
    assert few.sha256 != whole.sha256
