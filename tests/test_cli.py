"""Commands as a user types them: exit codes, one sentence for what went wrong, nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convfault

STARTS_QUICKLY = ["torch", "tensorflow", "keras", "onnx", "tvm", "matplotlib", "scipy", "numpy", "jinja2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Runner:
    return Runner(store, tmp_path)


class Runner:
    """Runs the command in another folder than the project's."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.environment = {**os.environ, "CONVFAULT_CACHE": str(store), "NO_COLOR": "1", "COLUMNS": "120"}
        self.folder = folder

    def __call__(self, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "convfault", *map(str, arguments)]
        environment = {**self.environment, **changes}
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment, timeout=600)


def refused(result: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 2, and one sentence that holds every word of ``said``; no traceback."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for words in said:
        assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_help_imports_no_framework() -> None:
    script = "import sys, convfault.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script, *STARTS_QUICKLY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_version_is_the_packages(run: Runner) -> None:
    assert run("--version").stdout.strip() == f"convfault {convfault.__version__}"


def test_every_command_has_help(run: Runner) -> None:
    shown = run("--help").stdout
    for command in ("diff", "judge", "list", "doctor", "cache", "report-schema"):
        assert command in shown
        assert run(command, "--help").returncode == 0


def test_two_faithful_files_agree(run: Runner, tiny_keras: Path, tiny_tflite: Path) -> None:
    result = run("diff", tiny_keras, tiny_tflite, "--limit", 8, "--json", "report.json", "--html", "report.html")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "AGREE" in result.stdout
    report = json.loads((run.folder / "report.json").read_text())
    assert report["comparison"]["verdict"] == "agree"
    assert report["comparison"]["images"] == 8
    assert "<html" in (run.folder / "report.html").read_text()


def test_a_quantized_conversion_differs_and_exits_1(run: Runner, tiny_saved_model: Path) -> None:
    result = run(
        "diff", tiny_saved_model, "--dst", "tflite", "--limit", 8,
        "--tool-option", "tflite_converter.supported_types=float16",
        "--tool-option", "tflite_converter.optimizations=DEFAULT",
        "--junit", "junit.xml",
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    assert "DIFFER" in result.stdout
    assert "<failure" in (run.folder / "junit.xml").read_text()


def test_a_saved_report_is_judged_again(run: Runner, tiny_keras: Path, tiny_tflite: Path) -> None:
    run("diff", tiny_keras, tiny_tflite, "--limit", 4, "--json", "report.json")
    assert run("judge", "report.json").returncode == 0
    assert run("judge", "report.json", "--tolerance", "0").returncode == 1
    assert run("judge", "report.json", "--tolerance", "1").returncode == 0


def test_the_schema_that_is_printed_fits_the_report_that_is_written(
    run: Runner, tiny_keras: Path, tiny_tflite: Path
) -> None:
    import jsonschema

    run("diff", tiny_keras, tiny_tflite, "--limit", 4, "--json", "report.json")
    jsonschema.validate(json.loads((run.folder / "report.json").read_text()), json.loads(run("report-schema").stdout))


def test_a_missing_file_is_refused(run: Runner) -> None:
    refused(run("diff", "nowhere.onnx", "other.onnx"), "nowhere.onnx", "no such file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to compare"),
        (["--model", "mobilenetv3", "--src", "tf", "--dst", "tflite"], "did you mean 'mobilenetv2'"),
        (["--model", "mobilenetv2", "--src", "tensorflo", "--dst", "tflite"], "unknown framework 'tensorflo'"),
        (["--model", "mobilenetv2", "--src", "tf"], "--dst"),
        (["--model", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--tolerance", "-1"], "--tolerance"),
        (["--model", "mobilenetv2", "--src", "tf", "--dst", "tflite", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Runner, arguments: list[str], said: str) -> None:
    refused(run("diff", *arguments), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--route", "keras>tflite:tf2onxx"], "tf2onxx"),
        (["--dst", "tflit"], "did you mean 'tflite'"),
        (["--dst", "tflite", "--tool-option", "tflite_converter.optimisations=DEFAULT"], "optimizations"),
        (["--dst", "tflite", "--tool-option", "nonsense"], "nonsense"),
        (["--dst", "tflite", "--preprocess", "size = = 3"], "size = = 3"),
        (["--dst", "tflite", "--data", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_flag_for_a_file_is_one_sentence(
    run: Runner, tiny_keras: Path, arguments: list[str], said: str
) -> None:
    refused(run("diff", tiny_keras, *arguments), said)


def test_an_empty_folder_is_no_data(run: Runner, tiny_keras: Path, tiny_tflite: Path) -> None:
    (run.folder / "pictures").mkdir()
    refused(run("diff", tiny_keras, tiny_tflite, "--data", "pictures"), "pictures")


def test_a_picture_that_is_none_is_named(run: Runner, tiny_keras: Path, tiny_tflite: Path) -> None:
    (run.folder / "pictures").mkdir()
    Image.new("RGB", (20, 20)).save(run.folder / "pictures/fine.png")
    (run.folder / "pictures/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    refused(run("diff", tiny_keras, tiny_tflite, "--data", "pictures"), "broken.png")


def test_arrays_of_another_shape_are_refused(run: Runner, tiny_keras: Path, tiny_tflite: Path) -> None:
    np.savez(run.folder / "data.npz", images=np.zeros((4, 5, 5, 3), np.float32))
    refused(run("diff", tiny_keras, tiny_tflite, "--data", "data.npz"), "5, 5, 3")


def test_arrays_feed_the_models_as_they_are(run: Runner, tiny_keras: Path, tiny_onnx: Path) -> None:
    images = np.random.default_rng(0).standard_normal((5, 16, 16, 3)).astype(np.float32)
    np.savez(run.folder / "data.npz", images=images, labels=np.arange(5))
    result = run("diff", tiny_keras, tiny_onnx, "--data", "data.npz", "--json", "r.json")
    assert result.returncode in {0, 1}, result.stderr
    assert json.loads((run.folder / "r.json").read_text())["comparison"]["images"] == 5


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".keras", ".pt2", ".pb", ".h5"])
def test_a_truncated_model_is_refused_in_every_format(
    run: Runner, tiny_folder: Path, tiny_keras: Path, suffix: str
) -> None:
    whole = _whole_file(tiny_folder, suffix)
    broken = run.folder / f"broken{suffix}"
    broken.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    refused(run("diff", broken, tiny_keras), f"broken{suffix}")


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".pb"])
def test_garbage_behind_a_right_head_does_not_kill_us(
    run: Runner, tiny_folder: Path, tiny_keras: Path, suffix: str
) -> None:
    whole = bytearray(_whole_file(tiny_folder, suffix).read_bytes())
    noise = np.random.default_rng(3).integers(0, 256, len(whole) - 64, np.uint8).tobytes()
    (run.folder / f"garbage{suffix}").write_bytes(bytes(whole[:64]) + noise)
    refused(run("diff", run.folder / f"garbage{suffix}", tiny_keras), f"garbage{suffix}")


def _whole_file(folder: Path, suffix: str) -> Path:
    from tests import tiny

    makers = {
        ".tflite": tiny.tflite_model, ".onnx": tiny.onnx_model, ".keras": tiny.keras_model,
        ".pt2": tiny.torch_model, ".pb": tiny.frozen_graph, ".h5": lambda place: tiny.keras_model(place, ".h5"),
    }  # fmt: skip
    return Path(makers[suffix](folder))


def test_a_pickle_inside_a_torch_archive_needs_trust(run: Runner, tiny_torch: Path, tiny_keras: Path) -> None:
    mark = run.folder / "executed"
    poisoned = run.folder / "poisoned.pt2"
    payload = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    with zipfile.ZipFile(tiny_torch) as whole, zipfile.ZipFile(poisoned, "w") as copy:
        for member in whole.infolist():
            is_weight = "weights/" in member.filename and not member.filename.endswith(".json")
            copy.writestr(member, payload if is_weight else whole.read(member))
    assert run("diff", poisoned, tiny_keras).returncode == 2
    assert not mark.exists()


def test_ctrl_c_ends_with_130_and_leaves_nothing_half_made(
    run: Runner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def heed_interrupts() -> None:  # a shell that runs the tests in the background has its children ignore them
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    cache = tmp_path_factory.mktemp("fresh-cache")
    command = [sys.executable, "-m", "convfault", "diff", "-m", "mobilenetv2", "--src", "tf", "--dst", "tflite"]
    process = subprocess.Popen(
        [*command, "--json", "report.json"], cwd=run.folder, stderr=subprocess.PIPE, text=True,
        env={**run.environment, "CONVFAULT_CACHE": str(cache)}, preexec_fn=heed_interrupts,
    )  # fmt: skip
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert not (run.folder / "report.json").exists()
    assert not list(cache.rglob(".making-*"))


@pytest.mark.parametrize("place", ["/proc/nowhere/report.json", "."])
def test_a_place_that_cannot_be_written_is_named_before_any_work(run: Runner, place: str) -> None:
    refused(run("diff", "nowhere.onnx", "nowhere.onnx", "--json", place), "cannot write")


def test_a_disk_without_room_is_one_sentence(run: Runner, tmp_path: Path, tiny_keras: Path, tiny_tflite: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    command = [sys.executable, "-m", "convfault", "diff", str(tiny_keras), str(tiny_tflite), "--limit", "64"]
    environment = {**run.environment, "CONVFAULT_CACHE": str(tmp_path / "small")}
    done = subprocess.run(command, env=environment, preexec_fn=no_room, capture_output=True, text=True)
    refused(done, "no space left")
    assert not list((tmp_path / "small").rglob(".making-*"))


def test_an_unknown_list_suggests_the_nearest(run: Runner) -> None:
    refused(run("list", "model"), "did you mean 'models'")


@pytest.mark.parametrize("what", ["models", "datasets", "frameworks", "converters", "routes"])
def test_every_list_has_rows(run: Runner, what: str) -> None:
    assert len(json.loads(run("list", what, "--json").stdout)) >= 2


def test_doctor_names_every_framework(run: Runner) -> None:
    result = run("doctor", "--quick")
    assert result.returncode == 0, result.stdout
    for package in ("torch", "tensorflow", "onnxruntime", "apache-tvm"):
        assert package in result.stdout
