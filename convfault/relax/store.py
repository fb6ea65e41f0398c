"""Keeps a ``Graph`` in a folder, so that a model is imported once and read back without TVM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convfault.model import TensorSpec
from convfault.relax.graph import Array, Graph, Layer, Native, Parameter
from convfault.relax.imported import Encoding, Origin, UnsupportedOperator
from convfault.relax.rounding import as_stored

HEADER, ARRAYS = "graph.json", "parameters.npz"


def write(graph: Graph, folder: Path) -> None:
    """Write a graph to an existing folder."""
    arrays: dict[str, Array] = {}
    record = {
        "layers": [layer_record(layer, arrays) for layer in graph],
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "layout": graph.layout,
        "encodings": {name: asdict(encoding) for name, encoding in graph.encodings.items()},
        "unsupported": [asdict(operator) for operator in graph.unsupported],
    }
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]
    (folder / HEADER).write_text(json.dumps(record, default=_plain), encoding="utf-8")


def read(folder: Path) -> Graph:
    """Read back what ``write`` wrote."""
    record = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        layers = tuple(layer_from(item, arrays) for item in record["layers"])
    graph = Graph(
        layers,
        tuple(record["inputs"]),
        tuple(record["outputs"]),
        record["layout"],
        {name: Encoding(**_tuples(encoding)) for name, encoding in record["encodings"].items()},
        tuple(_unsupported(item) for item in record["unsupported"]),
    )
    return as_stored(graph)


def tensors(folder: Path) -> tuple[str, ...]:
    """The native tensors that hold a layer's output, in order of computation."""
    record = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    names = (layer["native"]["tensor"] for layer in record["layers"] if layer["kind"] not in {"input", "constant"})
    return tuple(dict.fromkeys(name for name in names if name is not None))


def layer_record(layer: Layer, arrays: dict[str, Array]) -> dict[str, Any]:
    """JSON form of a layer; its parameters go to ``arrays``, by the names that stand for them."""
    return {
        "id": layer.id,
        "kind": layer.kind,
        "inputs": layer.inputs,
        "shape": layer.shape,
        "dtype": layer.dtype,
        "hyperparameters": dict(layer.hyperparameters),
        "parameters": _kept(layer.parameters, arrays),
        "native": asdict(layer.native),
        "details": _kept(layer.details, arrays),
    }


def _kept(value: Any, arrays: dict[str, Array]) -> Any:
    """With every parameter as the key of its array and its native names; its values go to ``arrays``."""
    if isinstance(value, Mapping):
        return {name: _kept(item, arrays) for name, item in value.items()}
    if not isinstance(value, Parameter):
        return value
    key = str(len(arrays))
    arrays[key] = value.values
    return {"array": key, "native": value.native}


def _restored(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What ``_kept`` was given."""
    if not isinstance(value, Mapping):
        return _tuples(value)
    if value.keys() == {"array", "native"}:
        return Parameter(arrays[value["array"]], tuple(value["native"]))
    return {name: _restored(item, arrays) for name, item in value.items()}


def layer_from(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> Layer:
    """Read back what ``layer_record`` gave."""
    parameters = _restored(record["parameters"], arrays)
    native = _tuples(record["native"])
    operators = tuple(Origin(**operator) for operator in native["operators"])
    return Layer(
        record["id"],
        record["kind"],
        tuple(record["inputs"]),
        tuple(record["shape"]),
        record["dtype"],
        _tuples(record["hyperparameters"]),
        parameters,
        Native(native["tensor"], native["permutation"], operators),
        _restored(record["details"], arrays),
    )


def _unsupported(record: Mapping[str, Any]) -> UnsupportedOperator:
    values = _tuples(record)
    return UnsupportedOperator(**{**values, "outputs": tuple(TensorSpec(**item) for item in values["outputs"])})


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """numpy's scalars and arrays as JSON can hold them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a graph cannot hold {type(value).__name__}")
