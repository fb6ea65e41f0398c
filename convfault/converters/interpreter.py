"""Finds a Python of a wanted version on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache as remembered
from pathlib import Path

from convfault.errors import UsageError

SECONDS = 20
CHECK = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
"""Debian's Pythons lack the last two until python3-venv is installed."""


@remembered
def find_python(version: str) -> str:
    """The path of an interpreter of this minor version ("3.10") that can make virtual environments.

    Looks at ``$CONVFAULT_PYTHON_3_10``, this interpreter, ``python3.10`` on the PATH, pyenv's versions and uv's, in
    this order. Raises ``UsageError`` where there is none, or where the variable names something else.
    """
    variable = f"CONVFAULT_PYTHON_{version.replace('.', '_')}"
    if chosen := os.environ.get(variable):
        if not _fits(chosen, version):
            raise UsageError(f"{variable} is {chosen}, which is no Python {version} that can make environments")
        return chosen
    for path in _places(version):
        if _fits(path, version):
            return path
    raise UsageError(
        f"no Python {version} was found here: install one (uv python install {version}, or pyenv install {version}), "
        f"or set {variable} to its path"
    )


def _places(version: str) -> Iterator[str]:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True))
    if uv := shutil.which("uv"):
        yield _output([uv, "python", "find", "--no-python-downloads", version])


def _fits(path: str, version: str) -> bool:
    return bool(path) and _output([path, "-c", CHECK]) == version


def _output(command: list[str]) -> str:
    """What the command prints; nothing when it fails (as pyenv's stand-ins do for versions that are not chosen)."""
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, env=variables, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
