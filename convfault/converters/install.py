"""Makes environments: once, in one process at a time, wholly or not at all.

A virtual environment cannot be moved, so it is made in its place; its marker is written last, and what lacks one is
made again. The process that makes it holds the lock, so that neither outlives the other when somebody kills it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convfault import cache as caching
from convfault import process
from convfault.cache import Cache, storage_errors
from convfault.converters import release
from convfault.converters.environment import KIND, MARKER, Environment
from convfault.converters.interpreter import find_python
from convfault.errors import StorageError, UsageError
from convfault.progress import Progress

INHERITED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSAFEPATH",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
)
"""Variables that would lead pip elsewhere than into the environment."""
MADE = "made"
LISTING = (
    "import json; from importlib import metadata as m; "
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


def install(environment: Environment, cache: Cache, on_event: process.OnEvent | None = None) -> dict[str, Any]:
    """Make the environment unless it is there; what is in it, as ``Environment.installed`` says it.

    Sends ``{"event": "environment", "name", "step", "done", "total"}`` while it works (``total`` packages, None where
    the description does not pin them all), the last time with the step ``made``. Raises ``UsageError`` with pip's last
    word when it cannot be made.
    """
    found = environment.installed(cache)
    if found is None:
        arguments = {"environment": environment.to_record(), "root": str(cache.root)}
        job = process.Job("convfault.converters.install:make", arguments, stage=f"make environment {environment.name}")
        process.run(job, on_event).unwrap()
        found = environment.installed(cache)
        if on_event is not None:
            on_event({"event": "environment", "name": environment.name, "step": MADE, "done": 0, "total": None})
    if found is None:
        raise UsageError(f"the environment {environment.name} vanished while it was made: try again")
    return found


def make(environment: dict[str, Any], root: str) -> None:
    """Job: make an environment, or wait for the process that makes it."""
    from filelock import FileLock

    chosen, cache = Environment.from_record(environment), Cache(Path(root))
    folder = chosen.folder(cache)
    with storage_errors(cache.root):
        (cache.root / "locks").mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        process.report("environment", name=chosen.name, step="wait", done=0, total=None)
        with FileLock(cache.root / "locks" / f"{KIND}-{folder.name}.lock"):
            if chosen.installed(cache) is None:
                _make_locked(chosen, cache)


def _make_locked(environment: Environment, cache: Cache) -> None:
    folder, started = environment.folder(cache), time.monotonic()
    python = _python(environment)
    if folder.exists():
        shutil.rmtree(folder)
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    process.report("environment", name=environment.name, step="create", done=0, total=None)
    _run([python, "-m", "venv", str(folder)], log, environment)
    _install_packages(environment, cache, log)
    listing = subprocess.run(
        [environment.interpreter(cache), "-c", LISTING], capture_output=True, text=True, env=_variables(), check=True
    )
    content = {
        "name": environment.name,
        "python": environment.python,
        "requirements": environment.requirements,
        "packages": dict(sorted(json.loads(listing.stdout).items())),
        "seconds": round(time.monotonic() - started, 1),
        "bytes": sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()),
    }
    caching.write_aside(folder / MARKER, json.dumps(content, indent=1))


def _python(environment: Environment) -> str:
    try:
        return find_python(environment.python)
    except UsageError as error:
        raise UsageError(f"the environment {environment.name} cannot be made: {error}") from None


def _install_packages(environment: Environment, cache: Cache, log: Path) -> None:
    folder = environment.folder(cache)
    (folder / "requirements.txt").write_text("\n".join(environment.requirements) + "\n")
    (folder / "constraints.txt").write_text("\n".join(environment.constraints) + "\n")
    pip = [str(environment.interpreter(cache)), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    files = ["-r", str(folder / "requirements.txt"), "-c", str(folder / "constraints.txt")]
    _run([*pip, "--progress-bar", "off", *files], log, environment)


def _run(command: list[str], log: Path, environment: Environment) -> None:
    """Run one command of the making, its output to the log and its progress to the parent."""
    done, total = 0, len(environment.constraints) or None
    lines: list[str] = []
    with open(log, "a", encoding="utf-8") as file, _started(command) as running:
        assert running.stdout is not None
        for line in running.stdout:
            file.write(line)
            lines.append(line.strip())
            done += line.startswith(("Collecting ", "Processing "))
            step = line.strip().partition(" (from")[0][:100]
            process.report("environment", name=environment.name, step=step, done=done, total=total)
    if running.returncode != 0:
        raise _failure(environment, lines, log)


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_variables(),
    ) as running:
        yield running


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in INHERITED}


def _failure(environment: Environment, lines: list[str], log: Path) -> UsageError:
    complaints = [line for line in lines if line.startswith(("ERROR:", "error:", "Error:"))]
    words = [line for line in lines if line]
    last = (complaints or words or ["no message"])[-1].partition(":")[2].strip() if complaints else (words or [""])[-1]
    if any("No space left on device" in line for line in lines):
        return StorageError(
            f"no space left on the disk for the environment {environment.name}: free some, or set CONVFAULT_CACHE"
        )
    offline = any("NewConnectionError" in line or "Retrying (" in line for line in lines)
    reason = " (the package index was not reached)" if offline else ""
    return UsageError(f"the environment {environment.name} cannot be made: {last}{reason}; the whole log is {log}")


def install_named(names: Iterable[str], cache: Cache, progress: Progress) -> list[dict[str, Any]]:
    """Make several environments, each by its name or as ``package==version``; a row of plain values for each.

    Makes all that can be made before it raises ``UsageError`` for the others.
    """
    chosen = [release.find(name) for name in names]
    rows, failures = [], []
    for environment in chosen:
        try:
            content = install(environment, cache, showing(progress))
        except UsageError as error:
            failures.append(str(error))
            continue
        packages, size = len(content["packages"]), f"{content['bytes'] / 1e6:.0f} MB"
        row = {"environment": environment.name, "python": content["python"], "packages": packages, "size": size}
        rows.append({**row, "folder": str(environment.folder(cache))})
    if failures:
        made = f" (made: {', '.join(row['environment'] for row in rows)})" if rows else ""
        raise UsageError("; ".join(failures) + made)
    return rows


def showing(progress: Progress) -> process.OnEvent:
    """What to do with the events of ``install`` so that they are seen."""
    totals: dict[str, int | None] = {}

    def show(event: process.Event) -> None:
        if event["event"] != "environment":
            return
        phase = f"make environment {event['name']}"
        if event["step"] == MADE:
            progress.finish(phase)
            return
        if phase not in totals or (totals[phase] is None and event["total"] is not None):
            totals[phase] = event["total"]
            progress.start(phase, event["total"])  # again, once it is known how many packages there are
        progress.update(phase, event["done"])

    return show


def package_folder(cache: Cache) -> Path:
    """A folder that holds nothing but a link to convfault, for interpreters that have packages of their own.

    Where convfault is installed, its parent folder would show them all the packages of this environment.
    """
    package = Path(process.__file__).resolve().parent
    folder = cache.root / KIND / f"import-{caching.key(str(package))[:12]}"
    link = folder / package.name
    if not link.is_symlink():
        with storage_errors(cache.root):
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{os.getpid()}"
            aside.unlink(missing_ok=True)
            aside.symlink_to(package, target_is_directory=True)
            aside.replace(link)
    return folder
