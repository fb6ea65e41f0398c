"""Two files that differ, and what ``repair`` makes of the second: proven, or nothing at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convfault
from convfault.cache import Cache
from convfault.errors import FormatError, StorageError, UsageError
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.report import Report, invalid
from convfault.restoring import rounds
from convfault.restoring.proof import HELD_OUT
from tests import tiny
from tests.repairing.views import difference, run
from tests.restoring.conftest import COUNT, Repair

Faulty = Callable[..., Path]


def left_in(folder: Path) -> list[str]:
    """Everything in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def answers(path: Path) -> list[np.ndarray]:
    return run(path, tiny.pictures(COUNT, seed=5, layout="NCHW" if path.suffix == ".onnx" else "NHWC"))


# repaired


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("tflite", ("weights_scaled",)),
        ("onnx", ("bias_zeroed", "activation_missing")),
    ],
)
def test_planted_faults_are_undone_in_the_file(
    form: str, kinds: tuple[str, ...], repair: Repair, faulty: Faulty, tiny_onnx: Path, tiny_tflite: Path, result: Path
) -> None:
    target = faulty(form, *kinds)
    report = repair(tiny_onnx, target)
    assert (report.comparison.verdict, report.exit_code) == ("differ", 0)
    assert report.repaired is not None
    assert report.repaired["reached"]
    assert report.repaired["comparison"]["verdict"] == "agree"
    assert left_in(result) == [f"mended.{form}"]
    sound = answers(tiny_onnx if form == "onnx" else tiny_tflite)
    assert difference(answers(target), sound) > 1e-3
    assert difference(answers(result / f"mended.{form}"), sound) < 1e-5
    assert len([item for item in report.repairs if item["accepted"]]) == len(kinds)
    assert report.repaired["sha256"] == Model.from_path(str(result / f"mended.{form}")).sha256
    assert report.repaired["held_out"] == {
        "images": COUNT // HELD_OUT,
        "top1_disagreement": 0.0,
        "max_abs_error": report.repaired["held_out"]["max_abs_error"],
        "reached": True,
    }
    assert invalid(report.to_record()) is None


def test_a_target_that_agrees_is_copied_byte_for_byte(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, result: Path
) -> None:
    report = repair(tiny_onnx, tiny_tflite)
    assert report.exit_code == 0
    assert report.repairs == ()
    assert left_in(result) == ["mended.tflite"]
    assert (result / "mended.tflite").read_bytes() == tiny_tflite.read_bytes()
    assert "copied" in report.repaired["notes"][0]  # type: ignore[index]


def test_a_result_replaces_an_older_one_with_its_side_file(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, result: Path
) -> None:
    result.mkdir()
    (result / "mended.tflite").write_bytes(b"old")
    (result / "mended.tflite.toml").write_text(Preprocessing(size=(16, 16), channels="bgr").to_toml())
    report = repair(tiny_onnx, tiny_tflite, data=None, limit=12, preprocessing="scale = 0.05")
    assert report.exit_code == 0
    assert Preprocessing.from_toml(result / "mended.tflite.toml").channels == "rgb"


def test_a_target_that_agrees_is_copied_with_what_lies_beside_it(
    repair: Repair, tiny_onnx: Path, tmp_path: Path, result: Path
) -> None:
    (tmp_path / "external").mkdir()
    target = tiny.onnx_model(tmp_path / "external", external=True)
    report = repair(tiny_onnx, target)
    assert report.exit_code == 0
    assert left_in(result) == ["mended.onnx", "tiny.onnx.data"]
    assert difference(answers(result / "mended.onnx"), answers(tiny_onnx)) == 0


# not repaired


