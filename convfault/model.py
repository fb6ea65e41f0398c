"""A model file or folder as a value: where it is, what format it has, what goes in and comes out."""

from __future__ import annotations

import mmap
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from convfault import cache
from convfault.errors import FormatError, InputError, UsageError
from convfault.preprocessing import Preprocessing

FRAMEWORK_OF_FORMAT = {
    "pt2": "torch",
    "torch_function": "torch",
    "keras": "keras",
    "keras_h5": "keras",
    "saved_model": "tf",
    "frozen_graph": "tf",
    "tflite": "tflite",
    "onnx": "onnx",
}
"""Every model format that convfault reads, and the framework that runs it."""

FORMAT_OF_SUFFIX = {
    ".pt2": "pt2",
    ".keras": "keras",
    ".h5": "keras_h5",
    ".hdf5": "keras_h5",
    ".pb": "frozen_graph",
    ".tflite": "tflite",
    ".onnx": "onnx",
}


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (None: any size) and numpy dtype name of a tensor."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TensorSpec:
        return cls(record["name"], tuple(record["shape"]), record["dtype"])

    def to_record(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in its own order and under its native names."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Signature:
        return cls(*(tuple(TensorSpec.from_record(item) for item in record[side]) for side in ("inputs", "outputs")))

    def to_record(self) -> dict[str, Any]:
        return {side: [spec.to_record() for spec in getattr(self, side)] for side in ("inputs", "outputs")}


@dataclass(frozen=True)
class Model:
    """A model by its place; holds no native object.

    ``path`` is a file or folder, for ``torch_function`` the text ``module:function`` whose call gives an
    ``nn.Module``, with ``weights`` its state dict. ``name`` is the zoo's name or the file's.
    ``trusted``: the user allowed that the file executes code.
    """

    path: str
    format: str
    name: str = ""
    weights: str | None = None
    trusted: bool = False
    signature: Signature | None = None
    preprocessing: Preprocessing | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def framework(self) -> str:
        """The name of the framework that runs it natively."""
        return FRAMEWORK_OF_FORMAT[self.format]

    @cached_property
    def sha256(self) -> str:
        """Of the content: file, folder, or a function's text and its weights."""
        if self.format == "onnx":
            files = [Path(self.path), *_external_data(Path(self.path))]
            return cache.hash_path(files[0]) if len(files) == 1 else cache.key(*map(cache.hash_path, files))
        if self.format != "torch_function":
            return cache.hash_path(Path(self.path))
        parts = [self.path, cache.hash_path(Path(self.weights)) if self.weights else None]
        module = Path(self.path.partition(":")[0].replace(".", "/") + ".py")
        return cache.key(*parts, cache.hash_path(module) if module.is_file() else None)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file or folder, and the files beside it that belong to it; of a function its weights."""
        if self.format == "torch_function":
            return (Path(self.weights),) if self.weights else ()
        beside = _external_data(Path(self.path)) if self.format == "onnx" else ()
        return (Path(self.path), *beside)

    @property
    def size_bytes(self) -> int:
        """On the disk, with all that belongs to it."""
        found = [path for place in self.files for path in ([place] if place.is_file() else place.rglob("*"))]
        return sum(path.stat().st_size for path in found if path.is_file())

    def at(self, path: Path) -> Model:
        """The same model with another file: what it is called and fed with stays, its signature is to be read anew."""
        if self.format == "torch_function":
            return replace(self, signature=None, weights=str(path))
        return replace(self, signature=None, path=str(path))

    def with_signature(self, signature: Signature) -> Model:
        return replace(self, signature=signature)

    def with_preprocessing(self, preprocessing: Preprocessing) -> Model:
        return replace(self, preprocessing=preprocessing)

    @classmethod
    def from_path(cls, path: str, weights: str | None = None, trusted: bool = False) -> Model:
        """A user's model by path (or ``module:function``); raises ``InputError`` or ``FormatError`` in one sentence.

        Looks at names and first bytes only; whether the content is sound shows when its framework opens it.
        """
        place = Path(path).expanduser()
        if weights is not None and not Path(weights).expanduser().is_file():
            raise InputError(f"no weights file at {weights}")
        if not place.exists() and _is_function(path):
            return cls(path, "torch_function", path, weights, trusted)
        if not place.exists():
            raise InputError(f"no model at {path}: no such file or folder")
        return cls(str(place.absolute()), detect_format(place), place.name, weights, trusted)

    def to_record(self) -> dict[str, Any]:
        """JSON form, which crosses process boundaries; ``from_record`` reads it back."""
        return {
            "path": self.path,
            "format": self.format,
            "name": self.name,
            "weights": self.weights,
            "trusted": self.trusted,
            "signature": self.signature.to_record() if self.signature else None,
            "preprocessing": self.preprocessing.to_record() if self.preprocessing else None,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Model:
        signature, preprocessing = record["signature"], record["preprocessing"]
        return cls(
            **{
                **record,
                "signature": Signature.from_record(signature) if signature else None,
                "preprocessing": Preprocessing.from_record(preprocessing) if preprocessing else None,
            }
        )


def detect_format(path: Path) -> str:
    """The format of a model file or folder from its name, checked against its first bytes."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise FormatError(f"{path} is a folder without saved_model.pb: not a SavedModel")
    if path.name == "saved_model.pb":
        raise FormatError(f"{path} is part of a SavedModel: give its folder, {path.parent}")
    if path.suffix.lower() in {".pt", ".pth"}:
        raise UsageError(
            f"{path} holds pickled weights or a pickled module, which does not say its architecture: "
            "give module:function and --weights, or save it with torch.export.save as .pt2"
        )
    named = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if named is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise FormatError(f"{path}: '{path.suffix}' is no model format known here ({known}, SavedModel folder)")
    seen = _sniff(path)
    if seen == "empty":
        raise FormatError(f"{path} is empty")
    if not _fits(named, seen):
        raise FormatError(f"{path} is named like {named} but its content {_describe(seen)}")
    return named


LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])", re.DOTALL)
"""The protobuf entry that names a file beside an ONNX model; the byte is the length of the name."""


def _external_data(path: Path) -> list[Path]:
    """The files beside an ONNX model that hold its weights, without the onnx package."""
    names = set()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in LOCATION.finditer(content):
            name = content[found.end() : found.end() + found.group(1)[0]]
            names.add(name.decode("utf-8", errors="replace"))
    return sorted(place for name in names if (place := path.parent / name).is_file())


def _is_function(path: str) -> bool:
    module, colon, function = path.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _sniff(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        return "empty"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"\x89HDF"):
        return "keras_h5"
    if head.startswith(b"PK"):
        return _sniff_zip(path)
    return "unknown"


def _sniff_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise FormatError(f"{path} is a truncated or damaged archive ({error})") from error
    if "config.json" in names and "metadata.json" in names:
        return "keras"
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        return "pt2"
    return "zip"


def _fits(named: str, seen: str) -> bool:
    if seen == "unknown":  # protobufs carry no magic bytes
        return named in {"onnx", "frozen_graph"}
    return named == seen or {named, seen} == {"keras", "keras_h5"}


def _describe(seen: str) -> str:
    return {"unknown": "is none of it", "zip": "is another kind of archive"}.get(seen, f"is {seen}")
