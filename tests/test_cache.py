"""The store: content-addressed, whole or not at all, made once, bounded."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from convfault import cache
from convfault.cache import Cache
from convfault.errors import StorageError


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def write(text: str) -> Filler:
    return Filler(text)


class Filler:
    def __init__(self, text: str) -> None:
        self.text, self.calls = text, 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "file").write_text(self.text)


def test_an_entry_is_made_once_and_found_again(store: Cache) -> None:
    fill = write("hello")
    first, second = store.make("runs", "k", fill), store.make("runs", "k", fill)
    assert first == second
    assert fill.calls == 1
    assert (first / "file").read_text() == "hello"


def test_another_key_is_another_entry(store: Cache) -> None:
    store.make("runs", "a", write("1"))
    assert (store.make("runs", "b", write("2")) / "file").read_text() == "2"


def test_a_failed_entry_leaves_nothing(store: Cache) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        store.make("runs", "k", fail)
    assert store.find("runs", "k") is None
    assert not list((store.root / "runs").iterdir())


def test_two_at_once_make_it_once(store: Cache) -> None:
    calls: list[int] = []

    def slow(folder: Path) -> None:
        calls.append(1)
        time.sleep(0.2)

    threads = [threading.Thread(target=store.make, args=("runs", "k", slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_keys_depend_on_content_only() -> None:
    assert cache.key({"a": 1, "b": [2]}) == cache.key({"b": [2], "a": 1})
    assert cache.key({"a": 1}) != cache.key({"a": 2})


def test_a_folders_hash_sees_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a").write_text("x")
    (tmp_path / "two/a").write_text("x")
    (tmp_path / "three/b").write_text("x")
    assert cache.hash_path(tmp_path / "one") == cache.hash_path(tmp_path / "two")
    assert cache.hash_path(tmp_path / "one") != cache.hash_path(tmp_path / "three")


def test_pruning_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit_bytes=25)
    for age, name in ((300, "old"), (200, "middle"), (100, "new")):
        place = store.make("runs", name, write("0123456789"))
        os.utime(place, (time.time() - 7200 - age,) * 2)
    store.prune()
    assert [store.find("runs", name) is not None for name in ("old", "middle", "new")] == [False, True, True]


def test_what_was_just_used_is_never_pruned(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit_bytes=1)
    store.make("runs", "k", write("0123456789"))
    assert store.find("runs", "k") is not None


def test_a_full_disk_is_one_sentence_and_nothing_stays(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    store = Cache(tmp_path)
    with pytest.raises(StorageError, match="no space left on the disk"):
        store.make("runs", "k", fill)
    assert store.find("runs", "k") is None


def test_a_file_is_written_whole_or_keeps_its_old_content(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    cache.write_aside(place, "old")
    with pytest.raises(TypeError):
        cache.write_aside(place, 3)  # type: ignore[arg-type]
    assert place.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_clear_frees_everything(store: Cache) -> None:
    store.make("runs", "k", write("0123456789"))
    assert store.clear() == 10
    assert store.entries() == []


@pytest.mark.parametrize("place", ["s3://bucket/cache", "memory://x", "file:///tmp/x", "s3:/bucket"])
def test_an_address_is_no_folder(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVFAULT_CACHE", place)
    with pytest.raises(StorageError, match="is an address, and convfault keeps its files in folders"):
        Cache.default()


@pytest.mark.parametrize("place", ["C:/cache", "/s3/bucket", "s3", "a/b://c"])
def test_a_folder_is_no_address(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVFAULT_CACHE", place)
    assert Cache.default().root.is_absolute()
