"""Environments are made once, wholly or not at all, and what runs in them sees nothing of ours but convfault."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from convfault.cache import Cache
from convfault.cli import app
from convfault.converters import environment as environments
from convfault.converters import install, interpreter, listing, release
from convfault.converters.convert import convert
from convfault.converters.environment import Environment
from convfault.errors import UnknownNameError, UsageError
from convfault.model import Model
from convfault.process import Event
from convfault.progress import Silent
from tests.converters import wheels
from tests.converters.fakes import converter, route

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip finds its packages in, and nowhere else."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        wheels.write(folder, version=version, requires="fakehelper")
    wheels.write(folder, "fakehelper", "1.5")
    wheels.write(folder, "fakehelper", "1.6")
    for name, value in {"PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A described environment ``fake`` with the tool at 1.0 and its helper pinned."""
    folder = tmp_path / "described"
    folder.mkdir()
    (folder / "fake.toml").write_text(
        f'about = "a test"\npython = "{HERE}"\nrequirements = ["faketool==1.0"]\nconstraints = ["fakehelper==1.5"]\n'
        '[releases]\nfaketool = ">=1,<3"\n[variables]\nGREETING = "hello"\n'
    )
    monkeypatch.setattr(environments, "DESCRIPTIONS", folder)
    environments.find.cache_clear()
    return environments.find("fake")


@pytest.fixture
def source(tmp_path: Path) -> Model:
    path = tmp_path / "source.onnx"
    path.write_bytes(b"\x08\x07 a model")
    return Model.from_path(str(path))


def test_it_is_made_as_it_is_pinned_and_only_once(index: Path, cache: Cache, fake: Environment) -> None:
    events: list[Event] = []
    assert fake.installed(cache) is None
    content = install.install(fake, cache, events.append)
    assert {"faketool": "1.0", "fakehelper": "1.5"}.items() <= content["packages"].items()
    assert content["python"] == HERE
    assert content["bytes"] > 0
    assert [event["step"] for event in events][-1] == "made"
    assert all(event["total"] in {None, 1} for event in events)
    before = (fake.folder(cache) / environments.MARKER).stat().st_mtime_ns
    events.clear()
    assert install.install(fake, cache, events.append) == content
    assert (fake.folder(cache) / environments.MARKER).stat().st_mtime_ns == before
    assert not events


def test_other_pins_are_another_environment(fake: Environment, cache: Cache) -> None:
    other = replace(fake, constraints=("fakehelper==1.6",))
    assert fake.folder(cache) != other.folder(cache)
    assert fake.folder(cache) == replace(fake, about="other words").folder(cache)


def test_two_processes_make_it_once(index: Path, cache: Cache, fake: Environment) -> None:
    code = (
        "import json, sys; from pathlib import Path; from convfault.cache import Cache; "
        "from convfault.converters import install; from convfault.converters.environment import Environment; "
        "record, root = json.loads(sys.argv[1]); seen = []; "
        "install.install(Environment.from_record(record), Cache(Path(root)), seen.append); "
        "print(sum(event['step'] == 'create' for event in seen))"
    )
    argument = json.dumps([fake.to_record(), str(cache.root)])
    command = [sys.executable, "-c", code, argument]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [process.communicate(timeout=120)[0].strip() for process in running]
    assert sorted(made) == ["0", "1"]
    assert fake.installed(cache)


def test_what_was_killed_half_made_is_made_again(index: Path, cache: Cache, fake: Environment) -> None:
    job = "import sys, json; from convfault.converters import install; install.make(*json.loads(sys.argv[1]))"
    argument = json.dumps([fake.to_record(), str(cache.root)])
    running = subprocess.Popen([sys.executable, "-c", job, argument], start_new_session=True)
    folder = fake.folder(cache)
    while not (folder / "pyvenv.cfg").exists():
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert fake.installed(cache) is None
    (folder / "rubbish").write_text("left behind")
    assert install.install(fake, cache)["packages"]["faketool"] == "1.0"
    assert not (folder / "rubbish").exists()


