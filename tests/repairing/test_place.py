"""A repaired model comes to its place whole or not at all, and never over a model that is compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from convfault.errors import StorageError, UsageError
from convfault.model import Model
from convfault.repairing.place import Place, place_for


@pytest.fixture(autouse=True)
def _at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model(path: Path, content: bytes = b"\x08\x07") -> Model:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Model.from_path(str(path))


def saved_model(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"\x08\x01")
    return path


# names


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (Model("elsewhere/model.onnx", "onnx"), "model.repaired.onnx"),
        (Model("elsewhere/model.tflite", "tflite"), "model.repaired.tflite"),
        (Model("elsewhere/net.v2.keras", "keras"), "net.v2.repaired.keras"),
        (Model("elsewhere/saved", "saved_model", "saved"), "saved.repaired"),
        (Model("module:function", "torch_function", "module:function"), "module.function.repaired.pt"),
        (Model("x.onnx", "onnx", "mobilenetv2"), "mobilenetv2.repaired.onnx"),
    ],
)
def test_the_result_is_named_like_the_target_in_this_folder(target: Model, place: str, tmp_path: Path) -> None:
    assert place_for(target, None).path == tmp_path / place


def test_a_place_that_is_given_is_taken(tmp_path: Path) -> None:
    found = place_for(Model("model.onnx", "onnx"), Path("folder/other.onnx"))
    assert found == Place(tmp_path / "folder/other.onnx", "onnx")


@pytest.mark.parametrize(
    ("format_", "out"), [("onnx", "out.tflite"), ("tflite", "out"), ("keras", "out.h5"), ("pt2", "out.pt")]
)
def test_another_formats_suffix_is_refused(format_: str, out: str) -> None:
    with pytest.raises(UsageError, match="wrong name"):
        place_for(Model(f"model.{format_}", format_), Path(out))


def test_suffixes_are_read_as_models_are(tmp_path: Path) -> None:
    assert place_for(Model("m.h5", "keras_h5"), tmp_path / "out.hdf5").path.name == "out.hdf5"
    assert place_for(Model("m.onnx", "onnx"), tmp_path / "OUT.ONNX").path.name == "OUT.ONNX"


# what is there already


def test_neither_model_is_written_over(tmp_path: Path) -> None:
    source, target = model(tmp_path / "source.onnx"), model(tmp_path / "target.onnx")
    for path in (source.path, target.path):
        with pytest.raises(UsageError, match="never overwritten"):
            place_for(target, Path(path), (source,))
    os.symlink(target.path, tmp_path / "link.onnx")
    with pytest.raises(UsageError, match="never overwritten"):
        place_for(target, tmp_path / "link.onnx", (source,))
    assert place_for(target, model(tmp_path / "old.onnx").files[0], (source,)).path.name == "old.onnx"


def test_a_saved_model_takes_the_place_of_another_and_of_nothing_else(tmp_path: Path) -> None:
    target = Model(str(saved_model(tmp_path / "target")), "saved_model")
    assert place_for(target, saved_model(tmp_path / "old")).path.name == "old"
    (tmp_path / "empty").mkdir()
    assert place_for(target, tmp_path / "empty").path.name == "empty"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letters.txt").write_text("dear")
    for taken in ("mine", "mine/letters.txt"):
        with pytest.raises(UsageError, match="something other than a SavedModel"):
            place_for(target, tmp_path / taken)


def test_a_folder_where_a_file_is_wanted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        place_for(Model("m.onnx", "onnx"), tmp_path / "folder.onnx")


def test_a_folder_is_refused_with_a_file_to_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"it is a folder; name a file, such as .*folder/m\.repaired\.onnx"):
        place_for(Model("m.onnx", "onnx"), tmp_path / "folder")


def test_a_place_within_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(StorageError, match="file is no folder; choose another place"):
        place_for(Model("m.onnx", "onnx"), tmp_path / "file/out.onnx")


def test_a_place_in_or_round_a_model_is_refused(tmp_path: Path) -> None:
    target = Model(str(saved_model(tmp_path / "target")), "saved_model")
    with pytest.raises(UsageError, match="name a place outside of it"):
        place_for(target, tmp_path / "target/mended")
    with pytest.raises(UsageError, match="which is to be compared"):
        place_for(target, saved_model(tmp_path / "round"), (model(tmp_path / "round/source.onnx"),))


def test_data_beside_another_model_is_not_replaced(tmp_path: Path) -> None:
    from tests import tiny

    (tmp_path / "mine").mkdir()
    target = Model.from_path(str(tiny.onnx_model(tmp_path / "mine", external=True)))
    assert place_for(target, tmp_path / "mine/out.onnx").path.name == "out.onnx"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / target.files[1].name).write_bytes(b"theirs")
    with pytest.raises(StorageError, match="is in the way, which belongs to another model"):
        place_for(target, tmp_path / "theirs/out.onnx")
    with Place(tmp_path / "theirs/out.onnx", "onnx").scratch() as folder:
        for name in ("out.onnx", target.files[1].name):
            (folder / name).write_bytes(b"ours")
        with pytest.raises(StorageError, match="is in the way"):
            Place(tmp_path / "theirs/out.onnx", "onnx").publish(folder)
    assert list(files(tmp_path / "theirs")) == [target.files[1].name]


def test_looking_at_a_place_makes_no_folder_and_an_unused_one_goes(tmp_path: Path) -> None:
    place = place_for(Model("m.onnx", "onnx"), tmp_path / "deep/er/out.onnx")
    assert list(tmp_path.iterdir()) == []
    with place.scratch():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(StorageError, match="cannot write"):
        place_for(Model("m.onnx", "onnx"), Path("/proc/nowhere/out.onnx"))


# filling it


def files(folder: Path) -> Iterator[str]:
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_model_and_what_lies_beside_it_are_moved_and_the_scratch_folder_goes(tmp_path: Path) -> None:
    place = Place(tmp_path / "new/out.onnx", "onnx")
    with place.scratch() as folder:
        assert folder.parent == place.path.parent
        made = folder / "made"
        made.mkdir()
        (made / "out.onnx").write_bytes(b"model")
        (made / "out.onnx.data").write_bytes(b"weights")
        place.publish(made)
    assert list(files(tmp_path)) == ["new/out.onnx", "new/out.onnx.data"]


def test_nothing_is_left_where_nothing_is_published(tmp_path: Path) -> None:
    place = Place(tmp_path / "out.onnx", "onnx")

    def fail() -> None:
        with place.scratch() as folder:
            (folder / "half").write_bytes(b"made")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_older_result_is_replaced_file_or_folder(tmp_path: Path) -> None:
    old = saved_model(tmp_path / "out")
    (old / "variables").mkdir()
    for place, name in ((Place(old, "saved_model"), "saved_model.pb"), (Place(tmp_path / "out.onnx", "onnx"), "")):
        place.path.with_suffix(".onnx").write_bytes(b"old")
        with place.scratch() as folder:
            made = folder / "made" / place.path.name
            made.parent.mkdir()
            if name:
                made.mkdir()
            (made / name if name else made).write_bytes(b"new")
            place.publish(made.parent)
    assert (tmp_path / "out/saved_model.pb").read_bytes() == b"new"
    assert (tmp_path / "out.onnx").read_bytes() == b"new"
    assert sorted(files(tmp_path)) == ["out.onnx", "out/saved_model.pb"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot write"), Place(tmp_path / "locked/out.onnx", "onnx").scratch():
        pass
