"""``convfault repair`` and ``convfault apply`` as a user types them: exit codes, files, one sentence for a mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from convfault.cache import Cache
from tests import tiny
from tests.test_cli import Runner, refused

Faulty = Callable[..., Path]


@pytest.fixture
def command(store: Cache, tmp_path: Path) -> Runner:
    return Runner(store.root, tmp_path)


def test_a_repaired_target_exits_0_and_its_patch_mends_a_copy(
    command: Runner, faulty: Faulty, tiny_onnx: Path, data: Path
) -> None:
    import jsonschema

    target, folder = faulty("tflite", "weights_scaled"), command.folder
    done = command(
        "repair", tiny_onnx, target, "--data", data, "--out", "out/mended.tflite", "--patch", "patch.json",
        "--json", "report.json", "--html", "report.html", "--junit", "junit.xml",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REPAIRED" in done.stdout
    assert "<failure" not in (folder / "junit.xml").read_text()
    assert "<html" in (folder / "report.html").read_text()
    report = json.loads((folder / "report.json").read_text())
    jsonschema.validate(report, json.loads(command("report-schema").stdout))
    assert report["repaired"]["reached"]
    assert [path.name for path in (folder / "out").iterdir()] == ["mended.tflite"]

    shutil.copy(target, folder / "copy.tflite")
    again = command("apply", "patch.json", "copy.tflite", "--out", "again.tflite")
    assert again.returncode == 0, again.stderr
    assert "again.tflite" in again.stdout
    assert (folder / "again.tflite").read_bytes() == (folder / "out/mended.tflite").read_bytes()
    assert command("diff", tiny_onnx, "again.tflite", "--data", data, "-q").returncode == 0
    quiet = command("apply", "patch.json", "copy.tflite", "--out", "quiet.tflite", "--quiet")
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_what_is_not_repaired_exits_1_and_leaves_no_file(
    command: Runner, faulty: Faulty, tiny_onnx: Path, data: Path
) -> None:
    done = command(
        "repair", tiny_onnx, faulty("tflite", "weights_scaled"), "--data", data, "--strategy", "input",
        "--json", "report.json",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT REPAIRED" in done.stdout
    assert [path.name for path in command.folder.iterdir()] == ["report.json"]


def test_without_a_place_the_result_is_in_this_folder(
    command: Runner, tiny_onnx: Path, tiny_tflite: Path, data: Path
) -> None:
    done = command("repair", tiny_onnx, tiny_tflite, "--data", data, "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert [path.name for path in command.folder.iterdir()] == ["tiny_float32.repaired.tflite"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "parameter"], "did you mean 'parameters'"),
        (["--strategy", "graph,nothing"], "unknown strategy 'nothing'"),
        (["--budget", "small"], "--budget small"),
        (["--correct", "nothing"], "unknown place to correct"),
        (["--out", "/proc/nowhere/out.tflite"], "cannot write"),
        (["--patch", "/proc/nowhere/patch.json"], "cannot write"),
        (["--json", "/proc/nowhere/report.json"], "cannot write"),
        (["--out", "out.onnx"], "the wrong name"),
        (["--out", "TARGET"], "never overwritten"),
        (["--out", "."], "it is a folder; name a file, such as target.repaired.tflite"),
        (["--out", "TARGET/out.tflite"], "is no folder"),
        (["--patch", "TARGET"], "name another file"),
    ],
)
def test_a_mistake_is_one_sentence_and_exits_2(
    command: Runner, tiny_onnx: Path, tiny_tflite: Path, data: Path, arguments: list[str], said: str
) -> None:
    target = Path(shutil.copy(tiny_tflite, command.folder / "target.tflite"))
    given = [text.replace("TARGET", str(target)) for text in arguments]
    refused(command("repair", tiny_onnx, target, "--data", data, *given), said)
    assert target.read_bytes() == tiny_tflite.read_bytes()
    assert [path.name for path in command.folder.iterdir()] == ["target.tflite"]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("custom.tflite", "needs the operator Cholesky"),
        ("cut.tflite", "is it complete"),
        ("cut.onnx", "is it complete"),
        ("damaged.keras", "is it complete"),
        ("cut.keras", "truncated or damaged archive"),
    ],
)
def test_a_model_that_cannot_be_read_is_one_sentence_and_exits_2(
    command: Runner, tiny_onnx: Path, tiny_tflite: Path, data: Path, side: str, broken: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / broken
    path.write_bytes(spoilt(broken, tiny_onnx, tiny_tflite, folder))
    models = (path, tiny_onnx) if side == "source" else (tiny_onnx, path)
    refused(command("repair", *models, "--data", data, "--out", f"mended{models[1].suffix}"), said)
    assert not list(command.folder.glob("mended*"))


def spoilt(name: str, tiny_onnx: Path, tiny_tflite: Path, folder: Path) -> bytes:
    """A model with an operator that no runtime has, half a model, or one with a hole."""
    if name == "custom.tflite":
        return custom()
    whole = {".onnx": tiny_onnx, ".tflite": tiny_tflite}.get(Path(name).suffix)
    content = (whole or tiny.keras_model(folder)).read_bytes()
    if name.startswith("cut"):
        return content[: len(content) // 2]
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


def custom() -> bytes:
    """A TFLite file with an operator of TensorFlow's."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)])
    def function(picture: object) -> object:
        return tf.linalg.cholesky(tf.reshape(picture[..., 0], (1, 16, 16)))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.allow_custom_ops = True
    return bytes(converter.convert())


def test_a_target_without_a_source_is_one_sentence(command: Runner, tiny_tflite: Path, data: Path) -> None:
    refused(command("repair", tiny_tflite, "--data", data), "give a second model file, or --dst to convert it here")


@pytest.mark.parametrize(
    ("patch", "target", "said"),
    [
        ("nowhere.json", "target.tflite", "cannot read the patch"),
        ("target.tflite", "target.tflite", "is no patch"),
        ("empty.json", "target.tflite", "is no patch"),
        ("empty.json", "nowhere.tflite", "no such file"),
    ],
)
def test_a_patch_that_cannot_be_applied_exits_2(
    command: Runner, tiny_tflite: Path, patch: str, target: str, said: str
) -> None:
    shutil.copy(tiny_tflite, command.folder / "target.tflite")
    (command.folder / "empty.json").write_text("{}")
    refused(command("apply", patch, target, "--out", "out.tflite"), said)
    assert not (command.folder / "out.tflite").exists()