def test_when_the_interpreter_is_gone_it_is_made_again(index: Path, cache: Cache, fake: Environment) -> None:
    install.install(fake, cache)
    fake.interpreter(cache).unlink()
    assert fake.installed(cache) is None


def test_what_pip_says_last_is_the_message_and_all_of_it_is_kept(index: Path, cache: Cache, fake: Environment) -> None:
    absent = replace(fake, requirements=("faketool==9.9",))
    with pytest.raises(UsageError, match=r"fake cannot be made: No matching distribution .*faketool==9.9.* log is "):
        install.install(absent, cache)
    (log,) = (cache.root / environments.KIND).glob("*.log")
    assert "Could not find a version" in log.read_text()
    assert absent.installed(cache) is None


def test_packages_that_do_not_go_together_are_said(index: Path, cache: Cache, fake: Environment) -> None:
    clash = replace(fake, constraints=("fakehelper==7",))
    with pytest.raises(UsageError, match="fake cannot be made: "):
        install.install(clash, cache)


def test_a_missing_python_is_said_with_what_to_do(cache: Cache, fake: Environment) -> None:
    message = r"fake cannot be made: no Python 3.77 was found.*CONVFAULT_PYTHON_3_77"
    with pytest.raises(UsageError, match=message):
        install.install(replace(fake, python="3.77"), cache)
    (row,) = listing.environments(cache)
    assert row["python"] == HERE


def test_a_python_can_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    interpreter.find_python.cache_clear()
    variable = f"CONVFAULT_PYTHON_{HERE.replace('.', '_')}"
    monkeypatch.setenv(variable, sys.executable)
    assert interpreter.find_python(HERE) == sys.executable
    interpreter.find_python.cache_clear()
    monkeypatch.setenv(variable, str(tmp_path / "python"))
    with pytest.raises(UsageError, match=f"{variable} is .*, which is no Python {HERE}"):
        interpreter.find_python(HERE)
    monkeypatch.delenv(variable)
    assert interpreter.find_python(HERE)


def test_a_hop_runs_in_its_environment_and_sees_none_of_our_packages(
    index: Path, cache: Cache, fake: Environment, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(index))
    isolated = in_fake()
    conversion = convert(route(isolated), source, {}, cache)
    assert conversion.message == ""
    (hop,) = conversion.hops
    assert (hop.tool_version, dict(hop.versions)) == ("1.0", {"faketool": "1.0", "fakehelper": "1.5"})
    version, prefix, visible, greeting = told(conversion.target)
    assert (version, visible, greeting) == ("1.0", [], "hello")
    assert prefix == str(fake.folder(cache))
    assert convert(route(isolated), source, {}, cache).hops[0].cached


def test_another_release_is_made_on_demand_and_converts_again(
    index: Path, cache: Cache, fake: Environment, source: Model
) -> None:
    usual = convert(route(in_fake()), source, {}, cache)
    other = convert(route(replace(in_fake(), version="2.0")), source, {}, cache)
    assert [told(item.target)[0] for item in (usual, other)] == ["1.0", "2.0"]
    assert other.hops[0].tool_version == "2.0"
    assert other.hops[0].versions["fakehelper"] == "1.6"
    assert not other.hops[0].cached
    assert convert(route(replace(in_fake(), version="1.0")), source, {}, cache).hops[0].cached
    rows = {row["environment"]: row for row in listing.environments(cache)}
    assert {name: row["installed"] for name, row in rows.items()} == {"fake": "yes", "faketool-2.0": "yes"}
    assert rows["faketool-2.0"]["tools"] == "faketool 2.0"


def in_fake() -> object:
    values = {"package": "faketool", "companions": ("fakehelper",), "convert": "faketool:convert"}
    return converter("copies", "onnx", "onnx", environment="fake", options={}, **values)


def told(target: Model | None) -> tuple[str, str, list[str], str]:
    """What the fake tool wrote instead of a model."""
    assert target is not None
    found: tuple[str, str, list[str], str] = ast.literal_eval(Path(target.path).read_bytes()[1:].decode())
    return found


