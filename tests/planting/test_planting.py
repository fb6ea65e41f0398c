"""Every kind of fault can be planted, shows, and is told truly; TFLite and ONNX throughout.

The formats that are slow to load take turns: each kind is tried in one of them, in all with PLANTING_EVERY=1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from planting import KINDS, Unfit, effective, formats_of, plant, run, samples
from planting.__main__ import main
from planting.editors import open_network

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "torch": ".pt2", "keras": ".keras", "tensorflow": ".pb"}
QUICK, SLOW = ("tflite", "onnx"), ("torch", "keras", "tensorflow")


def cases() -> list[tuple[str, str]]:
    found = []
    for number, name in enumerate(KINDS):
        slow = [each for each in formats_of(name) if each in SLOW]
        turn = slow if os.environ.get("PLANTING_EVERY") else slow[number % len(slow) :][:1] if slow else []
        found.extend((each, name) for each in (*(each for each in formats_of(name) if each in QUICK), *turn))
    return found


def names_in(path: Path) -> set[str]:
    """All names that a user sees in a file."""
    network = open_network(path)
    operators = network.operators()
    seen = {each.name for each in operators} | {
        tensor for each in operators for tensor in (*each.inputs, *each.outputs)
    }
    return (
        seen
        | {each.tensor for each in network.parameters()}
        | {each.module for each in operators}
        | {*network.inputs()}
    )


@pytest.mark.parametrize(("form", "name"), cases())
def test_every_kind_is_planted_shows_and_names_what_is_in_the_file(
    form: str, name: str, models: dict[str, Path], tmp_path: Path
) -> None:
    source, out = models[form], tmp_path / f"faulty{SUFFIXES[form]}"
    (record,) = plant(source, name, 0, out)
    pictures, kind = samples(source), KINDS[name]
    assert effective(run(source, pictures), run(out, pictures), kind.smallest, kind.finite, kind.shaped)
    assert (record.kind, record.family, record.format) == (name, kind.family, form)
    known = names_in(source) | names_in(out)
    assert record.location in known
    assert set(record.names) <= known
    assert record.expected != record.actual
    json.dumps(record.to_json(), default=str)


@pytest.mark.parametrize("form", [*QUICK, "keras", "tensorflow"])
def test_one_seed_gives_one_file(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}{SUFFIXES[form]}" for number in (0, 1)]
    first, second = (plant(models[form], "weights_noise", 5, file) for file in files)
    assert first == second
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("form", QUICK)
def test_seeds_choose_different_places(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / f"faulty{SUFFIXES[form]}"
    assert len({plant(models[form], "weights_noise", seed, out)[0].location for seed in range(6)}) > 1


@pytest.mark.parametrize("form", [*QUICK, *SLOW])
def test_what_is_not_named_stays_equal(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / f"faulty{SUFFIXES[form]}"
    (record,) = plant(models[form], "weights_scaled", 1, out)
    sound, faulty = open_network(models[form]), open_network(out)
    for before, after in zip(sound.parameters(), faulty.parameters(), strict=True):
        equal = np.array_equal(sound.read(before), faulty.read(after))
        assert equal != (before.tensor in record.names)


@pytest.mark.parametrize("form", [*QUICK, *SLOW])
def test_three_faults_in_one_file_are_at_three_places(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    kinds = ["bias_zeroed", "clip_bound_added", "residual_bypassed"]
    records = plant(models[form], kinds, 2, tmp_path / f"faulty{SUFFIXES[form]}")
    assert [each.kind for each in records] == kinds
    assert len({each.location for each in records}) == 3


def test_a_saved_model_folder_is_written_where_one_is_asked_for(tiny_saved_model: Path, tmp_path: Path) -> None:
    (record,) = plant(tiny_saved_model, "bias_zeroed", 0, tmp_path / "faulty")
    assert (tmp_path / "faulty" / "saved_model.pb").exists()
    assert record.effect is not None
    assert record.effect > 1e-3


def test_a_fault_without_effect_is_refused_unless_allowed(models: dict[str, Path], tmp_path: Path) -> None:
    dark = np.zeros((2, 3, 16, 16), np.float32)  # to swap blue and red changes nothing
    with pytest.raises(Unfit, match="no effect"):
        plant(models["onnx"], "input_channels_reversed", 0, tmp_path / "faulty.onnx", pictures=dark)
    (record,) = plant(
        models["onnx"], "input_channels_reversed", 0, tmp_path / "a.onnx", pictures=dark, need_effect=False
    )
    assert record.effect == 0


def test_a_kind_that_a_format_cannot_have_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="only in"):
        plant(models["tflite"], "dropout_training_mode", 0, tmp_path / "faulty.tflite")


def test_effective_tells_changed_finite_outputs_of_the_same_shape() -> None:
    sound = [np.ones((2, 3))]
    assert effective(sound, [np.full((2, 3), 1.01)])
    assert not effective(sound, sound)
    assert not effective(sound, [np.full((2, 3), np.nan)])
    assert effective(sound, [np.full((2, 3), np.nan)], finite=False)
    assert not effective(sound, [np.ones((3, 2))])


def test_there_are_kinds_of_every_family() -> None:
    families = {each.family for each in KINDS.values()}
    assert families == {"parameters", "hyperparameters", "graph", "input", "tool"}
    assert len(KINDS) >= 30


def test_the_command_prints_records_and_lists_kinds(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "faulty.tflite")
    assert main([str(models["tflite"]), "--kind", "bias_zeroed", "--seed", "3", "--out", out]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kind"] == "bias_zeroed"
    assert main(["--list"]) == 0
    assert "residual_bypassed" in capsys.readouterr().out
