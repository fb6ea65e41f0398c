"""The reproducer: its script fails as the conversion did, with the converter alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convfault.converters import CONVERTERS
from convfault.errors import UsageError
from convfault.localization.suspect import Suspect
from convfault.localization.tool import crash, reproducer, snippets
from convfault.localization.tool.crash import Failure
from convfault.localization.tool.reproducer import Subject
from convfault.model import Model
from tests import tiny
from tests.localization.test_crash import chain, record


def test_the_script_of_a_crash_fails_in_the_same_way_without_convfault(tmp_path: Path) -> None:
    suspect = crash.explain(Failure(record()))
    subject = Subject(chain(tmp_path, "ReduceMean-18"), record(versions={"torch": "2.13.0"}), suspect)
    folder = tmp_path / "reproducer"
    files = reproducer.write(folder, subject)
    assert {path.name for path in files} == {"model.onnx", "reproduce.py", "issue.md"}
    script = (folder / "reproduce.py").read_text()
    assert "convfault" not in script
    found = subprocess.run([sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True)
    assert found.returncode != 0
    assert "operation_type='ReduceMean', version=18" in found.stderr
    issue = (folder / "issue.md").read_text()
    assert "onnx2torch 1.5.15: ReduceMean-18" in issue
    assert "torch 2.13.0" in issue


@pytest.mark.e2e
def test_the_script_of_a_sound_conversion_shows_no_error(tmp_path: Path) -> None:
    pictures = tiny.pictures(2)
    import onnxruntime

    model = Model(str(tiny.tflite_model(tmp_path)), "tflite")
    source = Model(str(tiny.onnx_model(tmp_path)), "onnx")
    session = onnxruntime.InferenceSession(source.path)
    wanted = session.run(None, {"picture": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))})[0]
    hop = {"from": "tflite", "to": "onnx", "tool": "tf2onnx", "tool_version": "1.17.0", "options": {}}
    suspect = Suspect("tool", "hop", "They differ.", "Try another one.")
    subject = Subject(model, hop, suspect, [pictures[:1]], wanted[:1], source)
    folder = tmp_path / "reproducer"
    reproducer.write(folder, subject)
    found = subprocess.run([sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split("largest error:")[1]) < 1e-5


@pytest.mark.parametrize("key", list(snippets.CONVERT))
def test_every_script_is_python_and_its_tool_known(key: tuple[str, str]) -> None:
    ast.parse("OPTIONS = {}\n" + snippets.CONVERT[key].format(source="a", target="b"))
    assert key[0] in {item.tool for item in CONVERTERS.values() if key[1] in item.formats}


def test_a_tool_without_a_script_is_refused_in_a_sentence(tmp_path: Path) -> None:
    subject = Subject(Model("m.onnx", "onnx"), record(tool="unheard-of"), crash.explain(Failure(record())))
    with pytest.raises(UsageError, match="no script is known"):
        reproducer.write(tmp_path, subject)