def test_releases_take_the_companions_that_are_known_to_fit() -> None:
    environments.find.cache_clear()
    old = release.find("tf2onnx==1.13.0")
    assert old.name == "tf2onnx-1.13.0"
    assert (old.python, old.pins["tf2onnx"], old.pins["tensorflow"]) == ("3.10", "1.13.0", "2.12.1")
    assert release.find("tf2onnx==1.16.1") == release.find("tensorflow_2_15")
    assert release.find("tf2onnx==1.16.0").pins["tensorflow"] == "2.15.1"
    assert release.find("onnx2tf==1.28.0").pins == {"onnx2tf": "1.28.0"}
    new = release.for_release("tf2onnx", "99.0", None, ("onnx",))
    assert (new.python, set(new.pins)) == (HERE, {"tf2onnx", "onnx"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tf2onnx==", "names no version"),
        ("tf2onnx==new", "'new' is no version of tf2onnx"),
        ("torch==2.2.2", "torch 2.2.2 is not at hand: it brings some gigabytes"),
    ],
)
def test_a_release_that_is_not_to_be_had_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        release.find(text)


def test_a_large_package_is_taken_when_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(release.ALLOW_LARGE, "1")
    assert release.find("torch==2.2.2").pins["torch"] == "2.2.2"


def test_unknown_environments_are_refused_before_anything_is_made(cache: Cache) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'onnx2tf'"):
        release.find("onnx2tff")


def test_every_description_pins_all_that_it_asks_for() -> None:
    for name in environments.names():
        described = environments.find(name)
        assert all(package in described.pins for package in map(_package, described.requirements)), name
        assert len(described.pins) == len(described.requirements) + len(described.constraints)
        assert described.about


def _package(requirement: str) -> str:
    return environments.package_name(requirement.partition("==")[0])


MODULES = sorted(path.stem for path in (ROOT / "convfault" / "converters").glob("*_from_*.py"))


def test_the_converters_import_in_python_3_10_without_any_package() -> None:
    try:
        python = interpreter.find_python("3.10")
    except UsageError as error:
        pytest.skip(str(error))
    imports = "; ".join(f"import convfault.converters.{name}" for name in MODULES)
    code = f"import convfault.process, convfault.native.torch_archive, convfault.native.torch_function; {imports}"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-S", "-c", code], env=variables, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_makes_what_is_named_and_the_listing_shows_it(
    index: Path, cache: Cache, fake: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVFAULT_CACHE", str(cache.root))
    assert _run("environment", "install", "fake").exit_code == 0
    (row,) = json.loads(_run("list", "environments", "--json").stdout)
    assert (row["environment"], row["python"], row["installed"]) == ("fake", HERE, "yes")
    nothing = _run("environment", "install")
    assert nothing.exit_code == 2
    assert "name an environment (fake)" in nothing.output
    assert _run("environment", "install", "fakes").exit_code == 2


def test_what_can_be_made_is_made_before_the_others_are_complained_of(
    index: Path, cache: Cache, fake: Environment
) -> None:
    with pytest.raises(UsageError, match=r"faketool-9 cannot be made: .*\(made: fake\)"):
        install.install_named(["faketool==9", "fake"], cache, Silent())
    assert fake.installed(cache)


def test_progress_is_shown_from_the_wait_to_the_end() -> None:
    told: list[tuple[object, ...]] = []

    class Recorder(Silent):
        def start(self, phase: str, total: int | None) -> None:
            told.append(("start", phase, total))

        def update(self, phase: str, done: int) -> None:
            told.append(("update", phase, done))

        def finish(self, phase: str) -> None:
            told.append(("finish", phase))

    show = install.showing(Recorder())
    show({"event": "hop", "index": 0})
    steps = (("wait", 0, None), ("create", 0, None), ("Collecting x", 1, 7), ("Collecting y", 2, 7), ("made", 0, None))
    for step, done, total in steps:
        show({"event": "environment", "name": "fake", "step": step, "done": done, "total": total})
    phase = "make environment fake"
    assert told == [
        ("start", phase, None),
        *[("update", phase, 0)] * 2,
        ("start", phase, 7),
        ("update", phase, 1),
        ("update", phase, 2),
        ("finish", phase),
    ]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))
