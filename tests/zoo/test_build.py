"""A built model is kept under a key of all that decides its content."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from convfault import shipped, zoo
from convfault.cache import Cache

building = importlib.import_module("convfault.zoo.build")  # the package has a function of this name
NAME = "mobilenetv2"
MAKER = {"torch": "torch", "keras": "keras", "tf": "keras"}
Built = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is shipped of the model."""
    package = tmp_path / "package"
    found = package / "_shipped" / "models" / NAME
    shutil.copytree(shipped.folder("models") / NAME, found)
    monkeypatch.setattr(shipped, "PACKAGE", package)
    return found


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions that are installed, of packages that need not be."""
    found = dict.fromkeys(("torch", "torchvision", "keras", "tensorflow"), "1.0")
    monkeypatch.setattr(metadata, "version", found.__getitem__)
    return found


@pytest.fixture
def built(tmp_path: Path, versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Built:
    """Framework → where its model is kept, by a builder that builds nothing."""

    def fill(aside: Path, *_: object) -> None:
        (aside / building.DETAILS).write_text(json.dumps({"classes": 50}))

    monkeypatch.setattr(building, "_fill", fill)
    cache = Cache(tmp_path / "cache")
    return lambda framework: str(Path(zoo.build(NAME, framework, cache=cache).path).parent)


@pytest.mark.parametrize("framework", MAKER)
def test_the_same_model_is_kept_once(framework: str, folder: Path, built: Built) -> None:
    assert built(framework) == built(framework)


@pytest.mark.parametrize("framework", MAKER)
def test_another_calibration_is_another_model(framework: str, folder: Path, built: Built) -> None:
    before = built(framework)
    with open(folder / f"calibration-{MAKER[framework]}.npz", "ab") as file:
        file.write(b"more")
    assert built(framework) != before


@pytest.mark.parametrize("framework", MAKER)
def test_the_calibration_of_another_maker_changes_nothing(framework: str, folder: Path, built: Built) -> None:
    before = built(framework)
    other = {"torch": "keras", "keras": "torch"}[MAKER[framework]]
    (folder / f"calibration-{other}.npz").unlink()
    assert built(framework) == before


@pytest.mark.parametrize("framework", MAKER)
def test_another_description_is_another_model(framework: str, folder: Path, built: Built) -> None:
    before = built(framework)
    with open(folder / "model.toml", "a") as file:
        file.write("\n[more]\nvalue = 1\n")
    assert built(framework) != before


@pytest.mark.parametrize(
    ("framework", "package"),
    [
        ("torch", "torch"),
        ("torch", "torchvision"),
        ("keras", "keras"),
        ("keras", "tensorflow"),
        ("tf", "keras"),
        ("tf", "tensorflow"),
    ],
)
def test_another_version_of_what_builds_it_is_another_model(
    framework: str, package: str, folder: Path, built: Built, versions: dict[str, str]
) -> None:
    before = built(framework)
    versions[package] = "2.0"
    assert built(framework) != before


def test_other_builders_write_other_models(folder: Path, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    before = built("torch")
    monkeypatch.setattr(building, "BUILDER_VERSION", building.BUILDER_VERSION + 1)
    assert built("torch") != before