def bending(folder: Path, bend: str) -> Path:
    """A file of two products with an operator between."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {"w": random.standard_normal((3 * 64, 10)), "v": random.standard_normal((10, 10))}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["wide"]),
        helper.make_node(bend, ["wide"], ["bent"]),
        helper.make_node("MatMul", ["bent", "v"], ["y"]),
    ]
    sides = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])]
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])]
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, bend, sides, ends, held)
    path = folder / f"{bend}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_hopeless_pair_leaves_nothing(repair: Repair, tmp_path: Path, result: Path) -> None:
    known_to_nobody, target = bending(tmp_path, "LpNormalization"), bending(tmp_path, "Tanh")
    report = repair(known_to_nobody, target, patch=tmp_path / "patch.json")
    assert report.exit_code == 1
    assert report.repaired is None
    assert all(item["reason"] for item in report.repairs)
    assert left_in(result) == []
    assert not (tmp_path / "patch.json").exists()
    assert invalid(report.to_record()) is None


def redrawn(path: Path, place: Path, kernels: int = 4) -> Path:
    """A copy of an ONNX file whose first ``kernels`` are of another training."""
    import onnx
    from onnx import numpy_helper

    model, random = onnx.load(path), np.random.default_rng(3)
    wide = [item for item in model.graph.initializer if len(item.dims) > 1]
    for item in wide[:kernels]:
        values = numpy_helper.to_array(item)
        drawn = (random.standard_normal(values.shape) * values.std()).astype(np.float32)
        item.CopyFrom(numpy_helper.from_array(drawn, item.name))
    onnx.save(model, place)
    return place


def test_another_model_is_refused_and_not_rebuilt(
    repair: Repair, tiny_onnx: Path, tmp_path: Path, result: Path
) -> None:
    report = repair(tiny_onnx, bending(tmp_path, "Tanh"), strategies=("weights", "graph", "hyperparameters"))
    assert (report.exit_code, report.repaired, report.repairs) == (1, None, ())
    assert report.notes == ("not a conversion of this source: only 0 of 2 layers with weights correspond",)
    assert left_in(result) == []
    assert invalid(report.to_record()) is None
    assert Report.from_record(report.to_record()).notes == report.notes


def test_weights_of_another_training_are_replaced_only_where_that_is_asked_for(
    repair: Repair, tiny_onnx: Path, tmp_path: Path, result: Path
) -> None:
    target = redrawn(tiny_onnx, tmp_path / "other.onnx")
    refused = repair(tiny_onnx, target)
    assert (refused.exit_code, refused.repaired, refused.repairs) == (1, None, ())
    assert "the weights of 4 of 4 have nothing to do with the source's" in refused.notes[0]
    assert left_in(result) == []
    asked = repair(tiny_onnx, target, strategies=("weights",))
    assert asked.exit_code == 0, asked.notes
    assert difference(answers(result / "mended.onnx"), answers(tiny_onnx)) < 1e-5


def test_a_few_layers_of_another_training_are_a_fault(repair: Repair, tiny_onnx: Path, tmp_path: Path) -> None:
    assert repair(tiny_onnx, redrawn(tiny_onnx, tmp_path / "other.onnx", 2)).exit_code == 0


def test_a_strategy_that_was_not_asked_for_is_not_used(
    repair: Repair, faulty: Faulty, tiny_onnx: Path, result: Path
) -> None:
    report = repair(tiny_onnx, faulty("tflite", "weights_scaled"), strategies=("graph",))
    assert report.exit_code == 1
    assert "the strategy parameters was not asked for" in {item["reason"] for item in report.repairs}
    assert left_in(result) == []


def test_a_written_file_that_cannot_be_run_is_given_up(
    repair: Repair, faulty: Faulty, tiny_onnx: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise FormatError("it is garbage")

    monkeypatch.setattr(rounds, "prove", refuse)
    report = repair(tiny_onnx, faulty("tflite", "weights_scaled"), strategies=("parameters",))
    assert (report.exit_code, report.repaired) == (1, None)
    assert report.notes == (f"{rounds.CANNOT_RUN}: it is garbage",)
    assert not any(item["accepted"] for item in report.repairs)
    assert left_in(result) == []


# refused before any work


def test_the_result_may_not_be_one_of_the_models(repair: Repair, tiny_onnx: Path, tmp_path: Path) -> None:
    target = Path(shutil.copy(tiny_onnx, tmp_path / "target.onnx"))
    for place in (target, tiny_onnx):
        before = place.read_bytes()
        with pytest.raises(UsageError, match="never overwritten"):
            repair(tiny_onnx, target, out=place)
        assert place.read_bytes() == before


def test_another_formats_name_is_refused(repair: Repair, tiny_onnx: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"let it end in \.tflite"):
        repair(tiny_onnx, tiny_tflite, out=tmp_path / "mended.onnx")
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    repair: Repair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convfault import cache

    def refuse(*arguments: Any, **named: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    with pytest.raises(StorageError, match="Permission denied; choose another place"):
        repair(tmp_path / "nowhere.onnx", tmp_path / "nowhere.tflite")


# fed wrongly


def test_preprocessing_is_corrected_in_the_model_or_beside_it(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, store: Cache, result: Path
) -> None:
    pictures = {"data": None, "limit": 12, "preprocessing": "scale = 0.05"}
    wrong = {**pictures, "target_preprocessing": 'channels = "bgr"'}
    beside = repair(tiny_onnx, tiny_tflite, correct="preprocessing", **wrong)
    assert beside.exit_code == 0, beside.repairs
    assert (result / "mended.tflite").read_bytes() == tiny_tflite.read_bytes()
    assert 'channels = "rgb"' in (result / "mended.tflite.toml").read_text()
    context = convfault.Context(cache=store)
    again = convfault.diff(tiny_onnx, result / "mended.tflite", context=context, **{**pictures})  # type: ignore[arg-type]
    assert again.comparison.verdict == "agree"
    inside = repair(tiny_onnx, tiny_tflite, out=result / "inside.tflite", **wrong)
    assert inside.exit_code == 0, inside.repairs
    assert (result / "inside.tflite").read_bytes() != tiny_tflite.read_bytes()
    assert 'channels = "bgr"' in (result / "inside.tflite.toml").read_text()


OTHERWISE = {"data": None, "limit": 12, "preprocessing": "scale = 0.05", "target_preprocessing": "resize = 20"}
"""The target's pictures are cropped, the source's are stretched."""


@pytest.mark.parametrize("quantized", [False, True])
def test_a_target_that_is_fed_with_other_pictures_gets_the_sources_preprocessing(
    quantized: bool, repair: Repair, tiny_onnx: Path, tiny_tflite: Path, tmp_path: Path, result: Path
) -> None:
    target = tiny.tflite_model(tmp_path, "dynamic") if quantized else tiny_tflite
    report = repair(tiny_onnx, target, correct="preprocessing", **OTHERWISE)
    assert report.exit_code == 0, report.repairs
    assert ("preprocessing", "input") in {(fault.cause, fault.kind) for fault in report.faults}
    side = Preprocessing.from_toml(result / "mended.tflite.toml")
    assert (side.resize, side.scale, side.layout) == (None, 0.05, "NHWC")
    assert quantized or (result / "mended.tflite").read_bytes() == target.read_bytes()


def test_what_is_fed_otherwise_and_wrong_besides_is_mended_in_two_rounds(
    repair: Repair, faulty: Faulty, tiny_onnx: Path, result: Path
) -> None:
    report = repair(tiny_onnx, faulty("tflite", "bias_zeroed"), correct="preprocessing", **OTHERWISE)
    assert report.exit_code == 0, report.repairs
    assert {item["strategy"] for item in report.repairs if item["accepted"]} == {"input", "parameters"}
    assert (result / "mended.tflite.toml").exists()


def test_other_pictures_that_no_layer_undoes_are_refused_with_what_to_do(
    repair: Repair, tiny_onnx: Path, tiny_tflite: Path, result: Path
) -> None:
    report = repair(tiny_onnx, tiny_tflite, strategies=("input",), **OTHERWISE)
    assert report.exit_code == 1
    assert "--correct preprocessing" in report.repairs[0]["reason"]
    assert left_in(result) == []


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    channels=st.sampled_from(["rgb", "bgr"]),
    scale=st.floats(1e-9, 1e9),
    mean=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    layout=st.sampled_from(["NHWC", "NCHW"]),
)
def test_a_side_file_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, **settings: Any) -> None:
    written = Preprocessing(**settings, assumed=("size",))
    path = tmp_path_factory.mktemp("side") / "model.onnx.toml"
    path.write_text(written.to_toml())
    assert Preprocessing.from_toml(path) == Preprocessing(**settings)
