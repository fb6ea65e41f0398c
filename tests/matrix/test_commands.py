"""``convfault matrix`` and ``convfault regress`` as a user calls them, with cells that cost nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from convfault import pipeline
from convfault.cli import app
from convfault.matrix.cells import Matrix
from tests.matrix import fakes

Command = Callable[..., Result]
SMALL = ("--models", "mobilenetv2", "--src", "tf", "--dst", "tflite,torch", "-n", "4")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr(pipeline, "CELL", "tests.matrix.fakes:cell_of_pipeline")
    monkeypatch.setenv("CONVFAULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def wrong(folder: Path, status: str, word: str) -> None:
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "cache" / "wrong.txt").write_text(f"{status} {word}")


def test_a_matrix_that_agrees_throughout_exits_zero_and_is_kept(command: Command, tmp_path: Path) -> None:
    result = command("matrix", *SMALL, "--json", "m.json", "--csv", "m.csv", "--junit", "m.xml")
    assert result.exit_code == 0, result.output
    found = Matrix.read(tmp_path / "m.json")
    assert {(outcome.cell.source, outcome.cell.target) for outcome in found.outcomes} == {
        ("tf", "tflite"),
        ("tf", "torch"),
    }
    assert found.command_line.startswith("convfault")
    assert len((tmp_path / "m.csv").read_text().splitlines()) == len(found.outcomes) + 1
    assert ElementTree.parse(tmp_path / "m.xml").getroot().get("failures") == "0"
    assert Matrix.read(tmp_path / "convfault-matrix" / "matrix.json").outcomes == found.outcomes


def test_the_page_leads_to_the_page_of_each_cell(command: Command, tmp_path: Path) -> None:
    result = command("matrix", *SMALL, "--html", "pages/m.html", "--out", "results/matrix", "--json", "m.json")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "pages" / "m.html").read_text()
    for outcome in Matrix.read(tmp_path / "m.json").outcomes:
        place = f"../results/matrix/{outcome.report.removesuffix('.json')}.html"
        assert place in page
        assert (tmp_path / "pages" / place).is_file()


@pytest.mark.parametrize("words", [("matrix",), ("regress", "--write-baseline", "b.json")])
def test_the_heat_map_is_drawn_as_the_name_says(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    for name, begins in (("m.svg", b"<svg"), ("m.PNG", b"\x89PNG")):
        assert command(*words, *SMALL, "--plot", name, "-q").exit_code == 0
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_heat_map_of_an_unknown_kind_is_refused_before_any_cell_is_tried(command: Command, tmp_path: Path) -> None:
    assert command("matrix", *SMALL, "--plot", "m.jpeg").exit_code == 2
    assert not fakes.begun(tmp_path / "cache")


def test_a_cell_that_differs_makes_it_exit_one(command: Command, tmp_path: Path) -> None:
    wrong(tmp_path, "differ", "onnx2torch")
    assert command("matrix", *SMALL, "-q").exit_code == 1


def test_a_defect_of_convfault_makes_it_exit_three(command: Command, tmp_path: Path) -> None:
    wrong(tmp_path, "defect", "onnx2torch")
    assert command("matrix", *SMALL, "-q").exit_code == 3


def test_a_second_run_tries_nothing(command: Command, tmp_path: Path) -> None:
    command("matrix", *SMALL, "-q")
    tried = len(fakes.begun(tmp_path / "cache"))
    result = command("matrix", *SMALL, "-q", "--json", "again.json")
    assert result.exit_code == 0
    assert len(fakes.begun(tmp_path / "cache")) == tried
    assert all(outcome.cached for outcome in Matrix.read(tmp_path / "again.json").outcomes)


def test_other_data_makes_every_cell_anew(command: Command, tmp_path: Path) -> None:
    command("matrix", *SMALL, "-q")
    tried = len(fakes.begun(tmp_path / "cache"))
    command("matrix", *SMALL, "-q", "--seed", "1")
    assert len(fakes.begun(tmp_path / "cache")) == 2 * tried


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--models", "mobilenetv9"), "unknown model"),
        (("--src", "caffe"), "unknown framework"),
        (("--tool", "tf2onx"), "did you mean"),
        (("missing.keras",), "no model at"),
        (("x.keras", "--models", "resnet101"), "drop --models"),
        (("--route", "tf>nonsense"), "unknown framework"),
        (("--jobs", "-1"), "--jobs is -1"),
        (("--memory-budget", "0"), "--memory-budget is 0"),
        (("--data", "nowhere"), "nowhere"),
        (("--out", "s3://bucket/matrix"), "s3://bucket/matrix is an address"),
        (("--json", "memory://m.json"), "memory://m.json is an address"),
        (("--csv", "gs://bucket/m.csv"), "mount it"),
        (("--plot", "m.pdf"), "ends in .svg or .png"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_two(command: Command, words: tuple[str, ...], reason: str) -> None:
    result = command("matrix", *words)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_a_matrix_against_its_own_baseline_is_no_regression(command: Command, tmp_path: Path) -> None:
    assert command("regress", *SMALL, "--write-baseline", "b.json").exit_code == 0
    assert command("regress", "--baseline", "b.json", "--fresh").exit_code == 0


def test_the_cells_of_the_baseline_are_tried_when_none_are_chosen(command: Command, tmp_path: Path) -> None:
    command("regress", *SMALL, "--write-baseline", "b.json", "-q")
    result = command("regress", "--baseline", "b.json", "--json", "r.json")
    assert set(json.loads((tmp_path / "r.json").read_text())["counts"]) == {"same"}
    assert result.exit_code == 0


def test_a_cell_that_got_worse_is_named_and_exits_one(command: Command, tmp_path: Path) -> None:
    command("regress", *SMALL, "--write-baseline", "b.json", "-q")
    wrong(tmp_path, "differ", "onnx2torch")
    result = command("regress", "--baseline", "b.json", "--fresh", "--junit", "r.xml", "--html", "r.html")
    assert result.exit_code == 1, result.stderr
    assert (tmp_path / "r.html").is_file()
    assert "worse" in result.output
    assert "onnx2torch" in result.output
    assert ElementTree.parse(tmp_path / "r.xml").getroot().get("failures") != "0"


def test_a_cell_that_got_better_is_no_failure(command: Command, tmp_path: Path) -> None:
    wrong(tmp_path, "crash", "onnx2torch")
    command("regress", *SMALL, "--write-baseline", "b.json", "-q")
    wrong(tmp_path, "crash", "nothing")
    result = command("regress", "--baseline", "b.json", "--fresh")
    assert result.exit_code == 0
    assert "newly working" in result.output


def test_a_cell_that_was_not_tried_exits_one(command: Command) -> None:
    command("regress", *SMALL, "--write-baseline", "b.json", "-q")
    result = command("regress", *SMALL, "--tool", "tflite_converter", "--baseline", "b.json")
    assert result.exit_code == 1
    assert "missing" in result.output


def test_a_baseline_for_other_data_is_refused_before_any_cell_is_tried(command: Command, tmp_path: Path) -> None:
    command("regress", *SMALL, "--write-baseline", "b.json", "-q")
    tried = len(fakes.begun(tmp_path / "cache"))
    result = command("regress", *SMALL[:-1], "8", "--baseline", "b.json", "--fresh")
    assert result.exit_code == 2
    assert "other data (images): 4, not 8" in result.stderr
    assert len(fakes.begun(tmp_path / "cache")) == tried


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not a JSON matrix"),
        ('{"schema_version": 9}', "is not a matrix of schema version 1 (it says 9)"),
        ('{"schema_version": 1, "command": "diff"}', "is not a valid matrix"),
    ],
)
def test_a_baseline_of_another_schema_is_refused_before_any_cell_is_tried(
    command: Command, tmp_path: Path, content: str, reason: str
) -> None:
    (tmp_path / "b.json").write_text(content)
    result = command("regress", *SMALL, "--baseline", "b.json")
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert not fakes.begun(tmp_path / "cache")


def test_a_new_cell_is_no_failure_and_no_pass(command: Command, tmp_path: Path) -> None:
    command("regress", *SMALL, "--tool", "tflite_converter", "--write-baseline", "b.json", "-q")
    result = command("regress", *SMALL, "--baseline", "b.json", "--junit", "r.xml", "--json", "r.json")
    added = json.loads((tmp_path / "r.json").read_text())["counts"]["added"]
    assert result.exit_code == 0
    assert len(ElementTree.parse(tmp_path / "r.xml").getroot().findall(".//skipped")) == added > 0


def test_a_baseline_does_not_say_whom_to_trust(command: Command, tmp_path: Path) -> None:
    command("regress", *SMALL, "--trust", "--write-baseline", "b.json", "-q")
    command("regress", "--baseline", "b.json", "--write-baseline", "without.json", "-q")
    command("regress", "--baseline", "b.json", "--trust", "--write-baseline", "with.json", "-q")
    trust = [json.loads((tmp_path / name).read_text())["settings"]["trust"] for name in ("without.json", "with.json")]
    assert trust == [False, True]


def test_a_choice_that_leaves_no_cell_is_no_pass(command: Command) -> None:
    result = command("matrix", "--models", "mobilenetv2", "--src", "tf", "--dst", "tf")
    assert result.exit_code == 2
    assert "nothing is left to try" in result.stderr


@pytest.mark.parametrize("kind", ["matrix", "regression"])
def test_what_is_written_fits_the_schema_that_is_printed(command: Command, tmp_path: Path, kind: str) -> None:
    words = ("matrix",) if kind == "matrix" else ("regress", "--write-baseline", "b.json")
    assert command(*words, *SMALL, "-q", "--json", "found.json").exit_code == 0
    printed = json.loads(command("report-schema", kind).output)
    jsonschema.Draft202012Validator.check_schema(printed)
    jsonschema.validate(json.loads((tmp_path / "found.json").read_text()), printed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 1}, printed)


def test_a_schema_of_nothing_is_refused(command: Command) -> None:
    result = command("report-schema", "regresion")
    assert result.exit_code == 2
    assert "did you mean 'regression'?" in result.stderr


def test_neither_an_old_nor_a_new_baseline_is_wrong_usage(command: Command) -> None:
    result = command("regress")
    assert result.exit_code == 2
    assert "--write-baseline" in result.stderr
