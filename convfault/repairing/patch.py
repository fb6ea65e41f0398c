"""A ``Patch``: the edits of a repair as a file, to be looked at, and replayed on another copy of the model."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convfault.cache import write_aside
from convfault.errors import InputError
from convfault.relax import edits as kinds
from convfault.relax.edits import Edit, Together
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.store import layer_from, layer_record

SCHEMA_VERSION = 2
READABLE = (1, 2)
"""The first wrote numbers that are not finite as ``Infinity``, which is no JSON."""

EDITS = {
    kind.__name__: kind
    for kind in (
        kinds.SetParameters, kinds.SetHyperparameters, kinds.Substitute, kinds.Insert, kinds.Remove, kinds.Rewire,
        kinds.Add, kinds.KeepFloat, kinds.Redirect, kinds.SetOutputs, kinds.Together,
    )
}  # fmt: skip
"""Name in a file → kind of edit."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What turns a model into its repaired copy.

    ``rounds`` are edits of the canonical graph, each round's of the file that the one before it wrote;
    ``descriptions`` say what they do, one an edit, in native names. ``target`` is the model that they are for: its
    ``format``, and the ``sha256`` of the very file they were found on.
    """

    target: Mapping[str, str]
    rounds: tuple[tuple[Edit, ...], ...]
    descriptions: tuple[tuple[str, ...], ...]

    def then(self, other: Patch) -> Patch:
        """This patch and, on what it writes, another."""
        return Patch(self.target, (*self.rounds, *other.rounds), (*self.descriptions, *other.descriptions))

    def write(self, path: Path) -> None:
        """Write the patch as JSON, whole or not at all; arrays are an ``.npz`` in base 64 under ``arrays``.

        The bound of a clip that is open, and other numbers that are not finite, are ``{"float": "Infinity"}``.
        """
        arrays: dict[str, Array] = {}
        record = {
            "schema_version": SCHEMA_VERSION,
            "target": dict(self.target),
            "rounds": [
                [{"does": text, **_record(edit, arrays)} for edit, text in zip(edits, texts, strict=True)]
                for edits, texts in zip(self.rounds, self.descriptions, strict=True)
            ],
        }
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        record["arrays"] = base64.b64encode(packed.getvalue()).decode("ascii")
        write_aside(path, json.dumps(_plain(record), allow_nan=False, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Patch:
        """Read back what ``write`` wrote; raises ``InputError`` in one sentence for anything else."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"), object_hook=_number)
            version = record["schema_version"]
            if version not in READABLE:
                raise InputError(f"{path} is a patch of version {version}, this convfault reads {SCHEMA_VERSION}")
            with np.load(io.BytesIO(base64.b64decode(record["arrays"])), allow_pickle=False) as packed:
                arrays = {name: packed[name] for name in packed.files}
            rounds = tuple(tuple(_edit(item, arrays) for item in edits) for edits in record["rounds"])
            texts = tuple(tuple(str(item["does"]) for item in edits) for edits in record["rounds"])
            return cls(record["target"], rounds, texts)
        except OSError as error:
            raise InputError(f"cannot read the patch {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no patch that convfault repair wrote ({error!r})") from error


def unfit(edits: tuple[Edit, ...], graph: Graph) -> str | None:
    """Why edits are not for this graph: a layer that they touch is not in it; None when all are."""
    for edit in edits:
        for name in sorted(_touched(edit)):
            if name not in graph:
                return f"it has no layer {name}"
        if isinstance(edit, kinds.SetParameters) and (reason := _misshapen(edit, graph[edit.layer])):
            return reason
        try:
            graph = edit.apply(graph)
        except Exception as error:  # whatever an edit raises over a graph that it is not for
            return f"an edit of {', '.join(sorted(edit.changed))} does not fit it ({error})"
    return None


def _misshapen(edit: kinds.SetParameters, layer: Layer) -> str | None:
    """Why parameters are not a layer's: they hold more or fewer values than it has."""
    for name, values in edit.values.items():
        known = layer.parameters.get(name)
        if known is not None and known.values.size != values.size:
            return f"the {name} of its layer {layer.id} are of shape {known.values.shape}, not {values.shape}"
    return None


def _touched(edit: Edit) -> set[str]:
    """Layers that must be there before the edit."""
    if isinstance(edit, Together):  # its later parts may touch what earlier ones add
        return _touched(edit.edits[0]) if edit.edits else set()
    if isinstance(edit, kinds.Insert | kinds.Add):
        return set(edit.layer.inputs)
    return set() if isinstance(edit, kinds.SetOutputs) else set(edit.changed)


def _record(edit: Edit, arrays: dict[str, Array]) -> dict[str, Any]:
    assert dataclasses.is_dataclass(edit)
    values = {item.name: _kept(getattr(edit, item.name), arrays) for item in dataclasses.fields(edit)}
    return {"edit": type(edit).__name__, **values}


def _kept(value: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(value, Layer):
        return {"layer": layer_record(value, arrays)}
    if type(value).__name__ in EDITS:
        return _record(value, arrays)
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping):
        return {str(name): _kept(item, arrays) for name, item in value.items()}
    return [_kept(item, arrays) for item in value] if isinstance(value, list | tuple) else value


def _edit(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> Edit:
    kind = EDITS[record["edit"]]
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    made: Edit = kind(**{name: _restored(record[name], arrays) for name in names})
    return made


def _restored(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return tuple(_restored(item, arrays) for item in value)
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"array"}:
        return arrays[value["array"]]
    if value.keys() == {"layer"}:
        return layer_from(value["layer"], arrays)
    if "edit" in value:
        return _edit(value, arrays)
    return {name: _restored(item, arrays) for name, item in value.items()}


def _plain(value: Any) -> Any:
    """With numpy's scalars as Python's, and numbers that are not finite as standard JSON can hold them."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"a patch cannot hold {type(value).__name__}")
    return value


def _number(found: dict[str, Any]) -> Any:
    """A number that is not finite from what ``_plain`` made of it."""
    return float(found["float"]) if found.keys() == {"float"} else found
