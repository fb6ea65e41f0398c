"""A patch survives its file for every kind of edit, and fits no other model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convfault import schemas
from convfault.errors import InputError
from convfault.relax import evaluate
from convfault.relax.edits import (
    Add,
    Edit,
    Insert,
    KeepFloat,
    Redirect,
    Remove,
    Rewire,
    SetHyperparameters,
    SetOutputs,
    SetParameters,
    Substitute,
    Together,
)
from convfault.relax.graph import Graph, Layer, Native, Parameter
from convfault.relax.imported import Origin
from convfault.repairing.patch import EDITS, Patch, unfit
from tests.localization.pairs import drawn, network

TARGET = {"format": "onnx", "sha256": "0" * 64, "name": "tiny"}
NAMES = st.text("abc/:é ", min_size=1, max_size=8)
VALUES = arrays.arrays(
    st.sampled_from([np.float32, np.int8, np.float16]), arrays.array_shapes(min_dims=0, max_dims=4, max_side=3)
)
PLAIN = st.recursive(
    st.integers(-9, 9) | st.floats(allow_nan=False) | st.booleans() | NAMES | st.none(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
SETTINGS = st.dictionaries(st.sampled_from(["strides", "padding", "minimum", "mode"]), PLAIN, max_size=3)
PARAMETERS = st.dictionaries(
    st.sampled_from(["weights", "bias"]),
    st.builds(Parameter, VALUES, st.lists(NAMES, max_size=2).map(tuple)),
    max_size=2,
)
NATIVES = st.builds(
    Native,
    st.none() | NAMES,
    st.none() | st.permutations(range(4)).map(tuple),
    st.lists(st.builds(Origin, NAMES, NAMES, st.lists(NAMES, max_size=2).map(tuple)), max_size=2).map(tuple),
)
IDS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
LAYERS = st.builds(
    Layer, NAMES, st.sampled_from(["convolution", "clip"]), IDS, SHAPES, st.just("float32"), SETTINGS, PARAMETERS,
    NATIVES, SETTINGS,
)  # fmt: skip
PLAIN_EDITS = st.one_of(
    st.builds(SetParameters, NAMES, st.dictionaries(st.sampled_from(["weights", "bias"]), VALUES, min_size=1)),
    st.builds(SetHyperparameters, NAMES, SETTINGS, st.none() | SHAPES),
    st.builds(Substitute, LAYERS),
    st.builds(Insert, LAYERS, st.none() | IDS),
    st.builds(Remove, NAMES, IDS),
    st.builds(Rewire, NAMES, IDS),
    st.builds(Add, LAYERS),
    st.builds(Redirect, NAMES, NAMES, IDS, st.booleans()),
    st.builds(SetOutputs, IDS),
    st.builds(KeepFloat, IDS),
)
ALL_EDITS = PLAIN_EDITS | st.builds(Together, st.lists(PLAIN_EDITS, max_size=3).map(tuple))
ROUNDS = st.lists(st.lists(ALL_EDITS, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


def patch(*rounds: tuple[Edit, ...]) -> Patch:
    return Patch(TARGET, rounds, tuple(tuple(f"edit {n}" for n, _ in enumerate(edits)) for edits in rounds))


def same(one: Any, other: Any) -> bool:
    """Equality that looks into edits, layers and arrays."""
    if isinstance(one, np.ndarray):
        return bool(
            one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, _has_nan(one.dtype))
        )
    if dataclasses.is_dataclass(one):
        if type(one) is not type(other):
            return False
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and type(one) is type(other)


def _has_nan(dtype: np.dtype) -> bool:
    return dtype.kind == "f"


@settings(max_examples=25)
@given(rounds=ROUNDS)
def test_every_patch_survives_its_file(rounds: tuple[tuple[Edit, ...], ...], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("patch") / "patch.json"
    written = patch(*rounds)
    written.write(path)
    read = Patch.read(path)
    assert read.target == written.target
    assert read.descriptions == written.descriptions
    assert same(read.rounds, written.rounds)
    record = json.loads(path.read_text(), parse_constant=refuse)
    assert schemas.invalid("patch", record) is None


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bound", [np.inf, -np.inf, np.float32(np.inf), np.nan])
def test_open_bounds_are_standard_json_and_were_not(bound: float, version: int, tmp_path: Path) -> None:
    path = tmp_path / "patch.json"
    patch((SetHyperparameters("clip", {"maximum": bound, "minimum": 0.0}),)).write(path)
    record = json.loads(path.read_text(), parse_constant=refuse)
    assert record["rounds"][0][0]["values"]["maximum"].keys() == {"float"}
    if version == 1:
        record["rounds"][0][0]["values"]["maximum"] = float(bound)
        path.write_text(json.dumps({**record, "schema_version": 1}))
    ((edit,),) = Patch.read(path).rounds
    assert isinstance(edit, SetHyperparameters)
    assert np.array_equal(edit.values["maximum"], bound, equal_nan=True)
    assert edit.values["minimum"] == 0


def test_every_kind_of_edit_has_a_name_in_the_file() -> None:
    from convfault.relax import edits

    known = {name for name, kind in vars(edits).items() if hasattr(kind, "apply") and kind is not edits.Edit}
    assert known - {"Graph"} == set(EDITS)


def test_a_patch_is_to_be_looked_at(tmp_path: Path) -> None:
    patch((SetHyperparameters("clip", {"maximum": 6.0}),)).write(tmp_path / "patch.json")
    record = json.loads((tmp_path / "patch.json").read_text())
    (edit,) = record["rounds"][0]
    assert edit["does"] == "edit 0"
    assert (edit["edit"], edit["layer"], edit["values"]) == ("SetHyperparameters", "clip", {"maximum": 6.0})


def test_a_patch_is_followed_by_another() -> None:
    first, second = patch((Remove("one", ()),)), patch((Remove("two", ()), Remove("three", ())))
    both = first.then(second)
    assert both.rounds == (*first.rounds, *second.rounds)
    assert both.descriptions == (("edit 0",), ("edit 0", "edit 1"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the patch"),
        (b"\x08\x07", "is no patch"),
        (b"[1, 2]", "is no patch"),
        (b"{}", "is no patch"),
        (b'{"schema_version": 99}', "version 99"),
        (b'{"schema_version": 1, "target": {}, "rounds": [], "arrays": "UEs="}', "is no patch"),
        (b'{"schema_version": 1, "target": {}, "rounds": [], "arrays": ""}', "is no patch"),
        (b'{"schema_version": 2, "target": {}, "rounds": [{"float": "much"}], "arrays": ""}', "is no patch"),
    ],
)
def test_what_is_no_patch_is_one_sentence(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "patch.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as found:
        Patch.read(path)
    assert str(path) in str(found.value)


def test_a_patch_with_an_unknown_edit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "patch.json"
    patch((Remove("one", ()),)).write(path)
    path.write_text(path.read_text().replace('"Remove"', '"Explode"'))
    with pytest.raises(InputError, match="Explode"):
        Patch.read(path)


def edits_of(graph: Graph) -> tuple[Edit, ...]:
    clip = next(layer for layer in graph if layer.kind == "clip")
    added = replace(clip, id="more", inputs=("convolution_2",), shape=graph["convolution_2"].shape)
    return (
        SetParameters("convolution_2", {"bias": drawn(8, seed=9)}),
        Insert(added),
        SetHyperparameters("more", {"maximum": 0.5}),
        Together((Add(replace(added, id="other")), SetOutputs(("other",)))),
    )


def test_a_patch_fits_the_graph_that_it_is_for_and_does_the_same_there(tmp_path: Path) -> None:
    graph = network()
    patch(edits_of(graph)).write(tmp_path / "patch.json")
    (edits,) = Patch.read(tmp_path / "patch.json").rounds
    assert unfit(edits, graph) is None
    found = [
        evaluate.run(_edited(graph, chosen), {graph.inputs[0]: drawn(2, 6, 6, 4)})
        for chosen in (edits, edits_of(graph))
    ]
    assert np.array_equal(found[0]["other"], found[1]["other"])


def _edited(graph: Graph, edits: tuple[Edit, ...]) -> Graph:
    for edit in edits:
        graph = edit.apply(graph)
    return graph


@pytest.mark.parametrize("number", range(4))
def test_an_edit_of_another_graph_is_told_with_the_layer_that_is_missing(number: int) -> None:
    graph = network()
    other = replace(graph, layers=tuple(layer for layer in graph if layer.id != "convolution_2"), outputs=())
    assert "convolution_2" in (unfit(edits_of(graph), other) or "") or number
    edit = (*edits_of(graph)[:2], Rewire("nobody", ("convolution_2",)), Remove("nobody", ()))[number]
    assert unfit((edit,), other) is not None


def test_parameters_of_another_shape_do_not_fit() -> None:
    graph = network()
    assert "of shape (8,), not (9,)" in (unfit((SetParameters("convolution_2", {"bias": drawn(9)}),), graph) or "")
    assert unfit((SetParameters("convolution_2", {"bias": drawn(8)}),), graph) is None
