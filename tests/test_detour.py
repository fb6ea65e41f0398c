"""Other ways to the target, and the releases of a tool that are at hand."""

from __future__ import annotations

import json
from pathlib import Path

from convfault.cache import Cache
from convfault.converters import release
from convfault.converters import route as routes
from convfault.converters.environment import MARKER, Environment
from convfault.detour import releases

ROUTE = routes.parse("keras>tf:keras_export>onnx:tf2onnx[opset=13]")


def made(environment: Environment, cache: Cache) -> None:
    """As an environment looks that was installed."""
    python = environment.interpreter(cache)
    python.parent.mkdir(parents=True)
    python.touch()
    (environment.folder(cache) / MARKER).write_text(json.dumps({"name": environment.name}))


def found(cache: Cache, guilty: int = 1) -> list[tuple[str, str]]:
    return [(str(way), way.reason) for way in releases(ROUTE, guilty, cache)]


def test_releases_whose_environments_are_made_are_other_ways(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made(release.for_release("tf2onnx", "1.13.0"), cache)
    assert found(cache) == [("keras>tf:keras_export>onnx:tf2onnx==1.13.0[opset=13]", "by release 1.13.0 of tf2onnx")]
    assert found(cache, guilty=0) == []


def test_releases_that_are_not_at_hand_are_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert found(cache) == []
    made(release.for_release("tf2onnx", "1.13.0"), cache)
    (release.for_release("tf2onnx", "1.13.0").folder(cache) / MARKER).unlink()
    assert found(cache) == []


def test_the_release_that_was_taken_is_no_other_way(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made(release.for_release("tf2onnx", "1.13.0"), cache)
    assert list(releases(ROUTE.with_versions({"tf2onnx": "1.13.0"}), 1, cache)) == []
