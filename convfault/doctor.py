"""What is installed, what is missing, and how to get it; imports none of it in this process."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from convfault import process

PACKAGES = {
    "torch": "torch",
    "torchvision": "torch",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "ai-edge-litert": "tflite",
    "tflite": "tflite",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "tf2onnx": "onnx",
    "onnx2torch": "onnx",
    "apache-tvm": "tvm",
}
"""Every distribution that convfault works with, and the extra of convfault that installs it."""

MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter", "apache-tvm": "tvm"}


@dataclass(frozen=True)
class Finding:
    """A package: ``status`` is ``ok``, ``missing`` or ``broken`` (installed, but its import fails: ``detail``)."""

    package: str
    version: str | None
    status: str
    detail: str = ""
    remedy: str = ""


def examine(quick: bool = False) -> Iterator[Finding]:
    """Look at every package, importing each in a process of its own unless ``quick``."""
    for package, extra in PACKAGES.items():
        remedy = f'pip install "convfault[{extra}]"'
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Finding(package, None, "missing", remedy=remedy)
            continue
        outcome = None if quick else _try_import(package)
        if outcome is None or outcome.status == "ok":
            yield Finding(package, version, "ok")
        else:
            yield Finding(package, version, "broken", outcome.message, f"pip install --force-reinstall {package}")


def system() -> dict[str, str]:
    """Python and platform."""
    return {"python": sys.version.split()[0], "platform": platform.platform()}


def import_module(module: str) -> None:
    """Job: import one module, with torchvision's operators declared where its wheel lacks them."""
    import importlib

    if module in {"torchvision", "onnx2torch"}:
        from convfault.native.torchvision_operators import ensure

        ensure()
    importlib.import_module(module)


def _try_import(package: str) -> process.Outcome:
    module = MODULES.get(package, package.replace("-", "_"))
    return process.run(
        process.Job("convfault.doctor:import_module", {"module": module}, f"import {module}", seconds=120)
    )
