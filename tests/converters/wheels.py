"""Wheels of packages that do next to nothing, for environments that are made in seconds and without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

CODE = '''
from pathlib import Path

VERSION = "{version}"


def convert(source, target, options):
    """A converter's function that lives in the environment only, and tells where it runs."""
    import os
    import sys

    found = [name for name in ("numpy", "filelock", "typer", "tests") if importable(name)]
    Path(target).write_bytes(b"\\x08" + repr((VERSION, sys.prefix, found, os.environ.get("GREETING"))).encode())


def importable(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None
'''


def write(folder: Path, name: str = "faketool", version: str = "1.0", requires: str = "") -> Path:
    """A wheel ``name-version-py3-none-any.whl`` of one module in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", CODE.replace("{version}", version))
        wheel.writestr(f"{information}/METADATA", metadata)
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return path
