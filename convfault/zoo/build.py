"""Builds a model of the zoo into the cache, in a process of its own."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from convfault import process
from convfault.cache import Cache, hash_path, key
from convfault.errors import ConvfaultError, InputError, MissingPackageError
from convfault.model import Model
from convfault.zoo.catalogue import Entry, find
from convfault.zoo.download import is_address

CALIBRATED, IMAGENET = "calibrated", "imagenet"
DETAILS = "details.json"
BUILDER_VERSION = 2
"""Raise it when a change to the builders changes what they write."""

BUILDERS = {
    "torch": ("convfault.zoo.build_torch:build", "model.pt2", "pt2", ("torch", "torchvision")),
    "keras": ("convfault.zoo.build_keras:build", "model.keras", "keras", ("keras", "tensorflow")),
    "tf": ("convfault.zoo.build_keras:build", "saved_model", "saved_model", ("keras", "tensorflow")),
}
"""Framework → job, name of the file or folder that it writes, its format, and the packages that decide its content."""


def build(
    name: str,
    framework: str,
    weights: str = CALIBRATED,
    cache: Cache | None = None,
    on_event: process.OnEvent | None = None,
) -> Model:
    """The model ``name`` (or an alias) in the native format of ``framework``: torch, keras or tf.

    ``weights``: ``calibrated`` (embedded, needs no network), ``imagenet`` (the framework's own published ones), an
    http(s) address, or a file (torch: a state dict; Keras: ``.weights.h5`` or ``.h5``). For ``tflite`` and ``onnx``
    it gives the model of the framework that these come from (``Entry.origin``). Raises ``UnknownNameError``,
    ``MissingPackageError`` or ``UsageError``. What an address gave is kept: clear the cache to load it again.
    """
    entry = find(name)
    origin = entry.origin(framework)
    store = cache or Cache.default()
    _, filename, model_format, packages = BUILDERS[origin]
    versions = {package: _version(package, origin) for package in packages}
    source = _source(weights)
    calibration = entry.calibration(origin)
    if weights == CALIBRATED and not calibration.is_file():
        raise ConvfaultError(f"{calibration} is missing: install convfault again, or run scripts/calibrate")
    named = source in {CALIBRATED, IMAGENET} or is_address(source)
    content = [source if named else hash_path(Path(source)), hash_path(calibration) if source == CALIBRATED else ""]
    entry_key = key(entry.name, entry.description, origin, content, versions, BUILDER_VERSION)
    place = store.make("models", entry_key, lambda aside: _fill(aside, entry, origin, source, on_event))
    details = json.loads((place / DETAILS).read_text())
    return Model(
        str(place / filename),
        model_format,
        entry.name,
        preprocessing=entry.preprocessing(origin),
        metadata={"framework": origin, "weights": weights, "classes": details["classes"], "versions": versions},
    )


def _fill(aside: Path, entry: Entry, origin: str, source: str, on_event: process.OnEvent | None) -> None:
    function, filename, _, _ = BUILDERS[origin]
    arguments = {
        "description": entry.description,
        "weights": source,
        "calibration": str(entry.calibration(origin)),
        "target": str(aside / filename),
    }
    details: dict[str, Any] = process.run(
        process.Job(function, arguments, stage=f"build {entry.name} for {origin}"), on_event
    ).unwrap()
    (aside / DETAILS).write_text(json.dumps(details))


def _source(weights: str) -> str:
    """What the builder loads: a keyword, an address, or an absolute path that is there."""
    if weights in {CALIBRATED, IMAGENET} or is_address(weights):
        return weights
    path = Path(weights).expanduser()
    if not path.is_file():
        raise InputError(
            f"no weights at {weights}: give '{CALIBRATED}', '{IMAGENET}', an http address or a file of weights"
        )
    return str(path.absolute())


def _version(package: str, extra: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        extra = {"tf": "keras"}.get(extra, extra)
        raise MissingPackageError(f'{package} is not installed: pip install "convfault[{extra}]"') from None
